// Package loadgen opens connections on a plan and counts who answered. It runs in
// the process of the command line ([Run]) or in an agent pod ([Agent]), which receives
// a plan and streams rows, tallies and progress back while the run goes on; [Drive] is
// the caller's side of that stream. Either way the caller's [Sink] sees the same messages.
package loadgen

import (
	"time"

	"github.com/podskew/podskew/record"
)

// Plan is the work of one agent for one stream.
type Plan struct {
	Run                   string                `json:"run"`
	Stream                string                `json:"stream"`
	Agent                 string                `json:"agent"`                   // name the rows carry
	Start                 time.Time             `json:"start"`                   // Run.Start: the zero of every instant in the results
	Addresses             []record.Address      `json:"addresses"`               // slot i dials Addresses[(i+AddressOffset) % len]
	AddressOffset         int                   `json:"addressOffset,omitempty"` // so that several agents spread evenly over the addresses
	Path                  string                `json:"path"`                    // request target, "/"
	Host                  string                `json:"host"`                    // Host header; "" the dialled address
	Protocol              string                `json:"protocol"`                // http1, http2, grpc, websocket, tcp, udp
	TLS                   bool                  `json:"tls,omitempty"`           // without verifying whose certificate it is: podskew measures, it does not trust
	Attribution           *Attribution          `json:"attribution,omitempty"`   // how an answer says who gave it; nil: as echo pods do
	Session               *record.StreamSession `json:"session,omitempty"`       // http1: what makes the requests of a slot belong together; nil: nothing
	Detail                bool                  `json:"detail,omitempty"`        // pods are asked what a proxy on the way told them of the client
	Connections           int                   `json:"connections"`
	RequestsPerConnection int                   `json:"requestsPerConnection"`
	Requests              int                   `json:"requests,omitempty"`     // in total, dealt evenly to the slots; 0: by Duration
	ZipfExponent          float64               `json:"zipfExponent,omitempty"` // with Requests: slot k, from 1, gets its part in proportion to k^-ZipfExponent; 0: all get the same
	Duration              time.Duration         `json:"duration,omitempty"`
	WarmUp                time.Duration         `json:"warmUp,omitempty"`  // load is sent for so long before Start, and not counted
	MaxRate               float64               `json:"maxRate,omitempty"` // requests per second that the plan is held to; 0: no limit
	ConnectTimeout        time.Duration         `json:"connectTimeout"`
	Timeout               time.Duration         `json:"timeout"`
	SampleCap             int                   `json:"sampleCap,omitempty"` // samples kept; 0: the default

	Rate     float64           `json:"rate,omitempty"`     // open loop: intended requests per second of this plan; 0: closed loop
	Arrivals string            `json:"arrivals,omitempty"` // constant (default) or poisson
	Rates    []record.RateStep `json:"rates,omitempty"`    // changes of Rate, of this plan
	Seed     uint64            `json:"seed,omitempty"`     // of arrivals, jitter and random orders
	Precise  bool              `json:"precise,omitempty"`  // open loop: spin before each send, at the price of a processor

	Concurrency          int               `json:"concurrency,omitempty"`          // closed loop: requests in flight at a time, at most Connections; 0: Connections
	StreamsPerConnection int               `json:"streamsPerConnection,omitempty"` // http2, grpc; 0: 1
	PoolPolicy           string            `json:"poolPolicy,omitempty"`           // roundRobin, lru, mru, firstFree: which idle connection is used next; "": each slot has its own requests (open loop: roundRobin)
	ConnectionLifetime   time.Duration     `json:"connectionLifetime,omitempty"`   // 0: no limit
	LifetimeJitter       float64           `json:"lifetimeJitter,omitempty"`       // fraction of it, 0 to 1
	ThinkTime            time.Duration     `json:"thinkTime,omitempty"`
	ConnectionsPerSecond float64           `json:"connectionsPerSecond,omitempty"` // churn; 0: none
	Reconnect            string            `json:"reconnect,omitempty"`            // immediate or backoff; "" backoff
	Sources              []string          `json:"sources,omitempty"`              // addresses connections leave from, slot i from Sources[i % len]; nil: the machine's choice. The agent adds those that its interface lacks, and removes them again
	SourcePorts          *record.PortRange `json:"sourcePorts,omitempty"`          // ports they leave from, each of a source's by one connection at a time; nil: the kernel's choice
	Resolve              string            `json:"resolve,omitempty"`              // addresses that are names: perRun (default) or perConnection
	ResolveOrder         string            `json:"resolveOrder,omitempty"`         // roundRobin (default), random, first
	GRPCPolicy           string            `json:"grpcPolicy,omitempty"`           // pick_first (default) or round_robin
	MaxTuples            int               `json:"maxTuples,omitempty"`            // connections that may be opened while the conntrack table has no more room than this; 0: what is free, less a reserve
	Driver               string            `json:"driver,omitempty"`               // http1 without TLS: epoll or conn; "": the fastest that this system and the plan allow
}

// The protocols.
const (
	ProtocolHTTP1     = "http1" // HTTP/1.1
	ProtocolHTTP2     = "http2"
	ProtocolGRPC      = "grpc"
	ProtocolWebSocket = "websocket"
	ProtocolTCP       = "tcp" // connecting only
	ProtocolUDP       = "udp"
)

// Arrivals of an open loop.
const (
	ArrivalsConstant = "constant" // evenly spaced
	ArrivalsPoisson  = "poisson"  // with exponential gaps: many clients that know nothing of one another
)

// When names are resolved, and in which order their addresses are dialled.
const (
	ResolvePerRun        = "perRun"        // once, before the load
	ResolvePerConnection = "perConnection" // again for every dial
	OrderRoundRobin      = "roundRobin"    // dials take the addresses in turn
	OrderRandom          = "random"
	OrderFirst           = "first" // the first address of every answer, as most clients do
)

// The gRPC policies.
const (
	GRPCPickFirst  = "pick_first"  // all calls of a channel on one connection
	GRPCRoundRobin = "round_robin" // a connection to every address of the name
)

// The drivers a plan can ask for.
const (
	DriverEpoll = "epoll" // Linux, HTTP/1.1 without TLS
	DriverConn  = "conn"  // Go's network library
)

// openLoop reports whether requests are sent at times that do not depend on answers.
func (p *Plan) openLoop() bool { return p.Rate > 0 }

// pooled reports whether requests are dealt to idle connections, and do not belong to one from the start.
func (p *Plan) pooled() bool { return p.openLoop() || p.PoolPolicy != "" }

// workers is how many requests of a closed loop may be in flight at a time.
func (p *Plan) workers() int {
	if p.Concurrency == 0 {
		return p.Connections * max(p.StreamsPerConnection, 1)
	}
	return p.Concurrency
}

// Attribution says where in an answer the name of the pod stands that gave it. Exactly one field is set.
type Attribution struct {
	Header string `json:"header,omitempty"` // name of a header field
	JSON   string `json:"json,omitempty"`   // path in a JSON body: names joined by dots
}

// Message is one line of the stream of results (NDJSON): exactly one field is set.
type Message struct {
	Ready       *Ready              `json:"ready,omitempty"`       // first: the plan was accepted
	Progress    *Progress           `json:"progress,omitempty"`    // at least once a second
	Connections []record.Connection `json:"connections,omitempty"` // finished ones, and at the end those still open
	Open        []record.Connection `json:"open,omitempty"`        // open ones as they stand; a later row with the same ID replaces them
	Tallies     []record.Tally      `json:"tallies,omitempty"`     // of whole seconds gone by; keys may repeat and add up
	Samples     []record.Sample     `json:"samples,omitempty"`
	Done        *Done               `json:"done,omitempty"` // last, unless the agent died
	Error       string              `json:"error,omitempty"`
}

// Ready acknowledges a plan.
type Ready struct {
	Now time.Time `json:"now"` // the agent's clock
	IPs []string  `json:"ips"` // addresses connections leave from
}

// Progress is cumulative.
type Progress struct {
	Seconds     float64 `json:"seconds"` // since Plan.Start; negative before it
	Requests    int     `json:"requests"`
	Errors      int     `json:"errors"`
	Connections int     `json:"connections"` // opened
	Open        int     `json:"open"`
}

// Done ends a stream of results.
type Done struct {
	Seconds      float64  `json:"seconds"`
	Interrupted  bool     `json:"interrupted,omitempty"`
	Problems     []string `json:"problems,omitempty"`
	SampleStride int      `json:"sampleStride,omitempty"` // one request in so many is among the samples, chosen evenly; 1: all

	Generator *record.Generator `json:"generator,omitempty"` // what the generator says about itself
}

// Sink receives the messages of one run in order, never two at a time. The rows in a message are the sink's to
// keep. Its first message holds Ready, its last one Done; a run that could not be finished has no Done. An error
// from a sink ends the run, which then returns that error.
//
// A message with Open holds rows that later ones of Connections, or of Open, replace; Drive passes one on every few seconds
// for sinks that must not lose what they have when their process is killed, Run has none. No sink gets one with Error.
type Sink func(Message) error
