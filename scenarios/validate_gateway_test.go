package scenarios

import (
	"strings"
	"testing"
)

// gatewayFile is a scenario with a gateway and a client of these fields.
func gatewayFile(gateway, client string) string {
	file := "apiVersion: podskew.dev/v1alpha1\nkind: Scenario\nmetadata: {name: x}\nspec:\n  service: {type: ClusterIP}\n"
	if gateway != "" {
		file += "  gateway: {" + gateway + "}\n"
	}
	return file + "  clients:\n    - {name: web, connections: 2, duration: 1s, " + client + "}\n"
}

func TestGatewaysThatCannotBeSayWhatToWrite(t *testing.T) {
	const through = "target: gateway"
	for _, tc := range []struct{ name, gateway, client, want string }{
		{"nobody goes through", "proxy: nginx", "target: clusterIP", "spec.gateway: no client goes through it"},
		{"there is none", "", through, "there is no gateway: write spec.gateway"},
		{"it is no proxy", "proxy: envoy", through, `"envoy" is not known`},
		{"the proxy is missing", "replicas: 1", through, "spec.gateway.proxy: missing"},
		{"a policy for the Service", "proxy: nginx, policy: random", through, "write upstream: pods, or remove policy"},
		{"cookies of nginx", "proxy: nginx, upstream: pods, policy: cookie", through, "open source nginx sets no cookies"},
		{"random of HAProxy", "proxy: haproxy, upstream: pods, policy: random", through, "hash ring"},
		{"a hash of nothing", "proxy: haproxy, upstream: pods, policy: headerHash", through, "spec.gateway.header: missing"},
		{"a header for turns", "proxy: haproxy, upstream: pods, header: X-A", through, "only policy headerHash looks at a header"},
		{"a header with a blank", "proxy: haproxy, upstream: pods, policy: headerHash, header: \"X A\"", through, "is not the name of a header"},
		{"PROXY protocol of nginx", "proxy: nginx, sendProxyProtocol: true", through, "nginx sends PROXY protocol as a layer 4 proxy only"},
		{"PROXY protocol on shared connections", "proxy: haproxy, sendProxyProtocol: true, keepAlive: 2", through, "names one client for each connection"},
		{"too many idle connections", "proxy: nginx, keepAlive: 100000", through, "spec.gateway.keepAlive: 100000 is out of range"},
		{"a policy for traffic from outside", "proxy: nginx, externalTrafficPolicy: Local", through, "a Service of type ClusterIP has no external traffic"},
		{"clients outside", "proxy: nginx", "vantage: external, target: gateway", "write spec.gateway.type: NodePort"},
		{"another protocol", "proxy: nginx", through + ", protocol: grpc", "the gateway speaks HTTP/1.1"},
		{"encrypted", "proxy: nginx", through + ", tls: true", "the gateway has no certificate"},
		{"a session of nothing", "proxy: nginx", through + ", session: {}", "says nothing: write header: NAME, or cookie: true"},
		{"a session of both", "proxy: nginx", through + ", session: {header: X-A, cookie: true}", "a session goes by a header or by cookies"},
		{"a value of no header", "proxy: nginx", through + ", session: {cookie: true, value: podIP}", "is what the header says, and none is named"},
		{"an unknown value", "proxy: nginx", through + ", session: {header: X-A, value: pod}", `"pod" is not known`},
		{"a session of gRPC", "", "target: clusterIP, protocol: grpc, session: {cookie: true}", "only http1 clients keep sessions"},
	} {
		_, err := Load("x.yaml", []byte(gatewayFile(tc.gateway, tc.client)))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestGatewaysHaveDefaults(t *testing.T) {
	s, err := Load("x.yaml", []byte(gatewayFile("proxy: nginx", "target: gateway, session: {header: X-A}")))
	if err != nil {
		t.Fatal(err)
	}
	if g := s.Spec.Gateway; g.Upstream != UpstreamService || g.Policy != "" || g.Replicas != 1 || g.Type != "ClusterIP" {
		t.Errorf("gateway %+v", g)
	}
	if v := s.Spec.Clients[0].Session.Value; v != SessionOwn {
		t.Errorf("the header says %q", v)
	}
	s, err = Load("x.yaml", []byte(gatewayFile("proxy: caddy, upstream: pods", "target: gateway")))
	if err != nil || s.Spec.Gateway.Policy != PolicyRoundRobin {
		t.Errorf("gateway %+v, %v", s, err)
	}
}
