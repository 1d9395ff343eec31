package report

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// The fixtures are written by hand: what they say need not follow from a record, only show every part of a report.

func lab() analyze.ClusterInfo {
	node := func(name, ip string) analyze.NodeInfo {
		return analyze.NodeInfo{Name: name, IPs: []string{ip}, PodCIDRs: []string{"10.244.1.0/24"}, Zone: "a"}
	}
	return analyze.ClusterInfo{
		Provider: "lab", Version: "v1.36.3", ProxyMode: "nftables",
		Nodes: []analyze.NodeInfo{node("worker", "10.89.0.2"), node("worker2", "10.89.0.3"), node("worker3", "10.89.0.4")},
	}
}

func run(scenario string, length float64) analyze.Run {
	return analyze.Run{
		ID: "c9f3t2s6n88g00a1b2c3", Scenario: scenario, Start: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Seconds: length,
		Seed: 1, Tool: "v0.1.0", Alpha: 0.01,
	}
}

func keepalive() *analyze.Report {
	pod := func(name, node string, requests, connections int) analyze.Backend {
		return analyze.Backend{
			Pod: "echo-7d9f6c8b5-" + name, Node: node, Requests: requests, Connections: connections, Share: float64(requests) / 41230,
			ExpectedShare: 1.0 / 6, ConnectionShare: float64(connections) / 8, ChanceShare: analyze.Range{0, 0.5}, Eligible: true,
			P50: 0.00081, P99: 0.0042,
		}
	}
	return &analyze.Report{
		APIVersion: record.Version, Kind: "Report", Run: run("keepalive", 5.01), Cluster: lab(),
		Streams: []analyze.Stream{{
			Client: "web", Vantage: "pod", Target: "clusterIP", Address: "10.96.0.10:80", Requests: 41230, Connections: 8,
			Errors: map[record.ErrorKind]int{record.ErrRefused: 0, record.ErrTimeout: 0}, RequestsPerSecond: 8229.5,
			Backends: []analyze.Backend{
				pod("x2k4z", "worker", 20711, 4), pod("9qwer", "worker2", 10309, 2), pod("mmn7p", "worker3", 5120, 1),
				pod("abcde", "worker", 5090, 1), pod("fghij", "worker2", 0, 0), pod("klmno", "worker3", 0, 0),
			},
			Skew: analyze.Skew{MaxOverMean: 3.01, CV: 1.06, Gini: 0.55, Jain: 0.47, EffectiveBackends: 3.31, IdleBackends: 2, Dispersion: 1.3},
			Chance: analyze.Chance{
				MaxOverMean: analyze.Range{1.5, 3.75}, CV: analyze.Range{0.354, 1.275}, Gini: analyze.Range{0.167, 0.625},
				Jain: analyze.Range{0.381, 0.889}, EffectiveBackends: analyze.Range{2.65, 5.66}, IdleBackends: analyze.Range{0, 3},
				Dispersion: analyze.Range{0.2, 2.6},
			},
			Test: analyze.Test{
				Unit: "connection", Units: 8, Method: "exact", Statistic: 8.5, DF: 5, P: 0.31, AdjustedP: 0.31, Direction: "hot",
				HotBackend: "echo-7d9f6c8b5-x2k4z", EffectSize: 1.03, SmallestFactor: 5.2, UnitsNeeded: 412,
			},
			Decomposition: &analyze.Decomposition{Total: 1.124, Placement: 1.119, LoadPerUnit: 0.005},
			Sources: []analyze.Source{
				{Class: "client", Address: "10.244.1.7", Requests: 20600},
				{Class: "client", Address: "10.244.2.9", Requests: 20630},
			},
			Latency: analyze.Latency{P50: 0.00083, P99: 0.0045}, CrossNode: 25000,
		}},
		Findings: []analyze.Finding{
			{
				Code: analyze.CrossNodeHops, Severity: analyze.Info, Stream: "web", ByDesign: true,
				Summary: "25000 of 41230 requests went to a pod on another node than the client's",
			},
			{
				Code: analyze.ConnectionPinning, Severity: analyze.Warning, Stream: "web", ByDesign: true,
				Summary: "8 connections carried 41230 requests, 5154 on average, and each stays with the pod it was opened to: " +
					"echo-7d9f6c8b5-x2k4z got 3.01 times its share, 2 of 6 pods none",
				Evidence: map[string]any{
					"connections": 8, "maxOverMean": 3.01, "chanceMaxOverMean": analyze.Range{1.5, 3.75}, "pods": []string{"a", "b"},
					"byBackend": []map[string]any{{"pod": "echo", "requests": 1}},
				},
				Remedies: []analyze.Remedy{
					{What: "100 connections instead of 8: max/mean 3.01 → 1.2–1.9", Predicted: map[string]any{"connections": 100, "maxOverMean": analyze.Range{1.2, 1.9}}},
					{What: "choose a pod for each request: a headless Service with client-side round robin, or an L7 proxy: max/mean 3.01 → at most 1.02"},
				},
			},
		},
		Expectations: []analyze.ExpectationResult{
			{Name: "finding ConnectionPinning on web", Passed: true, Detail: "8 connections carried 41230 requests"},
			{Name: "connections on web equal to 8", Passed: true, Detail: "connections is 8 for web, wanted equal to 8"},
		},
		Passed: true,
		Notes:  []string{"Latencies are those of a closed loop: a slow pod is asked less often, so its waiting times are understated."},
	}
}

func etpLocal() *analyze.Report {
	pod := func(name, node string, requests int, share, p50 float64) analyze.Backend {
		return analyze.Backend{
			Pod: name, Node: node, Requests: requests, Connections: requests, Share: float64(requests) / 400, ExpectedShare: share,
			ConnectionShare: float64(requests) / 400, ChanceShare: analyze.Range{share * 0.85, share * 1.15}, Eligible: true, P50: p50, P99: 3 * p50,
		}
	}
	target := func(name, ip string, endpoints, answered int, expected string) analyze.TargetNode {
		return analyze.TargetNode{
			Node: name, Address: ip + ":31080", Endpoints: endpoints, Connections: 200, Requests: 200, Answered: answered, Expected: expected,
			Errors: map[record.ErrorKind]int{record.ErrRefused: 0, record.ErrTimeout: 200 - answered},
		}
	}
	return &analyze.Report{
		APIVersion: record.Version, Kind: "Report", Run: run("etp-local", 12.4), Cluster: lab(),
		Streams: []analyze.Stream{{
			Client: "outside", Vantage: "external", Target: "nodePort", Address: "10.89.0.2:31080, 10.89.0.3:31080, 10.89.0.4:31080",
			Requests: 600, Connections: 600, RequestsPerConnection: 1, RequestsPerSecond: 48.4, UnknownBackend: 200,
			Errors: map[record.ErrorKind]int{record.ErrRefused: 0, record.ErrTimeout: 200, record.ErrReset: 3},
			Backends: []analyze.Backend{
				pod("echo-0-worker-5f6d8-aaaaa", "worker", 200, 0.5, 0.0012), pod("echo-1-worker2-8c7b6-bbbbb", "worker2", 68, 1.0/6, 0.00121),
				pod("echo-1-worker2-8c7b6-ccccc", "worker2", 67, 1.0/6, 0.0013), pod("echo-1-worker2-8c7b6-ddddd", "worker2", 65, 1.0/6, 0.0011),
			},
			Skew: analyze.Skew{MaxOverMean: 2, CV: 0.577, Gini: 0.26, Jain: 0.75, EffectiveBackends: 3.46, Dispersion: 0.04},
			Chance: analyze.Chance{
				MaxOverMean: analyze.Range{2, 2}, CV: analyze.Range{0.577, 0.6}, Gini: analyze.Range{0.25, 0.3}, Jain: analyze.Range{0.735, 0.75},
				EffectiveBackends: analyze.Range{3.4, 3.46}, Dispersion: analyze.Range{0.03, 3.7},
			},
			Test: analyze.Test{
				Unit: "connection", Units: 400, Method: "monte-carlo", Statistic: 0.07, DF: 2, P: 0.71, AdjustedP: 1, EffectSize: 0.013, SmallestFactor: 1.61,
				UnitsNeeded: 560,
			},
			Decomposition: &analyze.Decomposition{Total: 0.3335, Designed: 0.3346, Placement: -0.0011},
			Sources:       []analyze.Source{{Class: "client", Address: "10.89.0.100", Requests: 400}},
			Latency:       analyze.Latency{P50: 0.0012, P99: 0.0035},
			Nodes: []analyze.TargetNode{
				target("worker", "10.89.0.2", 1, 200, "answer"), target("worker2", "10.89.0.3", 3, 200, "answer"),
				target("worker3", "10.89.0.4", 0, 0, "timeout"),
			},
		}},
		Findings: []analyze.Finding{
			{Code: analyze.SourceIPPreserved, Severity: analyze.Info, Stream: "outside", Summary: "the pods saw the client's own address in all 400 answered requests"},
			{
				Code: analyze.LocalPolicyImbalance, Severity: analyze.Warning, Stream: "outside", ByDesign: true,
				Summary:  "externalTrafficPolicy Local gives the only pod of worker 50 % and each of the three on worker2 16.7 %",
				Remedies: []analyze.Remedy{{What: "as many pods on each node: topologySpreadConstraints on kubernetes.io/hostname"}},
			},
			{Code: analyze.NoLocalEndpoint, Severity: analyze.Error, Stream: "outside", Summary: "worker3 has no pod of its own and dropped 200 of 200 requests"},
		},
		Expectations: []analyze.ExpectationResult{
			{Name: "finding NoLocalEndpoint on outside", Passed: true, Detail: "worker3 has no pod of its own and dropped 200 of 200 requests"},
			{Name: "errors.refused on outside equal to 0", Passed: false, Detail: "errors.refused is 3 for outside, wanted equal to 0"},
		},
	}
}

// affinity has many clients and a result of a test that is beyond chance.
func affinity() *analyze.Report {
	r := keepalive()
	r.Run = run("affinity-clientip", 3.2)
	r.Run.Interrupted = true
	s := &r.Streams[0]
	s.RequestsPerConnection = 1
	s.Affinity = &analyze.Affinity{Clients: 24, Held: 24, Interval: analyze.Range{0.858, 1}, ByChance: 1.4e-12, BackendsUsed: 6, TimeoutSeconds: 10800}
	s.Test = analyze.Test{
		Unit: "clientIP", Units: 24, Method: "exact", P: 0.00002, AdjustedP: 0.00008, Direction: "cold", ColdBackend: "echo-7d9f6c8b5-klmno", EffectSize: 0.7,
	}
	s.Sources = nil
	for i := range 24 {
		s.Sources = append(s.Sources, analyze.Source{Class: "client", Address: fmt.Sprintf("10.244.%d.%d", i%3, i), Requests: 40})
	}
	r.Findings = []analyze.Finding{
		{Code: analyze.AffinityHeld, Severity: analyze.Info, Stream: "web", Summary: "24 of 24 clients kept their pod"},
		{Code: analyze.TooFewUnits, Severity: analyze.Info, Stream: "web", Summary: "24 client addresses cannot show much"},
	}
	r.Expectations, r.Notes = nil, nil
	return r
}

// empty is a run of which nothing is left.
func empty() *analyze.Report {
	return &analyze.Report{APIVersion: record.Version, Kind: "Report"}
}

// crowd has more pods than a page shows.
func crowd() *analyze.Report {
	r := keepalive()
	r.Run.Scenario = "crowd"
	r.Findings = []analyze.Finding{{Code: analyze.Balanced, Severity: analyze.Info, Stream: "web", Summary: "all is even."}}
	s := &r.Streams[0]
	s.Backends, s.Test, s.Decomposition, s.Chance = nil, analyze.Test{Method: "none", UnitsNeeded: 9}, nil, analyze.Chance{}
	for i := range 60 {
		s.Backends = append(s.Backends, analyze.Backend{
			Pod: fmt.Sprintf("echo-7d9f6c8b5-%05d", i), Node: fmt.Sprintf("a-node-with-quite-a-long-name-%d.example.com", i%3),
			Requests: 1000 - i, Connections: 7, Share: float64(1000-i) / 58230, ExpectedShare: 1.0 / 60, ChanceShare: analyze.Range{0.014, 0.019}, Eligible: i < 59,
		})
	}
	return r
}

func fixtures() map[string]*analyze.Report {
	return map[string]*analyze.Report{
		"keepalive": keepalive(), "etp-local": etpLocal(), "affinity-clientip": affinity(), "empty": empty(), "crowd": crowd(),
	}
}

// scramble makes a report of random size out of words of every width, to see what holds for all of them.
func scramble(seed uint64) *analyze.Report {
	rng := rand.New(rand.NewPCG(seed, 1))
	words := []string{"echo", "日本語のポッド", "x", "0123456789abcdef0123456789abcdef", "\x1b[31mred", "a\tb", "naïve", "👩‍👩‍👧", "e\u0301e\u0301", "", "two\nlines", "\u202eabc"}
	text := func(most int) string {
		parts := make([]string, rng.IntN(most+1))
		for i := range parts {
			parts[i] = words[rng.IntN(len(words))]
		}
		return strings.Join(parts, []string{" ", "-", ""}[rng.IntN(3)])
	}
	number := func() int { return rng.IntN([]int{2, 100, 1_000_000_000}[rng.IntN(3)]) }
	amount := func() float64 { return rng.Float64() * []float64{0.001, 1, 1e12}[rng.IntN(3)] }
	span := func() analyze.Range { return analyze.Range{rng.Float64() / 2, 0.5 + rng.Float64()/2} }
	errors := func() map[record.ErrorKind]int {
		return map[record.ErrorKind]int{record.ErrTimeout: number(), record.ErrRefused: number(), record.ErrDNS: number(), record.ErrParse: number()}
	}
	r := &analyze.Report{Run: analyze.Run{ID: text(3), Scenario: text(3), Seconds: amount()}, Cluster: analyze.ClusterInfo{Provider: text(1), Version: text(2), ProxyMode: text(1)}}
	for range rng.IntN(3) {
		s := analyze.Stream{
			Client: text(4), Vantage: text(1), Target: text(1), Address: text(9), Requests: number(), Errors: errors(), Connections: number(),
			RequestsPerSecond: amount(), CrossNode: number(), UnknownBackend: number(), RequestsPerConnection: rng.IntN(3),
			Skew: analyze.Skew{MaxOverMean: amount(), CV: amount(), EffectiveBackends: amount(), IdleBackends: number()}, Chance: analyze.Chance{MaxOverMean: span(), CV: span()},
			Test: analyze.Test{
				Unit: text(1), Units: number(), Method: text(1), P: rng.Float64(), AdjustedP: rng.Float64() / 100, Direction: "hot", HotBackend: text(5), EffectSize: amount(),
				SmallestFactor: amount(), UnitsNeeded: number(),
			},
			Decomposition: &analyze.Decomposition{Total: amount(), Designed: -amount()}, Affinity: &analyze.Affinity{Clients: number(), Interval: span(), ByChance: amount()},
		}
		for i := range rng.IntN(40) {
			s.Backends = append(s.Backends, analyze.Backend{
				Pod: text(5) + fmt.Sprint(i), Node: text(5), Requests: number(), Connections: number(), Share: rng.Float64(), ExpectedShare: rng.Float64(),
				ChanceShare: span(), Eligible: rng.IntN(5) > 0, P50: amount(), P99: amount(),
			})
		}
		for range rng.IntN(30) {
			s.Sources = append(s.Sources, analyze.Source{Class: text(1), Address: text(3), Node: text(3), Requests: number(), Hairpin: number()})
			s.Nodes = append(s.Nodes, analyze.TargetNode{Node: text(4), Address: text(3), Endpoints: number(), Requests: number(), Answered: number(), Errors: errors(), Expected: text(1)})
		}
		r.Streams = append(r.Streams, s)
	}
	for range rng.IntN(5) {
		r.Findings = append(r.Findings, analyze.Finding{
			Code: analyze.Code(text(2)), Severity: []analyze.Severity{analyze.Info, analyze.Warning, analyze.Error}[rng.IntN(3)], Stream: text(1), Summary: text(30),
			Evidence: map[string]any{text(1): amount(), "list": []any{text(1), number()}}, Remedies: []analyze.Remedy{{What: text(20), Predicted: map[string]any{"cv": span()}}},
		})
		r.Expectations = append(r.Expectations, analyze.ExpectationResult{Name: text(9), Passed: rng.IntN(2) == 0, Detail: text(20)})
		r.Notes = append(r.Notes, text(30))
	}
	return r
}
