package cluster

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podskew/podskew/record"
)

// proxies answers for kube-proxies behind the API server's node proxy; nodes not named refuse.
func proxies(modes map[string]string, metrics string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/nodes/{node}/proxy/{what}", func(w http.ResponseWriter, r *http.Request) {
		name, port, _ := strings.Cut(r.PathValue("node"), ":")
		mode, ok := modes[name]
		switch {
		case !ok || port != "10249":
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"kind":"Status","status":"Failure","message":"error trying to reach service: dial tcp: connection refused","code":503}`)
		case r.PathValue("what") == "proxyMode":
			fmt.Fprint(w, mode)
		case metrics == "":
			w.WriteHeader(http.StatusNotFound)
		default:
			fmt.Fprint(w, metrics)
		}
	})
	return mux
}

const someMetrics = `# HELP kubeproxy_sync_proxy_rules_last_timestamp_seconds [ALPHA] The last time proxy rules were successfully synced
# TYPE kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge
kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 1.7636832005e+09
kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv6"} 1.763683199e+09
kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv4"} 1.7636831995e+09
`

func TestFactsOfARun(t *testing.T) {
	w := newWorld(labNodes()...)
	handler := proxies(map[string]string{"worker": "nftables", "worker2": "nftables", "worker3": "nftables\n", "control-plane": "nftables"}, someMetrics)
	r := w.deploy(t, w.cluster(t, handler), etpLocal())
	r.programmed["worker"] = true
	zero := time.Unix(1763683210, 0)
	f, err := r.Facts(t.Context(), zero)
	if err != nil {
		t.Fatal(err)
	}
	if f.Cluster.Provider != "lab" || f.Cluster.Version != "v1.36.3" || f.Cluster.ProxyMode != "nftables" {
		t.Errorf("%+v", f.Cluster)
	}
	wantNode := record.Node{
		Name: "worker", IPs: []string{"10.77.0.11"}, Zone: "a", Ready: true,
		Proxy: record.Proxy{Mode: "nftables", Source: "proxyMode endpoint", LastSync: -9.5, LastQueued: -10.5, Programmed: true},
	}
	if diff := cmp.Diff(wantNode, f.Cluster.Nodes[2]); diff != "" {
		t.Error(diff)
	}
	wantExternal := record.Node{Name: "external", IPs: []string{"10.77.0.14"}, External: true, Ready: true, Proxy: record.Proxy{Mode: "none", Source: "no kube-proxy answers"}}
	if diff := cmp.Diff(wantExternal, f.Cluster.Nodes[1]); diff != "" {
		t.Error(diff)
	}
	if len(f.Services) != 1 || f.Services[0].ExternalTrafficPolicy != "Local" || f.Services[0].AffinitySeconds != 60 || f.Services[0].Ports[0].NodePort != 30001 {
		t.Errorf("services %+v", f.Services)
	}
	if len(f.Endpoints) != 4 || f.Endpoints[0].Service != "echo" || !f.Endpoints[0].Serving || f.Endpoints[0].HintZones[0] != "a" {
		t.Errorf("endpoints %+v", f.Endpoints)
	}
	if len(f.Pods) != 8 || f.Pods[0].Role != "echo" || f.Pods[7].Role != "agent" || !f.Pods[7].HostNetwork || f.Pods[7].Node != "external" {
		t.Errorf("pods %+v", f.Pods)
	}
	if notes := r.c.Notes(); len(notes) != 0 {
		t.Errorf("notes %q", notes)
	}
}

func TestFactsWithoutKubeProxiesThatAnswer(t *testing.T) {
	config := func(text string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy", Namespace: "kube-system"}, Data: map[string]string{"config.conf": "kind: KubeProxyConfiguration\n" + text, "kubeconfig.conf": "kind: Config\n"}}
	}
	pod := func(node string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy-" + node, Namespace: "kube-system", Labels: map[string]string{"k8s-app": "kube-proxy"}}, Spec: corev1.PodSpec{NodeName: node}}
	}
	t.Run("the ConfigMap tells the mode of nodes with a kube-proxy pod", func(t *testing.T) {
		w := newWorld(labNodes()...)
		w.add(t, config("mode: \"ipvs\" # chosen\n"))
		for _, n := range []string{"worker", "worker2", "worker3", "external"} {
			w.add(t, pod(n))
		}
		r := w.deploy(t, w.cluster(t, proxies(nil, "")), keepalive())
		f, err := r.Facts(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]record.Proxy{}
		for _, n := range f.Cluster.Nodes {
			got[n.Name] = n.Proxy
		}
		known := record.Proxy{Mode: "ipvs", Source: "configmap kube-proxy"}
		want := map[string]record.Proxy{"worker": known, "worker2": known, "worker3": known, "external": known, "control-plane": {Mode: "unknown"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if f.Cluster.ProxyMode != "ipvs" {
			t.Errorf("mode %s", f.Cluster.ProxyMode)
		}
		if notes := r.c.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "mode of node control-plane is unknown: error trying to reach service") {
			t.Errorf("notes %q", notes)
		}
	})
	t.Run("nothing is known", func(t *testing.T) {
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, nil), keepalive())
		f, err := r.Facts(t.Context(), time.Now())
		if err != nil || f.Cluster.ProxyMode != "unknown" || len(r.c.Notes()) != 4 {
			t.Errorf("mode %q, err %v, notes %q", f.Cluster.ProxyMode, err, r.c.Notes())
		}
	})
	t.Run("metrics are optional", func(t *testing.T) {
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, proxies(map[string]string{"worker": "iptables", "worker2": "nftables", "worker3": "?"}, "")), keepalive())
		f, err := r.Facts(t.Context(), time.Now())
		if err != nil || f.Cluster.ProxyMode != "mixed" || f.Cluster.Nodes[2].Proxy.LastSync != 0 {
			t.Errorf("err %v, cluster %+v", err, f.Cluster)
		}
		if notes := strings.Join(r.c.Notes(), "\n"); !strings.Contains(notes, "sync state of the kube-proxy of node worker is unknown") || !strings.Contains(notes, `node worker3 is unknown: its proxyMode endpoint says "?"`) {
			t.Errorf("notes %s", notes)
		}
	})
}

func TestFactsOfARunThatIsGone(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), keepalive())
	if err := w.CoreV1().Services(r.Namespace()).Delete(t.Context(), serviceEcho, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Facts(t.Context(), time.Now()); err == nil || !strings.Contains(err.Error(), "reading service echo") {
		t.Errorf("err %v", err)
	}
}

func TestTheModeInAConfigMap(t *testing.T) {
	for name, c := range map[string]struct {
		data map[string]string
		want string
	}{
		"no configuration":     {map[string]string{"a": "mode: nftables"}, ""},
		"plain":                {map[string]string{"config": "kind: KubeProxyConfiguration\nmode: nftables\n"}, "nftables"},
		"quoted":               {map[string]string{"config": "mode: 'ipvs'\nkind: KubeProxyConfiguration"}, "ipvs"},
		"empty, so iptables":   {map[string]string{"config": "kind: KubeProxyConfiguration\nmode: \"\"\n"}, "iptables"},
		"left out":             {map[string]string{"config": "kind: KubeProxyConfiguration\n"}, "iptables"},
		"of something else":    {map[string]string{"config": "kind: KubeProxyConfiguration\niptables:\n  mode: x\n"}, "iptables"},
		"a mode nobody knows":  {map[string]string{"config": "kind: KubeProxyConfiguration\nmode: kernelspace\n"}, "unknown"},
		"of several keys, one": {map[string]string{"kubeconfig": "mode: ipvs", "config": "kind: KubeProxyConfiguration\nmode: nftables\n"}, "nftables"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := configuredMode(c.data); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSyncTimes(t *testing.T) {
	for name, c := range map[string]struct {
		metrics      string
		last, queued float64
	}{
		"nothing":                   {"", 0, 0},
		"the latest of each family": {someMetrics, 1763683200.5, 1763683199.5},
		"without labels":            {"kubeproxy_sync_proxy_rules_last_timestamp_seconds 5\nkubeproxy_sync_proxy_rules_last_queued_timestamp_seconds 4 1700000000000\n", 5, 4},
		"no numbers":                {"kubeproxy_sync_proxy_rules_last_timestamp_seconds NaN\nkubeproxy_sync_proxy_rules_last_queued_timestamp_seconds +Inf\n", 0, 0},
		"other metrics":             {"kubeproxy_sync_proxy_rules_last_timestamp_secondsx 5\nx 7\n", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			last, queued := syncTimes([]byte(c.metrics))
			if last != c.last || queued != c.queued {
				t.Errorf("got %v %v, want %v %v", last, queued, c.last, c.queued)
			}
		})
	}
}

func FuzzSyncTimes(f *testing.F) {
	f.Add([]byte(someMetrics))
	f.Add([]byte("kubeproxy_sync_proxy_rules_last_timestamp_seconds{ 1e400"))
	f.Fuzz(func(t *testing.T, data []byte) {
		last, queued := syncTimes(data)
		for _, v := range []float64{last, queued} {
			if math.IsNaN(v) || v < 0 || v >= 1e12 {
				t.Errorf("%v", v)
			}
		}
	})
}

func TestServiceFacts(t *testing.T) {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "echo", Namespace: "ns"},
		Spec: corev1.ServiceSpec{
			Type: "LoadBalancer", ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1", "fd00::1"}, HealthCheckNodePort: 31000,
			InternalTrafficPolicy: new(corev1.ServiceInternalTrafficPolicyLocal), TrafficDistribution: new("PreferSameNode"), SessionAffinity: "None",
			Ports: []corev1.ServicePort{{Name: "http", Protocol: "TCP", Port: 80, TargetPort: intstr.FromInt32(8080), NodePort: 30001}},
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {Hostname: "x"}}}},
	}
	want := record.Service{
		Name: "echo", Namespace: "ns", Type: "LoadBalancer", ClusterIPs: []string{"10.0.0.1", "fd00::1"}, HealthCheckNodePort: 31000,
		InternalTrafficPolicy: "Local", TrafficDistribution: "PreferSameNode", SessionAffinity: "None", LoadBalancerIPs: []string{"192.0.2.1"},
		Ports: []record.ServicePort{{Name: "http", Protocol: "TCP", Port: 80, TargetPort: "8080", NodePort: 30001}},
	}
	if diff := cmp.Diff(want, serviceFact(s)); diff != "" {
		t.Error(diff)
	}
	s.Spec = corev1.ServiceSpec{ClusterIP: "None"}
	if got := serviceFact(s); !got.Headless || got.InternalTrafficPolicy != "Cluster" {
		t.Errorf("%+v", got)
	}
}

func TestEndpointConditionsAreReadAsKubeProxyDoes(t *testing.T) {
	endpoint := func(ip string, c discoveryv1.EndpointConditions) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: c}
	}
	got := endpointFacts([]discoveryv1.EndpointSlice{{Endpoints: []discoveryv1.Endpoint{
		endpoint("3", discoveryv1.EndpointConditions{}),
		endpoint("2", discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}),
		endpoint("1", discoveryv1.EndpointConditions{Ready: new(false)}),
	}}})
	want := []record.Endpoint{{Address: "1"}, {Address: "2", Serving: true, Terminating: true}, {Address: "3", Ready: true, Serving: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
