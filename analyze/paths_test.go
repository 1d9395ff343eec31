package analyze_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// pathRecord is three streams from a pod on n1 to a Service with a pod on n1 and one on n2: at its cluster IP, at n1's port
// from the node itself, and at a second Service without endpoints.
func pathRecord() *record.Record {
	node := func(name string, i int) record.Node {
		return record.Node{Name: name, IPs: []string{fmt.Sprintf("10.0.0.%d", i)}, PodCIDRs: []string{fmt.Sprintf("10.244.%d.0/24", i)}, Ready: true,
			Proxy: record.Proxy{Mode: "iptables"}}
	}
	rec := &record.Record{
		Facts: record.Facts{
			Cluster: record.Cluster{Provider: "lab", ProxyMode: "iptables", Nodes: []record.Node{node("n1", 1), node("n2", 2)}},
			Services: []record.Service{
				{Name: "echo", Type: "NodePort", ClusterIPs: []string{"10.96.0.1"}, ExternalTrafficPolicy: "Cluster", InternalTrafficPolicy: "Cluster"},
				{Name: "nobody", Type: "ClusterIP", ClusterIPs: []string{"10.96.0.2"}, InternalTrafficPolicy: "Cluster"},
			},
			Endpoints: []record.Endpoint{
				{Service: "echo", Address: "10.244.1.5", Pod: "e1", Node: "n1", Ready: true, Serving: true},
				{Service: "echo", Address: "10.244.2.5", Pod: "e2", Node: "n2", Ready: true, Serving: true},
			},
			Pods: []record.Pod{
				{Name: "e1", Role: "echo", IPs: []string{"10.244.1.5"}, Node: "n1", Ready: true}, {Name: "e2", Role: "echo", IPs: []string{"10.244.2.5"}, Node: "n2", Ready: true},
			},
		},
		End: &record.End{Seconds: 1},
	}
	stream := func(id, vantage, target, service, address, dialled, ip string) {
		rec.Streams = append(rec.Streams, record.Stream{
			ID: id, Client: id, Vantage: vantage, Target: target, Service: service, RequestsPerConnection: 1, Protocol: "http1",
			Addresses: []record.Address{{HostPort: address, Node: dialled}}, Agents: []record.AgentRef{{Name: "web-0", Node: "n1", IPs: []string{ip}}},
		})
	}
	stream("pods", "pod", "clusterIP", "echo", "10.96.0.1:80", "", "10.244.1.9")
	stream("own", "node", "nodePort", "echo", "127.0.0.1:30080", "", "10.0.0.1")
	stream("dead", "pod", "clusterIP", "nobody", "10.96.0.2:80", "", "10.244.1.9")
	return rec
}

// answered adds connections of one request each that pod answered and that came, for it, from observed.
func answered(rec *record.Record, stream, address, pod, observed string, n int) {
	for range n {
		id := len(rec.Connections) + 1
		rec.Connections = append(rec.Connections, record.Connection{Stream: stream, Agent: "web-0", ID: id, Address: address, Connected: 0.01,
			Requests: 1, Backend: pod, Observed: observed + ":40000"})
	}
	rec.Tallies = append(rec.Tallies, record.Tally{Stream: stream, Agent: "web-0", Address: address, Backend: pod, Observed: observed, Requests: n})
}

// failed adds connections that nobody answered.
func failed(rec *record.Record, stream, address string, kind record.ErrorKind, n int) {
	for range n {
		id := len(rec.Connections) + 1
		rec.Connections = append(rec.Connections, record.Connection{Stream: stream, Agent: "web-0", ID: id, Address: address, Error: kind})
	}
	rec.Tallies = append(rec.Tallies, record.Tally{Stream: stream, Agent: "web-0", Address: address, Requests: n, Errors: map[record.ErrorKind]int{kind: n}})
}

func asTheRulesSay(rec *record.Record) {
	answered(rec, "pods", "10.96.0.1:80", "e1", "10.244.1.9", 30)
	answered(rec, "pods", "10.96.0.1:80", "e2", "10.244.1.9", 30)
	answered(rec, "own", "127.0.0.1:30080", "e1", "10.244.1.1", 30)
	answered(rec, "own", "127.0.0.1:30080", "e2", "10.0.0.1", 30)
	failed(rec, "dead", "10.96.0.2:80", record.ErrRefused, 4)
}

func pathsIn(t *testing.T, rec *record.Record) map[string]analyze.Path {
	t.Helper()
	rep, err := analyze.Analyze(rec, nil, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]analyze.Path{}
	for _, p := range rep.Paths {
		out[p.Stream] = p
	}
	return out
}

func TestPathsThatAreAsTheRulesHaveThem(t *testing.T) {
	rec := pathRecord()
	asTheRulesSay(rec)
	paths := pathsIn(t, rec)
	if len(paths) != 3 {
		t.Fatalf("%d paths, want 3", len(paths))
	}
	for name, p := range paths {
		if len(p.Deviations) > 0 {
			t.Errorf("%s: %v", name, p.Deviations)
		}
	}
	if p := paths["own"]; p.To != "127.0.0.1" || p.From != "n1" || p.Policy != "Cluster" || p.Reachable != 2 || len(p.Measured.Sources) != 2 {
		t.Errorf("the node's own port: %+v", p)
	}
	if p := paths["dead"]; p.Measured.Outcome != "refused" || p.Expected.Outcome != "refused" || p.Measured.Connections != 4 || p.Measured.Answered != 0 {
		t.Errorf("without endpoints: %+v", p)
	}
}

func TestPathsThatDeviate(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*record.Record)
		stream string
		says   string // "": it does not deviate
	}{
		"a rewritten pod": {func(rec *record.Record) {
			answered(rec, "pods", "10.96.0.1:80", "e2", "10.0.0.1", 3)
		}, "pods", "client-node (10.0.0.1) instead of client"},
		"dropped, not refused": {func(rec *record.Record) {
			failed(rec, "dead", "10.96.0.2:80", record.ErrTimeout, 4)
		}, "dead", "dropped instead of refused"},
		"refused now and then, as the kernel says no": {func(rec *record.Record) {
			failed(rec, "dead", "10.96.0.2:80", record.ErrTimeout, 3)
			failed(rec, "dead", "10.96.0.2:80", record.ErrRefused, 1)
		}, "dead", ""},
		"answered, though there is no endpoint": {func(rec *record.Record) {
			answered(rec, "dead", "10.96.0.2:80", "e1", "10.244.1.9", 4)
		}, "dead", "rules do not let it reach: e1"},
		"a pod that is never reached": {func(rec *record.Record) {
			answered(rec, "own", "127.0.0.1:30080", "e1", "10.244.1.1", 30)
		}, "own", "never reached, though the rules let it: e2"},
		"some that fail": {func(rec *record.Record) {
			answered(rec, "own", "127.0.0.1:30080", "e1", "10.244.1.1", 9)
			answered(rec, "own", "127.0.0.1:30080", "e2", "10.0.0.1", 9)
			failed(rec, "own", "127.0.0.1:30080", record.ErrReset, 2)
		}, "own", "18 of 20 connections answered, 2 reset instead of answered"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := pathRecord()
			row.change(rec)
			got := strings.Join(pathsIn(t, rec)[row.stream].Deviations, "; ")
			if row.says == "" && got != "" || !strings.Contains(got, row.says) {
				t.Errorf("says %q, want %q", got, row.says)
			}
		})
	}
}

func TestFewStreamsOfOneServiceHaveNoPaths(t *testing.T) {
	rec := pathRecord()
	rec.Streams = rec.Streams[:2]
	answered(rec, "pods", "10.96.0.1:80", "e1", "10.244.1.9", 30)
	if paths := pathsIn(t, rec); len(paths) != 0 {
		t.Errorf("%d paths of two streams of one Service", len(paths))
	}
}
