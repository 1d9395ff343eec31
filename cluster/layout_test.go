package cluster

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/podskew/podskew/scenarios"
)

func TestAgentsAreDealtToTheWorkersInTurn(t *testing.T) {
	s := keepalive()
	s.Spec.Clients[0].Count = 5
	_, l := completed(t, s)
	var got []string
	for _, a := range l.agents {
		got = append(got, a.name+" on "+a.node)
	}
	want := []string{"web-0 on worker", "web-1 on worker2", "web-2 on worker3", "web-3 on worker", "web-4 on worker2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHostNetworkAgentsHaveDistinctPortsBelowTheNodePorts(t *testing.T) {
	_, l := completed(t, etpLocal())
	seen := map[int]bool{}
	for _, a := range l.agents {
		if !a.hostNetwork || seen[a.port] || a.port < 20000 || a.port >= 30000 {
			t.Errorf("%s: host network %v, port %d, taken %v", a.name, a.hostNetwork, a.port, seen[a.port])
		}
		seen[a.port] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d agents", len(seen))
	}
}

func TestWhoStandsWhere(t *testing.T) {
	_, l := completed(t, etpLocal())
	if diff := cmp.Diff([]string{"worker", "worker2", "worker3"}, l.workers); diff != "" {
		t.Error("workers: " + diff)
	}
	if diff := cmp.Diff([]placed{{"worker", 1}, {"worker2", 3}}, l.placement, cmp.AllowUnexported(placed{})); diff != "" {
		t.Error("placement: " + diff)
	}
	want := map[string][]string{"outside": {"worker", "worker2", "worker3"}, "inside": {"worker", "worker2"}}
	if diff := cmp.Diff(want, l.dialled); diff != "" {
		t.Error("dialled: " + diff)
	}
	if l.replicas != 4 || l.agents[0].node != "external" || l.agents[1].node != "external" {
		t.Errorf("replicas %d, agents %+v", l.replicas, l.agents)
	}
}

func TestNodesAreFoundByTheEndOfTheirNames(t *testing.T) {
	nodes := []corev1.Node{*newNodeObject("kind-worker", "10.0.0.1", ""), *newNodeObject("kind-worker2", "10.0.0.2", "")}
	l, err := newLayout(Deployment{Scenario: &scenarios.Scenario{Spec: scenarios.Spec{Echo: scenarios.Echo{Placement: map[string]int{"worker2": 2}}}}}, nodes)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.placement) != 1 || l.placement[0].node != "kind-worker2" {
		t.Errorf("placement %+v", l.placement)
	}
}

func TestLayoutsThatCannotBe(t *testing.T) {
	change := func(f func(*scenarios.Scenario)) *scenarios.Scenario {
		s := keepalive()
		f(s)
		return s
	}
	notReady := func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }
	cordoned := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	for name, c := range map[string]struct {
		scenario *scenarios.Scenario
		nodes    []*corev1.Node
		want     string
	}{
		"placement on a node that is not there": {
			change(func(s *scenarios.Scenario) { s.Spec.Echo.Placement = map[string]int{"moon": 1} }), labNodes(),
			`no node "moon"; it has control-plane, external, worker, worker2, worker3`,
		},
		"echo pods on the external node": {
			change(func(s *scenarios.Scenario) { s.Spec.Echo.Placement = map[string]int{"external": 1} }), labNodes(),
			"takes no echo pods",
		},
		"external clients without an external node": {
			change(func(s *scenarios.Scenario) { s.Spec.Clients[0].Vantage = scenarios.VantageExternal }), labNodes()[:4],
			"kubectl label node NAME podskew.dev/external= && kubectl taint node NAME podskew.dev/external=:NoSchedule",
		},
		"external clients on a worker": {
			change(func(s *scenarios.Scenario) {
				s.Spec.Clients[0].Vantage, s.Spec.Clients[0].Node = scenarios.VantageExternal, "worker"
			}), labNodes(),
			"not set apart for external clients",
		},
		"clients in pods on the external node": {
			change(func(s *scenarios.Scenario) { s.Spec.Clients[0].Node = "external" }), labNodes(), "needs another node",
		},
		"node ports of a node that is not there": {
			change(func(s *scenarios.Scenario) {
				s.Spec.Clients[0].Target, s.Spec.Clients[0].TargetNodes = scenarios.TargetNodePort, []string{"moon"}
			}), labNodes(),
			`spec.clients[0] (web): targetNodes: the cluster has no node "moon"`,
		},
		"more agents on one network than ports": {
			change(func(s *scenarios.Scenario) {
				s.Spec.Clients[0].Vantage, s.Spec.Clients[0].Count = scenarios.VantageNode, maxHostAgents+1
			}), labNodes(),
			"no ports",
		},
		"no node that takes pods": {
			keepalive(),
			[]*corev1.Node{newNodeObject("a", "10.0.0.1", "", notReady), newNodeObject("b", "10.0.0.2", "", cordoned), newNodeObject("c", "10.0.0.3", "", external), newNodeObject("d", "10.0.0.4", "", tainted("x"))},
			"no node takes pods",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newLayout(Deployment{RunID: "d0", Scenario: c.scenario}, nodeList(c.nodes))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestNodeAddressesAreOfTheServicesFamily(t *testing.T) {
	n := newNode(newNodeObject("a", "10.0.0.1", "", func(n *corev1.Node) {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "fd00::1"},
			corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "203.0.113.1"})
	}))
	four, err4 := n.ip(false)
	six, err6 := n.ip(true)
	if err4 != nil || err6 != nil || four.String() != "10.0.0.1" || six.String() != "fd00::1" || len(n.ips) != 3 {
		t.Errorf("%v %v, %v %v, all %v", four, err4, six, err6, n.ips)
	}
	if _, err := newNode(newNodeObject("b", "10.0.0.2", "")).ip(true); err == nil {
		t.Error("an IPv4 node gave an IPv6 address")
	}
}
