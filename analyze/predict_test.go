package analyze

import (
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
func nftables(f *record.Facts) {
	for i := range f.Cluster.Nodes {
		f.Cluster.Nodes[i].Proxy.Mode = "nftables"
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

// Each row is a path that was measured, or read in kube-proxy's source, and what came of it.
func TestPredict(t *testing.T) {
	podCP, podW1 := podOn("cp", "10.244.0.7"), podOn("w1", "10.244.2.7")
	self := record.AgentRef{Name: "a1", Node: "w1", IPs: []string{"10.244.2.5"}}
	nodeCP, nodeW1 := hostOn("cp", "172.18.0.3"), hostOn("w1", "172.18.0.2")
	outside := record.AgentRef{Name: "client", Node: "outside", IPs: []string{"172.18.0.9"}}
	cli := record.AgentRef{Name: "local", IPs: []string{"172.18.0.1"}}
	published := record.AgentRef{Name: "local", IPs: []string{"127.0.0.1"}}
	none := []change{}

	for _, c := range []struct {
		name             string
		with             []change
		vantage          string
		from             record.AgentRef
		target, to, node string
		reaches          string // pods, or timeout, or refused
		sources          string // class towards each of them, or one for all
		decider          string
	}{
		{"pod to ClusterIP: all pods, address kept", none, "pod", podW1, "clusterIP", vip, "", onAll, "client", "w1"},
		{"pod to ClusterIP from a node without pods", none, "pod", podCP, "clusterIP", vip, "", onAll, "client", "cp"},
		{"pod to ClusterIP in nftables mode", []change{nftables}, "pod", podW1, "clusterIP", vip, "", onAll, "client", "w1"},
		{"pod to ClusterIP that may be itself", none, "pod", self, "clusterIP", vip, "", onAll, "pod-gateway client client client", "w1"},
		{"node to ClusterIP: its gateway towards its own pods, its address towards others", none, "node", nodeW1, "clusterIP", vip, "", onAll, "pod-gateway pod-gateway client client", "w1"},
		{"pod to ClusterIP, internal Local", []change{internalLocal}, "pod", podW1, "clusterIP", vip, "", onW1, "client", "w1"},
		{"pod to ClusterIP, internal Local, no pod on its node", []change{internalLocal}, "pod", podCP, "clusterIP", vip, "", timeout, "", "cp"},
		{"pod to ClusterIP without any endpoint", []change{noPods}, "pod", podW1, "clusterIP", vip, "", refused, "", "w1"},
		{"pod to ClusterIP, internal Local, without any endpoint", []change{noPods, internalLocal}, "pod", podW1, "clusterIP", vip, "", refused, "", "w1"},
		{"external Local does not touch ClusterIP", []change{externalLocal}, "pod", podCP, "clusterIP", vip, "", onAll, "client", "cp"},
		{"a routed host to ClusterIP is masqueraded", []change{externalLocal}, "external", outside, "clusterIP", vip, "", "", "", ""},

		{"external to a node without pods, Cluster: that node's address", none, "external", outside, "nodePort", toCP, "cp", onAll, "receiving-node", "cp"},
		{"external to a node with pods, Cluster: its gateway towards its own pods", none, "external", outside, "nodePort", toW1, "w1", onAll, "pod-gateway pod-gateway receiving-node receiving-node", "w1"},
		{"external to a node found by its address", none, "external", cli, "nodePort", toW2, "", onAll, "receiving-node receiving-node pod-gateway pod-gateway", "w2"},
		{"external, Local: the node's own pods, address kept", []change{externalLocal}, "external", outside, "nodePort", toW1, "w1", onW1, "client", "w1"},
		{"external, Local, from the host of a container cluster", []change{externalLocal}, "external", cli, "nodePort", toW2, "w2", onW2, "client", "w2"},
		{"external, Local, node without pods: dropped", []change{externalLocal}, "external", outside, "nodePort", toCP, "cp", timeout, "", "cp"},
		{"external, Local, no endpoint anywhere: rejected", []change{externalLocal, noPods}, "external", outside, "nodePort", toCP, "cp", refused, "", "cp"},
		{"external, Cluster, no endpoint anywhere: rejected", []change{noPods}, "external", outside, "nodePort", toW1, "w1", refused, "", "w1"},

		{"pod to its own node's port, Cluster: masqueraded", none, "pod", podW1, "nodePort", toW1, "w1", onAll, "pod-gateway pod-gateway receiving-node receiving-node", "w1"},
		{"pod to its own node's port, Local: past the policy, address kept", []change{externalLocal}, "pod", podCP, "nodePort", toCP, "cp", onAll, "client", "cp"},
		{"pod that may reach itself by its own node's port, Local", []change{externalLocal}, "pod", self, "nodePort", toW1, "w1", onAll, "pod-gateway client client client", "w1"},
		{"pod to another node's port, Local: bound by it, under its node's address", []change{externalLocal}, "pod", podCP, "nodePort", toW1, "w1", onW1, "client-node", "w1"},
		{"pod to another node's port, Local, without pods there", []change{externalLocal}, "pod", podW1, "nodePort", toCP, "cp", timeout, "", "cp"},
		{"pod to another node's port, Cluster", none, "pod", podW1, "nodePort", toW2, "w2", onAll, "receiving-node receiving-node pod-gateway pod-gateway", "w2"},
		{"node to its own port, Local: past the policy, masqueraded", []change{externalLocal}, "node", nodeCP, "nodePort", toCP, "cp", onAll, "client", "cp"},
		{"node with pods to its own port, Local", []change{externalLocal}, "node", nodeW1, "nodePort", toW1, "w1", onAll, "pod-gateway pod-gateway client client", "w1"},
		{"node to another's port, Local", []change{externalLocal}, "node", nodeCP, "nodePort", toW1, "w1", onW1, "client", "w1"},
		{"node to 127.0.0.1 in iptables mode", none, "node", nodeCP, "nodePort", "127.0.0.1:30080", "", onAll, "client", "cp"},
		{"node to 127.0.0.1 in nftables mode", []change{nftables}, "node", nodeCP, "nodePort", "127.0.0.1:30080", "", refused, "", "cp"},
		{"node to 127.0.0.1, Local", []change{externalLocal}, "node", nodeCP, "nodePort", "127.0.0.1:30080", "", onAll, "client", "cp"},

		{"published port, Cluster", none, "external", published, "nodePort", "127.0.0.1:31080", "w1", onAll, "pod-gateway pod-gateway receiving-node receiving-node", "w1"},
		{"published port, Local: the container network's host end", []change{externalLocal}, "external", published, "nodePort", "127.0.0.1:31081", "w1", onW1, "docker-gateway", "w1"},
		{"published port, Local, node without pods", []change{externalLocal}, "external", published, "nodePort", "127.0.0.1:30081", "cp", timeout, "", "cp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts := world()
			for _, with := range c.with {
				with(facts)
			}
			p := Predict(facts, &record.Stream{Vantage: c.vantage, Target: c.target, Service: "echo"}, c.from, record.Address{HostPort: c.to, Node: c.node})
			if c.from.Node == "outside" && c.target == "clusterIP" {
				if p.Outcome != Unknown {
					t.Errorf("outcome %s: nothing on that host knows the Service", p.Outcome)
				}
				return
			}
			if p.Decider != c.decider {
				t.Errorf("decided on %q, want %q", p.Decider, c.decider)
			}
			if c.reaches == timeout || c.reaches == refused {
				if string(p.Outcome) != c.reaches || len(p.Backends) > 0 || p.Reason == "" {
					t.Errorf("%+v, want %s", p, c.reaches)
				}
				return
			}
			checkBackends(t, p, c.reaches, c.sources)
		})
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
		{"a target without a model", "echo", "headless", vip},
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
		{"10.244.1.1", "external", "nodePort", record.Address{HostPort: toW2, Node: "w2"}, PodGateway, "w2"},
		{"10.244.2.1", "pod", "clusterIP", record.Address{HostPort: vip}, PodGateway, "w1"},
		{"10.244.1.5", "pod", "clusterIP", record.Address{HostPort: vip}, ProxyPod, ""},
		{"10.244.1.99", "pod", "clusterIP", record.Address{HostPort: vip}, ProxyPod, ""},
		{"10.96.0.10", "pod", "clusterIP", record.Address{HostPort: vip}, ServiceVIP, ""},
		{"172.18.200.1", "external", "loadBalancer", record.Address{HostPort: "172.18.200.1:80"}, ServiceVIP, ""},
		{"172.18.0.1", "external", "nodePort", record.Address{HostPort: toW1, Node: "w1"}, DockerGateway, ""},
		{"169.254.1.1", "pod", "clusterIP", record.Address{HostPort: vip}, LinkLocal, ""},
		{"fe80::1", "pod", "clusterIP", record.Address{HostPort: vip}, LinkLocal, ""},
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
