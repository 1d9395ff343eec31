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
	Answer  Outcome = "answer"
	Timeout Outcome = "timeout" // dropped: nobody says no
	Refused Outcome = "refused" // rejected at once
	Unknown Outcome = "unknown" // podskew has no model of this target
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
	unitClientIP   = "clientIP"
)

// Prediction is what the facts alone say about the connections of one client to one address.
type Prediction struct {
	Outcome  Outcome
	Reason   string             // one clause: why that outcome, and which policy
	Decider  string             // node whose kube-proxy chooses; "" if that cannot be told
	Policy   Policy             // in force; "" without a model
	Unit     string             // connection or clientIP
	KeyedOn  SourceClass        // with Unit clientIP, whose address the deciding node sees: client or client-node
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
// cluster said about itself. It knows the targets clusterIP and nodePort from every vantage; for the others the Outcome is
// unknown.
func Predict(facts *record.Facts, st *record.Stream, agent record.AgentRef, addr record.Address) Prediction {
	service := findService(facts, st.Service)
	if service == nil {
		return Prediction{Outcome: Unknown, Unit: unitConnection, Reason: fmt.Sprintf("the facts hold no Service %q", st.Service)}
	}
	p := path{facts: facts, service: service, stream: st, agent: agent, addr: addr, dialled: hostOf(addr.HostPort)}
	p.clientNode = findNode(facts, agent.Node)
	switch st.Target {
	case "clusterIP":
		return p.clusterIP()
	case "nodePort":
		return p.nodePort()
	}
	return Prediction{Outcome: Unknown, Unit: unitConnection, Reason: fmt.Sprintf("no model of target %q", st.Target)}
}

// path is one client's way to one address.
type path struct {
	facts      *record.Facts
	service    *record.Service
	stream     *record.Stream
	agent      record.AgentRef
	addr       record.Address
	dialled    netip.Addr
	clientNode record.Node // zero if the client is on none
}

func (p path) inCluster() bool { return p.stream.Vantage != "external" && p.clientNode.Name != "" }

// clusterIP is decided on the client's own node. A pod keeps its address, because it lies inside the pod network; anything
// else is masqueraded by kube-proxy.
func (p path) clusterIP() Prediction {
	if p.clientNode.Proxy.Mode == "none" {
		return Prediction{Outcome: Unknown, Unit: unitConnection, Reason: fmt.Sprintf("no kube-proxy runs on %s to know the Service's address", p.clientNode.Name)}
	}
	set := categorize(p.endpoints(), p.clientNode)
	policy, from := ClusterPolicy, set.cluster
	if p.service.InternalTrafficPolicy == "Local" {
		policy, from = LocalPolicy, set.local
	}
	// Off-cluster hosts that are routed to the Service network enter through a node the facts cannot tell.
	masqueraded := ReceivingNode
	if p.inCluster() {
		masqueraded = ClientNode
	}
	return p.decide(decision{at: p.clientNode, policy: policy, setting: "internalTrafficPolicy", from: from, any: set.any,
		keeps: p.stream.Vantage == "pod", masqueraded: masqueraded, key: Client})
}

// nodePort is decided on the node that is dialled.
func (p path) nodePort() Prediction {
	node := p.dialledNode()
	if node.Name == "" {
		return Prediction{Outcome: Unknown, Unit: unitConnection, Reason: fmt.Sprintf("the facts name no node with the address %s", p.addr.HostPort)}
	}
	if p.dialled.IsLoopback() && p.stream.Vantage == "node" && node.Proxy.Mode == "nftables" {
		return Prediction{Outcome: Refused, Decider: node.Name, Policy: ClusterPolicy, Unit: p.unit(),
			Reason: "kube-proxy in nftables mode does not serve node ports on 127.0.0.1"}
	}
	set := categorize(p.endpoints(), node)
	d := decision{at: node, setting: "externalTrafficPolicy", any: set.any, masqueraded: ReceivingNode, key: Client}
	own := p.inCluster() && p.clientNode.Name == node.Name
	if p.stream.Vantage == "pod" && !own {
		// The CNI hides pod addresses from what is not a pod, nodes included, before the packet leaves.
		d.key = ClientNode
	}
	switch {
	case p.service.ExternalTrafficPolicy != "Local":
		d.policy, d.from = ClusterPolicy, set.cluster
	case own:
		// Neither traffic policy binds traffic from the node itself or from its pods: the Cluster set, and pods keep their address.
		d.policy, d.from, d.keeps = Bypassed, set.cluster, p.stream.Vantage == "pod"
	default:
		d.policy, d.from, d.keeps = LocalPolicy, set.local, true
	}
	return p.decide(d)
}

// decision is a choice kube-proxy makes on one node.
type decision struct {
	at          record.Node
	policy      Policy
	setting     string // field of the Service that chose the policy
	from        []record.Endpoint
	any         bool
	keeps       bool        // the source address is left alone
	masqueraded SourceClass // what it becomes towards another node otherwise
	key         SourceClass // whose address the node sees
}

func (p path) decide(d decision) Prediction {
	r := Prediction{Decider: d.at.Name, Policy: d.policy, Unit: p.unit(), KeyedOn: d.key}
	switch {
	case !d.any:
		r.Outcome, r.Reason = Refused, "the Service has no endpoint anywhere, so kube-proxy rejects"
		return r
	case len(d.from) == 0:
		r.Outcome = Timeout
		r.Reason = fmt.Sprintf("%s is Local and %s has no endpoint of its own, so kube-proxy drops", d.setting, d.at.Name)
		return r
	}
	r.Outcome, r.Reason = Answer, d.because()
	for _, e := range d.from {
		r.Backends = append(r.Backends, PredictedBackend{Pod: podOf(p.facts, e), Node: e.Node, P: 1 / float64(len(d.from)), Source: p.source(d, e)})
	}
	return r
}

func (d decision) because() string {
	switch d.policy {
	case LocalPolicy:
		return fmt.Sprintf("%s Local: the %d endpoints of %s", d.setting, len(d.from), d.at.Name)
	case Bypassed:
		return fmt.Sprintf("%s Local does not bind clients on the node itself: %d endpoints", d.setting, len(d.from))
	default:
		return fmt.Sprintf("%d endpoints", len(d.from))
	}
}

// source is the class of the client address that endpoint e should see.
func (p path) source(d decision, e record.Endpoint) SourceClass {
	switch {
	case p.stream.Vantage == "pod" && (slices.Contains(p.agent.IPs, e.Address) || (e.Pod != "" && e.Pod == p.agent.Name)):
		return PodGateway // a pod that reaches itself would not see the answer come back otherwise
	case d.keeps && p.dialled.IsLoopback() && p.stream.Vantage == "external":
		return DockerGateway // a port published on the host
	case d.keeps:
		return d.key
	case d.at.Name != "" && e.Node == d.at.Name && !p.onHost(e):
		return PodGateway // masquerading takes the address of the interface the packet leaves by
	case p.stream.Vantage == "node" && d.at.Name == p.clientNode.Name:
		return Client // its node's address is its own
	}
	return d.masqueraded
}

// onHost reports whether an endpoint lives on its node's own network, where no pod gateway lies in between.
func (p path) onHost(e record.Endpoint) bool {
	for _, pod := range p.facts.Pods {
		if e.Pod != "" && pod.Name == e.Pod {
			return pod.HostNetwork
		}
	}
	return false
}

func (p path) endpoints() []record.Endpoint {
	return endpointsOf(p.facts, p.service.Name, p.dialled)
}

func (p path) unit() string {
	if p.service.SessionAffinity == "ClientIP" {
		return unitClientIP
	}
	return unitConnection
}

// dialledNode is the node whose port is dialled, by name, else by address, else the client's own for 127.0.0.1.
func (p path) dialledNode() record.Node {
	if p.addr.Node != "" {
		return findNode(p.facts, p.addr.Node)
	}
	for _, n := range p.facts.Cluster.Nodes {
		if p.dialled.IsValid() && slices.Contains(n.IPs, p.dialled.String()) {
			return n
		}
	}
	if p.dialled.IsLoopback() {
		return p.clientNode
	}
	return record.Node{}
}

func findService(facts *record.Facts, name string) *record.Service {
	for i := range facts.Services {
		if facts.Services[i].Name == name {
			return &facts.Services[i]
		}
	}
	return nil
}

func findNode(facts *record.Facts, name string) record.Node {
	for _, n := range facts.Cluster.Nodes {
		if name != "" && n.Name == name {
			return n
		}
	}
	return record.Node{}
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
