package analyze

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podskew/podskew/record"
)

// Outcome is what becomes of a connection.
type Outcome string

// The outcomes.
const (
	Answer    Outcome = "answer"
	Timeout   Outcome = "timeout" // dropped: nobody says no
	Refused   Outcome = "refused" // rejected at once
	NoAddress Outcome = "dns"     // the name leads to no address
	Unknown   Outcome = "unknown" // podskew has no model of this target
)

// Policy is the traffic policy that decides for a connection, as kube-proxy applies it.
type Policy string

// The policies.
const (
	ClusterPolicy Policy = "Cluster"
	LocalPolicy   Policy = "Local"
	Bypassed      Policy = "bypassed" // Local is set but does not bind clients that are inside already
)

// Units of choice.
const (
	unitConnection = "connection"
	unitFlow       = "flow" // udp: datagrams from one port, until conntrack forgets it
	unitClientIP   = "clientIP"
	unitRequest    = "request" // an L7 hop chooses for each
)

// ofConnections reports whether a unit is one connection, or what takes its place.
func ofConnections(unit string) bool { return unit == unitConnection || unit == unitFlow }

// Prediction is what the facts alone say about the connections of one client to one address.
type Prediction struct {
	Outcome  Outcome
	Reason   string             // one clause: why that outcome, and which policy
	Decider  string             // node whose kube-proxy chooses, or the client's where it does itself or its sidecar; "" if that cannot be told
	Policy   Policy             // in force; "" where kube-proxy does not choose, and without a model
	Unit     string             // connection, flow, clientIP or request
	KeyedOn  SourceClass        // with Unit clientIP, whose address the deciding node sees: client or client-node
	Unserved bool               // kube-proxy does not serve this address in its mode, whatever endpoints there are
	NoLocal  bool               // there are endpoints, but none that the policy lets this node choose
	Untested string             // one clause: why the units are no independent choices, so that chance does not bound their spread; "" they are
	choice   choice             // how the client itself chooses, where it counts instead of drawing
	Backends []PredictedBackend // eligible ones, in the order of the facts; empty unless Outcome is answer
}

// PredictedBackend is one eligible backend.
type PredictedBackend struct {
	Pod    string // the address where the facts name no pod
	Node   string
	P      float64     // of being chosen, for one unit
	Source SourceClass // of the client address it should see
}

// Predict says what should become of the connections that agent makes to addr as part of stream st, from what the
// cluster said about itself. It knows the targets clusterIP, nodePort, loadBalancer, headless, podIP and
// gateway, if the facts describe it; for a URL that no facts are known of, the Outcome is unknown.
func Predict(facts *record.Facts, st *record.Stream, agent record.AgentRef, addr record.Address) Prediction {
	return newAtlas(facts).predict(st, agent, addr)
}

func (a *atlas) predict(st *record.Stream, agent record.AgentRef, addr record.Address) Prediction {
	p := path{atlas: a, service: a.services[st.Service], stream: st, agent: agent, addr: addr, dialled: hostOf(addr.HostPort)}
	p.clientNode = a.nodes[agent.Node]
	switch st.Target {
	case "podIP":
		return p.podIP()
	case "url":
		return p.unknown("the facts of a cluster behind a URL are not known")
	}
	if p.service == nil {
		return p.unknown(fmt.Sprintf("the facts hold no Service %q", st.Service))
	}
	switch st.Target {
	case "clusterIP":
		if m := a.mesh(st); m != nil {
			return p.dealtBySidecar(m)
		}
		return p.clusterIP()
	case "nodePort":
		return p.nodePort()
	case "loadBalancer":
		return p.loadBalancer()
	case "headless":
		return p.headless()
	case "gateway":
		return p.gateway()
	}
	return p.unknown(fmt.Sprintf("no model of target %q", st.Target))
}

// path is one client's way to one address.
type path struct {
	*atlas
	service    *record.Service
	stream     *record.Stream
	agent      record.AgentRef
	addr       record.Address
	dialled    netip.Addr
	clientNode record.Node // zero if the client is on none
}

func (p path) unknown(reason string) Prediction {
	return Prediction{Outcome: Unknown, Unit: p.single(), Reason: reason}
}

func (p path) inCluster() bool { return p.stream.Vantage != "external" && p.clientNode.Name != "" }

// single is the unit where no affinity makes several connections one.
func (p path) single() string {
	if p.stream.Protocol == "udp" {
		return unitFlow
	}
	return unitConnection
}

func (p path) unit() string {
	if p.service.SessionAffinity == "ClientIP" {
		return unitClientIP
	}
	return p.single()
}

// isClient reports whether an endpoint is the client itself.
func (p path) isClient(e record.Endpoint) bool {
	return p.stream.Vantage == "pod" && (slices.Contains(p.agent.IPs, e.Address) || (e.Pod != "" && e.Pod == p.agent.Name))
}

// spread makes the prediction that each of from is equally likely. A pod that is listed under two addresses is chosen twice as often.
func (p path) spread(r Prediction, from []record.Endpoint, source func(record.Endpoint) SourceClass) Prediction {
	r.Outcome = Answer
	at := make(map[string]int, len(from))
	for _, e := range from {
		pod := p.podOf(e)
		if i, have := at[pod]; have {
			r.Backends[i].P += 1 / float64(len(from))
			continue
		}
		at[pod] = len(r.Backends)
		r.Backends = append(r.Backends, PredictedBackend{Pod: pod, Node: e.Node, P: 1 / float64(len(from)), Source: source(e)})
	}
	return r
}

func findService(facts *record.Facts, name string) *record.Service {
	for i := range facts.Services {
		if facts.Services[i].Name == name {
			return &facts.Services[i]
		}
	}
	return nil
}

// podOf returns the name by which an endpoint answers.
func podOf(facts *record.Facts, e record.Endpoint) string {
	if e.Pod != "" {
		return e.Pod
	}
	for _, pod := range facts.Pods {
		if slices.Contains(pod.IPs, e.Address) {
			return pod.Name
		}
	}
	return e.Address
}

// hostOf returns the address part of ip:port or of a bare ip; the zero Addr if there is none.
func hostOf(hostPort string) netip.Addr {
	if ap, err := netip.ParseAddrPort(hostPort); err == nil {
		return ap.Addr().Unmap()
	}
	ip, err := netip.ParseAddr(hostPort)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap()
}
