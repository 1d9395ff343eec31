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

func TestSourcePortsAreThoseOfClientsOutside(t *testing.T) {
	const outside = "name: web, vantage: external, target: nodePort, duration: 5s, "
	for name, c := range map[string]struct{ client, want string }{
		"a port for each connection":         {"{" + outside + "connections: 424, sourcePorts: {from: 600, to: 1023}}", ""},
		"a port of each address":             {"{" + outside + "connections: 8, sourceAddresses: 4, sourcePorts: {from: 600, to: 601}}", ""},
		"more connections than ports":        {"{" + outside + "connections: 9, sourcePorts: {from: 600, to: 602}}", "9 connections from one address have 3 ports: write a longer range, fewer connections or sourceAddresses: 3"},
		"an address with too many":           {"{" + outside + "connections: 9, sourceAddresses: 2, sourcePorts: {from: 600, to: 602}}", "5 connections from one address have 3 ports"},
		"one end":                            {"{" + outside + "connections: 1, sourcePorts: {from: 600}}", "spec.clients[0].sourcePorts.to: missing: write both ends"},
		"the other end":                      {"{" + outside + "connections: 1, sourcePorts: {to: 600}}", "spec.clients[0].sourcePorts.from: missing: write both ends"},
		"upside down":                        {"{" + outside + "connections: 1, sourcePorts: {from: 602, to: 600}}", "602 to 600 is no range: write the lower port first"},
		"no port":                            {"{" + outside + "connections: 1, sourcePorts: {from: 0, to: 600}}", "0 is out of range: 1 to 65535"},
		"beyond the last port":               {"{" + outside + "connections: 1, sourcePorts: {from: 600, to: 70000}}", "70000 is out of range: 1 to 65535"},
		"a pod":                              {"{name: web, connections: 1, duration: 5s, sourcePorts: {from: 600, to: 601}}", "write vantage: external, or remove it"},
		"a protocol that does not have them": {"{" + outside + "protocol: udp, connections: 1, sourcePorts: {from: 600, to: 601}}", "udp clients leave the choice to the kernel"},
		"several clients on one address":     {"{" + outside + "count: 2, connections: 1, sourcePorts: {from: 600, to: 601}}", "2 clients on one node would want the same ports"},
		"several clients on several":         {"{" + outside + "count: 2, connections: 2, sourceAddresses: 2, sourcePorts: {from: 600, to: 601}}", ""},
	} {
		got := problemsOf(t, "    - name: web\n      connections: 4\n      duration: 5s\n", "    - "+c.client+"\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
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
