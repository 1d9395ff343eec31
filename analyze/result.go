package analyze

import (
	"time"

	"github.com/podskew/podskew/record"
)

// Report is the result of an analysis and, as JSON, the contract other programs rely on
// (podskew.dev/v1alpha1). Keys may be added; those here keep their meaning.
type Report struct {
	APIVersion   string              `json:"apiVersion"`
	Kind         string              `json:"kind"` // Report
	Run          Run                 `json:"run"`
	Cluster      ClusterInfo         `json:"cluster"`
	Service      *record.Service     `json:"service,omitempty"`
	Streams      []Stream            `json:"streams"`
	Paths        []Path              `json:"paths,omitempty"`    // of runs with several Services, or with three streams or more
	Events       []EventReport       `json:"events,omitempty"`   // what was done to the cluster, by time
	BothEnds     *BothEnds           `json:"bothEnds,omitempty"` // nil: the pods' own counts are not in the record
	Servers      []ServerLoad        `json:"servers,omitempty"`  // by pod
	Findings     []Finding           `json:"findings"`
	Expectations []ExpectationResult `json:"expectations"`
	Passed       bool                `json:"passed"`          // every expectation passed
	Notes        []string            `json:"notes,omitempty"` // sentences: what this run cannot tell
}

// Run identifies the run in a report.
type Run struct {
	ID          string    `json:"id"`
	Scenario    string    `json:"scenario"`
	Start       time.Time `json:"start"`
	Seconds     float64   `json:"seconds"`
	Seed        uint64    `json:"seed"`
	Tool        string    `json:"tool"`
	Interrupted bool      `json:"interrupted,omitempty"`
	Alpha       float64   `json:"alpha"` // false-alarm budget of the whole report
}

// ClusterInfo is the cluster as the report names it.
type ClusterInfo struct {
	Provider  string     `json:"provider"`
	Version   string     `json:"version"`
	ProxyMode string     `json:"proxyMode"`
	CNI       string     `json:"cni,omitempty"` // network plugin; "unknown", or "" where there is none
	Nodes     []NodeInfo `json:"nodes"`
}

// NodeInfo is one node as the report names it.
type NodeInfo struct {
	Name     string   `json:"name"`
	IPs      []string `json:"ips"`
	PodCIDRs []string `json:"podCIDRs"`
	Zone     string   `json:"zone"`
	External bool     `json:"external,omitempty"`
}

// Stream is what one client group saw of one target.
type Stream struct {
	Client                string                   `json:"client"`
	Vantage               string                   `json:"vantage"`
	Target                string                   `json:"target"`
	Address               string                   `json:"address"`     // of several: joined with ", "
	Requests              int                      `json:"requests"`    // sent, and dials that failed in their place
	Errors                map[record.ErrorKind]int `json:"errors"`      // requests and failed dials by kind; refused and timeout always present
	Connections           int                      `json:"connections"` // opened or tried
	RequestsPerSecond     float64                  `json:"requestsPerSecond"`
	Backends              []Backend                `json:"backends"` // by share, then name
	Skew                  Skew                     `json:"skew"`     // of requests
	Chance                Chance                   `json:"chance"`
	Test                  Test                     `json:"test"`
	Order                 *Order                   `json:"order,omitempty"` // nil: too few connections to tell
	Decomposition         *Decomposition           `json:"decomposition,omitempty"`
	Cost                  *Cost                    `json:"cost,omitempty"`
	Timeline              *Timeline                `json:"timeline,omitempty"`
	Sources               []Source                 `json:"sources"`
	Sessions              *Sessions                `json:"sessions,omitempty"`     // nil: its requests have nothing to do with each other
	Forwarded             *Forwarded               `json:"forwarded,omitempty"`    // nil: no X-Forwarded-For
	CrossNodeHop          *CrossNode               `json:"crossNodeHop,omitempty"` // nil: no answer from another node
	Affinity              *Affinity                `json:"affinity,omitempty"`
	OpenLoop              *OpenLoop                `json:"openLoop,omitempty"`   // nil: a closed loop
	Generators            []GeneratorLoad          `json:"generators,omitempty"` // by agent
	Latency               Latency                  `json:"latency"`
	Nodes                 []TargetNode             `json:"nodes,omitempty"` // nodePort: one entry per node dialled
	CrossNode             int                      `json:"crossNode"`       // answered requests whose pod is on another node than the one that chose it
	UnknownBackend        int                      `json:"unknownBackend"`  // connections nobody answered on
	RequestsPerConnection int                      `json:"requestsPerConnection"`
	ConnectionLifetime    float64                  `json:"connectionLifetime,omitempty"`   // seconds after which a connection is replaced, as planned; 0: never
	ConnectionsPerSecond  float64                  `json:"connectionsPerSecond,omitempty"` // churn, as planned: the oldest connection is replaced this often; 0: never
	Matrix                *Matrix                  `json:"matrix,omitempty"`               // client by backend; nil without backends
	Flows                 []Flow                   `json:"flows,omitempty"`                // client to source address to backend
	ConnectionRows        []ConnectionRow          `json:"connectionRows,omitempty"`       // every connection in order of opening, if there are at most 500
	OpenConnections       *OpenConnections         `json:"openConnections,omitempty"`      // of more connections: how many were open when
	UnitLoads             []UnitLoad               `json:"unitLoads,omitempty"`            // what each unit carried, by backend: at most 1,000 entries

	settling *Balance // of a stream as it was once the last event was over
}

// Backend is one pod's part of a stream.
type Backend struct {
	Pod             string  `json:"pod"`
	Node            string  `json:"node"`
	Requests        int     `json:"requests"`
	Connections     int     `json:"connections"`
	Share           float64 `json:"share"`                 // of answered requests, 0 to 1
	ExpectedShare   float64 `json:"expectedShare"`         // from the settings, weighted with the units that had a choice
	ConnectionShare float64 `json:"connectionShare"`       // of units whose backend is known
	ChanceShare     Range   `json:"chanceShare"`           // 95 % of the unit share under ExpectedShare; 0 to 0 where no law of chance applies: see [Chance]
	Bounds          *Range  `json:"bounds,omitempty"`      // of ConnectionShare, were none or all of the connections nobody answered its own; nil if all were
	Eligible        bool    `json:"eligible"`              // the settings let this stream reach it
	P50             float64 `json:"p50"`                   // seconds; 0 without answers
	P99             float64 `json:"p99"`                   // seconds; the maximum below 100 answers
	P99Interval     *Range  `json:"p99Interval,omitempty"` // 95 %, by order statistics; nil where requests shared connections, or are too few
}

// Range is an interval, low and high end, both included.
type Range [2]float64

// Skew holds the skew metrics of docs/method.md: population forms over all eligible backends, idle ones included.
type Skew struct {
	MaxOverMean       float64 `json:"maxOverMean"`
	CV                float64 `json:"cv"`
	Gini              float64 `json:"gini"`
	Jain              float64 `json:"jain"`
	EffectiveBackends float64 `json:"effectiveBackends"`
	IdleBackends      int     `json:"idleBackends"`
	Dispersion        float64 `json:"dispersion"` // of units: X²/df, 1 is random
}

// Chance holds the 95 % chance range of each metric: what as many units show under the expected shares. All of it is 0 to 0 where units are no
// independent choices: clients that take turns or keep to one address, or a chooser nobody knows. Max over mean is never below 1 otherwise.
type Chance struct {
	MaxOverMean       Range `json:"maxOverMean"`
	CV                Range `json:"cv"`
	Gini              Range `json:"gini"`
	Jain              Range `json:"jain"`
	EffectiveBackends Range `json:"effectiveBackends"`
	IdleBackends      Range `json:"idleBackends"`
	Dispersion        Range `json:"dispersion"`
}

// Test is the test of a stream at the level of its units.
type Test struct {
	Unit           string  `json:"unit"`      // connection, clientIP, flow or request
	Units          int     `json:"units"`     // with a known backend
	Method         string  `json:"method"`    // exact, monte-carlo or chi-square; "none" if there was nothing to test
	Statistic      float64 `json:"statistic"` // X²
	DF             int     `json:"df"`        // mean of X² by chance, rounded: backends less one, fewer if parts of the stream have less choice
	P              float64 `json:"p"`
	AdjustedP      float64 `json:"adjustedP"`           // Holm, over the report
	Direction      string  `json:"direction,omitempty"` // of the smallest part: over, under, hot, cold
	HotBackend     string  `json:"hotBackend,omitempty"`
	ColdBackend    string  `json:"coldBackend,omitempty"`
	EffectSize     float64 `json:"effectSize"`         // Cohen's w
	SmallestFactor float64 `json:"smallestFactor"`     // one pod at this multiple of its share would have been called an unexplained skew with power 0.8; 0: at none
	Untested       string  `json:"untested,omitempty"` // one clause: why its units are no independent choices, so that no chance range applies; "" they are
	UnitsNeeded    int     `json:"unitsNeeded"`        // to see one pod at 1.5 times its share with power 0.8; 0: enough
}

// Decomposition splits CV² of the requests; the four parts add up to Total.
type Decomposition struct {
	Total       float64 `json:"total"`
	Designed    float64 `json:"designed"`
	Placement   float64 `json:"placement"`
	LoadPerUnit float64 `json:"loadPerUnit"`
	Unexplained float64 `json:"unexplained"`

	Intervals          *DecompositionIntervals `json:"intervals,omitempty"`          // of the long run; nil without units
	LoadFollowsBackend bool                    `json:"loadFollowsBackend,omitempty"` // how much a unit carries depends on the pod it is on
	LoadAdjustedP      float64                 `json:"loadAdjustedP,omitempty"`      // that it does not: permutation of loads, Holm over the report; 1 if there was nothing to test
	LoadPerUnitOf      map[string]float64      `json:"loadPerUnitOf,omitempty"`      // by pod: mean load of its units over what it would be if pods did not matter
}

// Source is one address the pods saw as the client, with its class.
type Source struct {
	Class    string `json:"class"` // client, client-node, receiving-node, pod-gateway, proxy-pod, service-vip, docker-gateway, link-local, unknown
	Address  string `json:"address"`
	Node     string `json:"node,omitempty"` // whose address or pod gateway it is
	Requests int    `json:"requests"`
	Hairpin  int    `json:"hairpin,omitempty"` // of these, a pod that reached itself
	Hop      string `json:"hop,omitempty"`     // what put it in the client's place; "" for the client's own
	Setting  string `json:"setting,omitempty"` // what makes it do so; "": not known
	Expected bool   `json:"expected"`          // the settings lead to an address of this class
}

// Affinity is what session affinity did.
type Affinity struct {
	Clients        int     `json:"clients"` // (client IP, node) pairs with at least two connections
	Held           int     `json:"held"`
	Interval       Range   `json:"interval"` // Clopper–Pearson 95 % of the held fraction
	ByChance       float64 `json:"byChance"` // pairs expected to be held without any affinity
	BackendsUsed   int     `json:"backendsUsed"`
	TimeoutSeconds int     `json:"timeoutSeconds"`
	AffinityDetails
}

// Latency of answered requests, in seconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	Tail *Tail   `json:"tail,omitempty"` // nil: fewer than 100 answers
}

// TargetNode is one node whose port was dialled.
type TargetNode struct {
	Node        string                   `json:"node"`
	Address     string                   `json:"address"`
	Endpoints   int                      `json:"endpoints"` // eligible backends through this node
	Connections int                      `json:"connections"`
	Requests    int                      `json:"requests"`
	Answered    int                      `json:"answered"`
	Errors      map[record.ErrorKind]int `json:"errors"`
	Expected    string                   `json:"expected"` // answer, timeout or refused
}

// Code is the code of a finding.
type Code string

// The finding codes.
const (
	Balanced             Code = "Balanced"
	ConnectionPinning    Code = "ConnectionPinning"
	TooFewConnections    Code = "TooFewConnections"
	IdleBackends         Code = "IdleBackends"
	UnevenConnectionLoad Code = "UnevenConnectionLoad"
	UnexplainedSkew      Code = "UnexplainedSkew"
	RoundRobin           Code = "RoundRobin"
	ForeignBackend       Code = "ForeignBackend"
	FailingBackend       Code = "FailingBackend"
	MissingEndpoint      Code = "MissingEndpoint"
	LocalPolicyImbalance Code = "LocalPolicyImbalance"
	TopologyImbalance    Code = "TopologyImbalance"
	StaleEndpoint        Code = "StaleEndpoint"
	NoLocalEndpoint      Code = "NoLocalEndpoint"
	NoEndpoints          Code = "NoEndpoints"
	AffinityHeld         Code = "AffinityHeld"
	AffinityBroken       Code = "AffinityBroken"
	AffinityExpired      Code = "AffinityExpired"
	AffinityCapacity     Code = "AffinityCapacity"
	AffinityPerNode      Code = "AffinityPerNode"
	AffinityCollapse     Code = "AffinityCollapse"
	StickyToWrongPod     Code = "StickyToWrongPod"
	SourceIPPreserved    Code = "SourceIPPreserved"
	SourceIPLost         Code = "SourceIPLost"
	HairpinSNAT          Code = "HairpinSNAT"
	CrossNodeHops        Code = "CrossNodeHops"
	SNATPortPressure     Code = "SNATPortPressure"
	IdleAfterScaleOut    Code = "IdleAfterScaleOut"
	SkewAfterRestart     Code = "SkewAfterRestart"
	SlowToBalance        Code = "SlowToBalance"
	TooFewUnits          Code = "TooFewUnits"
	GeneratorLimited     Code = "GeneratorLimited"
	FactsChanged         Code = "FactsChanged"
	MeasurementArtefact  Code = "MeasurementArtefact"
)

// Severity orders findings.
type Severity string

// The severities.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// Finding is one conclusion.
type Finding struct {
	Code     Code           `json:"code"`
	Severity Severity       `json:"severity"`
	Stream   string         `json:"stream"`             // client name; "" the whole run
	ByDesign bool           `json:"byDesign,omitempty"` // the settings ask for it
	Summary  string         `json:"summary"`            // one sentence with numbers
	Evidence map[string]any `json:"evidence"`           // numbers and names, JSON-friendly, keys lowerCamel
	Remedies []Remedy       `json:"remedies"`
}

// Remedy is something to do about a finding, with its predicted effect where the model can tell.
type Remedy struct {
	What      string         `json:"what"`
	Predicted map[string]any `json:"predicted"`
}

// Expectation is one expectation of a scenario, in the analyzer's own words (the command line translates). Exactly one of Finding,
// NoFinding, Metric, Shares and Distribution is set.
type Expectation struct {
	Name                 string // as the report shows it
	Finding, NoFinding   Code
	Stream               string // "" any
	ProxyMode            string // it is only about clusters with kube-proxy in this mode; "" any
	Metric               string
	Shares               map[string]float64 // node, or newPods, → share of the choices, 0 to 1
	Distribution         string             // expected or even
	Above, Below, Equals *float64
	From, To             float64  // seconds since the start of the run; To 0: to the end
	FromEffective        *float64 // instead of From: seconds since every node in use had learned of the last event
	Confidence           float64  // 0: 0.999 for what is drawn, while metrics of the load are compared as they are
}

// ExpectationResult is the outcome of one expectation.
type ExpectationResult struct {
	Name   string `json:"name"`
	Passed bool   `json:"passed"`
	// NotApplicable tells that it is about another mode of kube-proxy: it was not decided and counts as passed.
	NotApplicable bool   `json:"notApplicable,omitempty"`
	Detail        string `json:"detail"` // observed, wanted, expected and chance range; of one that failed also what explains it
	// ExplainedBy lists the findings that say why it failed, likeliest first.
	ExplainedBy []Code `json:"explainedBy,omitempty"`
}
