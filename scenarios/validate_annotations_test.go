package scenarios

import (
	"strings"
	"testing"
)

// problemsOf loads the valid scenario after one replacement and returns what is wrong with it; "" nothing.
func problemsOf(t *testing.T, old, with string) string {
	t.Helper()
	if !strings.Contains(valid, old) {
		t.Fatalf("the valid scenario has no %q", old)
	}
	_, err := Load("test.yaml", []byte(strings.Replace(valid, old, with, 1)))
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAnnotationsOfAService(t *testing.T) {
	for annotation, want := range map[string]string{
		"service.kubernetes.io/topology-mode: Auto":      "",
		"service.kubernetes.io/topology-mode: disabled":  "",
		"service.kubernetes.io/topology-mode: auto ly":   "write Auto or Disabled",
		"podskew.dev/load-balancer-weights: endpoints":   "",
		"podskew.dev/load-balancer-weights: connections": "write endpoints",
		"example.com/whatever: 'anything: at all'":       "",
		"no prefix needed: x":                            "is no name of an annotation",
		"a/b/c: x":                                       "is no name of an annotation",
	} {
		got := problemsOf(t, "  service:\n", "  service:\n    annotations: {"+annotation+"}\n")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", annotation, got, want)
		}
	}
}

func TestLocalPortsAreAPodsOwn(t *testing.T) {
	for _, c := range []struct{ client, want string }{
		{"{name: web, localPorts: 200, connections: 4, duration: 5s}", ""},
		{"{name: web, localPorts: 5, connections: 4, duration: 5s}", "out of range: 10 to 32000"},
		{"{name: web, localPorts: 0, connections: 4, duration: 5s}", "out of range"},
		{"{name: web, vantage: node, localPorts: 200, connections: 4, duration: 5s}", "write vantage: pod, or remove it"},
	} {
		got := problemsOf(t, "    - name: web\n      connections: 4\n      duration: 5s\n", "    - "+c.client+"\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.client, got, c.want)
		}
	}
}

func TestExpectationsOfOneProxyMode(t *testing.T) {
	for _, c := range []struct{ expect, want string }{
		{"{finding: AffinityHeld, proxyMode: nftables}", ""},
		{"{finding: AffinityHeld, proxyMode: userspace}", "is not known"},
		{"{finding: AffinityHeld, proxyMode: nftables}\n    - {noFinding: AffinityHeld, proxyMode: iptables}", ""},
		{"{finding: AffinityHeld, proxyMode: nftables}\n    - {noFinding: AffinityHeld}", "wants this finding: remove one"},
		{"{finding: AffinityHeld}\n    - {noFinding: AffinityHeld, proxyMode: iptables}", "wants this finding: remove one"},
		{"{finding: AffinityHeld, proxyMode: ipvs}\n    - {finding: AffinityHeld, proxyMode: iptables}\n    - {noFinding: AffinityHeld, proxyMode: ipvs}", "wants this finding: remove one"},
	} {
		got := problemsOf(t, "    - finding: Balanced\n", "    - "+c.expect+"\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.expect, got, c.want)
		}
	}
}
