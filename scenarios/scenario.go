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
	Topic       string   `yaml:"topic,omitempty"` // the question it belongs to in lists: Topics names them; default by what the scenario does
}

// Spec is what to deploy, who dials it how, and what must come of it.
type Spec struct {
	Requires *Requires `yaml:"requires,omitempty"` // what must be there; where it is not, the scenario is skipped
	Echo     Echo      `yaml:"echo"`
	Service  Service   `yaml:"service"`
	Services []Service `yaml:"services,omitempty"` // more Services of the same echo pods, each with a name
	Gateway  *Gateway  `yaml:"gateway,omitempty"`  // for clients with target gateway
	Clients  []Client  `yaml:"clients"`
	// DestinationRule has Istio's sidecars in the clients' pods choose an echo pod for each request, in kube-proxy's place.
	DestinationRule *DestinationRule `yaml:"destinationRule,omitempty"`
	// SharePods has clients that stand in the same place (vantage, node, count and localPorts) send from the same pods, with the same
	// addresses: many streams then need few pods. Each is a stream of its own all the same.
	SharePods bool          `yaml:"sharePods,omitempty"`
	WarmUp    time.Duration `yaml:"warmUp,omitempty"` // load is sent for so long before time 0 of the run; none of it is counted
	Events    []Event       `yaml:"events,omitempty"`
	// Settle has load sent for so long after every node in use has learned of the last event, if that is later than the clients'
	// duration: how fast a cluster is does not matter then. It waits for a minute at most, MaxSettling.
	Settle time.Duration `yaml:"settle,omitempty"`
	Expect []Expect      `yaml:"expect,omitempty"`
}

// Requires says what a scenario needs of a cluster that not every one has. A run where it is missing is skipped, with the
// reason, and has not failed. What follows from the scenario itself need not be said: an event killNode needs the lab.
type Requires struct {
	ProxyModes []string `yaml:"proxyModes,omitempty"` // kube-proxy's mode is one of these: nftables, iptables, ipvs
	Providers  []string `yaml:"providers,omitempty"`  // the cluster is one of these: lab, kind, current
	APIs       []string `yaml:"apis,omitempty"`       // the API server has all of these, such as networking.istio.io/v1
}

// Echo says how many echo pods there are and where.
type Echo struct {
	Replicas  int            `yaml:"replicas,omitempty"`  // spread over the worker nodes by the scheduler; default 3; 0 with Placement
	Placement map[string]int `yaml:"placement,omitempty"` // node name → pods on it; nodes not named have none
	Standby   int            `yaml:"standby,omitempty"`   // more pods, spread, that no Service selects until a swap event
	// Grace is how long a pod serves on after SIGTERM before it drains; default 3s. 0s: it ends at once, as programs do that do
	// not handle the signal.
	Grace *time.Duration `yaml:"grace,omitempty"`
}

// Service holds the fields of a core/v1 ServiceSpec that matter here, under their own names.
type Service struct {
	Name                  string                 `yaml:"name,omitempty"`      // default echo; required in services
	Endpoints             string                 `yaml:"endpoints,omitempty"` // "" the echo pods; none: its selector selects no pod
	Type                  string                 `yaml:"type"`                // ClusterIP, NodePort, LoadBalancer
	ClusterIP             string                 `yaml:"clusterIP,omitempty"` // "" or None (headless)
	SessionAffinity       string                 `yaml:"sessionAffinity,omitempty"`
	SessionAffinityConfig *SessionAffinityConfig `yaml:"sessionAffinityConfig,omitempty"`
	ExternalTrafficPolicy string                 `yaml:"externalTrafficPolicy,omitempty"`
	InternalTrafficPolicy string                 `yaml:"internalTrafficPolicy,omitempty"`
	TrafficDistribution   string                 `yaml:"trafficDistribution,omitempty"`
	Annotations           map[string]string      `yaml:"annotations,omitempty"` // of its metadata: service.kubernetes.io/topology-mode, what a load balancer's controller reads, …
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

// The targets.
const (
	TargetClusterIP    Target = "clusterIP"
	TargetNodePort     Target = "nodePort"
	TargetLoadBalancer Target = "loadBalancer"
	TargetHeadless     Target = "headless"
	TargetGateway      Target = "gateway" // spec.gateway's own Service
	TargetPodIP        Target = "podIP"
)

// Client is one group of equal sources of load.
type Client struct {
	Name                  string        `yaml:"name"`                           // a DNS label, unique in the scenario
	Vantage               Vantage       `yaml:"vantage"`                        // default pod
	Count                 int           `yaml:"count"`                          // clients, each with its own IP; default 1
	Node                  string        `yaml:"node,omitempty"`                 // where they stand; "" any worker node, spread (external: the external node)
	Target                Target        `yaml:"target"`                         // default clusterIP
	TargetNodes           []string      `yaml:"targetNodes,omitempty"`          // nodePort: whose ports are dialled, connection slots in turn; localhost: 127.0.0.1 of the node the client is on (vantage node); default every worker node
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
	SourcePorts           *PortRange    `yaml:"sourcePorts,omitempty"`          // external: ports that connections leave from, each of an address's by one at a time; default the kernel's choice, from 32768 on
	LocalPorts            int           `yaml:"localPorts,omitempty"`           // vantage pod: source ports that each client has; default the kernel's, some 28,000
	Resolve               string        `yaml:"resolve,omitempty"`              // headless: perRun (default) or perConnection
	ResolveOrder          string        `yaml:"resolveOrder,omitempty"`         // headless: roundRobin (default), random, first
	GRPCPolicy            string        `yaml:"grpcPolicy,omitempty"`           // grpc: pick_first (default) or round_robin
	Service               string        `yaml:"service,omitempty"`              // name of the Service that is dialled; default spec.service
	InEcho                bool          `yaml:"inEcho,omitempty"`               // vantage pod: the load comes from inside the echo pods, one client in each; count is theirs
	ZipfExponent          float64       `yaml:"zipfExponent,omitempty"`         // with requests: slot number k (from 1) gets its part in proportion to k^-zipfExponent; 0 (default): all get the same
	Session               *Session      `yaml:"session,omitempty"`              // what makes requests of one client belong together; each connection slot is a session
}

// PortRange is a range of ports, both ends included.
type PortRange struct {
	From int `yaml:"from"`
	To   int `yaml:"to"`
}

// Session says how requests tell a layer 7 proxy that they belong together. Exactly one field is set, and Value with Header.
type Session struct {
	Header string `yaml:"header,omitempty"` // a header sent with every request but the first of a session
	Value  string `yaml:"value,omitempty"`  // with Header: podIP or podName of the pod that answered first, or session (default): a name of the session's own, sent from its first request on
	Cookie bool   `yaml:"cookie,omitempty"` // cookies that answers set are sent back, as browsers do
}

// Gateway is a layer 7 proxy in front of the echo pods, run as pods behind a Service of its own.
type Gateway struct {
	Proxy    string `yaml:"proxy"`              // caddy, haproxy or nginx
	Replicas int    `yaml:"replicas,omitempty"` // default 1
	Node     string `yaml:"node,omitempty"`     // where its pods run; "": spread
	Upstream string `yaml:"upstream,omitempty"` // service (default): the echo Service's ClusterIP; pods: every ready pod, by a headless Service
	// Policy is, with upstream pods, how the proxy chooses among them: roundRobin (default), random, leastConnections, sourceHash, headerHash or cookie.
	Policy    string `yaml:"policy,omitempty"`
	Header    string `yaml:"header,omitempty"`    // of headerHash
	KeepAlive int    `yaml:"keepAlive,omitempty"` // idle connections to upstreams that are kept for the next request; 0: each request has a new one
	// SendProxyProtocol makes it tell pods its client's address by PROXY protocol, besides X-Forwarded-For, which it always sends.
	SendProxyProtocol bool `yaml:"sendProxyProtocol,omitempty"`
	// ExternalTrafficPolicy and Type are of the gateway's own Service.
	Type                  string `yaml:"type,omitempty"` // default ClusterIP
	ExternalTrafficPolicy string `yaml:"externalTrafficPolicy,omitempty"`
}

// DestinationRule is Istio's rule for the Service under test, in Istio's words. All pods of the run get sidecars, and those of
// the clients choose a pod for each request. It needs a cluster with Istio; elsewhere the scenario is skipped.
type DestinationRule struct {
	Revision      string        `yaml:"revision,omitempty"` // of the Istio that injects the sidecars, as in the label istio.io/rev; default: the one that goes by the label istio-injection
	TrafficPolicy TrafficPolicy `yaml:"trafficPolicy"`
}

// TrafficPolicy is the part of a DestinationRule's that decides which pod gets a request.
type TrafficPolicy struct {
	LoadBalancer LoadBalancer `yaml:"loadBalancer"`
}

// LoadBalancer says how sidecars choose. Exactly one field is set.
type LoadBalancer struct {
	Simple         string          `yaml:"simple,omitempty"` // ROUND_ROBIN, LEAST_REQUEST or RANDOM
	ConsistentHash *ConsistentHash `yaml:"consistentHash,omitempty"`
}

// ConsistentHash maps a key of each request onto a pod. Exactly one of the keys is set: HTTPHeaderName, HTTPCookie or
// UseSourceIP.
type ConsistentHash struct {
	HTTPHeaderName string      `yaml:"httpHeaderName,omitempty"`
	HTTPCookie     *HTTPCookie `yaml:"httpCookie,omitempty"`
	UseSourceIP    bool        `yaml:"useSourceIp,omitempty"` // of the client's pod
	RingHash       *RingHash   `yaml:"ringHash,omitempty"`
}

// HTTPCookie is a cookie that the sidecar makes where a request has none.
type HTTPCookie struct {
	Name string        `yaml:"name"`
	TTL  time.Duration `yaml:"ttl,omitempty"` // how long it lives; 0s (default): as long as the session
}

// RingHash is the ring that keys and pods are put on.
type RingHash struct {
	MinimumRingSize int `yaml:"minimumRingSize"` // places on the ring; Istio's default is 1024
}

// RateStep changes a client's rate during the run.
type RateStep struct {
	At   time.Duration `yaml:"at"`
	Rate float64       `yaml:"rate"`           // requests per second of each client from then on
	Ramp bool          `yaml:"ramp,omitempty"` // the rate changes evenly from the step before to this one
}

// Event is something done to the cluster during the run, at a time or after a number of requests. Exactly one action is set.
// Pods are meant by their number, from 0, in the order of their names when the event comes.
type Event struct {
	At            time.Duration `yaml:"at,omitempty"`            // since the start of the run, warm-up not included
	AfterRequests int           `yaml:"afterRequests,omitempty"` // instead of At: when clients together have had so many answers, seen to within a second or two

	Scale            *int          `yaml:"scale,omitempty"`            // echo pods from then on; only with echo.replicas
	Restart          bool          `yaml:"restart,omitempty"`          // true: a rolling restart of the echo pods, as "kubectl rollout restart" does
	DeletePod        *int          `yaml:"deletePod,omitempty"`        // an echo pod; another takes its place
	Readiness        *Readiness    `yaml:"readiness,omitempty"`        // an echo pod's readiness probe begins to fail, or to succeed again
	Label            *Label        `yaml:"label,omitempty"`            // an echo pod loses or gets the label that Services select by
	Swap             bool          `yaml:"swap,omitempty"`             // true: in one step Services select the standby pods instead of the others
	Slow             *Slow         `yaml:"slow,omitempty"`             // an echo pod answers more slowly from then on
	PatchService     *ServicePatch `yaml:"patchService,omitempty"`     // settings of a Service change
	Cordon           string        `yaml:"cordon,omitempty"`           // a node takes no new pods
	Uncordon         string        `yaml:"uncordon,omitempty"`         // a node takes pods again
	Drain            string        `yaml:"drain,omitempty"`            // a node is cordoned and the run's own pods on it, clients excepted, are evicted
	KillNode         string        `yaml:"killNode,omitempty"`         // a node loses its power: only the lab can do that, and its nodes are started anew afterwards
	RestartKubeProxy string        `yaml:"restartKubeProxy,omitempty"` // on a node, or all: everywhere
}

// Readiness sets what an echo pod's readiness probe says.
type Readiness struct {
	Pod   int  `yaml:"pod"`
	Ready bool `yaml:"ready"`
}

// Label gives or takes the label that the Services select by. A pod without it runs on and is no endpoint.
type Label struct {
	Pod      int  `yaml:"pod"`
	Selected bool `yaml:"selected"`
}

// Slow sets how long an echo pod waits before each answer.
type Slow struct {
	Pod   int           `yaml:"pod"`
	Delay time.Duration `yaml:"delay"` // 0s: as fast as it can again
}

// ServicePatch changes settings of a Service; those left out stay.
type ServicePatch struct {
	Service               string                 `yaml:"service,omitempty"` // default spec.service
	SessionAffinity       string                 `yaml:"sessionAffinity,omitempty"`
	SessionAffinityConfig *SessionAffinityConfig `yaml:"sessionAffinityConfig,omitempty"`
	ExternalTrafficPolicy string                 `yaml:"externalTrafficPolicy,omitempty"`
	InternalTrafficPolicy string                 `yaml:"internalTrafficPolicy,omitempty"`
	TrafficDistribution   string                 `yaml:"trafficDistribution,omitempty"` // none: taken away
}

// Expect is one expectation. Exactly one of Finding, NoFinding, Metric, Shares and Distribution is set.
type Expect struct {
	Finding      string             `yaml:"finding,omitempty"`      // this code is present
	NoFinding    string             `yaml:"noFinding,omitempty"`    // this code is absent
	ProxyMode    string             `yaml:"proxyMode,omitempty"`    // only where kube-proxy is in this mode: nftables, iptables or ipvs; elsewhere it is not applicable
	Stream       string             `yaml:"stream,omitempty"`       // of this client only; "": a finding of any, a metric of all
	Metric       string             `yaml:"metric,omitempty"`       // a number of the stream: Metrics lists them
	Shares       map[string]float64 `yaml:"shares,omitempty,flow"`  // node → share of the choices that fell on its pods, 0 to 1; also newPods: pods that were no backends when the load began
	Distribution string             `yaml:"distribution,omitempty"` // expected: choices fell as the settings say; even: the same on every backend
	Above        *float64           `yaml:"above,omitempty"`
	Below        *float64           `yaml:"below,omitempty"`
	Equals       *float64           `yaml:"equals,omitempty"`
	From         time.Duration      `yaml:"from,omitempty"` // only what was opened, or for requests and errors sent, from then on
	To           time.Duration      `yaml:"to,omitempty"`   // and before then; 0: to the end
	// FromEffective is, instead of From, counted from when every node in use had learned of the last event. Where that is not
	// known the expectation fails.
	FromEffective *time.Duration `yaml:"fromEffective,omitempty"`
	Confidence    float64        `yaml:"confidence,omitempty"` // of what is random: it fails only if the record contradicts it with this confidence; default 0.999
}
