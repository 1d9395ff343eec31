// Package scenarios is the scenario file: its types, strict parsing with line and
// column, defaults, validation, and the built-in library. It describes; it runs
// nothing and imports nothing of podskew.
package scenarios

import "time"

// APIVersion and Kind head every scenario file.
const (
	APIVersion = "podskew.dev/v1alpha1"
	Kind       = "Scenario"
)

// Scenario is one scenario file, after defaults.
type Scenario struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   Metadata `yaml:"metadata"`
	Spec       Spec     `yaml:"spec"`

	src *source // the file it was read from, for errors found later; nil if it was built in code
}

// Metadata names a scenario.
type Metadata struct {
	Name        string   `yaml:"name"` // a DNS label
	Description string   `yaml:"description"`
	Links       []string `yaml:"links,omitempty"`
}

// Spec is what to deploy, who dials it how, and what must come of it.
type Spec struct {
	Echo    Echo     `yaml:"echo"`
	Service Service  `yaml:"service"`
	Clients []Client `yaml:"clients"`
	Events  []Event  `yaml:"events,omitempty"`
	Expect  []Expect `yaml:"expect,omitempty"`
}

// Echo says how many echo pods there are and where.
type Echo struct {
	Replicas  int            `yaml:"replicas,omitempty"`  // spread over the worker nodes by the scheduler; default 3; 0 with Placement
	Placement map[string]int `yaml:"placement,omitempty"` // node name → pods on it; nodes not named have none
}

// Service holds the fields of a core/v1 ServiceSpec that matter here, under their own names.
type Service struct {
	Type                  string                 `yaml:"type"`                // ClusterIP, NodePort, LoadBalancer
	ClusterIP             string                 `yaml:"clusterIP,omitempty"` // "" or None (headless)
	SessionAffinity       string                 `yaml:"sessionAffinity,omitempty"`
	SessionAffinityConfig *SessionAffinityConfig `yaml:"sessionAffinityConfig,omitempty"`
	ExternalTrafficPolicy string                 `yaml:"externalTrafficPolicy,omitempty"`
	InternalTrafficPolicy string                 `yaml:"internalTrafficPolicy,omitempty"`
	TrafficDistribution   string                 `yaml:"trafficDistribution,omitempty"`
}

// SessionAffinityConfig is core/v1's.
type SessionAffinityConfig struct {
	ClientIP struct {
		TimeoutSeconds int `yaml:"timeoutSeconds"` // 1 to 86400; default 10800
	} `yaml:"clientIP"`
}

// Vantage is where clients stand.
type Vantage string

// The vantages.
const (
	VantagePod      Vantage = "pod"
	VantageNode     Vantage = "node"
	VantageExternal Vantage = "external"
)

// Target is what clients dial.
type Target string

// The targets. gateway cannot be run; it is recognised so that the error can say that it is not built yet.
const (
	TargetClusterIP    Target = "clusterIP"
	TargetNodePort     Target = "nodePort"
	TargetLoadBalancer Target = "loadBalancer"
	TargetHeadless     Target = "headless"
	TargetGateway      Target = "gateway"
	TargetPodIP        Target = "podIP"
)

// Client is one group of equal sources of load.
type Client struct {
	Name                  string        `yaml:"name"`                           // a DNS label, unique in the scenario
	Vantage               Vantage       `yaml:"vantage"`                        // default pod
	Count                 int           `yaml:"count"`                          // clients, each with its own IP; default 1
	Node                  string        `yaml:"node,omitempty"`                 // where they stand; "" any worker node, spread (external: the external node)
	Target                Target        `yaml:"target"`                         // default clusterIP
	TargetNodes           []string      `yaml:"targetNodes,omitempty"`          // nodePort: whose ports are dialled, connection slots in turn; default every worker node
	Connections           int           `yaml:"connections"`                    // concurrent connections of each client
	RequestsPerConnection int           `yaml:"requestsPerConnection"`          // 0 (default): as long as the run lasts; 1: a fresh connection per request
	Requests              int           `yaml:"requests,omitempty"`             // of each client in total, dealt evenly to its connection slots
	Duration              time.Duration `yaml:"duration,omitempty"`             // instead of Requests
	Rate                  float64       `yaml:"rate,omitempty"`                 // requests per second of each client; 0: as fast as answers come
	ConnectTimeout        time.Duration `yaml:"connectTimeout,omitempty"`       // default 2s
	Timeout               time.Duration `yaml:"timeout,omitempty"`              // of one request; default 5s
	Protocol              string        `yaml:"protocol,omitempty"`             // http1 (default), http2, grpc, websocket, tcp, udp
	TLS                   bool          `yaml:"tls,omitempty"`                  // http1, http2, grpc
	StreamsPerConnection  int           `yaml:"streamsPerConnection,omitempty"` // http2, grpc: requests in flight on one connection; default 1
	Concurrency           int           `yaml:"concurrency,omitempty"`          // requests in flight of each client; default Connections
	PoolPolicy            string        `yaml:"poolPolicy,omitempty"`           // roundRobin, lru, mru, firstFree; default: each connection has its own requests
	ConnectionLifetime    time.Duration `yaml:"connectionLifetime,omitempty"`
	LifetimeJitter        float64       `yaml:"lifetimeJitter,omitempty"`       // fraction of ConnectionLifetime, 0 to 1
	ThinkTime             time.Duration `yaml:"thinkTime,omitempty"`            // between an answer and the next request on its connection
	ConnectionsPerSecond  float64       `yaml:"connectionsPerSecond,omitempty"` // churn of each client: the oldest connection is replaced
	Reconnect             string        `yaml:"reconnect,omitempty"`            // after a failure: backoff (default) or immediate
	Arrivals              string        `yaml:"arrivals,omitempty"`             // with rate: constant (default) or poisson
	Rates                 []RateStep    `yaml:"rates,omitempty"`                // changes of rate
	SourceAddresses       int           `yaml:"sourceAddresses,omitempty"`      // external: client IPs of each client, connections in turn; default 1
	Resolve               string        `yaml:"resolve,omitempty"`              // headless: perRun (default) or perConnection
	ResolveOrder          string        `yaml:"resolveOrder,omitempty"`         // headless: roundRobin (default), random, first
	GRPCPolicy            string        `yaml:"grpcPolicy,omitempty"`           // grpc: pick_first (default) or round_robin
}

// RateStep changes a client's rate during the run.
type RateStep struct {
	At   time.Duration `yaml:"at"`
	Rate float64       `yaml:"rate"`           // requests per second of each client from then on
	Ramp bool          `yaml:"ramp,omitempty"` // the rate changes evenly from the step before to this one
}

// Event is something done to the cluster during the run.
type Event struct {
	At    time.Duration `yaml:"at"`
	Scale int           `yaml:"scale"`
}

// Expect is one expectation. Exactly one of Finding, NoFinding and Metric is set.
type Expect struct {
	Finding   string   `yaml:"finding,omitempty"`   // this code is present
	NoFinding string   `yaml:"noFinding,omitempty"` // this code is absent
	Stream    string   `yaml:"stream,omitempty"`    // of this client only; "": a finding of any, a metric of all
	Metric    string   `yaml:"metric,omitempty"`    // maxOverMean, cv, gini, jain, effectiveBackends, idleBackends, dispersion, requests, connections, errors.refused, errors.timeout, … of the stream
	Above     *float64 `yaml:"above,omitempty"`
	Below     *float64 `yaml:"below,omitempty"`
	Equals    *float64 `yaml:"equals,omitempty"`
}
