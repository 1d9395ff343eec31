package analyze

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// Modes of kube-proxy that choose or rewrite in a way of their own.
const (
	modeNone     = "none"
	modeIPTables = "iptables"
	modeNFTables = "nftables"
	modeIPVS     = "ipvs"
)

// clusterIP is decided on the client's own node. A pod keeps its address, because it lies inside the pod network; anything
// else is masqueraded by kube-proxy.
func (p path) clusterIP() Prediction {
	if !p.dialled.IsValid() && len(p.service.ClusterIPs) > 0 {
		p.dialled = hostOf(p.service.ClusterIPs[0]) // the Service's name
	}
	if !p.inCluster() {
		return p.routed()
	}
	if p.clientNode.Proxy.Mode == modeNone {
		return p.unknown(fmt.Sprintf("no kube-proxy runs on %s to know the Service's address", p.clientNode.Name))
	}
	set := p.usableOn(p.clientNode)
	d := decision{at: p.clientNode, setting: "internalTrafficPolicy", policy: ClusterPolicy, from: set.cluster, any: set.any,
		keeps: p.stream.Vantage == "pod", masqueraded: ClientNode, key: Client}
	if p.service.InternalTrafficPolicy == string(LocalPolicy) {
		d.policy, d.from = LocalPolicy, set.local
		if len(d.from) == 0 && p.clientNode.Proxy.Mode == modeIPVS {
			d = p.ipvsInternal(d, set)
		}
	}
	return p.decide(d)
}

// ipvsInternal is what ipvs mode does under internalTrafficPolicy Local on a node without a pod: it falls back to the Cluster
// set, which it knows only if the Service is reachable from outside under the Cluster policy; else its virtual server is
// empty, and the kernel refuses.
func (p path) ipvsInternal(d decision, set usable) decision {
	d.empty, d.why = Refused, "and an ipvs virtual server without a pod refuses"
	if p.service.Type != "ClusterIP" && p.service.ExternalTrafficPolicy != string(LocalPolicy) {
		d.policy, d.from = Bypassed, set.cluster
	}
	return d
}

// routed is an off-cluster host whose route to the Service network leads through a node: kube-proxy there masquerades it like
// anything that is no pod, and the external traffic policy does not apply.
func (p path) routed() Prediction {
	node, known := p.nodes[p.addr.Node]
	set := p.usableOn(node)
	d := decision{at: node, setting: "internalTrafficPolicy", policy: ClusterPolicy, from: set.cluster, any: set.any, masqueraded: ReceivingNode, key: Client}
	if p.service.InternalTrafficPolicy == string(LocalPolicy) {
		if !known {
			return p.unknown("internalTrafficPolicy is Local, and the facts do not tell which node the route from outside leads through")
		}
		d.policy, d.from = LocalPolicy, set.local
	}
	return p.decide(d)
}

// nodePort is decided on the node that is dialled.
func (p path) nodePort() Prediction {
	node := p.dialledNode()
	switch {
	case node.Name == "":
		return p.unknown(fmt.Sprintf("the facts name no node with the address %s", p.addr.HostPort))
	case node.Proxy.Mode == modeNone:
		return p.unknown(fmt.Sprintf("no kube-proxy runs on %s to serve its port", node.Name))
	}
	if mode := node.Proxy.Mode; p.dialled.IsLoopback() && p.stream.Vantage == "node" && (mode == modeNFTables || mode == modeIPVS) {
		return Prediction{Outcome: Refused, Unserved: true, Decider: node.Name, Policy: ClusterPolicy, Unit: p.unit(),
			Reason: fmt.Sprintf("kube-proxy in %s mode does not serve node ports on 127.0.0.1", mode)}
	}
	return p.fromOutside(node)
}

// fromOutside is a connection to an address that kube-proxy takes for the outside's way in, decided on node: a node port, or
// the balancer's address on the way through a node.
func (p path) fromOutside(node record.Node) Prediction {
	set := p.usableOn(node)
	d := decision{at: node, setting: "externalTrafficPolicy", any: set.any, masqueraded: ReceivingNode, key: Client}
	own := p.inCluster() && p.clientNode.Name == node.Name
	fromPod := p.stream.Vantage == "pod"
	if fromPod && !own && !keepsPodAddresses(p.facts.Cluster.CNI) {
		// The CNI hides pod addresses from what is not a pod, nodes included, before the packet leaves.
		d.key = ClientNode
	}
	switch {
	case p.service.ExternalTrafficPolicy != string(LocalPolicy):
		d.policy, d.from = ClusterPolicy, set.cluster
	case node.Proxy.Mode == modeIPVS:
		d = p.ipvsExternal(d, set, own)
	case own, fromPod && d.key == Client:
		// Neither traffic policy binds traffic from the node itself or from a pod whose address it sees: the Cluster set, and pods keep their address.
		d.policy, d.from, d.keeps = Bypassed, set.cluster, fromPod
	default:
		d.policy, d.from, d.keeps = LocalPolicy, set.local, true
	}
	return p.decide(d)
}

// ipvsExternal is externalTrafficPolicy Local in ipvs mode: it has no shorter way for clients on the node. Where the node has no
// pod its virtual server gets all of them, without masquerading, so that only clients on the node are answered.
func (p path) ipvsExternal(d decision, set usable, own bool) decision {
	d.policy, d.from, d.keeps = LocalPolicy, set.local, true
	if len(d.from) == 0 && own {
		d.policy, d.from = Bypassed, set.cluster
	}
	d.empty, d.why = Timeout, "so ipvs sends it to another node's pod, whose answer does not find back"
	return d
}

// keepsPodAddresses reports whether a network plugin lets the addresses of pods through to nodes. The others masquerade
// whatever leaves for what is not a pod.
func keepsPodAddresses(cni string) bool {
	for _, name := range []string{"cilium", "aws-vpc-cni", "azure-cni"} {
		if strings.Contains(cni, name) {
			return true
		}
	}
	return false
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
	empty       Outcome     // without anything to choose from; "": a timeout, as the packet is dropped
	why         string      // clause about it
}

func (p path) decide(d decision) Prediction {
	r := Prediction{Decider: d.at.Name, Policy: d.policy, Unit: p.unit(), KeyedOn: d.key}
	switch {
	case !d.any:
		r.Outcome, r.Reason = Refused, "the Service has no endpoint anywhere, so kube-proxy rejects"
		return r
	case len(d.from) == 0:
		r.Outcome, r.NoLocal = Timeout, true
		why := "so kube-proxy drops"
		if d.empty != "" {
			r.Outcome, why = d.empty, d.why
		}
		r.Reason = fmt.Sprintf("%s is Local and %s has no endpoint of its own, %s", d.setting, d.at.Name, why)
		return r
	}
	r.Reason = d.because()
	return p.spread(r, d.from, func(e record.Endpoint) SourceClass { return p.source(d, e) })
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
	case p.isClient(e):
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

func (p path) usableOn(node record.Node) usable {
	return p.usable(p.service.Name, p.dialled, node)
}

// dialledNode is the node whose port is dialled, by name, else by address, else the client's own for 127.0.0.1.
func (p path) dialledNode() record.Node {
	if p.addr.Node != "" {
		return p.nodes[p.addr.Node]
	}
	if n := p.addressedNode(p.dialled); n.Name != "" {
		return n
	}
	if p.dialled.IsLoopback() {
		return p.clientNode
	}
	return record.Node{}
}

// loadBalancer is decided on the client's own node if that knows the balancer's address, as kube-proxy does, and else on the
// node that the balancer chooses.
func (p path) loadBalancer() Prediction {
	if n, ok := p.nodes[p.addr.Node]; ok && !p.inCluster() {
		return p.fromOutside(n)
	}
	known := slices.ContainsFunc(p.service.LoadBalancerIPs, func(ip string) bool { return hostOf(ip) == p.dialled && p.dialled.IsValid() })
	if p.inCluster() && known {
		if p.clientNode.Proxy.Mode == modeNone {
			return p.unknown(fmt.Sprintf("no kube-proxy runs on %s to know the balancer's address", p.clientNode.Name))
		}
		return p.fromOutside(p.clientNode)
	}
	return p.balanced()
}

// balanced is a connection through a load balancer that hands packets to nodes. Which node it chooses only some tell: of
// the others each node that passes its health checks is taken to be equally likely.
func (p path) balanced() Prediction {
	local := p.service.ExternalTrafficPolicy == string(LocalPolicy)
	total := p.fromBalancer()
	var weights []string
	for _, n := range p.facts.Cluster.Nodes {
		weight := p.balancerWeight(n)
		if weight == 0 {
			continue
		}
		set := p.usableOn(n)
		from := set.cluster
		if local {
			from = set.local
		}
		if len(from) > 0 {
			total.add(from, float64(weight))
			weights = append(weights, fmt.Sprintf("%s %d", n.Name, weight))
		}
	}
	told := len(p.service.Balancer) > 0
	r := Prediction{Policy: ClusterPolicy, Unit: p.unit(), KeyedOn: Client, Reason: fmt.Sprintf("%d endpoints", len(total.order))}
	if local {
		r.Policy = LocalPolicy
		r.Reason = fmt.Sprintf("externalTrafficPolicy Local: the endpoints of %d nodes, each taken to get as much from the balancer", len(weights))
		if told {
			r.Reason = fmt.Sprintf("externalTrafficPolicy Local: the endpoints of %d nodes, which the balancer weighs %s", len(weights), strings.Join(weights, ", "))
		}
	}
	switch {
	case len(weights) == 0 && !p.usableOn(record.Node{}).any:
		r.Outcome, r.Reason = Refused, "the Service has no endpoint anywhere, so kube-proxy rejects"
		return r
	case len(weights) == 0:
		r.Outcome, r.NoLocal, r.Reason = Timeout, true, "externalTrafficPolicy is Local and no node that the balancer may choose has an endpoint of its own"
		return r
	}
	r.Outcome, r.Backends = Answer, total.backends(local)
	if total.uneven && !told {
		r.Untested = "which nodes the load balancer chooses is not known, and the shares depend on it"
	}
	return r
}

// balancerWeight is a node's part of what a load balancer deals out, relative to the others': what the balancer says of
// itself, or else the same for all that do not tell it to leave them out.
func (p path) balancerWeight(n record.Node) int {
	if n.External || n.Proxy.Mode == modeNone {
		return 0
	}
	if len(p.service.Balancer) > 0 {
		for _, b := range p.service.Balancer {
			if b.Node == n.Name {
				return max(0, b.Weight)
			}
		}
		return 0
	}
	for _, h := range p.facts.HealthChecks {
		if h.Service == p.service.Name && h.Node == n.Name && h.Status != 0 && h.Status != healthy {
			return 0
		}
	}
	return 1
}

// healthy is the HTTP status by which a node says that it wants a Service's traffic.
const healthy = 200

// mixture adds up what several nodes would choose from.
type mixture struct {
	p      path
	order  []string
	share  map[string]float64
	node   map[string]string
	first  map[string]float64
	weight float64 // of all nodes
	uneven bool    // the nodes differ
}

func (p path) fromBalancer() *mixture {
	return &mixture{p: p, share: map[string]float64{}, node: map[string]string{}}
}

func (m *mixture) add(from []record.Endpoint, weight float64) {
	own := map[string]float64{}
	for _, e := range from {
		pod := m.p.podOf(e)
		if _, have := m.share[pod]; !have {
			m.order = append(m.order, pod)
			m.node[pod] = e.Node
		}
		own[pod] += 1 / float64(len(from))
		m.share[pod] += weight / float64(len(from))
	}
	m.weight += weight
	if m.first == nil {
		m.first = own
		return
	}
	for pod, p := range own {
		m.uneven = m.uneven || m.first[pod] != p
	}
	m.uneven = m.uneven || len(own) != len(m.first)
}

func (m *mixture) backends(kept bool) []PredictedBackend {
	source := ReceivingNode
	if kept {
		source = Client
	}
	var list []PredictedBackend
	for _, pod := range m.order {
		list = append(list, PredictedBackend{Pod: pod, Node: m.node[pod], P: m.share[pod] / m.weight, Source: source})
	}
	return list
}
