package main_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

// kindRow is one row of what was measured with curl on a kind cluster (kind v0.33.0, Kubernetes v1.36.3, kindnet), with the
// stream of scenario source-ip-matrix that repeats it. The lab's worker and worker2 stand for the workers there, worker3 for
// the control plane, which had no pods either.
type kindRow struct {
	stream string
	about  string   // as the table has it
	at     string   // node whose rules decide
	nodes  []string // whose pods answered; none: end says why
	near   string   // whom pods of that node saw: client, client-node, node or gateway
	far    string   // whom the others saw
	end    string   // timeout or refused: of every connection
}

func kindTable() []kindRow {
	all, first, second := []string{"worker", "worker2"}, []string{"worker"}, []string{"worker2"}
	return []kindRow{
		{"pod-worker-cluster-ip", "A pod to ClusterIP, client on w1", "worker", all, "client", "client", ""},
		{"pod-worker2-cluster-ip", "A pod to ClusterIP, client on w2", "worker2", all, "client", "client", ""},
		{"pod-worker3-cluster-ip", "A pod to ClusterIP, client on cp", "worker3", all, "", "client", ""},
		{"node-worker-cluster-ip", "B node w1 to ClusterIP", "worker", all, "gateway", "node", ""},
		{"node-worker3-cluster-ip", "B node cp to ClusterIP", "worker3", all, "", "node", ""},
		{"external-worker", "D eTP Cluster, host to w1", "worker", all, "gateway", "node", ""},
		{"external-worker2", "D eTP Cluster, host to w2", "worker2", all, "gateway", "node", ""},
		{"external-worker3", "D eTP Cluster, host to cp", "worker3", all, "", "node", ""},
		{"pod-own-port", "E4 eTP Cluster, pod on w1 to own node", "worker", all, "gateway", "node", ""},
		{"pod-other-port", "E4 eTP Cluster, pod on w1 to w2", "worker2", all, "gateway", "node", ""},
		{"node-own-port", "a process of w1 to its own port", "worker", all, "gateway", "node", ""},
		{"node-other-port", "a process of w1 to w2", "worker2", all, "gateway", "node", ""},
		{"node-localhost", "G 127.0.0.1 on w1, eTP Cluster", "worker", all, "gateway", "node", ""},
		{"local-external-worker", "E eTP Local, host to w1", "worker", first, "client", "", ""},
		{"local-external-worker2", "E eTP Local, host to w2", "worker2", second, "client", "", ""},
		{"local-external-worker3", "E eTP Local, host to cp", "worker3", nil, "", "", "timeout"},
		{"local-cluster-ip", "eTP Local does not concern ClusterIP", "worker3", all, "", "client", ""},
		{"local-pod-own-port", "E3 eTP Local, pod on w1 to own node", "worker", all, "client", "client", ""},
		{"local-pod-own-port-no-pod", "E3 eTP Local, pod on cp to own node", "worker3", all, "", "client", ""},
		{"local-pod-other-port", "E3 eTP Local, pod on cp to w1", "worker", first, "client-node", "", ""},
		{"local-pod-other-port-no-pod", "E3 the same to a node without a pod", "worker3", nil, "", "", "timeout"},
		{"local-node-own-port", "E2 eTP Local, w1 to itself", "worker", all, "gateway", "node", ""},
		{"local-node-own-port-no-pod", "E2 eTP Local, cp to itself", "worker3", all, "", "node", ""},
		{"local-node-localhost", "E2 eTP Local, 127.0.0.1 on cp", "worker3", all, "", "node", ""},
		{"internal-pod-worker", "F iTP Local, client on w1", "worker", first, "client", "", ""},
		{"internal-pod-worker3", "F iTP Local, client on cp", "worker3", nil, "", "", "timeout"},
		{"internal-node-worker", "F iTP Local, a process of w1", "worker", first, "gateway", "", ""},
		{"internal-node-worker3", "F iTP Local, a process of cp", "worker3", nil, "", "", "timeout"},
		{"nobody-cluster-ip", "I no endpoints, ClusterIP", "worker", nil, "", "", "refused"},
		{"nobody-external", "I no endpoints, NodePort from the host", "worker", nil, "", "", "refused"},
		{"nobody-node", "I no endpoints, NodePort on the node", "worker", nil, "", "", "refused"},
	}
}

// TestTheLabAgreesWithKind holds what pods of the lab saw, connection by connection, against the table of a kind cluster.
// What the analyzer makes of addresses has no part in it.
func TestTheLabAgreesWithKind(t *testing.T) {
	for _, mode := range []string{"iptables", "nftables"} {
		t.Run(mode, func(t *testing.T) {
			c := newCLI(t)
			c.lab(t, mode)
			rep, rec := c.scenario(t, "source-ip-matrix")
			checkProgrammed(t, rec)
			for _, p := range rep.Paths {
				if len(p.Deviations) > 0 {
					t.Errorf("%s: %v", p.Stream, p.Deviations)
				}
			}
			for _, row := range kindTable() {
				if local := row.stream == "node-localhost" || row.stream == "local-node-localhost"; local && mode == "nftables" {
					row.nodes, row.end = nil, "refused" // "G: works; nftables: connection refused"
				}
				t.Run(row.stream, func(t *testing.T) { row.check(t, rec) })
			}
			t.Run("hairpin", func(t *testing.T) { checkHairpin(t, rec) })
		})
	}
}

// connectionsOf are the connections of a stream, and the agents that opened them.
func connectionsOf(t *testing.T, rec *record.Record, stream string) ([]record.Connection, map[string]record.AgentRef) {
	t.Helper()
	agents := map[string]record.AgentRef{}
	for _, s := range rec.Streams {
		if s.ID == stream {
			for _, a := range s.Agents {
				agents[a.Name] = a
			}
		}
	}
	var out []record.Connection
	for _, c := range rec.Connections {
		if c.Stream == stream {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		t.Fatal("no connection")
	}
	return out, agents
}

func (row kindRow) check(t *testing.T, rec *record.Record) {
	t.Helper()
	connections, agents := connectionsOf(t, rec, row.stream)
	nodes := map[string]bool{}
	for _, c := range connections {
		if row.end != "" {
			if string(c.Error) != row.end || c.Backend != "" {
				t.Errorf("%s: got %q from %q, want %s", row.about, c.Error, c.Backend, row.end)
			}
			continue
		}
		node := podNode(rec, c.Backend)
		nodes[node] = true
		who := row.far
		if node == row.at {
			who = row.near
		}
		if got, want := observedIP(t, c), row.address(t, rec, who, agents[c.Agent]); got != want {
			t.Errorf("%s: a pod of %s saw %s, want the %s, %s", row.about, node, got, who, want)
		}
	}
	var got []string
	for n := range nodes {
		got = append(got, n)
	}
	slices.Sort(got)
	if diff := cmp.Diff(row.nodes, got); row.end == "" && diff != "" {
		t.Errorf("%s: pods of these nodes answered (-want +got):\n%s", row.about, diff)
	}
}

// address is the address that a word of the table stands for.
func (row kindRow) address(t *testing.T, rec *record.Record, who string, client record.AgentRef) string {
	t.Helper()
	switch who {
	case "client":
		return client.IPs[0]
	case "client-node":
		return nodeOfFacts(t, rec, client.Node).IPs[0]
	case "node":
		return nodeOfFacts(t, rec, row.at).IPs[0]
	case "gateway":
		return gatewayOf(t, rec, row.at)
	}
	t.Fatalf("%s: pods of a node that should not have answered did", row.about)
	return ""
}

func nodeOfFacts(t *testing.T, rec *record.Record, name string) record.Node {
	t.Helper()
	for _, n := range rec.Facts.Cluster.Nodes {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("the facts have no node %q", name)
	return record.Node{}
}

// gatewayOf is the node's end of its pods' links: the first address of its pods' network.
func gatewayOf(t *testing.T, rec *record.Record, node string) string {
	t.Helper()
	prefix, err := netip.ParsePrefix(nodeOfFacts(t, rec, node).PodCIDRs[0])
	if err != nil {
		t.Fatal(err)
	}
	return prefix.Addr().Next().String()
}

func podNode(rec *record.Record, pod string) string {
	for _, p := range rec.Facts.Pods {
		if p.Name == pod {
			return p.Node
		}
	}
	return ""
}

func observedIP(t *testing.T, c record.Connection) string {
	t.Helper()
	ap, err := netip.ParseAddrPort(c.Observed)
	if err != nil {
		t.Fatalf("connection %d: %v", c.ID, err)
	}
	return ap.Addr().Unmap().String()
}

// checkHairpin is row H: an echo pod that dials its own Service sees its gateway where it meets itself, and elsewhere pods see
// the pod. That one of four pods never meets itself in 120 connections is a chance of 0.75^120, one in 10^15.
func checkHairpin(t *testing.T, rec *record.Record) {
	t.Helper()
	connections, agents := connectionsOf(t, rec, "hairpin")
	met := map[string]bool{}
	for _, c := range connections {
		want := agents[c.Agent].IPs[0]
		if c.Agent == c.Backend {
			met[c.Agent] = true
			want = gatewayOf(t, rec, agents[c.Agent].Node)
		}
		if got := observedIP(t, c); got != want {
			t.Errorf("%s dialled its Service and %s answered, who saw %s, want %s", c.Agent, c.Backend, got, want)
		}
	}
	if len(met) != 4 || len(agents) != 4 {
		t.Errorf("%d of %d pods met themselves, want all 4", len(met), len(agents))
	}
}
