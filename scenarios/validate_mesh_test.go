package scenarios

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// meshFile is a scenario whose rule has this load balancer, with more of its spec and a client of these fields.
func meshFile(balancer, spec, client string) string {
	return "apiVersion: podskew.dev/v1alpha1\nkind: Scenario\nmetadata: {name: x}\nspec:\n  " + spec + "\n" +
		"  destinationRule: {trafficPolicy: {loadBalancer: {" + balancer + "}}}\n" +
		"  clients:\n    - {name: web, connections: 2, duration: 1s, " + client + "}\n"
}

func TestDestinationRulesThatCannotBeSayWhatToWrite(t *testing.T) {
	const turns, plain, inside = "simple: ROUND_ROBIN", "service: {type: ClusterIP}", "target: clusterIP"
	for _, tc := range []struct{ name, balancer, spec, client, want string }{
		{"nothing", "", plain, inside, "says nothing: write simple: ROUND_ROBIN, or consistentHash"},
		{"both", turns + ", consistentHash: {useSourceIp: true}", plain, inside, "simple and consistentHash exclude each other"},
		{"an older way", "simple: LEAST_CONN", plain, inside, `"LEAST_CONN" is not known`},
		{"no key", "consistentHash: {ringHash: {minimumRingSize: 9}}", plain, inside, "0 keys to hash"},
		{"two keys", "consistentHash: {httpHeaderName: X-A, useSourceIp: true}", plain, inside, "2 keys to hash"},
		{"a key that is off", "consistentHash: {useSourceIp: false}", plain, inside, "false says nothing"},
		{"a header with a blank", `consistentHash: {httpHeaderName: "X A"}`, plain, inside, "is not the name of a header"},
		{"a cookie without a name", "consistentHash: {httpCookie: {ttl: 1s}}", plain, inside, "httpCookie.name: missing"},
		{"a cookie with a blank", `consistentHash: {httpCookie: {name: "a b"}}`, plain, inside, "is not the name of a cookie"},
		{"a cookie that lives for years", "consistentHash: {httpCookie: {name: a, ttl: 9000h}}", plain, inside, "out of range"},
		{"a ring without places", "consistentHash: {httpHeaderName: X-A, ringHash: {minimumRingSize: 0}}", plain, inside, "0 is out of range"},
		{"a gateway", turns, "gateway: {proxy: nginx}", "target: gateway", "a gateway would choose the pods"},
		{"a headless Service", turns, "service: {clusterIP: None}", "target: headless", "goes by the cluster IP"},
		{"affinity", turns, "service: {sessionAffinity: ClientIP}", inside, "affinity binds kube-proxy only"},
		{"Local", turns, "service: {internalTrafficPolicy: Local}", inside, "depends on Istio's version"},
		{"zones", turns, "service: {trafficDistribution: PreferSameZone}", inside, "depends on Istio's version"},
		{"a patched Service", turns, "events: [{at: 0s, patchService: {internalTrafficPolicy: Local}}]", inside, "bind kube-proxy only"},
		{"clients on nodes", turns, plain, "vantage: node", "write vantage: pod"},
		{"clients outside", turns, "service: {type: NodePort}", "vantage: external, target: nodePort", "write vantage: pod"},
		{"node ports", turns, "service: {type: NodePort}", "target: nodePort", "write target: clusterIP"},
		{"pods themselves", turns, plain, "target: podIP", "write target: clusterIP"},
		{"another protocol", turns, plain, "protocol: grpc", "write protocol: http1"},
		{"encrypted", turns, plain, "tls: true", "cannot read what clients encrypt"},
		{"clients in echo pods", turns, plain, "inEcho: true", "pods of their own"},
		{"another Service", turns, "services: [{name: other}]", "service: other", "is about spec.service"},
	} {
		_, err := Load("x.yaml", []byte(meshFile(tc.balancer, tc.spec, tc.client)))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestADestinationRuleIsReadAndWritten(t *testing.T) {
	const whole = "consistentHash: {httpCookie: {name: user_id, ttl: 90s}, ringHash: {minimumRingSize: 2048}}"
	s, err := Load("x.yaml", []byte(meshFile(whole, "service: {type: ClusterIP}", "session: {cookie: true}")))
	if err != nil {
		t.Fatal(err)
	}
	want := &ConsistentHash{HTTPCookie: &HTTPCookie{Name: "user_id", TTL: 90 * time.Second}, RingHash: &RingHash{MinimumRingSize: 2048}}
	if diff := cmp.Diff(want, s.Spec.DestinationRule.TrafficPolicy.LoadBalancer.ConsistentHash); diff != "" {
		t.Error(diff)
	}
	text, err := Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load("again.yaml", text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if diff := cmp.Diff(s.Spec.DestinationRule, again.Spec.DestinationRule); diff != "" {
		t.Error(diff)
	}
	if topic := TopicOf(s); topic != "gateways" {
		t.Errorf("topic %s", topic)
	}
}

func TestADestinationRuleNeedsItsAPI(t *testing.T) {
	file := meshFile("simple: RANDOM", "requires: {apis: [apps/v1]}", "target: clusterIP")
	s, err := Load("x.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if got := APIs(s); !slices.Equal(got, []string{"apps/v1", APIIstio}) {
		t.Errorf("it needs %q", got)
	}
	if got := s.Spec.Requires.APIs; len(got) != 1 {
		t.Errorf("asking what it needs changed the scenario: %q", got)
	}
	s.Spec.Requires.APIs = []string{APIIstio}
	if got := APIs(s); !slices.Equal(got, []string{APIIstio}) {
		t.Errorf("it needs %q", got)
	}
	s.Spec.DestinationRule, s.Spec.Requires = nil, nil
	if got := APIs(s); len(got) != 0 {
		t.Errorf("without a rule it needs %q", got)
	}
}
