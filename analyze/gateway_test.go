package analyze_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// gatewayRecord is a run of some clients, each with one slot for each of its sessions, through a gateway to so many pods. Each
// entry of sessions is where the requests of one session went, in order.
func gatewayRecord(pods int, g record.Gateway, session *record.StreamSession, sessions ...[]string) *record.Record {
	g.Service, g.Behind = "gateway", "echo"
	facts := record.Facts{
		Gateway: &g,
		Cluster: record.Cluster{Provider: "lab", ProxyMode: "nftables", Nodes: []record.Node{
			{Name: "worker", IPs: []string{"10.77.0.11"}, PodCIDRs: []string{"10.78.1.0/24"}, Ready: true, Proxy: record.Proxy{Mode: "nftables"}},
		}},
		Services: []record.Service{{Name: "echo", Type: "ClusterIP", ClusterIPs: []string{"10.79.1.1"}, SessionAffinity: "None", InternalTrafficPolicy: "Cluster"}},
		Pods: []record.Pod{
			{Name: "web-0", Role: "agent", IPs: []string{"10.78.1.200"}, Node: "worker", Ready: true},
			{Name: "gateway-0", Role: "gateway", IPs: []string{"10.78.1.100"}, Node: "worker", Ready: true},
		},
	}
	for i := range pods {
		name, ip := fmt.Sprintf("echo-%d", i), fmt.Sprintf("10.78.1.%d", 10+i)
		facts.Pods = append(facts.Pods, record.Pod{Name: name, Role: "echo", IPs: []string{ip}, Node: "worker", Ready: true})
		facts.Endpoints = append(facts.Endpoints, record.Endpoint{Service: "echo", Address: ip, Pod: name, Node: "worker", Ready: true, Serving: true})
	}
	after := facts
	rec := &record.Record{
		Run:   record.Run{ID: "g", Scenario: "gateway", Seed: 1, Tool: "test"},
		Facts: facts, FactsAfter: &after, End: &record.End{Seconds: 3},
		Streams: []record.Stream{{
			ID: "web", Client: "web", Vantage: "pod", Target: "gateway", Service: "echo", Protocol: "http1", Connections: len(sessions),
			Addresses: []record.Address{{HostPort: "10.79.1.9:80"}}, Session: session, Timeout: 5, ConnectTimeout: 2,
			Agents: []record.AgentRef{{Name: "web-0", Node: "worker", IPs: []string{"10.78.1.200"}}},
		}},
	}
	tallies := map[string]int{}
	for slot, reached := range sessions {
		c := record.Connection{
			Stream: "web", Agent: "web-0", ID: slot + 1, Slot: slot, Address: "10.79.1.9:80", Local: fmt.Sprintf("10.78.1.200:%d", 4000+slot),
			Opened: 0.001 * float64(slot), Connected: 0.001*float64(slot) + 0.0005, Closed: 2, Requests: len(reached), Backend: reached[0],
			Observed: "10.78.1.100:5000", Forwarded: "10.78.1.200",
		}
		for _, pod := range reached {
			tallies[pod]++
			if pod != c.Backend {
				if c.Others == nil {
					c.Others = map[string]int{}
				}
				c.Others[pod]++
			}
		}
		if session != nil && session.Header != "" {
			c.Key = "10.78.1.1" + strings.TrimPrefix(reached[0], "echo-")
		}
		rec.Connections = append(rec.Connections, c)
	}
	for i := range pods {
		pod := fmt.Sprintf("echo-%d", i)
		if n := tallies[pod]; n > 0 {
			t := record.Tally{Stream: "web", Agent: "web-0", Address: "10.79.1.9:80", Backend: pod, Observed: "10.78.1.100", Requests: n}
			t.Latency.Add(1_000_000, uint64(n))
			rec.Tallies = append(rec.Tallies, t)
		}
	}
	return rec
}

// wrongPods is two sessions for each of six pods that send the pod's address in a header, which a hash sends on to the pod after next,
// but for one that it happens to send to itself.
func wrongPods() *record.Record {
	var sessions [][]string
	for i := range 12 {
		to := fmt.Sprintf("echo-%d", (i+2)%6)
		if i%6 == 4 {
			to = "echo-4"
		}
		sessions = append(sessions, append([]string{fmt.Sprintf("echo-%d", i%6)}, slices.Repeat([]string{to}, 19)...))
	}
	return gatewayRecord(6, record.Gateway{Proxy: "haproxy", Upstream: "pods", Policy: "headerHash", Header: "X-Execution-Pod"},
		&record.StreamSession{Header: "X-Execution-Pod", Value: "podIP"}, sessions...)
}

func reportOn(t *testing.T, rec *record.Record, expect ...analyze.Expectation) *analyze.Report {
	t.Helper()
	r, err := analyze.Analyze(rec, expect, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func findingOf(r *analyze.Report, code analyze.Code) *analyze.Finding {
	for i := range r.Findings {
		if r.Findings[i].Code == code {
			return &r.Findings[i]
		}
	}
	return nil
}

func TestStickyAndToTheWrongPod(t *testing.T) {
	r := reportOn(t, wrongPods(), analyze.Expectation{Metric: "sessions.held", Equals: new(1.0)}, analyze.Expectation{Metric: "sessions.rightPod", Below: new(0.5)})
	f := findingOf(r, analyze.StickyToWrongPod)
	if f == nil || f.Evidence["keysRight"] != 1 || f.Evidence["keys"] != 6 || !strings.Contains(f.Summary, "1 of 6 keys") {
		t.Fatalf("finding %+v", f)
	}
	s := r.Streams[0].Sessions
	if s == nil || s.Count != 12 || s.Held != 12 || s.Named != 12*19 || s.Right != 2*19 {
		t.Errorf("sessions %+v", s)
	}
	if !r.Passed {
		t.Errorf("expectations %+v", r.Expectations)
	}
	if findingOf(r, analyze.AffinityHeld) != nil || r.Streams[0].Test.Unit != "session" {
		t.Errorf("unit %s, findings %+v", r.Streams[0].Test.Unit, r.Findings)
	}
}

func TestACookieLeadsBackToTheRightPod(t *testing.T) {
	var held, scattered [][]string
	for i := range 9 {
		held = append(held, slices.Repeat([]string{fmt.Sprintf("echo-%d", i%3)}, 10))
		scattered = append(scattered, []string{"echo-0", "echo-1", "echo-2", "echo-0", "echo-1", "echo-2"})
	}
	g := record.Gateway{Proxy: "haproxy", Upstream: "pods", Policy: "cookie"}
	cookie := &record.StreamSession{Cookie: true}
	r := reportOn(t, gatewayRecord(3, g, cookie, held...), analyze.Expectation{Metric: "sessions.rightPod", Equals: new(1.0)})
	if f := findingOf(r, analyze.AffinityHeld); f == nil || !r.Passed || findingOf(r, analyze.StickyToWrongPod) != nil {
		t.Errorf("findings %+v, expectations %+v", r.Findings, r.Expectations)
	}
	r = reportOn(t, gatewayRecord(3, g, cookie, scattered...), analyze.Expectation{Metric: "sessions.held", Equals: new(1.0)})
	if f := findingOf(r, analyze.AffinityBroken); f == nil || f.Severity != analyze.Error || r.Passed {
		t.Errorf("findings %+v, expectations %+v", r.Findings, r.Expectations)
	}
}

func TestWhatAGatewayChoosesFor(t *testing.T) {
	spread := [][]string{{"echo-0", "echo-1", "echo-2", "echo-0"}, {"echo-1", "echo-2"}}
	own := &record.StreamSession{Header: "X-S", Value: "session"}
	for name, tc := range map[string]struct {
		g        record.Gateway
		session  *record.StreamSession
		unit     string
		untested bool
	}{
		"in turn":                             {record.Gateway{Proxy: "nginx", Upstream: "pods", Policy: "roundRobin"}, nil, "request", true},
		"in turn, by names that DNS reorders": {record.Gateway{Proxy: "caddy", Upstream: "pods", Policy: "roundRobin"}, nil, "request", true},
		"at random":                           {record.Gateway{Proxy: "caddy", Upstream: "pods", Policy: "random"}, nil, "request", false},
		"by what is under way":                {record.Gateway{Proxy: "nginx", Upstream: "pods", Policy: "leastConnections"}, nil, "request", true},
		"by the client's address":             {record.Gateway{Proxy: "nginx", Upstream: "pods", Policy: "sourceHash"}, nil, "request", true},
		"by an even hash of a key":            {record.Gateway{Proxy: "caddy", Upstream: "pods", Policy: "headerHash", Header: "X-S"}, own, "session", false},
		"by a hash on a ring":                 {record.Gateway{Proxy: "nginx", Upstream: "pods", Policy: "headerHash", Header: "X-S"}, own, "session", true},
		"by a header that nobody sends":       {record.Gateway{Proxy: "caddy", Upstream: "pods", Policy: "headerHash", Header: "X-S"}, nil, "request", true},
		"by a cookie, at random":              {record.Gateway{Proxy: "caddy", Upstream: "pods", Policy: "cookie"}, &record.StreamSession{Cookie: true}, "session", false},
		"by a cookie, in turn":                {record.Gateway{Proxy: "haproxy", Upstream: "pods", Policy: "cookie"}, &record.StreamSession{Cookie: true}, "session", true},
		"kube-proxy for each request":         {record.Gateway{Proxy: "nginx", Upstream: "service"}, nil, "request", false},
		"kube-proxy, unseen by pods":          {record.Gateway{Proxy: "nginx", Upstream: "service", KeepAlive: 4}, nil, "request", true},
	} {
		got := reportOn(t, gatewayRecord(3, tc.g, tc.session, spread...)).Streams[0].Test
		if got.Unit != tc.unit || (got.Untested != "") != tc.untested {
			t.Errorf("%s: unit %s, untested %q", name, got.Unit, got.Untested)
		}
	}
}

func TestAFunnelsUnitsAreTheGatewaysConnections(t *testing.T) {
	var sessions [][]string
	for i := range 60 {
		sessions = append(sessions, []string{"echo-0"})
		if i%3 == 0 {
			sessions[i][0] = "echo-2"
		}
	}
	rec := gatewayRecord(4, record.Gateway{Proxy: "nginx", Upstream: "service", KeepAlive: 4}, nil, sessions...)
	rec.Servers = []record.Server{
		{Pod: "echo-0", At: 3, Requests: 40, Connections: 2, Rows: []record.ServerConnection{{Connection: 7, Client: "10.78.1.100:6000", Requests: 40}, {Connection: 8, Client: "10.78.1.99:1", Requests: 5}}},
		{Pod: "echo-1", At: 3}, {Pod: "echo-3", At: 3},
		{Pod: "echo-2", At: 3, Requests: 20, Connections: 1, Rows: []record.ServerConnection{{Connection: 3, Client: "10.78.1.100:6001", Requests: 20}}},
	}
	r := reportOn(t, rec)
	if got := r.Streams[0].Test; got.Unit != "upstreamConnection" || got.Units != 2 {
		t.Errorf("test %+v", got)
	}
	f := findingOf(r, analyze.ConnectionPinning)
	if f == nil || !strings.Contains(f.Summary, "2 connections of the gateway carried 60 requests") {
		t.Errorf("findings %+v", r.Findings)
	}
	if lost := findingOf(r, analyze.SourceIPLost); lost == nil || !lost.ByDesign || !strings.Contains(lost.Summary, "60 of 60 connections") {
		t.Errorf("findings %+v", r.Findings)
	}
	rec.Servers[0].Truncated = 1
	if got := reportOn(t, rec).Streams[0].Test; got.Unit != "request" || got.Untested == "" {
		t.Errorf("pods that do not list all: %+v", got)
	}
}

func TestTurnsOfAGatewayAreCountedOverAllClients(t *testing.T) {
	even := [][]string{{"echo-0", "echo-1", "echo-1", "echo-2"}, {"echo-0", "echo-2"}}
	uneven := append(slices.Clone(even), []string{"echo-0", "echo-0"})
	g := record.Gateway{Proxy: "haproxy", Upstream: "pods", Policy: "roundRobin"}
	if f := findingOf(reportOn(t, gatewayRecord(3, g, nil, even...)), analyze.RoundRobin); f == nil || !f.ByDesign {
		t.Errorf("finding %+v", f)
	}
	r := reportOn(t, gatewayRecord(3, g, nil, uneven...))
	if findingOf(r, analyze.RoundRobin) != nil || !strings.Contains(strings.Join(r.Notes, "\n"), "they got 2 to 4") {
		t.Errorf("notes %q", r.Notes)
	}
}

func TestAffinityBehindAGatewayCollapses(t *testing.T) {
	var sessions [][]string
	for range 30 {
		sessions = append(sessions, []string{"echo-1", "echo-1"})
	}
	rec := gatewayRecord(5, record.Gateway{Proxy: "nginx", Upstream: "service"}, nil, sessions...)
	for _, facts := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
		facts.Services = []record.Service{facts.Services[0]}
		facts.Services[0].SessionAffinity, facts.Services[0].AffinitySeconds = "ClientIP", 600
	}
	for i := range rec.Connections {
		rec.Connections[i].Local = fmt.Sprintf("10.78.2.%d:4000", i+1)
	}
	f := findingOf(reportOn(t, rec), analyze.AffinityCollapse)
	if f == nil || !f.ByDesign || !strings.Contains(f.Summary, "30 client addresses as 1: the gateway ends their connections") {
		t.Errorf("finding %+v", f)
	}
}
