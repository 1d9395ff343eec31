package scenarios

import (
	"strings"
	"testing"
)

func TestUnmetNeeds(t *testing.T) {
	kill := &Scenario{Spec: Spec{Events: []Event{{Scale: new(3)}, {KillNode: "worker"}}}}
	needs := func(r Requires) *Scenario { return &Scenario{Spec: Spec{Requires: &r}} }
	for _, row := range []struct {
		name string
		s    *Scenario
		in   Environment
		want string
	}{
		{"nothing is needed", &Scenario{}, Environment{Provider: "current", ProxyMode: "unknown"}, ""},
		{"the mode is there", needs(Requires{ProxyModes: []string{"iptables"}}), Environment{Provider: "lab", ProxyMode: "iptables"}, ""},
		{"the mode is one of two", needs(Requires{ProxyModes: []string{"iptables", "ipvs"}}), Environment{Provider: "kind", ProxyMode: "ipvs"}, ""},
		{"another mode", needs(Requires{ProxyModes: []string{"iptables", "ipvs"}}), Environment{Provider: "lab", ProxyMode: "nftables"}, "it needs kube-proxy in iptables or ipvs mode, here it is in nftables mode"},
		{"nodes differ", needs(Requires{ProxyModes: []string{"iptables"}}), Environment{Provider: "current", ProxyMode: "mixed"}, "it needs kube-proxy in iptables mode, and here its mode is not known"},
		{"the cluster is the one", needs(Requires{Providers: []string{"lab", "kind"}}), Environment{Provider: "kind"}, ""},
		{"another cluster", needs(Requires{Providers: []string{"lab", "kind"}}), Environment{Provider: "current"}, "it needs cluster lab or kind, this is current"},
		{"nodes are killed on the lab", kill, Environment{Provider: "lab", ProxyMode: "nftables"}, ""},
		{"nodes are killed nowhere else", kill, Environment{Provider: "kind", ProxyMode: "nftables"}, "it takes the power from a node, which only the lab can do"},
		{"APIs are asked of the API server", needs(Requires{APIs: []string{"a.io/v1"}}), Environment{Provider: "lab"}, ""},
	} {
		if got := Unmet(row.s, row.in); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestNeedsAreKnown(t *testing.T) {
	text := strings.Replace(valid, "spec:\n", "spec:\n  requires:\n    proxyModes: [iptable, ipvs, ipvs]\n    providers: [minikube]\n    apis: [networking.istio.io, DestinationRule, apps/v1]\n", 1)
	_, err := Load("x.yaml", []byte(text))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`x.yaml:7:18: spec.requires.proxyModes[0]: "iptable" is not known: did you mean iptables? Allowed: nftables, iptables, ipvs`,
		`x.yaml:7:33: spec.requires.proxyModes[2]: ipvs is named twice: remove one`,
		`x.yaml:8:17: spec.requires.providers[0]: "minikube" is not known: allowed: lab, kind, current`,
		`x.yaml:9:12: spec.requires.apis[0]: "networking.istio.io" is not an API version: write group/version, such as networking.istio.io/v1`,
		`spec.requires.apis[1]: "DestinationRule" is not an API version`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "apis[2]") {
		t.Errorf("apps/v1 is refused:\n%v", err)
	}
}

func TestTopics(t *testing.T) {
	for _, row := range []struct {
		name string
		spec Spec
		own  string
		want string
	}{
		{"its own", Spec{Gateway: &Gateway{}}, "affinity", "affinity"},
		{"a gateway", Spec{Gateway: &Gateway{}, Events: []Event{{}}}, "", "gateways"},
		{"events", Spec{Events: []Event{{}}, Service: Service{SessionAffinity: "ClientIP"}}, "", "changes"},
		{"affinity", Spec{Service: Service{SessionAffinity: "ClientIP", ExternalTrafficPolicy: "Local"}}, "", "affinity"},
		{"a policy", Spec{Service: Service{InternalTrafficPolicy: "Local"}}, "", "policies"},
		{"a policy of another Service", Spec{Services: []Service{{TrafficDistribution: "PreferClose"}}}, "", "policies"},
		{"clients outside", Spec{Clients: []Client{{Vantage: VantagePod}, {Vantage: VantageExternal}}}, "", "addresses"},
		{"nothing special", Spec{Clients: []Client{{Vantage: VantagePod}}}, "", "connections"},
	} {
		got := TopicOf(&Scenario{Metadata: Metadata{Topic: row.own}, Spec: row.spec})
		if got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	if _, err := Load("x.yaml", []byte(strings.Replace(valid, "name: base\n", "name: base\n  topic: afinity\n", 1))); err == nil || !strings.Contains(err.Error(), "did you mean affinity?") {
		t.Errorf("an unknown topic: %v", err)
	}
}
