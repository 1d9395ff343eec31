package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// behind is keepalive with a gateway in front.
func behind(g scenarios.Gateway) *scenarios.Scenario {
	s := keepalive()
	s.Spec.Gateway = &g
	s.Spec.Clients[0].Target = scenarios.TargetGateway
	return s
}

func TestAGatewayIsDeployedBehindAServiceOfItsOwn(t *testing.T) {
	w := newWorld(labNodes()...)
	c := w.cluster(t, nil)
	c.provider = "kind"
	r := w.deploy(t, c, behind(scenarios.Gateway{Proxy: "haproxy", Replicas: 2, Upstream: "pods", Policy: "cookie", KeepAlive: 3}))
	did := w.did()
	for _, earlier := range []string{"apply services/gateway", "apply services/echo-pods", "apply deployments/echo"} {
		before(t, did, earlier, "create configmaps/gateway")
	}
	before(t, did, "create configmaps/gateway", "apply pods/gateway-0")
	before(t, did, "apply pods/gateway-1", "apply endpointslices/canary")

	config, err := w.CoreV1().ConfigMaps(r.Namespace()).Get(t.Context(), "gateway", metav1.GetOptions{})
	if err != nil || !strings.Contains(config.Data["haproxy.cfg"], "echo-pods.podskew-d0.svc.cluster.local:8080") {
		t.Errorf("config map %+v, %v", config, err)
	}
	facts, err := r.Facts(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := &record.Gateway{Service: "gateway", Behind: "echo", Proxy: "haproxy", Image: "docker.io/library/haproxy:3.2.4", Upstream: "pods", Policy: "cookie", KeepAlive: 3}
	if diff := cmp.Diff(want, facts.Gateway); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	if n := len(slices.DeleteFunc(facts.Pods, func(p record.Pod) bool { return p.Role != "gateway" })); n != 2 {
		t.Errorf("%d pods of the gateway", n)
	}
	stream := r.Streams()[0]
	if stream.Service != "echo" || len(stream.Addresses) != 1 || !strings.HasSuffix(stream.Addresses[0].HostPort, ":80") || stream.Addresses[0].HostPort == hostPort(r.service.Spec.ClusterIP, 80) {
		t.Errorf("stream %+v", stream)
	}
	for _, p := range r.canaryProbes() {
		if p.address != hostPort(r.gateway.Spec.ClusterIP, 81) {
			t.Errorf("the canary is asked for at %s", p.address)
		}
	}
}

func TestGatewayPodsHaveNoRightsTheyDoNotNeed(t *testing.T) {
	for _, proxy := range []string{"caddy", "haproxy", "nginx"} {
		w := newWorld(labNodes()...)
		c := w.cluster(t, nil)
		c.provider = "kind"
		r := w.deploy(t, c, behind(scenarios.Gateway{Proxy: proxy, Upstream: "service", Node: "worker2"}))
		p, err := w.CoreV1().Pods(r.Namespace()).Get(t.Context(), "gateway-0", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		container := p.Spec.Containers[0]
		security := container.SecurityContext
		if !*p.Spec.SecurityContext.RunAsNonRoot || !*security.ReadOnlyRootFilesystem || *security.AllowPrivilegeEscalation ||
			!slices.Contains(security.Capabilities.Drop, "ALL") || *p.Spec.AutomountServiceAccountToken {
			t.Errorf("%s: %+v", proxy, security)
		}
		if added := security.Capabilities.Add; len(added) > 0 && (proxy != "caddy" || !cmp.Equal(added, []corev1.Capability{"NET_BIND_SERVICE"})) {
			t.Errorf("%s is given %v", proxy, added)
		}
		if container.Command[0] != proxy || container.Image != gatewayImages()[proxy] {
			t.Errorf("%s: %v of %s", proxy, container.Command, container.Image)
		}
	}
}

func TestGatewaysStandOnTheNodeThatIsNamedOrOnWorkersInTurn(t *testing.T) {
	for _, tc := range []struct {
		g    scenarios.Gateway
		want []string
	}{
		{scenarios.Gateway{Proxy: "nginx", Replicas: 4}, []string{"worker", "worker2", "worker3", "worker"}},
		{scenarios.Gateway{Proxy: "nginx", Node: "control-plane"}, []string{"control-plane"}},
	} {
		_, l := completed(t, behind(tc.g))
		var got []string
		for _, p := range l.gateways {
			got = append(got, p.node)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tc.g, diff)
		}
	}
	for _, node := range []string{"external", "worker9"} {
		d := deploymentOf(behind(scenarios.Gateway{Proxy: "nginx", Node: node}))
		if _, err := newLayout(d, nodeList(labNodes())); err == nil || !strings.Contains(err.Error(), "spec.gateway.node") {
			t.Errorf("node %s: %v", node, err)
		}
	}
}

func TestAProxyThatTheLabLacksIsLackingAndNothingIsDeployed(t *testing.T) {
	for images, lacking := range map[string]bool{
		"podskew.dev/pod:dev":                           true,
		"podskew.dev/nginx:lab,podskew.dev/pod:dev":     true,
		"podskew.dev/haproxy:lab,podskew.dev/pod:dev":   false,
		"podskew.dev/haproxy:lab":                       false,
		"podskew.dev/haproxy:lab-too,podskew.dev/x:dev": true,
	} {
		nodes := labNodes()
		for _, n := range nodes {
			n.Annotations = map[string]string{annotationImages: images}
		}
		w := newWorld(nodes...)
		c := w.cluster(t, nil)
		c.provider = "lab"
		r, err := c.Deploy(t.Context(), deploymentOf(behind(scenarios.Gateway{Proxy: "haproxy", Upstream: "service"})), nil)
		if _, is := errors.AsType[*LackingError](err); is != lacking || lacking && len(w.did()) > 0 {
			t.Errorf("%s: %v, and it did %q", images, err, w.did())
		}
		if r != nil {
			r.Close()
		}
	}
}

func TestClientsOutsideDialTheGatewaysNodePorts(t *testing.T) {
	for policy, want := range map[string]int{"": 3, "Local": 1} {
		s := behind(scenarios.Gateway{Proxy: "nginx", Upstream: "service", Type: "NodePort", ExternalTrafficPolicy: policy})
		s.Spec.Clients[0].Vantage = scenarios.VantageExternal
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, nil), s)
		if got := r.Streams()[0].Addresses; len(got) != want || strings.HasSuffix(got[0].HostPort, ":80") {
			t.Errorf("policy %q: %+v", policy, got)
		}
	}
}

func TestGatewayImagesAreOverridden(t *testing.T) {
	for _, tc := range []struct{ provider, given, want string }{
		{"kind", "", "docker.io/library/nginx:1.28.0"},
		{"kind", "mirror/nginx:1", "mirror/nginx:1"},
		{"lab", "", "podskew.dev/nginx:lab"},
	} {
		d := deploymentOf(behind(scenarios.Gateway{Proxy: "nginx"}))
		if tc.given != "" {
			d.GatewayImages = map[string]string{"nginx": tc.given}
		}
		r := &Run{c: &Cluster{provider: tc.provider}, d: d}
		if got := r.gatewayImage(); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}
