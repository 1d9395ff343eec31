package cluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/scenarios"
)

// severalServices is a scenario with Services beside the first, and clients of each.
func severalServices() *scenarios.Scenario {
	s := keepalive()
	s.Spec.Services = []scenarios.Service{
		{Name: "local", Type: "NodePort", ExternalTrafficPolicy: "Local"},
		{Name: "nobody", Type: "ClusterIP", Endpoints: "none"},
	}
	own := s.Spec.Clients[0]
	own.Count, own.Node = 1, "worker"
	client := func(name, service string, v scenarios.Vantage, target scenarios.Target, nodes ...string) scenarios.Client {
		c := own
		c.Name, c.Service, c.Vantage, c.Target, c.TargetNodes = name, service, v, target, nodes
		return c
	}
	s.Spec.Clients = []scenarios.Client{
		client("a", "", "pod", "clusterIP"), client("b", "nobody", "pod", "clusterIP"),
		client("c", "local", "node", "nodePort", "localhost", "worker2"), client("d", "local", "node", "nodePort", "worker"),
	}
	return s
}

func TestEachServiceIsDeployedDialledAndRead(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), severalServices())
	got := map[string][]string{}
	for _, s := range r.Streams() {
		for _, a := range s.Addresses {
			got[s.ID] = append(got[s.ID], s.Service+" "+a.HostPort+" "+a.Node)
		}
	}
	want := map[string][]string{
		"a": {"echo 10.79.1.1:80 "}, "b": {"nobody 10.79.1.4:80 "},
		"c": {"local 127.0.0.1:30004 ", "local 10.77.0.12:30004 worker2"}, "d": {"local 10.77.0.11:30004 worker"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	nobody, err := w.CoreV1().Services(r.Namespace()).Get(t.Context(), "nobody", metav1.GetOptions{})
	if err != nil || nobody.Spec.Selector[labelServes] != setNobody {
		t.Errorf("selector %v, %v: it must select no pod", nobody.Spec.Selector, err)
	}
	facts, err := r.Facts(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range facts.Services {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"echo", "local", "nobody"}, names); diff != "" {
		t.Error(diff)
	}
}

// TestTheCanaryAnswersForLocalhost: whether 127.0.0.1 is served depends on kube-proxy's mode, so the node's address is asked.
func TestTheCanaryAnswersForLocalhost(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), severalServices())
	var got []string
	for _, p := range r.canaryProbes() {
		got = append(got, p.from+" "+p.address+" "+p.node)
	}
	slices.Sort(got)
	want := []string{"worker 10.77.0.11:30002 worker", "worker 10.77.0.12:30002 worker2", "worker 10.79.1.2:80 worker"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(r.targets(), "127.0.0.1:30004") || slices.Contains(r.targets(), "127.0.0.1:30002") {
		t.Errorf("targets %v", r.targets())
	}
}

func TestPodsAreSharedOnlyWhereTheScenarioSaysSo(t *testing.T) {
	names := func(s *scenarios.Scenario) (out []string) {
		_, l := completed(t, s)
		for _, a := range l.agents {
			out = append(out, a.name)
		}
		return out
	}
	s := severalServices()
	if diff := cmp.Diff([]string{"a-0", "b-0", "c-0", "d-0"}, names(s)); diff != "" {
		t.Errorf("each client has pods of its own (-want +got):\n%s", diff)
	}
	s.Spec.SharePods = true
	if diff := cmp.Diff([]string{"a-0", "c-0"}, names(s)); diff != "" {
		t.Errorf("clients in the same place share pods (-want +got):\n%s", diff)
	}
	_, l := completed(t, s)
	if l.agents[0].connections != 8 {
		t.Errorf("%d connections allowed to the pod of two clients with 4 each", l.agents[0].connections)
	}
	s.Spec.Clients[1].Count = 2
	if diff := cmp.Diff([]string{"a-0", "b-0", "b-1", "c-0"}, names(s)); diff != "" {
		t.Errorf("a client with other pods (-want +got):\n%s", diff)
	}
	w := newWorld(labNodes()...)
	for _, stream := range w.deploy(t, w.cluster(t, nil), s).Streams() {
		if stream.ID == "d" && (len(stream.Agents) != 1 || stream.Agents[0].Name != "c-0" || stream.Agents[0].IPs == nil) {
			t.Errorf("agents of the sharing stream: %+v", stream.Agents)
		}
	}
}

func TestClientsInEchoPodsBringAnAgentToEach(t *testing.T) {
	s := keepalive()
	s.Spec.Clients[0].InEcho, s.Spec.Clients[0].Count = true, 6
	d, l := completed(t, s)
	if len(l.agents) != 0 {
		t.Errorf("agent pods besides: %+v", l.agents)
	}
	pod := echoDeployments(d, l)[0].Spec.Template.Spec
	if len(pod.Containers) != 2 || *pod.Containers[1].Name != roleAgent || !slices.Contains(pod.Containers[1].Args, "--listen=:8090") {
		t.Fatalf("containers %+v", pod.Containers)
	}
	if n := len(policyObject(d).Spec.Ingress[0].Ports); n != len(echoPorts())+1 {
		t.Errorf("%d ports are open, want those of echo and the agent's", n)
	}
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), s)
	agents := r.Streams()[0].Agents
	if len(agents) != 6 {
		t.Fatalf("%d agents in 6 echo pods", len(agents))
	}
	for _, a := range agents {
		if !strings.HasPrefix(a.Name, "echo-") || a.Node == "" || len(a.IPs) != 1 {
			t.Errorf("agent %+v", a)
		}
		if found, err := r.agent(a.Name); err != nil || found.port != inEchoPort {
			t.Errorf("agent %s is reached at %+v, %v", a.Name, found, err)
		}
	}
}

func TestACanaryOfEachSort(t *testing.T) {
	s := keepalive()
	s.Spec.Services = []scenarios.Service{{Name: "names", Type: "ClusterIP", ClusterIP: "None"}}
	named := s.Spec.Clients[0]
	named.Name, named.Service, named.Target = "named", "names", scenarios.TargetHeadless
	s.Spec.Clients = append(s.Spec.Clients, named)
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), s)
	var got []string
	for _, p := range r.canaryProbes() {
		got = append(got, p.address)
	}
	for _, want := range []string{"10.79.1.2:80", "canary-name.podskew-d0.svc.cluster.local:8080"} {
		if !slices.Contains(got, want) {
			t.Errorf("nobody asks %s: %v", want, got)
		}
	}
	slice, err := w.DiscoveryV1().EndpointSlices(r.Namespace()).Get(t.Context(), serviceCanaryName, metav1.GetOptions{})
	if err != nil || slice.Labels[discoveryv1.LabelServiceName] != serviceCanaryName || len(slice.Endpoints) != 1 {
		t.Errorf("the endpoint of the canary without an address: %+v, %v", slice, err)
	}
}
