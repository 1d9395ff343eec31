package cluster

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// serviceOf is a scenario with a Service of that type and one client.
func serviceOf(kind string, headless bool, c scenarios.Client) *scenarios.Scenario {
	s := keepalive()
	s.Spec.Service.Type = kind
	s.Spec.Echo.Replicas = 2
	if headless {
		s.Spec.Service.ClusterIP = "None"
	}
	c.Name, c.Connections, c.Requests, c.Count = "web", 4, 100, 1
	if c.Vantage == "" {
		c.Vantage = scenarios.VantagePod
	}
	s.Spec.Clients = []scenarios.Client{c}
	return s
}

func TestWhatIsDialled(t *testing.T) {
	type client = scenarios.Client
	for name, row := range map[string]struct {
		scenario *scenarios.Scenario
		want     []string
		canary   []string // from the client's node
	}{
		"HTTP/2 at the cluster IP": {serviceOf("ClusterIP", false, client{Target: "clusterIP", Protocol: "http2"}), []string{"10.79.1.1:80"}, []string{"10.79.1.2:80"}},
		"gRPC with TLS":            {serviceOf("ClusterIP", false, client{Target: "clusterIP", Protocol: "grpc", TLS: true}), []string{"10.79.1.1:443"}, []string{"10.79.1.2:80"}},
		"TCP":                      {serviceOf("ClusterIP", false, client{Target: "clusterIP", Protocol: "tcp"}), []string{"10.79.1.1:9000"}, []string{"10.79.1.2:80"}},
		"UDP at node ports": {
			serviceOf("NodePort", false, client{Target: "nodePort", Protocol: "udp", TargetNodes: []string{"worker2", "worker"}}),
			[]string{"10.77.0.12:30301", "10.77.0.11:30301"}, []string{"10.77.0.12:30002", "10.77.0.11:30002"},
		},
		"a load balancer from inside": {
			serviceOf("LoadBalancer", false, client{Target: "loadBalancer", TLS: true}), []string{"192.0.2.7:443", "lb.example:443"}, []string{"10.79.1.2:80"},
		},
		"a load balancer from outside": {
			serviceOf("LoadBalancer", false, client{Target: "loadBalancer", Vantage: "external"}), []string{"192.0.2.7:80", "lb.example:80"},
			[]string{"10.77.0.11:30002", "10.77.0.12:30002", "10.77.0.13:30002"},
		},
		"a name, whose ports nobody translates": {
			serviceOf("ClusterIP", true, client{Target: "headless", Protocol: "grpc"}),
			[]string{"echo.podskew-d0.svc.cluster.local:8080"}, []string{"canary.podskew-d0.svc.cluster.local:8080"},
		},
		"a name, for UDP": {
			serviceOf("ClusterIP", true, client{Target: "headless", Protocol: "udp"}),
			[]string{"echo.podskew-d0.svc.cluster.local:8080"}, []string{"canary.podskew-d0.svc.cluster.local:8080"},
		},
		"pods, which nothing stands before": {
			serviceOf("ClusterIP", false, client{Target: "podIP", TLS: true}), []string{"10.78.1.11:8443", "10.78.1.12:8443"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(labNodes()...)
			w.ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}, {Hostname: "lb.example"}}
			r := w.deploy(t, w.cluster(t, nil), row.scenario)
			var got, canary []string
			for _, a := range r.Streams()[0].Addresses {
				got = append(got, a.HostPort)
			}
			for _, p := range r.canaryProbes() {
				canary = append(canary, p.address)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(row.canary, canary); diff != "" {
				t.Errorf("canary: %s", diff)
			}
			secret, err := w.CoreV1().Secrets(r.Namespace()).Get(t.Context(), secretName, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Compact(slices.Sorted(slices.Values(append(got, canary...))))
			if diff := cmp.Diff(want, strings.Fields(string(secret.Data["targets"]))); diff != "" {
				t.Errorf("what agents may dial: %s", diff)
			}
		})
	}
}

func TestPodsRunBeforeTheAgentsThatDialThem(t *testing.T) {
	w := newWorld(labNodes()...)
	w.deploy(t, w.cluster(t, nil), serviceOf("ClusterIP", false, scenarios.Client{Target: "podIP"}))
	did := w.did()
	before(t, did, "apply deployments/echo", "create secrets/agent")
	before(t, did, "create secrets/agent", "apply pods/web-0")
}

func TestAServiceWithoutALoadBalancerIsNotWaitedForWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		begun := time.Now()
		_, err := w.cluster(t, nil).Deploy(t.Context(), deploymentOf(serviceOf("LoadBalancer", false, scenarios.Client{Target: "loadBalancer"})), nil)
		if err == nil || !strings.Contains(err.Error(), "nobody gave service echo the address of a load balancer within 1m0s") {
			t.Errorf("err %v", err)
		}
		if took := time.Since(begun); took < balancerWithin || took > balancerWithin+10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestNamesAreKnownBeforeTheLoadAndSayNothingOfKubeProxy(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), serviceOf("ClusterIP", true, scenarios.Client{Target: "headless"}))
	if p := r.canaryProbes(); len(p) != 1 || p[0].node != "" || p[0].from != "worker" {
		t.Errorf("probes %+v", p)
	}
	if err := r.WaitProgrammed(t.Context(), answeredAtOnce); err != nil || r.isProgrammed("worker") {
		t.Errorf("err %v; programmed %v", err, r.isProgrammed("worker"))
	}
	for _, o := range []string{serviceEcho, serviceCanary} {
		s, err := w.CoreV1().Services(r.Namespace()).Get(t.Context(), o, metav1.GetOptions{})
		if err != nil || s.Spec.ClusterIP != corev1.ClusterIPNone {
			t.Errorf("service %s: %v, %v", o, s.Spec.ClusterIP, err)
		}
	}
}

func TestStreamsHaveTheWholePlan(t *testing.T) {
	w := newWorld(labNodes()...)
	s := serviceOf("ClusterIP", true, scenarios.Client{
		Target: "headless", Protocol: "grpc", TLS: true, StreamsPerConnection: 5, ConnectionLifetime: 2 * time.Second, LifetimeJitter: 0.5,
		ConnectionsPerSecond: 3, Reconnect: "immediate", Rate: 10, Arrivals: "poisson", Rates: []scenarios.RateStep{{At: time.Second, Rate: 20, Ramp: true}},
		Resolve: "perConnection", ResolveOrder: "random", GRPCPolicy: "pick_first", SourcePorts: &scenarios.PortRange{From: 600, To: 610}, ConnectTimeout: time.Second, Timeout: time.Second,
	})
	s.Spec.Clients[0].Count = 2
	got := w.deploy(t, w.cluster(t, nil), s).Streams()[0]
	got.Agents = nil
	want := record.Stream{
		ID: "web", Client: "web", Vantage: "pod", Target: "headless", Service: "echo", Protocol: "grpc", TLS: true,
		Addresses:   []record.Address{{HostPort: "echo.podskew-d0.svc.cluster.local:8443"}},
		Connections: 8, Requests: 200, Rate: 20, Arrivals: "poisson", Rates: []record.RateStep{{At: 1, Rate: 40, Ramp: true}},
		ConnectTimeout: 1, Timeout: 1, StreamsPerConnection: 5, ConnectionLifetime: 2, LifetimeJitter: 0.5, ConnectionsPerSecond: 6,
		Reconnect: "immediate", Resolve: "perConnection", ResolveOrder: "random", GRPCPolicy: "pick_first", SourcePorts: &record.PortRange{From: 600, To: 610},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func sourced(n int) *scenarios.Scenario {
	return serviceOf("NodePort", false, scenarios.Client{Vantage: "external", Target: "nodePort", SourceAddresses: n})
}

func TestSourceAddressesAreFreeOnesOfTheNodesNetwork(t *testing.T) {
	d := deploymentOf(sourced(100))
	d.NodeSubnet = netip.MustParsePrefix("10.77.0.0/24")
	d.Scenario.Spec.Clients = append(d.Scenario.Spec.Clients, d.Scenario.Spec.Clients[0])
	d.Scenario.Spec.Clients[1].Name = "more"
	w := newWorld(labNodes()...)
	r, err := w.cluster(t, nil).Deploy(t.Context(), d, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	seen := map[string]bool{}
	for _, n := range labNodes() {
		seen[n.Status.Addresses[1].Address] = true
	}
	for _, s := range r.Streams() {
		if n := len(s.Agents[0].IPs); n != 100 {
			t.Errorf("%s has %d addresses", s.ID, n)
		}
		for _, ip := range s.Agents[0].IPs {
			if seen[ip] || !d.NodeSubnet.Contains(netip.MustParseAddr(ip)) || slices.Contains([]string{"10.77.0.0", "10.77.0.1", "10.77.0.255"}, ip) {
				t.Errorf("%s is not free", ip)
			}
			seen[ip] = true
		}
	}
	pod, err := w.CoreV1().Pods(r.Namespace()).Get(t.Context(), "web-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := pod.Spec.Containers[0]
	if !slices.Contains(c.Args, "--add-sources") || *pod.Spec.SecurityContext.RunAsUser != 0 || *pod.Spec.SecurityContext.RunAsNonRoot ||
		!cmp.Equal(c.SecurityContext.Capabilities, &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}, Drop: []corev1.Capability{"ALL"}}) {
		t.Errorf("args %q, %+v, %+v", c.Args, pod.Spec.SecurityContext, c.SecurityContext)
	}
}

// An agent has the capability that its ports take, and only if they take one.
func TestAgentsThatChooseTheirPorts(t *testing.T) {
	for name, c := range map[string]struct {
		client string
		want   []corev1.Capability
	}{
		"ports below 1024":                  {"sourcePorts: {from: 600, to: 1023}", []corev1.Capability{"NET_BIND_SERVICE"}},
		"ports that everybody may have":     {"sourcePorts: {from: 20000, to: 20999}", nil},
		"addresses and ports below 1024":    {"sourceAddresses: 2, sourcePorts: {from: 600, to: 1023}", []corev1.Capability{"NET_ADMIN", "NET_BIND_SERVICE"}},
		"addresses, and the kernel's ports": {"sourceAddresses: 2", []corev1.Capability{"NET_ADMIN"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := scenarios.Load("x.yaml", []byte("apiVersion: podskew.dev/v1alpha1\nkind: Scenario\nmetadata: {name: x}\nspec:\n"+
				"  service: {type: NodePort}\n  clients:\n    - {name: web, vantage: external, target: nodePort, connections: 4, duration: 1s, "+c.client+"}\n"))
			if err != nil {
				t.Fatal(err)
			}
			l := &layout{nodes: map[string]node{"external": {name: "external", external: true}}, externals: []string{"external"}, workers: []string{"worker"},
				senders: map[string]string{}, dialled: map[string][]string{}, free: newFreeAddresses(netip.MustParsePrefix("10.77.0.0/24"), "d0", nil)}
			if err := l.placeClient(s.Spec.Clients[0], Deployment{Scenario: s, RunID: "d0"}); err != nil {
				t.Fatal(err)
			}
			pod := agentPod(Deployment{Scenario: s, RunID: "d0"}, l.agents[0]).Spec
			if got := pod.Containers[0].SecurityContext.Capabilities; !cmp.Equal(got.Add, c.want) || !cmp.Equal(got.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("capabilities %+v, want %q and no other", got, c.want)
			}
			if root := *pod.SecurityContext.RunAsUser == 0; root != (c.want != nil) || *pod.SecurityContext.RunAsNonRoot == root {
				t.Errorf("user %d, want root only where a capability needs it", *pod.SecurityContext.RunAsUser)
			}
		})
	}
}

// nodesWith are the lab's nodes, the external one with an annotation about addresses.
func nodesWith(annotation string) []*corev1.Node {
	nodes := labNodes()
	if annotation != "" {
		nodes[4].Annotations = map[string]string{"podskew.dev/addresses": annotation}
	}
	return nodes
}

func TestSourceAddressesAreThoseThatTheNodeNames(t *testing.T) {
	w := newWorld(nodesWith("192.0.2.9/28")...)
	got := w.deploy(t, w.cluster(t, nil), sourced(16)).Streams()[0].Agents[0].IPs
	slices.Sort(got)
	for i, ip := range got {
		if !netip.MustParsePrefix("192.0.2.0/28").Contains(netip.MustParseAddr(ip)) || i > 0 && got[i-1] == ip {
			t.Errorf("%s is twice there, or not in the range", ip)
		}
	}
	if len(got) != 16 {
		t.Errorf("%d addresses", len(got))
	}
}

func TestSourceAddressesThatCannotBeHad(t *testing.T) {
	for name, row := range map[string]struct {
		subnet, annotation, want string
	}{
		"in a network that is not known": {"", "", "kubectl annotate node external podskew.dev/addresses=RANGE"},
		"in a small network":             {"10.77.0.0/28", "", "has 8 addresses that are free, 10 more are asked for"},
		"in a small range":               {"10.77.0.0/24", "192.0.2.8/29", "192.0.2.8/29 has 8 addresses that are free, 10 more are asked for"},
		"in a range that is none":        {"", "192.0.2.8", `node external: the annotation podskew.dev/addresses is "192.0.2.8"`},
	} {
		t.Run(name, func(t *testing.T) {
			d := deploymentOf(sourced(10))
			if row.subnet != "" {
				d.NodeSubnet = netip.MustParsePrefix(row.subnet)
			}
			_, err := newWorld(nodesWith(row.annotation)...).cluster(t, nil).Deploy(t.Context(), d, nil)
			if err == nil || !strings.Contains(err.Error(), "spec.clients[0] (web): sourceAddresses: ") || !strings.Contains(err.Error(), row.want) {
				t.Errorf("err %v", err)
			}
		})
	}
}

func TestAgentsAreToldOfMoreConnectionsThanTheirDefault(t *testing.T) {
	s := keepalive()
	s.Spec.Clients[0].Connections = 20_000
	if args := podSpecs(t, s)["web-0"].Containers[0].Args; !slices.Contains(args, "--max-connections=20000") {
		t.Errorf("args %q", args)
	}
}

func answeredAtOnce(context.Context, string, string) error { return nil }
