package cluster

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/record"
)

func TestWhatANodeSaysToALoadBalancer(t *testing.T) {
	const yes = `{"service":{"namespace":"x","name":"echo"},"localEndpoints":3,"serviceProxyHealthy":true}`
	const no = `{"service":{"namespace":"x","name":"echo"},"localEndpoints":0,"serviceProxyHealthy":true}`
	for _, c := range []struct {
		name   string
		status int
		weight string
		body   string
		want   record.HealthCheck
	}{
		{"it has pods", 200, "3", yes, record.HealthCheck{Status: 200, Endpoints: 3, Weight: 3}},
		{"it has none", 503, "0", no, record.HealthCheck{Status: 503}},
		{"an older kube-proxy says no weight", 200, "", yes, record.HealthCheck{Status: 200, Endpoints: 3}},
		{"a weight that is no number", 200, "many", yes, record.HealthCheck{Status: 200, Endpoints: 3}},
		{"a weight below nothing", 200, "-1", yes, record.HealthCheck{Status: 200, Endpoints: 3}},
		{"the API server does not reach it", 503, "", `{"kind":"Status","status":"Failure","message":"error trying to reach service: dial tcp: refused","code":503}`,
			record.HealthCheck{Error: "error trying to reach service: dial tcp: refused"}},
		{"the API server says no", 403, "", `{"kind":"Status","message":"nodes \"w\" is forbidden","code":403}`, record.HealthCheck{Error: `nodes "w" is forbidden`}},
		{"something else answers", 200, "", "ok", record.HealthCheck{Error: "HTTP status 200"}},
		{"negative endpoints", 200, "", `{"localEndpoints":-4}`, record.HealthCheck{Status: 200}},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := http.Header{}
			if c.weight != "" {
				header.Set("X-Load-Balancing-Endpoint-Weight", c.weight)
			}
			var got record.HealthCheck
			if healthAnswer(&got, c.status, header, []byte(c.body)); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestWhatTheBalancerSaysOfItself(t *testing.T) {
	for text, want := range map[string][]record.BalancerNode{
		"worker=1,worker2=3": {{Node: "worker", Weight: 1}, {Node: "worker2", Weight: 3}},
		"worker=1":           {{Node: "worker", Weight: 1}},
		"":                   nil, "worker": nil, "worker=0": nil, "=1": nil, "worker=1,": nil, "worker=x": nil,
		strings.Repeat("w=1,", 20_000) + "w=1": nil,
	} {
		if got := balancerNodes(text); !slices.Equal(got, want) {
			t.Errorf("%.40q: %v, want %v", text, got, want)
		}
	}
}

func TestTheBalancerHasSettledWhenItDoesWhatNodesSay(t *testing.T) {
	checks := []record.HealthCheck{{Node: "a", Status: 200, Weight: 1}, {Node: "b", Status: 200, Weight: 3}, {Node: "c", Status: 503}}
	none := []record.HealthCheck{{Node: "a", Status: 503}, {Node: "b", Status: 503}}
	for _, c := range []struct {
		name, nodes string
		checks      []record.HealthCheck
		weighted    bool
		want        string
	}{
		{"it has not looked", "", checks, false, "it has not said anything"},
		{"it has", "a=1,b=1", checks, false, ""},
		{"it still uses a node without pods", "a=1,b=1,c=1", checks, false, "c wants no connections and gets some"},
		{"it has not seen a node's pods", "a=1", checks, false, "b wants connections and gets none"},
		{"it weighs", "a=1,b=3", checks, true, ""},
		{"it does not weigh yet", "a=1,b=1", checks, true, "b says weight 3 and has 1"},
		{"no node wants any: all get some", "a=1,b=1", none, false, ""},
		{"under Cluster nobody is asked", "a=1,b=1,c=1", nil, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := unsettled(record.Service{Balancer: balancerNodes(c.nodes)}, c.checks, c.weighted); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
