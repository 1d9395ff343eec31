// Package record is what a run leaves behind: the facts about the cluster, the
// plan of every stream, one row per connection, complete tallies, thinned
// samples and the events of the run. It is a leaf: everything left of it writes
// records, everything right of it (analyze, report) reads nothing else.
//
// All instants inside a record are seconds since Run.Start as float64, so that a
// record means the same on every machine and in every time zone. Latencies are
// seconds too.
package record

import "time"

// Version is the apiVersion of records and reports.
const Version = "podskew.dev/v1alpha1"

// Record is one whole run in memory, in the order the lines of its file have.
type Record struct {
	Run         Run
	Facts       Facts  // as they were when the load started
	FactsAfter  *Facts // as they were when it ended; nil if they could not be read
	Streams     []Stream
	Connections []Connection
	Tallies     []Tally
	Samples     []Sample
	Latencies   []Latencies // in place of Samples, if so read
	Events      []Event
	Generators  []Generator // one per stream and agent that finished
	Servers     []Server    // what the echo pods counted themselves, asked when the load had ended
	End         *End        // nil: the record was cut before the run ended
}

// Run identifies a run.
type Run struct {
	ID       string    `json:"id"` // an xid
	Scenario string    `json:"scenario"`
	Start    time.Time `json:"start"` // the instant all streams start
	Seed     uint64    `json:"seed"`  // seeds every simulation of the analysis
	Tool     string    `json:"tool"`  // version of podskew that wrote the record
}

// End says how a run ended.
type End struct {
	Seconds      float64  `json:"seconds"`                // from Run.Start to the last answer
	Interrupted  bool     `json:"interrupted,omitempty"`  // by Ctrl-C or a dead agent: what follows is a part of the run
	Problems     []string `json:"problems,omitempty"`     // sentences: what the harness could not do or had to give up
	SampleStride int      `json:"sampleStride,omitempty"` // the samples hold one request in so many, chosen evenly; 0 or 1: all
}

// Facts are what the cluster said about itself at one instant.
type Facts struct {
	At        float64    `json:"at"` // seconds since Run.Start, negative before it
	Cluster   Cluster    `json:"cluster"`
	Services  []Service  `json:"services,omitempty"`
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	Pods      []Pod      `json:"pods,omitempty"`
	Gateway   *Gateway   `json:"gateway,omitempty"` // nil: no layer 7 proxy of the run's own
	Mesh      *Mesh      `json:"mesh,omitempty"`    // nil: no sidecars in the run's pods
	// HealthChecks is what nodes answer a load balancer that asks whether they want a Service's traffic; by Service and node.
	HealthChecks []HealthCheck `json:"healthChecks,omitempty"`
}

// Gateway is a layer 7 proxy of the run's own: pods with the role gateway, behind a Service.
type Gateway struct {
	Service           string `json:"service"`                     // in front of its pods
	Behind            string `json:"behind"`                      // the Service whose pods it sends requests to
	Proxy             string `json:"proxy"`                       // caddy, haproxy or nginx
	Image             string `json:"image,omitempty"`             // of its pods
	Upstream          string `json:"upstream"`                    // service: Behind's cluster IP, so that kube-proxy chooses; pods: each of its pods
	Policy            string `json:"policy,omitempty"`            // with upstream pods: roundRobin, random, leastConnections, sourceHash, headerHash or cookie
	Header            string `json:"header,omitempty"`            // of headerHash
	KeepAlive         int    `json:"keepAlive,omitempty"`         // idle connections to upstreams kept by each of its pods; 0: each request has a new one
	SendProxyProtocol bool   `json:"sendProxyProtocol,omitempty"` // it tells pods its client's address by PROXY protocol, too
}

// Mesh is a service mesh with a sidecar in every pod of the run. The client's sidecar chooses a pod for each request to
// Service, and dials it itself: kube-proxy has no part in it.
type Mesh struct {
	Name    string `json:"name"`             // istio
	Image   string `json:"image,omitempty"`  // of the sidecars
	Service string `json:"service"`          // that Policy is for
	Policy  string `json:"policy"`           // roundRobin, leastRequest, random, headerHash, cookieHash or sourceHash
	Header  string `json:"header,omitempty"` // of headerHash
	Cookie  string `json:"cookie,omitempty"` // of cookieHash
}

// Cluster is the part of the facts that does not depend on the scenario.
type Cluster struct {
	Provider  string `json:"provider"`      // lab, kind or current
	Version   string `json:"version"`       // of the API server, v1.36.3
	ProxyMode string `json:"proxyMode"`     // iptables, nftables, ipvs or unknown; "mixed" if nodes differ
	CNI       string `json:"cni,omitempty"` // network plugin: cilium, calico, kindnet, …; "unknown", or "" where there is none
	Nodes     []Node `json:"nodes"`
}

// Node is one node and its kube-proxy.
type Node struct {
	Name     string   `json:"name"`
	IPs      []string `json:"ips"` // InternalIP and ExternalIP addresses
	PodCIDRs []string `json:"podCIDRs,omitempty"`
	Zone     string   `json:"zone"`
	External bool     `json:"external,omitempty"` // set apart for external clients: label podskew.dev/external
	Ready    bool     `json:"ready"`
	Proxy    Proxy    `json:"proxy"`
}

// Proxy is the state of one node's kube-proxy.
type Proxy struct {
	Mode       string  `json:"mode"`                 // as Cluster.ProxyMode; "none" where no kube-proxy runs by design
	Source     string  `json:"source,omitempty"`     // where Mode was read: "proxyMode endpoint", "configmap kube-proxy", …
	LastSync   float64 `json:"lastSync,omitempty"`   // seconds since Run.Start of the last programming; 0: unknown
	LastQueued float64 `json:"lastQueued,omitempty"` // of the last change it saw; 0: unknown
	Programmed bool    `json:"programmed,omitempty"` // a probe through its rules saw the run's last endpoint change before the load started
}

// Service holds the fields of a core/v1 Service that decide where its traffic goes, under their own names.
type Service struct {
	Name                  string        `json:"name"`
	Namespace             string        `json:"namespace"`
	Type                  string        `json:"type"` // ClusterIP, NodePort, LoadBalancer
	ClusterIPs            []string      `json:"clusterIPs"`
	Headless              bool          `json:"headless,omitempty"`
	Ports                 []ServicePort `json:"ports"`
	ExternalTrafficPolicy string        `json:"externalTrafficPolicy,omitempty"` // Cluster, Local or "" (ClusterIP)
	InternalTrafficPolicy string        `json:"internalTrafficPolicy"`           // Cluster or Local
	SessionAffinity       string        `json:"sessionAffinity"`                 // None or ClientIP
	AffinitySeconds       int           `json:"affinitySeconds,omitempty"`       // sessionAffinityConfig.clientIP.timeoutSeconds
	TrafficDistribution   string        `json:"trafficDistribution,omitempty"`   // "", PreferClose, PreferSameZone, PreferSameNode
	LoadBalancerIPs       []string      `json:"loadBalancerIPs,omitempty"`
	HealthCheckNodePort   int           `json:"healthCheckNodePort,omitempty"`
	TopologyMode          string        `json:"topologyMode,omitempty"` // annotation service.kubernetes.io/topology-mode
	// Balancer is which nodes the load balancer deals connections to, where it says so, as the lab's does.
	Balancer []BalancerNode `json:"balancer,omitempty"`
}

// BalancerNode is a node that a load balancer deals connections to, in proportion to Weight.
type BalancerNode struct {
	Node   string `json:"node"`
	Weight int    `json:"weight"` // at least 1
}

// HealthCheck is one node's answer at a Service's healthCheckNodePort.
type HealthCheck struct {
	Service   string `json:"service"`
	Node      string `json:"node"`
	Status    int    `json:"status"`           // 200: it wants the traffic, 503: it has no ready endpoint of its own; 0: no answer
	Endpoints int    `json:"endpoints"`        // ready ones of its own
	Weight    int    `json:"weight,omitempty"` // header X-Load-Balancing-Endpoint-Weight; 0: not there
	Error     string `json:"error,omitempty"`  // why there is no answer
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Name       string `json:"name,omitempty"`
	Protocol   string `json:"protocol"` // TCP or UDP
	Port       int    `json:"port"`
	TargetPort string `json:"targetPort"`
	NodePort   int    `json:"nodePort,omitempty"`
}

// Endpoint is one address of an EndpointSlice of one Service.
type Endpoint struct {
	Service     string   `json:"service"`
	Address     string   `json:"address"`
	Pod         string   `json:"pod,omitempty"` // targetRef name
	Node        string   `json:"node,omitempty"`
	Zone        string   `json:"zone,omitempty"`
	Ready       bool     `json:"ready"`
	Serving     bool     `json:"serving"`
	Terminating bool     `json:"terminating,omitempty"`
	HintZones   []string `json:"hintZones,omitempty"`
	HintNodes   []string `json:"hintNodes,omitempty"`
}

// Pod is one pod of the run.
type Pod struct {
	Name        string   `json:"name"`
	UID         string   `json:"uid"`
	Role        string   `json:"role"` // echo, agent or gateway
	IPs         []string `json:"ips"`
	Node        string   `json:"node"`
	Ready       bool     `json:"ready"`
	HostNetwork bool     `json:"hostNetwork,omitempty"`
	Standby     bool     `json:"standby,omitempty"` // no Service selects it until a swap
	Restarts    int      `json:"restarts,omitempty"`
}

// Stream is one client group dialling one target: what was planned, and by whom it was run.
type Stream struct {
	ID                    string     `json:"id"`      // unique in the record; the client's name
	Client                string     `json:"client"`  // metadata name of the client group in the scenario
	Vantage               string     `json:"vantage"` // pod, node or external
	Target                string     `json:"target"`  // clusterIP, nodePort, loadBalancer, headless, gateway, podIP, or url: a server that no facts are known of
	Service               string     `json:"service"` // "" with target url
	Addresses             []Address  `json:"addresses"`
	Protocol              string     `json:"protocol"` // http1, http2, grpc, websocket, tcp, udp
	TLS                   bool       `json:"tls,omitempty"`
	Connections           int        `json:"connections"`            // concurrent, summed over the agents
	RequestsPerConnection int        `json:"requestsPerConnection"`  // 0: as long as the run lasts
	Requests              int        `json:"requests,omitempty"`     // planned, summed over the agents; 0: by duration
	Duration              float64    `json:"duration,omitempty"`     // planned seconds; 0: by count
	WarmUp                float64    `json:"warmUp,omitempty"`       // seconds of load before time 0, of which nothing is counted; connections of it that are there at 0 have negative times
	ZipfExponent          float64    `json:"zipfExponent,omitempty"` // with Requests: an agent's slot k, from 1, has its part in proportion to k^-ZipfExponent; 0: all the same
	Rate                  float64    `json:"rate,omitempty"`         // intended requests per second of all agents at the start; 0: closed loop
	Arrivals              string     `json:"arrivals,omitempty"`     // of an open loop: constant or poisson
	Rates                 []RateStep `json:"rates,omitempty"`        // changes of Rate, in order of time
	ConnectTimeout        float64    `json:"connectTimeout"`         // seconds
	Timeout               float64    `json:"timeout"`                // seconds per request
	Agents                []AgentRef `json:"agents"`

	Concurrency          int     `json:"concurrency,omitempty"`          // requests in flight at a time, summed over the agents; 0: one per connection
	StreamsPerConnection int     `json:"streamsPerConnection,omitempty"` // http2, grpc: requests in flight on one connection; 0: 1
	PoolPolicy           string  `json:"poolPolicy,omitempty"`           // which idle connection is used next: roundRobin, lru, mru, firstFree; "": each has its own requests
	ConnectionLifetime   float64 `json:"connectionLifetime,omitempty"`   // seconds after which a connection is replaced; 0: no limit
	LifetimeJitter       float64 `json:"lifetimeJitter,omitempty"`       // lifetimes vary evenly by this fraction of themselves, either way; 0 to 1
	ThinkTime            float64 `json:"thinkTime,omitempty"`            // seconds between an answer and the next request on its connection
	ConnectionsPerSecond float64 `json:"connectionsPerSecond,omitempty"` // churn: the oldest connection is replaced this often; 0: never for that reason
	Reconnect            string  `json:"reconnect,omitempty"`            // after a failure: immediate or backoff; "" backoff
	Resolve              string  `json:"resolve,omitempty"`              // of a name: perRun or perConnection
	ResolveOrder         string  `json:"resolveOrder,omitempty"`         // of its addresses: roundRobin, random or first
	GRPCPolicy           string  `json:"grpcPolicy,omitempty"`           // grpc: pick_first or round_robin

	SourcePorts *PortRange `json:"sourcePorts,omitempty"` // ports that connections leave from, on each of an agent's addresses; nil: the kernel's choice

	Session *StreamSession `json:"session,omitempty"` // nil: requests have nothing to do with each other

	Unit     Unit `json:"unit,omitempty"`     // target url: what a backend is chosen for; "" connection
	Backends int  `json:"backends,omitempty"` // target url: how many there are, as the user says; 0: those that answered
}

// PortRange is a range of ports, both ends included.
type PortRange struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// Count is how many ports are in the range.
func (r PortRange) Count() int { return r.To - r.From + 1 }

// StreamSession says what makes requests of one slot of an agent belong together. Exactly one field but Value is set.
type StreamSession struct {
	Header string `json:"header,omitempty"` // sent with every request, but for values that the first answer has to tell
	Value  string `json:"value,omitempty"`  // session, podIP or podName: of the pod that answered first
	Cookie bool   `json:"cookie,omitempty"` // cookies that answers set are sent back
}

// Unit is what a backend is chosen for where no facts tell.
type Unit string

// The units.
const (
	UnitConnection Unit = "connection"
	UnitRequest    Unit = "request" // an L7 proxy chooses for each
	UnitUnknown    Unit = "unknown" // which requests shared a connection was not recorded
)

// RateStep changes the rate of an open loop.
type RateStep struct {
	At   float64 `json:"at"`             // seconds since Run.Start
	Rate float64 `json:"rate"`           // requests per second of all agents from then on
	Ramp bool    `json:"ramp,omitempty"` // the rate changes evenly from the step before to this one
}

// Address is one thing a stream dials.
type Address struct {
	HostPort string `json:"hostPort"`       // ip:port; name:port where the client resolves
	Node     string `json:"node,omitempty"` // the node whose port it is, for nodePort
}

// AgentRef is one source of load of a stream.
type AgentRef struct {
	Name string   `json:"name"` // of the agent's pod; "local" for the process of the command line
	Node string   `json:"node"` // "" if it is not on a node
	IPs  []string `json:"ips"`  // addresses its connections leave from
}

// Connection is one connection of one stream: the unit kube-proxy decides for.
// It is counted when it is opened, whatever becomes of it.
type Connection struct {
	Stream      string         `json:"stream"`
	Agent       string         `json:"agent"`
	ID          int            `json:"id"`                // order of opening within stream and agent, from 1
	Slot        int            `json:"slot"`              // which of the agent's concurrent connections it replaces, from 0
	Address     string         `json:"address"`           // what was to be dialled: Address.HostPort of the stream
	Dialled     string         `json:"dialled,omitempty"` // the ip:port that Address, a name, was resolved to
	Local       string         `json:"local,omitempty"`   // ip:port it left from; "" if it never left, or if that is not known of one that failed
	Opened      float64        `json:"opened"`            // when the dial began
	Connected   float64        `json:"connected,omitempty"`
	Closed      float64        `json:"closed,omitempty"`    // 0: still open when the record ended
	Requests    int            `json:"requests"`            // answered ones, errors by status included
	WarmUp      int            `json:"warmUp,omitempty"`    // more of them, in the warm-up: sent before time 0, and counted nowhere else
	Backend     string         `json:"backend,omitempty"`   // pod of the first answer; "" if nobody answered
	Observed    string         `json:"observed,omitempty"`  // client ip:port that pod saw
	Forwarded   string         `json:"forwarded,omitempty"` // X-Forwarded-For as that pod got it; "": none, or the answer did not say
	Proxied     string         `json:"proxied,omitempty"`   // client ip:port by PROXY protocol as that pod got it; "": none, or the answer did not say
	Key         string         `json:"key,omitempty"`       // what the session's header said: a pod's IP or name, or the session's own; "": no header was sent
	ServerConn  uint64         `json:"serverConn,omitempty"`
	Others      map[string]int `json:"others,omitempty"`      // answers by other pods on this connection: an L7 hop, or a fault
	Error       ErrorKind      `json:"error,omitempty"`       // how it ended, if not as planned
	ErrorDetail string         `json:"errorDetail,omitempty"` // the error's text, cut to 200 bytes
}

// ErrorKind is the class of a failure as an operator tells failures apart.
type ErrorKind string

// The error kinds.
const (
	ErrRefused ErrorKind = "refused" // the peer or a REJECT rule said no at once
	ErrTimeout ErrorKind = "timeout" // nothing came back: a DROP rule, a dead pod, or slowness
	ErrReset   ErrorKind = "reset"   // cut after it was established
	ErrStatus  ErrorKind = "status"  // an HTTP status of 400 or more
	ErrDNS     ErrorKind = "dns"
	ErrParse   ErrorKind = "parse" // an answer that is not HTTP, or bytes nobody asked for
	ErrOther   ErrorKind = "other"
)

// Tally counts the requests of one stream, agent, dialled address, answering pod and observed source.
// Tallies of the same key are added; they are complete whatever happens to samples.
type Tally struct {
	Stream   string `json:"stream"`
	Agent    string `json:"agent"`
	Address  string `json:"address"`
	Backend  string `json:"backend,omitempty"`  // "": nobody answered
	Observed string `json:"observed,omitempty"` // client ip (no port) the pod saw
	Second   int    `json:"second"`             // whole seconds since Run.Start in which the request was sent
	Requests int    `json:"requests"`           // sent, whatever became of them
	// Connections counts those whose dial began in this second and whose first answer came from Backend ("": nobody ever
	// answered). It is there for runs with more connections than have rows; 0 everywhere: count the rows.
	Connections int               `json:"connections,omitempty"`
	Errors      map[ErrorKind]int `json:"errors,omitempty"`
	Latency     Histogram         `json:"latency,omitzero"` // of answered requests; in an open loop from the intended send time
}

// Sample is one request.
type Sample struct {
	Stream     string    `json:"s"`
	Agent      string    `json:"a"`
	Connection int       `json:"c"` // Connection.ID
	Sent       float64   `json:"t"`
	Late       float64   `json:"d,omitempty"` // open loop: seconds it was sent after its intended time; Latency includes it
	Latency    float64   `json:"l"`
	Error      ErrorKind `json:"e,omitempty"`
}

// Latencies are the samples of one stream and agent without their times: all that the analysis needs of them, at six bytes
// each. The columns are equally long. A record has any number of them for one agent.
type Latencies struct {
	Stream, Agent string
	Connections   []uint32 // Connection.ID of each answered request
	Buckets       []uint16 // its latency: the index of its bucket in a Histogram
}

// Event is something that was done to the cluster during the run, or that the cluster said of itself.
type Event struct {
	At        float64   `json:"at"`                  // when it was asked for, or seen
	What      string    `json:"what"`                // for people
	Kind      EventKind `json:"kind,omitempty"`      // "": only What tells
	Target    string    `json:"target,omitempty"`    // pod, node or Service it was done to; "" all echo pods
	Before    string    `json:"before,omitempty"`    // what was changed, as it was: replicas, a policy, …
	After     string    `json:"after,omitempty"`     // and as it became
	Effective float64   `json:"effective,omitempty"` // when every node in use had programmed what came of it; 0: not known
}

// EventKind is what sort of event it is.
type EventKind string

// The kinds of events.
const (
	EventScale   EventKind = "scale"   // Before and After are numbers of replicas
	EventRestart EventKind = "restart" // pods are replaced by new ones, all of them or Target
	EventPolicy  EventKind = "policy"  // a setting of the Service
	EventDelete  EventKind = "delete"  // Target, a pod, was deleted
	EventProbe   EventKind = "probe"   // the readiness probe of Target, a pod, says After: ready or unready
	EventLabel   EventKind = "label"   // Target, a pod, is selected by the Services, or not: After
	EventSwap    EventKind = "swap"    // the Services select other pods
	EventSlow    EventKind = "slow"    // Target, a pod, waits After before each answer
	EventCordon  EventKind = "cordon"  // Target, a node, takes no new pods, or takes them again: After
	EventDrain   EventKind = "drain"   // Target, a node, was drained
	EventKill    EventKind = "kill"    // Target, a node, lost its power
	EventProxy   EventKind = "proxy"   // kube-proxy on Target, a node, was restarted; "" on all
	EventReady   EventKind = "ready"   // Target, a pod, became a ready endpoint
	EventUnready EventKind = "unready" // Target is listed as an endpoint that is not ready
	EventRemoved EventKind = "removed" // Target is no endpoint any more
)

// Generator is what one source of load says about itself at the end of a stream: whether it, and not the target, was the
// limit.
type Generator struct {
	Stream     string  `json:"stream"`
	Agent      string  `json:"agent"`
	Driver     string  `json:"driver"`               // epoll, conn, http2, grpc, websocket, tcp or udp
	Seconds    float64 `json:"seconds"`              // that CPUSeconds and Busy are of
	CPUSeconds float64 `json:"cpuSeconds,omitempty"` // of the whole process, user and system
	Busy       float64 `json:"busy,omitempty"`       // share of the time in which its busiest event loop had work, 0 to 1; 0: not known
	CPULimit   float64 `json:"cpuLimit,omitempty"`   // cores it may use; 0: not known
	ClockCost  float64 `json:"clockCost,omitempty"`  // seconds that one reading of the clock takes

	Intended int       `json:"intended,omitempty"` // open loop: requests that were due
	Dropped  int       `json:"dropped,omitempty"`  // of these, never sent: no connection was free before the end
	Lateness Histogram `json:"lateness,omitzero"`  // open loop: from intended to actual send

	LocalPorts   int        `json:"localPorts,omitempty"`   // free for one pair of source and destination address, at the start; 0: not known
	OutOfPorts   int        `json:"outOfPorts,omitempty"`   // dials that failed for want of ports, descriptors or memory
	ReusedPorts  int        `json:"reusedPorts,omitempty"`  // connections that left from an address and port used before in this stream
	HeldBack     float64    `json:"heldBack,omitempty"`     // seconds that connections waited because results were not taken fast enough
	Conntrack    *Conntrack `json:"conntrack,omitempty"`    // of the network namespace; nil: not readable
	DroppedRows  int        `json:"droppedRows,omitempty"`  // connections beyond the cap on rows: in the tallies, not among Connections
	StrayAnswers int        `json:"strayAnswers,omitempty"` // udp: datagrams that came too late, twice, or for somebody else
	MaximumBatch int        `json:"maximumBatch,omitempty"` // answers taken in one turn of an event loop at most
	WarmUp       *WarmUp    `json:"warmUp,omitempty"`       // nil: there was none
}

// WarmUp is what was done before time 0: servers count it, too.
type WarmUp struct {
	Connections int            `json:"connections"`        // that ended in it, and have no rows
	Answered    map[string]int `json:"answered,omitempty"` // requests by the pod that answered
	Unanswered  int            `json:"unanswered,omitempty"`
}

// Conntrack is the state of a connection-tracking table.
type Conntrack struct {
	Max      int  `json:"max"`
	Before   int  `json:"before"`             // entries when the load began
	Peak     int  `json:"peak"`               // most entries seen while it ran
	Full     bool `json:"full,omitempty"`     // it came within one percent of Max
	HeldBack int  `json:"heldBack,omitempty"` // connections that were not opened, or later, so that it would not fill
}

// Server is what one echo pod counted itself.
type Server struct {
	Pod         string             `json:"pod"`
	At          float64            `json:"at"`                   // when it was asked, seconds since Run.Start
	Seconds     float64            `json:"seconds,omitempty"`    // of load that CPUSeconds are of; 0: not known
	CPUSeconds  float64            `json:"cpuSeconds,omitempty"` // in those
	CPULimit    float64            `json:"cpuLimit,omitempty"`   // cores; 0: none, or not known
	Requests    int                `json:"requests"`
	Connections int                `json:"connections"`
	Rows        []ServerConnection `json:"rows,omitempty"`
	Truncated   int                `json:"truncated,omitempty"` // connections that are in Connections and not in Rows
}

// ServerConnection is one connection as an echo pod saw it.
type ServerConnection struct {
	Connection uint64 `json:"n"` // as Connection.ServerConn
	Client     string `json:"c"` // ip:port, as Connection.Observed
	Requests   int    `json:"r"`
}
