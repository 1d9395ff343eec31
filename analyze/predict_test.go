package analyze

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

// world is the cluster that the paths were measured on: a control plane without pods and two workers with two pods each,
// and a host outside.
func world() *record.Facts {
	node := func(name, ip, cidr, zone string) record.Node {
		return record.Node{Name: name, IPs: []string{ip}, PodCIDRs: []string{cidr}, Zone: zone, Ready: true, Proxy: record.Proxy{Mode: "iptables"}}
	}
	endpoint := func(pod, ip, node, zone string) record.Endpoint {
		return record.Endpoint{Service: "echo", Address: ip, Pod: pod, Node: node, Zone: zone, Ready: true, Serving: true}
	}
	f := &record.Facts{
		Cluster: record.Cluster{Provider: "kind", ProxyMode: "iptables", Nodes: []record.Node{
			node("cp", "172.18.0.3", "10.244.0.0/24", "a"), node("w1", "172.18.0.2", "10.244.2.0/24", "b"), node("w2", "172.18.0.4", "10.244.1.0/24", "c"),
			{Name: "outside", IPs: []string{"172.18.0.9"}, External: true, Proxy: record.Proxy{Mode: "none"}},
		}},
		Endpoints: []record.Endpoint{
			endpoint("a1", "10.244.2.5", "w1", "b"), endpoint("a2", "10.244.2.6", "w1", "b"),
			endpoint("b1", "10.244.1.5", "w2", "c"), endpoint("b2", "10.244.1.6", "w2", "c"),
		},
		Services: []record.Service{{Name: "echo", Type: "NodePort", ClusterIPs: []string{"10.96.0.10"}, ExternalTrafficPolicy: "Cluster",
			InternalTrafficPolicy: "Cluster", SessionAffinity: "None", Ports: []record.ServicePort{{Port: 80, NodePort: 30080}}}},
	}
	for _, e := range f.Endpoints {
		f.Pods = append(f.Pods, record.Pod{Name: e.Pod, Role: "echo", IPs: []string{e.Address}, Node: e.Node, Ready: true})
	}
	return f
}

// Changes to the world.
type change func(*record.Facts)

func externalLocal(f *record.Facts) { f.Services[0].ExternalTrafficPolicy = "Local" }
func internalLocal(f *record.Facts) { f.Services[0].InternalTrafficPolicy = "Local" }
func affinity(f *record.Facts)      { f.Services[0].SessionAffinity = "ClientIP" }
func noPods(f *record.Facts)        { f.Endpoints = nil }
func nftables(f *record.Facts)      { setMode(f, "nftables") }
func setMode(f *record.Facts, mode string) {
	f.Cluster.ProxyMode = mode
	for i := range f.Cluster.Nodes {
		if !f.Cluster.Nodes[i].External {
			f.Cluster.Nodes[i].Proxy.Mode = mode
		}
	}
}
func keepsPods(f *record.Facts) { f.Cluster.CNI = "aws-vpc-cni" }
func balancer(f *record.Facts) {
	f.Services[0].Type, f.Services[0].LoadBalancerIPs = "LoadBalancer", []string{"172.18.200.1"}
}
func clusterIPOnly(f *record.Facts) {
	f.Services[0].Type, f.Services[0].ExternalTrafficPolicy = "ClusterIP", ""
}

// threeAndOne moves a pod, so that one node has one and the other three.
func threeAndOne(f *record.Facts) {
	f.Endpoints[0].Node, f.Pods[0].Node = "w2", "w2"
}

// zones gives every endpoint the hint that PreferSameZone makes, nodes the one of PreferSameNode.
func zones(f *record.Facts) {
	for i := range f.Endpoints {
		f.Endpoints[i].HintZones = []string{f.Endpoints[i].Zone}
	}
}
func nodes(f *record.Facts) {
	zones(f)
	for i := range f.Endpoints {
		f.Endpoints[i].HintNodes = []string{f.Endpoints[i].Node}
	}
}

// terminating leaves no pod ready, those of w1 still serving.
func terminating(f *record.Facts) {
	for i := range f.Endpoints {
		e := &f.Endpoints[i]
		e.Ready, e.Terminating, e.Serving = false, true, e.Node == "w1"
	}
}

// leaving lets the pods of w1 terminate while those of w2 are ready.
func leaving(f *record.Facts) {
	for i := range f.Endpoints {
		if e := &f.Endpoints[i]; e.Node == "w1" {
			e.Ready, e.Terminating = false, true
		}
	}
}

// Clients.
func podOn(node, ip string) record.AgentRef {
	return record.AgentRef{Name: "client", Node: node, IPs: []string{ip}}
}
func hostOn(node, ip string) record.AgentRef {
	return record.AgentRef{Name: "client", Node: node, IPs: []string{ip}}
}

const (
	vip     = "10.96.0.10:80"
	toCP    = "172.18.0.3:30080"
	toW1    = "172.18.0.2:30080"
	toW2    = "172.18.0.4:30080"
	onAll   = "a1 a2 b1 b2"
	onW1    = "a1 a2"
	onW2    = "b1 b2"
	timeout = "timeout"
	refused = "refused"
)

// pathTest is a path that was measured, or read in kube-proxy's source, and what came of it.
type pathTest struct {
	name             string
	with             []change
	vantage          string
	from             record.AgentRef
	target, to, node string
	reaches          string // pods, or timeout, or refused
	sources          string // class towards each of them, or one for all
	decider          string
}

func (c pathTest) run(t *testing.T, with ...change) {
	t.Helper()
	facts := world()
	for _, do := range slices.Concat(with, c.with) {
		do(facts)
	}
	p := Predict(facts, &record.Stream{Vantage: c.vantage, Target: c.target, Service: "echo"}, c.from, record.Address{HostPort: c.to, Node: c.node})
	if p.Decider != c.decider {
		t.Errorf("decided on %q, want %q", p.Decider, c.decider)
	}
	if p.Reason == "" {
		t.Error("no reason")
	}
	switch c.reaches {
	case timeout, refused, "unknown":
		if string(p.Outcome) != c.reaches || len(p.Backends) > 0 {
			t.Errorf("%+v, want %s", p, c.reaches)
		}
	default:
		checkBackends(t, p, c.reaches, c.sources)
	}
}

const (
	towardsW1 = "pod-gateway pod-gateway receiving-node receiving-node" // through w1, masqueraded
	towardsW2 = "receiving-node receiving-node pod-gateway pod-gateway"
	ofW1      = "pod-gateway pod-gateway client client" // a process of w1
	lb        = "172.18.200.1:80"
)

func pathTests() []pathTest {
	podCP, podW1 := podOn("cp", "10.244.0.7"), podOn("w1", "10.244.2.7")
	self := record.AgentRef{Name: "a1", Node: "w1", IPs: []string{"10.244.2.5"}}
	nodeCP, nodeW1 := hostOn("cp", "172.18.0.3"), hostOn("w1", "172.18.0.2")
	outside := record.AgentRef{Name: "client", Node: "outside", IPs: []string{"172.18.0.9"}}
	cli := record.AgentRef{Name: "local", IPs: []string{"172.18.0.1"}}
	published := record.AgentRef{Name: "local", IPs: []string{"127.0.0.1"}}
	none, local := []change{}, []change{externalLocal}
	withLB, localLB := []change{balancer}, []change{balancer, externalLocal}

	return []pathTest{
		{"pod to ClusterIP, other pod", none, "pod", podW1, "clusterIP", vip, "", onAll, "client", "w1"},
		{"pod to ClusterIP from a node without pods", none, "pod", podCP, "clusterIP", vip, "", onAll, "client", "cp"},
		{"pod to the Service's name", none, "pod", podW1, "clusterIP", "echo.podskew.svc:80", "", onAll, "client", "w1"},
		{"pod to ClusterIP, chosen pod itself", none, "pod", self, "clusterIP", vip, "", onAll, "pod-gateway client client client", "w1"},
		{"node to ClusterIP: pod gateway towards its own pods, node address towards others", none, "node", nodeW1, "clusterIP", vip, "", onAll, ofW1, "w1"},
		{"node without pods to ClusterIP", none, "node", nodeCP, "clusterIP", vip, "", onAll, "client", "cp"},
		{"off-cluster routed to ClusterIP", none, "external", outside, "clusterIP", vip, "", onAll, "receiving-node", ""},
		{"off-cluster routed to ClusterIP through a known node", none, "external", outside, "clusterIP", vip, "w1", onAll, towardsW1, "w1"},
		{"off-cluster routed to ClusterIP: external Local does not apply", local, "external", outside, "clusterIP", vip, "cp", onAll, "receiving-node", "cp"},
		{"off-cluster routed to ClusterIP, internal Local, unknown node", []change{internalLocal}, "external", outside, "clusterIP", vip, "", "unknown", "", ""},
		{"off-cluster routed to ClusterIP, internal Local", []change{internalLocal}, "external", outside, "clusterIP", vip, "w1", onW1, "pod-gateway", "w1"},
		{"pod to ClusterIP, internal Local", []change{internalLocal}, "pod", podW1, "clusterIP", vip, "", onW1, "client", "w1"},
		{"pod to ClusterIP, internal Local, no endpoint on its node", []change{internalLocal}, "pod", podCP, "clusterIP", vip, "", timeout, "", "cp"},
		{"pod to ClusterIP, no endpoint anywhere", []change{noPods}, "pod", podW1, "clusterIP", vip, "", refused, "", "w1"},
		{"pod to ClusterIP, internal Local, no endpoint anywhere", []change{noPods, internalLocal}, "pod", podW1, "clusterIP", vip, "", refused, "", "w1"},
		{"external Local does not touch ClusterIP", local, "pod", podCP, "clusterIP", vip, "", onAll, "client", "cp"},

		{"external to NodePort, Cluster, remote endpoints", none, "external", outside, "nodePort", toCP, "cp", onAll, "receiving-node", "cp"},
		{"external to NodePort, Cluster, local and remote endpoints", none, "external", outside, "nodePort", toW1, "w1", onAll, towardsW1, "w1"},
		{"external to a node found by its address", none, "external", cli, "nodePort", toW2, "", onAll, towardsW2, "w2"},
		{"external to NodePort, Local, local endpoints", local, "external", outside, "nodePort", toW1, "w1", onW1, "client", "w1"},
		{"external to NodePort, Local, from the host of a container cluster", local, "external", cli, "nodePort", toW2, "w2", onW2, "client", "w2"},
		{"external to NodePort, Local, no local endpoint", local, "external", outside, "nodePort", toCP, "cp", timeout, "", "cp"},
		{"external to NodePort, Local, no endpoint anywhere", []change{externalLocal, noPods}, "external", outside, "nodePort", toCP, "cp", refused, "", "cp"},
		{"external to NodePort, Cluster, no endpoint anywhere", []change{noPods}, "external", outside, "nodePort", toW1, "w1", refused, "", "w1"},
		{"external to NodePort, Local, three pods and one: the one", []change{externalLocal, threeAndOne}, "external", outside, "nodePort", toW1, "w1", "a2", "client", "w1"},
		{"external to NodePort, Local, three pods and one: the three", []change{externalLocal, threeAndOne}, "external", outside, "nodePort", toW2, "w2", "a1 b1 b2", "client", "w2"},

		{"external to LoadBalancer (packets), Cluster", withLB, "external", outside, "loadBalancer", lb, "", onAll, "receiving-node", ""},
		{"external to LoadBalancer (packets), Cluster, through a known node", withLB, "external", outside, "loadBalancer", lb, "w1", onAll, towardsW1, "w1"},
		{"external to LoadBalancer (packets), Local", localLB, "external", outside, "loadBalancer", lb, "", onAll, "client", ""},
		{"external to LoadBalancer (packets), Local, through a known node", localLB, "external", outside, "loadBalancer", lb, "w2", onW2, "client", "w2"},
		{"external to LoadBalancer, no endpoint anywhere", []change{balancer, noPods}, "external", outside, "loadBalancer", lb, "", refused, "", ""},
		{"pod to its own node's LoadBalancer address, Cluster", withLB, "pod", podW1, "loadBalancer", lb, "", onAll, towardsW1, "w1"},
		{"pod to LoadBalancer address, Local: policy bypassed, address kept", localLB, "pod", podCP, "loadBalancer", lb, "", onAll, "client", "cp"},
		{"node to LoadBalancer address, Local: policy bypassed, masqueraded", localLB, "node", nodeW1, "loadBalancer", lb, "", onAll, ofW1, "w1"},
		{"pod to a balancer whose address kube-proxy does not know", withLB, "pod", podCP, "loadBalancer", "203.0.113.5:80", "", onAll, "receiving-node", ""},

		{"pod to its own node's NodePort, Cluster", none, "pod", podW1, "nodePort", toW1, "w1", onAll, towardsW1, "w1"},
		{"pod to its own node's NodePort, Local: policy bypassed, address kept", local, "pod", podCP, "nodePort", toCP, "cp", onAll, "client", "cp"},
		{"pod that may reach itself by its own node's NodePort, Local", local, "pod", self, "nodePort", toW1, "w1", onAll, "pod-gateway client client client", "w1"},
		{"pod to another node's NodePort, Local, CNI that masquerades", local, "pod", podCP, "nodePort", toW1, "w1", onW1, "client-node", "w1"},
		{"pod to another node's NodePort, Local, no local endpoint", local, "pod", podW1, "nodePort", toCP, "cp", timeout, "", "cp"},
		{"pod to another node's NodePort, Cluster", none, "pod", podW1, "nodePort", toW2, "w2", onAll, towardsW2, "w2"},
		{"pod to another node's NodePort, Local, CNI that keeps pod addresses", []change{externalLocal, keepsPods}, "pod", podW1, "nodePort", toCP, "cp", onAll, "client", "cp"},
		{"node to its own NodePort, Local: policy bypassed, masqueraded", local, "node", nodeCP, "nodePort", toCP, "cp", onAll, "client", "cp"},
		{"node with pods to its own NodePort, Local", local, "node", nodeW1, "nodePort", toW1, "w1", onAll, ofW1, "w1"},
		{"node to another's NodePort, Local", local, "node", nodeCP, "nodePort", toW1, "w1", onW1, "client", "w1"},

		{"pod to ClusterIP, PreferSameZone", []change{zones}, "pod", podW1, "clusterIP", vip, "", onW1, "client", "w1"},
		{"pod to ClusterIP, PreferSameZone, none in its zone", []change{zones}, "pod", podCP, "clusterIP", vip, "", onAll, "client", "cp"},
		{"pod to ClusterIP, PreferSameNode", []change{nodes}, "pod", podW1, "clusterIP", vip, "", onW1, "client", "w1"},
		{"external to NodePort, Cluster, hints of the dialled node's zone", []change{zones}, "external", outside, "nodePort", toW2, "w2", onW2, "pod-gateway", "w2"},
		{"external to NodePort, Local ignores hints", []change{zones, externalLocal, threeAndOne}, "external", outside, "nodePort", toW2, "w2", "a1 b1 b2", "client", "w2"},
		{"pod to ClusterIP, all terminating: those that still serve", []change{terminating}, "pod", podCP, "clusterIP", vip, "", onW1, "client", "cp"},
		{"external to NodePort, Local, node whose pods terminate", []change{externalLocal, leaving}, "external", outside, "nodePort", toW1, "w1", onW1, "client", "w1"},
		{"external to NodePort, Cluster, node whose pods terminate", []change{leaving}, "external", outside, "nodePort", toW1, "w1", onW2, "receiving-node", "w1"},

		{"pod to a pod's address", none, "pod", podW1, "podIP", "10.244.1.5:8080", "", "b1", "client", "w1"},
		{"pod to its own address", none, "pod", self, "podIP", "10.244.2.5:8080", "", "a1", "client", "w1"},
		{"pod to the address of a pod that is not ready", []change{noPods}, "pod", podW1, "podIP", "10.244.1.5:8080", "", "b1", "client", "w1"},
		{"node to the address of its own pod", none, "node", nodeW1, "podIP", "10.244.2.5:8080", "", "a1", "pod-gateway", "w1"},
		{"node to the address of another's pod", none, "node", nodeW1, "podIP", "10.244.1.5:8080", "", "b1", "client", "w1"},
		{"external routed to a pod's address", none, "external", outside, "podIP", "10.244.1.5:8080", "", "b1", "client", ""},
		{"pod to a headless Service", []change{affinity}, "pod", podW1, "headless", "echo.podskew.svc:8080", "", onAll, "client", "w1"},
		{"pod to a headless Service, pods that terminate are not listed", []change{leaving}, "pod", podW1, "headless", "echo.podskew.svc:8080", "", onW2, "client", "w1"},
		{"pod to a headless Service's pods one by one", none, "pod", podW1, "headless", "10.244.2.6:8080", "", "a2", "client", "w1"},
		{"through a gateway", none, "pod", podW1, "gateway", "10.0.0.1:80", "", "unknown", "", ""},

		{"host to a published port, Cluster", none, "external", published, "nodePort", "127.0.0.1:31080", "w1", onAll, towardsW1, "w1"},
		{"host to a published port, Local: the container network's host end", local, "external", published, "nodePort", "127.0.0.1:31081", "w1", onW1, "docker-gateway", "w1"},
		{"host to a published port, Local, no local endpoint", local, "external", published, "nodePort", "127.0.0.1:30081", "cp", timeout, "", "cp"},
	}
}

func TestPredict(t *testing.T) {
	for mode, with := range map[string]change{"iptables": func(*record.Facts) {}, "nftables": nftables} {
		for _, c := range pathTests() {
			t.Run(mode+"/"+c.name, func(t *testing.T) { c.run(t, with) })
		}
	}
}

// Where the modes of kube-proxy differ.
func TestPredictByMode(t *testing.T) {
	podCP, podW1, nodeCP, nodeW1 := podOn("cp", "10.244.0.7"), podOn("w1", "10.244.2.7"), hostOn("cp", "172.18.0.3"), hostOn("w1", "172.18.0.2")
	outside := record.AgentRef{Name: "client", Node: "outside", IPs: []string{"172.18.0.9"}}
	const loopback = "127.0.0.1:30080"
	none, local := []change{}, []change{externalLocal}
	for mode, rows := range map[string][]pathTest{
		"iptables": {
			{"node to 127.0.0.1, Cluster", none, "node", nodeCP, "nodePort", loopback, "", onAll, "client", "cp"},
			{"node to 127.0.0.1, Local", local, "node", nodeCP, "nodePort", loopback, "", onAll, "client", "cp"},
		},
		"nftables": {
			{"node to 127.0.0.1, Cluster", none, "node", nodeCP, "nodePort", loopback, "", refused, "", "cp"},
			{"node to 127.0.0.1, Local", local, "node", nodeCP, "nodePort", loopback, "", refused, "", "cp"},
		},
		"ipvs": {
			{"node to 127.0.0.1", none, "node", nodeCP, "nodePort", loopback, "", refused, "", "cp"},
			{"pod to ClusterIP", none, "pod", podW1, "clusterIP", vip, "", onAll, "client", "w1"},
			{"pod to ClusterIP, internal Local", []change{internalLocal}, "pod", podW1, "clusterIP", vip, "", onW1, "client", "w1"},
			{"pod to ClusterIP, internal Local, no local endpoint: falls back", []change{internalLocal}, "pod", podCP, "clusterIP", vip, "", onAll, "client", "cp"},
			{"pod to ClusterIP, internal Local, no local endpoint and no way in: refused", []change{internalLocal, clusterIPOnly}, "pod", podCP, "clusterIP", vip, "", refused, "", "cp"},
			{"external to NodePort, Local", local, "external", outside, "nodePort", toW1, "w1", onW1, "client", "w1"},
			{"external to NodePort, Local, no local endpoint", local, "external", outside, "nodePort", toCP, "cp", timeout, "", "cp"},
			{"pod to its own node's NodePort, Local: no bypass", local, "pod", podW1, "nodePort", toW1, "w1", onW1, "client", "w1"},
			{"pod to its own node's NodePort, Local, no local endpoint: falls back", local, "pod", podCP, "nodePort", toCP, "cp", onAll, "client", "cp"},
			{"node to its own NodePort, Local: no bypass, address kept", local, "node", nodeW1, "nodePort", toW1, "w1", onW1, "client", "w1"},
		},
		"none": {
			{"pod to ClusterIP", none, "pod", podW1, "clusterIP", vip, "", "unknown", "", ""},
			{"external to NodePort", none, "external", outside, "nodePort", toW1, "w1", "unknown", "", ""},
			{"pod to LoadBalancer", []change{balancer}, "pod", podW1, "loadBalancer", lb, "", "unknown", "", ""},
		},
	} {
		for _, c := range rows {
			t.Run(mode+"/"+c.name, func(t *testing.T) { c.run(t, func(f *record.Facts) { setMode(f, mode) }) })
		}
	}
}

// Under Local a balancer deals connections to nodes, so that the only pod of a node gets what three share elsewhere.
func TestPredictThroughABalancer(t *testing.T) {
	outside := record.AgentRef{Name: "client", IPs: []string{"172.18.0.9"}}
	for _, c := range []struct {
		name     string
		with     []change
		want     map[string]float64
		untested bool
	}{
		{"Local, two and two", []change{externalLocal}, map[string]float64{"a1": 0.25, "a2": 0.25, "b1": 0.25, "b2": 0.25}, true},
		{"Local, one and three", []change{externalLocal, threeAndOne}, map[string]float64{"a2": 0.5, "a1": 1. / 6, "b1": 1. / 6, "b2": 1. / 6}, true},
		{"Cluster", []change{threeAndOne}, map[string]float64{"a1": 0.25, "a2": 0.25, "b1": 0.25, "b2": 0.25}, false},
		{"Cluster with hints", []change{zones}, map[string]float64{"a1": 0.25, "a2": 0.25, "b1": 0.25, "b2": 0.25}, true},
	} {
		facts := world()
		balancer(facts)
		for _, with := range c.with {
			with(facts)
		}
		p := Predict(facts, &record.Stream{Vantage: "external", Target: "loadBalancer", Service: "echo"}, outside, record.Address{HostPort: lb})
		if (p.Untested != "") != c.untested {
			t.Errorf("%s: untested %q", c.name, p.Untested)
		}
		for _, b := range p.Backends {
			if math.Abs(b.P-c.want[b.Pod]) > 1e-12 {
				t.Errorf("%s: %s has probability %v, want %v", c.name, b.Pod, b.P, c.want[b.Pod])
			}
		}
		if len(p.Backends) != len(c.want) {
			t.Errorf("%s: %d backends", c.name, len(p.Backends))
		}
	}
}

func TestPredictWhatTheClientChooses(t *testing.T) {
	for _, c := range []struct {
		name                                 string
		protocol, resolve, order, grpcPolicy string
		unit                                 string
		untested                             string // part of the reason; "" tested
	}{
		{"in turn, by default", "http1", "", "", "", unitConnection, "in turn"},
		{"in turn, resolving each time", "http1", "perConnection", "roundRobin", "", unitConnection, "in turn"},
		{"at random", "http1", "perRun", "random", "", unitConnection, ""},
		{"the first, once", "http1", "perRun", "first", "", unitConnection, "keeps to it"},
		{"the first, each time", "http1", "perConnection", "first", "", unitConnection, "DNS server"},
		{"gRPC picks the first", "grpc", "", "random", "pick_first", unitConnection, "keeps to it"},
		{"gRPC takes turns", "grpc", "", "", "round_robin", unitConnection, "in turn"},
		{"datagrams at random", "udp", "", "random", "", unitFlow, ""},
	} {
		st := &record.Stream{Vantage: "pod", Target: "headless", Service: "echo", Protocol: c.protocol, Resolve: c.resolve, ResolveOrder: c.order, GRPCPolicy: c.grpcPolicy}
		p := Predict(world(), st, podOn("w1", "10.244.2.7"), record.Address{HostPort: "echo.podskew.svc:8080"})
		if p.Outcome != Answer || len(p.Backends) != 4 || p.Unit != c.unit {
			t.Errorf("%s: %+v", c.name, p)
		}
		if (p.Untested == "") != (c.untested == "") || !strings.Contains(p.Untested, c.untested) {
			t.Errorf("%s: untested because %q, want %q", c.name, p.Untested, c.untested)
		}
	}
	facts := world()
	noPods(facts)
	p := Predict(facts, &record.Stream{Vantage: "pod", Target: "headless", Service: "echo"}, podOn("w1", "10.244.2.7"), record.Address{HostPort: "echo.podskew.svc:8080"})
	if p.Outcome != NoAddress {
		t.Errorf("a name without addresses: %s", p.Outcome)
	}
}

// A pod with two addresses in the EndpointSlices is one backend, chosen twice as often.
func TestPredictAPodListedTwice(t *testing.T) {
	facts := world()
	facts.Endpoints[1].Pod = "a1"
	p := Predict(facts, &record.Stream{Vantage: "pod", Target: "clusterIP", Service: "echo"}, podOn("w1", "10.244.2.7"), record.Address{HostPort: vip})
	if len(p.Backends) != 3 || p.Backends[0].P != 0.5 {
		t.Errorf("%+v", p.Backends)
	}
}

// checkBackends wants these pods with equal probabilities and these source classes, one for all or one each.
func checkBackends(t *testing.T, p Prediction, pods, sources string) {
	t.Helper()
	var got, classes []string
	for _, b := range p.Backends {
		got = append(got, b.Pod)
		classes = append(classes, string(b.Source))
		if want := 1 / float64(len(p.Backends)); b.P != want {
			t.Errorf("%s has probability %v, want %v", b.Pod, b.P, want)
		}
	}
	if diff := cmp.Diff(strings.Fields(pods), got); diff != "" {
		t.Errorf("eligible (-want +got):\n%s", diff)
	}
	want := strings.Fields(sources)
	if len(want) == 1 {
		want = slices.Repeat(want, len(got))
	}
	if diff := cmp.Diff(want, classes); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

func TestPredictTheUnitOfChoice(t *testing.T) {
	facts := world()
	affinity(facts)
	outside := record.AgentRef{Name: "client", Node: "outside", IPs: []string{"172.18.0.9"}}
	for _, c := range []struct {
		name, vantage, target, to string
		from                      record.AgentRef
		key                       SourceClass
	}{
		{"a pod is known by its own address", "pod", "clusterIP", vip, podOn("w1", "10.244.2.7"), Client},
		{"an outside client, too, whatever the pods see later", "external", "nodePort", toW1, outside, Client},
		{"a pod at another node's port is known by its node's address", "pod", "nodePort", toW2, podOn("w1", "10.244.2.7"), ClientNode},
		{"a pod at its own node's port is known by its own", "pod", "nodePort", toW1, podOn("w1", "10.244.2.7"), Client},
	} {
		p := Predict(facts, &record.Stream{Vantage: c.vantage, Target: c.target, Service: "echo"}, c.from, record.Address{HostPort: c.to})
		if p.Unit != unitClientIP || p.KeyedOn != c.key {
			t.Errorf("%s: unit %s, key %s", c.name, p.Unit, p.KeyedOn)
		}
	}
}

func TestPredictSaysWhenItCannot(t *testing.T) {
	for _, c := range []struct {
		name, service, target, to string
	}{
		{"a target without a model", "echo", "gateway", vip},
		{"a URL", "", "url", "example.org:80"},
		{"an address that is no pod's", "echo", "podIP", "10.0.0.9:80"},
		{"a name instead of a pod's address", "echo", "podIP", "name:80"},
		{"a Service that is not among the facts", "other", "clusterIP", vip},
		{"a port of a node nobody knows", "echo", "nodePort", "192.0.2.1:30080"},
		{"an address that is none", "echo", "nodePort", "nonsense"},
	} {
		p := Predict(world(), &record.Stream{Vantage: "pod", Target: c.target, Service: c.service}, podOn("w1", "10.244.2.7"), record.Address{HostPort: c.to})
		if p.Outcome != Unknown || p.Reason == "" || len(p.Backends) > 0 {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

func TestCategorize(t *testing.T) {
	// Endpoints: name, node, state (r ready, t serving and terminating, d down), hinted zones and nodes.
	type e struct{ name, node, state, zones, nodes string }
	for _, c := range []struct {
		name           string
		endpoints      []e
		cluster, local string
		any            bool
	}{
		{"ready ones are used", []e{{"a", "n1", "r", "", ""}, {"b", "n2", "r", "", ""}}, "a b", "a", true},
		{"what is down is not", []e{{"a", "n1", "d", "", ""}, {"b", "n2", "r", "", ""}}, "b", "", true},
		{"a terminating one is not while another is ready", []e{{"a", "n1", "t", "", ""}, {"b", "n2", "r", "", ""}}, "b", "a", true},
		{"terminating ones are the last resort", []e{{"a", "n1", "t", "", ""}, {"b", "n2", "t", "", ""}}, "a b", "a", true},
		{"the last resort of a node is its own affair", []e{{"a", "n1", "r", "", ""}, {"b", "n1", "t", "", ""}}, "a", "a", true},
		{"nothing usable", []e{{"a", "n1", "d", "", ""}}, "", "", false},
		{"nothing at all", nil, "", "", false},
		{"zone hints for this zone bind", []e{{"a", "n1", "r", "z1", ""}, {"b", "n2", "r", "z2", ""}}, "a", "a", true},
		{"a hint missing lifts all of them", []e{{"a", "n1", "r", "z1", ""}, {"b", "n2", "r", "", ""}}, "a b", "a", true},
		{"hints for other zones only are ignored", []e{{"a", "n1", "r", "z2", ""}, {"b", "n2", "r", "z3", ""}}, "a b", "a", true},
		{"node hints win over zone hints", []e{{"a", "n1", "r", "z1", "n1"}, {"b", "n2", "r", "z1", "n2"}}, "a", "a", true},
		{"node hints without one for this node fall back to zones", []e{{"a", "n2", "r", "z1", "n2"}, {"b", "n3", "r", "z2", "n3"}}, "a", "", true},
		{"hints of what is not ready do not count", []e{{"a", "n1", "r", "z1", ""}, {"b", "n2", "d", "", ""}}, "a", "a", true},
		{"the last resort ignores hints", []e{{"a", "n1", "t", "z2", ""}, {"b", "n2", "t", "z1", ""}}, "a b", "a", true},
		{"Local ignores hints", []e{{"a", "n1", "r", "z2", ""}, {"b", "n2", "r", "z1", ""}}, "b", "a", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var endpoints []record.Endpoint
			for _, e := range c.endpoints {
				endpoints = append(endpoints, record.Endpoint{
					Pod: e.name, Node: e.node, Ready: e.state == "r", Serving: e.state != "d", Terminating: e.state == "t",
					HintZones: strings.Fields(e.zones), HintNodes: strings.Fields(e.nodes),
				})
			}
			u := categorize(endpoints, record.Node{Name: "n1", Zone: "z1"})
			if got := podsOf(u.cluster); got != c.cluster {
				t.Errorf("Cluster may choose %q, want %q", got, c.cluster)
			}
			if got := podsOf(u.local); got != c.local {
				t.Errorf("Local may choose %q, want %q", got, c.local)
			}
			if u.any != c.any {
				t.Errorf("anything usable: %v", u.any)
			}
		})
	}
}

func podsOf(endpoints []record.Endpoint) string {
	var pods []string
	for _, e := range endpoints {
		pods = append(pods, e.Pod)
	}
	return strings.Join(pods, " ")
}

func TestEndpointsOfOneFamily(t *testing.T) {
	facts := &record.Facts{Endpoints: []record.Endpoint{
		{Service: "echo", Address: "10.0.0.1", Pod: "a"}, {Service: "echo", Address: "fd00::1", Pod: "a"},
		{Service: "echo", Address: "10.0.0.1", Pod: "a"}, {Service: "other", Address: "10.0.0.2", Pod: "b"},
	}}
	for dialled, want := range map[string]string{"10.96.0.10:80": "10.0.0.1", "[fd00:96::a]:80": "fd00::1"} {
		got := endpointsOf(facts, "echo", hostOf(dialled))
		if len(got) != 1 || got[0].Address != want {
			t.Errorf("dialling %s: %v, want %s once", dialled, got, want)
		}
	}
}

func TestClassify(t *testing.T) {
	facts := world()
	facts.Services[0].LoadBalancerIPs = []string{"172.18.200.1"}
	pod := podOn("w1", "10.244.2.7")
	for _, c := range []struct {
		observed string
		vantage  string
		target   string
		dialled  record.Address
		class    SourceClass
		node     string
	}{
		{"10.244.2.7", "pod", "clusterIP", record.Address{HostPort: vip}, Client, ""},
		{"::ffff:10.244.2.7", "pod", "clusterIP", record.Address{HostPort: vip}, Client, ""},
		{"172.18.0.2", "pod", "clusterIP", record.Address{HostPort: vip}, ClientNode, "w1"},
		{"172.18.0.2", "pod", "nodePort", record.Address{HostPort: toW2, Node: "w2"}, ClientNode, "w1"},
		{"172.18.0.2", "pod", "nodePort", record.Address{HostPort: toW1, Node: "w1"}, ReceivingNode, "w1"},
		{"172.18.0.4", "external", "nodePort", record.Address{HostPort: toW2, Node: "w2"}, ReceivingNode, "w2"},
		{"172.18.0.4", "pod", "clusterIP", record.Address{HostPort: vip}, UnknownSource, "w2"},
		{"172.18.0.2", "pod", "loadBalancer", record.Address{HostPort: lb}, ReceivingNode, "w1"},
		{"10.244.1.1", "external", "nodePort", record.Address{HostPort: toW2, Node: "w2"}, PodGateway, "w2"},
		{"10.244.2.1", "pod", "clusterIP", record.Address{HostPort: vip}, PodGateway, "w1"},
		{"10.244.1.5", "pod", "clusterIP", record.Address{HostPort: vip}, ProxyPod, ""},
		{"10.244.1.99", "pod", "clusterIP", record.Address{HostPort: vip}, ProxyPod, ""},
		{"10.96.0.10", "pod", "clusterIP", record.Address{HostPort: vip}, ServiceVIP, ""},
		{"172.18.200.1", "external", "loadBalancer", record.Address{HostPort: "172.18.200.1:80"}, ServiceVIP, ""},
		{"172.18.0.1", "external", "nodePort", record.Address{HostPort: toW1, Node: "w1"}, DockerGateway, ""},
		{"169.254.1.1", "pod", "clusterIP", record.Address{HostPort: vip}, LinkLocal, ""},
		{"fe80::1", "pod", "clusterIP", record.Address{HostPort: vip}, LinkLocal, ""},
		{"127.0.0.6", "pod", "clusterIP", record.Address{HostPort: vip}, Loopback, ""},
		{"203.0.113.7", "external", "nodePort", record.Address{HostPort: toW1, Node: "w1"}, UnknownSource, ""},
		{"", "pod", "clusterIP", record.Address{HostPort: vip}, UnknownSource, ""},
	} {
		agent := pod
		if c.vantage == "external" {
			agent = record.AgentRef{Name: "client", IPs: []string{"192.0.2.50"}}
		}
		class, node := classify(facts, &record.Stream{Vantage: c.vantage, Target: c.target}, agent, c.dialled, c.observed)
		if class != c.class || node != c.node {
			t.Errorf("%s, %s to %s of %q: %s %q, want %s %q", c.observed, c.vantage, c.target, c.dialled.Node, class, node, c.class, c.node)
		}
	}
}
