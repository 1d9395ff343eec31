package report

import (
	"fmt"
	"math/rand/v2"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// drawn is a report with something in every drawing.
func drawn() *analyze.Report {
	r := keepalive()
	s := &r.Streams[0]
	var groups []analyze.Group
	for _, b := range s.Backends {
		groups = append(groups, analyze.Group{Name: b.Pod, Size: 1})
	}
	s.Matrix = &analyze.Matrix{
		Clients: []analyze.Group{{Name: "web-0", Size: 1}, {Name: "web-1", Size: 1}}, Backends: groups,
		Requests:    [][]int{{10400, 10200, 0, 0, 0, 0}, {10311, 109, 5120, 5090, 0, 0}},
		Connections: [][]int{{2, 2, 0, 0, 0, 0}, {2, 0, 1, 1, 0, 0}},
	}
	id := 0
	for i, b := range s.Backends {
		agent := fmt.Sprintf("web-%d", i%2)
		s.Flows = append(s.Flows, analyze.Flow{Client: agent, Class: "client", Hop: fmt.Sprintf("10.244.%d.7", 1+i%2), Backend: b.Pod, Node: b.Node, Requests: max(b.Requests, 1)})
		for range b.Connections {
			id++
			s.ConnectionRows = append(s.ConnectionRows, analyze.ConnectionRow{
				Agent: agent, ID: id, Backend: b.Pod, Opened: 0.001 * float64(id), Closed: 5.01, Requests: b.Requests / b.Connections,
			})
		}
	}
	s.Flows = append(s.Flows, analyze.Flow{Client: "web-0", Class: "client-node", Hop: "10.89.0.2", Backend: s.Backends[0].Pod, Node: "worker", Requests: 4000})
	s.ConnectionRows = append(s.ConnectionRows, analyze.ConnectionRow{Agent: "web-0", ID: 9, Opened: 1, Closed: 3, Error: record.ErrTimeout})
	s.Timeline = timeline(s, 30)
	r.Events = []analyze.EventReport{{At: 8, What: "scale echo from 6 to 12"}, {At: 21.5, What: "restart echo"}}
	r.Run.Seconds = 30
	s.Decomposition.Intervals = &analyze.DecompositionIntervals{Total: analyze.Range{0.4, 1.9}, Placement: analyze.Range{0.4, 1.88}, LoadPerUnit: analyze.Range{-0.01, 0.02}, Rough: true}
	s.Decomposition.LoadFollowsBackend, s.Decomposition.LoadAdjustedP = true, 0.002
	s.Cost = &analyze.Cost{HottestPod: s.Backends[0].Pod, HottestRequests: 20711, MeanRequests: 6872, Capacity: 0.332, ExtraReplicas: 9}
	s.OpenLoop = &analyze.OpenLoop{Intended: 42000, Sent: 41230, Dropped: 770, LateP50: 0.0001, LateP99: 0.02, LateMax: 0.5, From: "generators"}
	s.Order = &analyze.Order{Matches: 1, Of: 2, Expected: 0.33, Repeats: 3, RepeatsOf: 7, RepeatsExpected: 1.2, Method: "exact", P: 0.004, AdjustedP: 0.008}
	s.Latency.Tail = &analyze.Tail{
		Threshold: 0.0045, SlowestPod: s.Backends[1].Pod, SlowestRate: 0.031, Connections: 8, Method: "monte-carlo", P: 0.001, AdjustedP: 0.003,
		HottestPod: s.Backends[0].Pod, HotShare: 0.5, HotSlowShare: 0.62, P99WithoutHot: 0.0031,
	}
	s.Generators = []analyze.GeneratorLoad{{Agent: "web-0", Driver: "epoll", Cores: 0.93, Limit: 1, Busy: 0.98, Limits: []string{"its loop was busy 98 % of the time"}}, {Agent: "web-1", Driver: "conn"}}
	r.BothEnds = &analyze.BothEnds{Pods: 6, Connections: 8, Agreeing: 7, Requests: 41230, PodRequests: 41236, Missing: 6, ByConnection: true}
	r.Servers = []analyze.ServerLoad{{Pod: s.Backends[0].Pod, Requests: 20711, Connections: 4, Cores: 0.96, Limit: 1, Saturated: true}, {Pod: s.Backends[1].Pod, Requests: 10309, Connections: 2}}
	r.Events[0].Effective = 8.4
	r.Events[0].Effects = []analyze.EventEffect{{
		Stream: "web", Seconds: [2]float64{8, 13.5}, Errors: [2]map[record.ErrorKind]int{{}, {record.ErrReset: 12}},
		Balance: &analyze.Balance{Reached: "later", Seconds: 6, NewPods: []string{"a", "b"}, NewShare: 0.1, NewExpected: 0.33, Open: 30, NewOpen: 3, NewOpenExpected: 10},
	}}
	return r
}

// timeline makes one up in which the first pod gains.
func timeline(s *analyze.Stream, windows int) *analyze.Timeline {
	l := &analyze.Timeline{Width: 1, Windows: windows, Errors: map[record.ErrorKind][]int{record.ErrReset: make([]int, windows)}}
	rng := rand.New(rand.NewPCG(1, 2))
	for i, b := range s.Backends {
		row := analyze.TimelineBackend{Pod: b.Pod, Requests: make([]int, windows), Connections: make([]int, windows)}
		for w := range windows {
			row.Requests[w] = 200 + rng.IntN(60) + 20*w*(1-min(i, 1))
		}
		l.Backends = append(l.Backends, row)
	}
	l.Errors[record.ErrReset][windows*2/3] = 12
	l.MaxOverMean, l.P99 = make([]float64, windows), make([]float64, windows)
	return l
}

// vast is a report of 1,000 pods, 300 clients and 100,000 connections.
func vast() *analyze.Report {
	r := keepalive()
	r.Run.Scenario = "vast"
	s := &r.Streams[0]
	rng := rand.New(rand.NewPCG(3, 4))
	const pods = 1000
	s.Backends, s.Connections, s.Sources = nil, 100_000, nil
	for i := range pods {
		s.Backends = append(s.Backends, analyze.Backend{
			Pod: fmt.Sprintf("echo-7d9f6c8b5-%05d", i), Node: fmt.Sprintf("worker-%d", i%50), Requests: 1500 - i, Connections: 100, Share: float64(1500-i) / 1_000_500,
			ExpectedShare: 1.0 / pods, ConnectionShare: 1.0 / pods, ChanceShare: analyze.Range{0.0008, 0.0012}, Eligible: true, P50: 0.001, P99: 0.003 + 0.00001*float64(i),
		})
	}
	group := func(n int, name string) (groups []analyze.Group) {
		for i := range 64 {
			groups = append(groups, analyze.Group{Name: fmt.Sprintf("%s-%05d", name, i*n/64), Last: fmt.Sprintf("%s-%05d", name, (i+1)*n/64-1), Size: (i+1)*n/64 - i*n/64})
		}
		return groups
	}
	s.Matrix = &analyze.Matrix{Clients: group(300, "web"), Backends: group(pods, "echo-7d9f6c8b5")}
	s.OpenConnections = &analyze.OpenConnections{Step: 0.5, Backends: s.Matrix.Backends}
	for range 64 {
		requests, connections, open := make([]int, 64), make([]int, 64), make([]float64, 60)
		for k := range requests {
			requests[k], connections[k] = rng.IntN(1000), rng.IntN(30)
		}
		for k := range open {
			open[k] = 1500 * rng.Float64()
		}
		s.Matrix.Requests, s.Matrix.Connections = append(s.Matrix.Requests, requests), append(s.Matrix.Connections, connections)
		s.OpenConnections.Mean = append(s.OpenConnections.Mean, open)
	}
	for i := range 400 {
		s.Flows = append(s.Flows, analyze.Flow{
			Client: fmt.Sprintf("clients on worker-%d", i%20), Class: "client-node", Hop: fmt.Sprintf("worker-%d", i%20), Backend: fmt.Sprintf("pods on worker-%d", i/20), Requests: 1 + rng.IntN(500),
		})
	}
	few := *s
	few.Backends = s.Backends[:40]
	s.Timeline = timeline(&few, 300)
	s.Timeline.Backends = append(s.Timeline.Backends, analyze.TimelineBackend{Requests: make([]int, 300), Connections: make([]int, 300)})
	return r
}

// hostile has in every text what a page, a terminal or a table could be broken with.
func hostile() *analyze.Report {
	const evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[31m\r\n| x | `y` ${z} javascript:alert(3) https://evil.example www.evil.example @everyone a@b.example =HYPERLINK(1) ]]> --> \u202e\u2028"
	r := drawn()
	r.Run.Scenario, r.Run.ID, r.Run.Tool = evil, evil, evil
	r.Cluster.Provider, r.Cluster.ProxyMode, r.Cluster.Nodes[0].Name, r.Cluster.CNI = evil, evil, evil, evil
	s := &r.Streams[0]
	s.Client, s.Vantage, s.Target, s.Address = evil, evil, evil, evil
	for i := range s.Backends {
		s.Backends[i].Pod, s.Backends[i].Node = fmt.Sprint(evil, i), evil
	}
	for i := range s.Sources {
		s.Sources[i] = analyze.Source{Class: evil, Address: evil, Node: evil, Requests: 1 << 62}
	}
	for i := range s.Flows {
		s.Flows[i].Client, s.Flows[i].Hop, s.Flows[i].Backend, s.Flows[i].Class = evil, evil, fmt.Sprint(evil, i), evil
	}
	for i := range s.ConnectionRows {
		s.ConnectionRows[i].Agent, s.ConnectionRows[i].Error = evil, evil
	}
	for i := range s.Matrix.Backends {
		s.Matrix.Backends[i].Name = evil
	}
	for i := range s.Timeline.Backends {
		s.Timeline.Backends[i].Pod = evil
	}
	s.Errors = map[record.ErrorKind]int{evil: 3}
	r.Events[0].What = evil
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Code, f.Severity, f.Summary, f.Stream = evil, evil, evil, evil
		f.Evidence = map[string]any{evil: evil, "rows": []map[string]any{{evil: evil}}, "huge": 1e300}
		f.Remedies = []analyze.Remedy{{What: evil, Predicted: map[string]any{evil: evil}}}
	}
	for i := range r.Expectations {
		r.Expectations[i].Name, r.Expectations[i].Detail = evil, evil
	}
	r.Notes = []string{evil}
	return r
}

// pages are the reports that are looked at in a browser.
func pages() map[string]*analyze.Report {
	all := fixtures()
	all["drawn"], all["vast"], all["hostile"] = drawn(), vast(), hostile()
	return all
}
