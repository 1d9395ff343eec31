package analyze_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// meshRecord is a run whose clients have sidecars: what gatewayRecord makes, without a gateway and with what pods see of a
// sidecar of their own.
func meshRecord(pods int, m record.Mesh, session *record.StreamSession, sessions ...[]string) *record.Record {
	rec := gatewayRecord(pods, record.Gateway{}, session, sessions...)
	m.Name, m.Service = "istio", "echo"
	for _, facts := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
		facts.Gateway, facts.Mesh = nil, &m
		facts.Pods = slices.DeleteFunc(slices.Clone(facts.Pods), func(p record.Pod) bool { return p.Role == "gateway" })
	}
	address := "10.79.1.1:80"
	st := &rec.Streams[0]
	st.Target, st.Addresses = "clusterIP", []record.Address{{HostPort: address}}
	for i := range rec.Connections {
		c := &rec.Connections[i]
		c.Address, c.Observed, c.Forwarded = address, "127.0.0.6:40000", ""
	}
	for i := range rec.Tallies {
		rec.Tallies[i].Address, rec.Tallies[i].Observed = address, "127.0.0.6"
	}
	return rec
}

// dealt is a connection for each of clients whose requests fall on pods by next.
func dealt(connections, requests int, next func() int) [][]string {
	var out [][]string
	for range connections {
		var reached []string
		for range requests {
			reached = append(reached, fmt.Sprintf("echo-%d", next()))
		}
		out = append(out, reached)
	}
	return out
}

func TestAMeshsHashIsStickyAndToTheWrongPod(t *testing.T) {
	var sessions [][]string
	for i := range 12 {
		to := fmt.Sprintf("echo-%d", (i+2)%6)
		if i%6 == 4 {
			to = "echo-4"
		}
		sessions = append(sessions, append([]string{fmt.Sprintf("echo-%d", i%6)}, slices.Repeat([]string{to}, 19)...))
	}
	rec := meshRecord(6, record.Mesh{Policy: "headerHash", Header: "X-Execution-Pod"}, &record.StreamSession{Header: "X-Execution-Pod", Value: "podIP"}, sessions...)
	r := reportOn(t, rec, analyze.Expectation{Metric: "sessions.held", Equals: new(1.0)}, analyze.Expectation{Metric: "sessions.rightPod", Below: new(0.5)})
	f := findingOf(r, analyze.StickyToWrongPod)
	if f == nil || f.Evidence["keysRight"] != 1 || f.Evidence["proxy"] != "istio" || f.Evidence["policy"] != "headerHash" {
		t.Fatalf("finding %+v", f)
	}
	if !r.Passed {
		t.Errorf("expectations %+v", r.Expectations)
	}
	for _, code := range []analyze.Code{analyze.UnexplainedSkew, analyze.MeasurementArtefact, analyze.SourceIPLost, analyze.ConnectionPinning, analyze.AffinityHeld, analyze.AffinityBroken} {
		if f := findingOf(r, code); f != nil {
			t.Errorf("finding %+v", f)
		}
	}
	s := r.Streams[0]
	if s.Test.Unit != "session" || !strings.Contains(s.Test.Untested, "the pods' own") {
		t.Errorf("test %+v", s.Test)
	}
	if len(s.Sources) != 1 || s.Sources[0].Class != "loopback" || !s.Sources[0].Expected || !strings.Contains(s.Sources[0].Hop, "sidecar") {
		t.Errorf("sources %+v", s.Sources)
	}
}

func TestAMeshThatScattersSessionsIsBroken(t *testing.T) {
	var sessions [][]string
	for range 9 {
		sessions = append(sessions, []string{"echo-0", "echo-1", "echo-2", "echo-0", "echo-1", "echo-2"})
	}
	rec := meshRecord(3, record.Mesh{Policy: "cookieHash", Cookie: "session"}, &record.StreamSession{Cookie: true}, sessions...)
	f := findingOf(reportOn(t, rec), analyze.AffinityBroken)
	if f == nil || f.Severity != analyze.Error || !strings.Contains(f.Summary, "the mesh's policy") || !strings.Contains(f.Remedies[0].What, "clients' sidecars") {
		t.Errorf("finding %+v", f)
	}
}

func TestWhatASidecarChoosesFor(t *testing.T) {
	spread := [][]string{{"echo-0", "echo-1", "echo-2", "echo-0"}, {"echo-1", "echo-2"}}
	own := &record.StreamSession{Header: "X-S", Value: "session"}
	for name, tc := range map[string]struct {
		m        record.Mesh
		session  *record.StreamSession
		unit     string
		untested string
	}{
		"in turn":                       {record.Mesh{Policy: "roundRobin"}, nil, "request", "turns of its own"},
		"at random":                     {record.Mesh{Policy: "random"}, nil, "request", ""},
		"by what is under way":          {record.Mesh{Policy: "leastRequest"}, nil, "request", "under way"},
		"by the client's address":       {record.Mesh{Policy: "sourceHash"}, nil, "request", "client's address"},
		"by a key on a ring":            {record.Mesh{Policy: "headerHash", Header: "X-S"}, own, "session", "on the ring"},
		"by a header that nobody sends": {record.Mesh{Policy: "headerHash", Header: "X-S"}, nil, "request", "do not send the header X-S"},
		"by a cookie":                   {record.Mesh{Policy: "cookieHash", Cookie: "a"}, &record.StreamSession{Cookie: true}, "session", "on the ring"},
		"by a cookie that is not kept":  {record.Mesh{Policy: "cookieHash", Cookie: "a"}, nil, "request", "do not send the cookie back"},
	} {
		got := reportOn(t, meshRecord(3, tc.m, tc.session, spread...)).Streams[0].Test
		if got.Unit != tc.unit || (got.Untested == "") != (tc.untested == "") || !strings.Contains(got.Untested, tc.untested) {
			t.Errorf("%s: unit %s, untested %q", name, got.Unit, got.Untested)
		}
	}
}

// TestASidecarsRequestsAreNoConnections: two connections reach all pods. Taken for kube-proxy's choices that would be a
// fault of the measurement; taken for the sidecars' it is what they are told to do. Only what is not even is a fault.
func TestASidecarsRequestsAreNoConnections(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	turn := 0
	inTurn := func() int { turn++; return turn % 6 }
	for name, tc := range map[string]struct {
		policy string
		next   func() int
		skewed bool
	}{
		"in turn":               {"roundRobin", inTurn, false},
		"at random":             {"random", func() int { return random.IntN(6) }, false},
		"at random, and uneven": {"random", func() int { return min(random.IntN(9), 5) }, true},
		"one is slow":           {"leastRequest", func() int { return min(random.IntN(9), 5) }, false},
	} {
		r := reportOn(t, meshRecord(6, record.Mesh{Policy: tc.policy}, nil, dealt(2, 600, tc.next)...))
		if got := findingOf(r, analyze.UnexplainedSkew) != nil; got != tc.skewed {
			t.Errorf("%s: an unexplained skew: %v, findings %+v", name, got, r.Findings)
		}
		for _, code := range []analyze.Code{analyze.ConnectionPinning, analyze.MeasurementArtefact, analyze.SourceIPLost} {
			if f := findingOf(r, code); f != nil {
				t.Errorf("%s: finding %+v", name, f)
			}
		}
		if s := r.Streams[0].Skew; s.IdleBackends != 0 {
			t.Errorf("%s: skew %+v", name, s)
		}
	}
}

// TestOnlyPodsThatDialTheMeshedServiceHaveSidecars: whoever is not in the mesh is kube-proxy's, as ever.
func TestOnlyPodsThatDialTheMeshedServiceHaveSidecars(t *testing.T) {
	rec := meshRecord(3, record.Mesh{Policy: "random"}, nil, []string{"echo-0"})
	agent := rec.Streams[0].Agents[0]
	for _, tc := range []struct {
		change func(st *record.Stream)
		unit   string
	}{
		{func(*record.Stream) {}, "request"},
		{func(st *record.Stream) { st.Vantage = "node" }, "connection"},
		{func(st *record.Stream) { st.Target = "podIP" }, "connection"},
		{func(st *record.Stream) { st.Service = "other" }, "connection"},
	} {
		st := rec.Streams[0]
		tc.change(&st)
		if got := analyze.Predict(&rec.Facts, &st, agent, st.Addresses[0]); got.Unit != tc.unit {
			t.Errorf("%s of %s from vantage %s: unit %s, want %s", st.Target, st.Service, st.Vantage, got.Unit, tc.unit)
		}
	}
}

func TestASidecarHandsConnectionsOverOnLoopback(t *testing.T) {
	for _, address := range []string{"127.0.0.6", "::6"} {
		rec := meshRecord(3, record.Mesh{Policy: "random"}, nil, []string{"echo-0", "echo-1", "echo-2"})
		for i := range rec.Tallies {
			rec.Tallies[i].Observed = address
		}
		s := reportOn(t, rec).Streams[0].Sources
		if len(s) != 1 || s[0].Class != string(analyze.Loopback) || !s[0].Expected {
			t.Errorf("%s: sources %+v", address, s)
		}
	}
	kept := meshRecord(3, record.Mesh{Policy: "random"}, nil, []string{"echo-0", "echo-1", "echo-2"})
	for i := range kept.Tallies {
		kept.Tallies[i].Observed = "10.78.1.200"
	}
	if f := findingOf(reportOn(t, kept), analyze.SourceIPPreserved); f == nil || !strings.Contains(f.Summary, "the sidecars hand them on") {
		t.Errorf("finding %+v", f)
	}
}

func TestWhatPodsCountAreTheirSidecarsConnections(t *testing.T) {
	rec := meshRecord(2, record.Mesh{Policy: "random"}, nil, []string{"echo-0", "echo-0"}, []string{"echo-1", "echo-1"})
	rec.Servers = []record.Server{
		{Pod: "echo-0", At: 3, Requests: 2, Connections: 1, Rows: []record.ServerConnection{{Connection: 9, Client: "127.0.0.6:1", Requests: 2}}},
		{Pod: "echo-1", At: 3, Requests: 2, Connections: 1, Rows: []record.ServerConnection{{Connection: 8, Client: "127.0.0.6:2", Requests: 2}}},
	}
	r := reportOn(t, rec)
	if f := findingOf(r, analyze.MeasurementArtefact); f != nil {
		t.Errorf("finding %+v", f)
	}
	if r.BothEnds == nil || r.BothEnds.ByConnection || !strings.Contains(r.BothEnds.WhyNot, "sidecars") {
		t.Errorf("both ends %+v", r.BothEnds)
	}
}

// TestSidecarsThatLeaveNoTrace: containers called as sidecars are, through which nothing is led. What kube-proxy chose is not to
// be read as the mesh's choice.
func TestSidecarsThatLeaveNoTrace(t *testing.T) {
	pinned := func(requests int) [][]string {
		return [][]string{slices.Repeat([]string{"echo-0"}, requests), slices.Repeat([]string{"echo-2"}, requests)}
	}
	own, turn := &record.StreamSession{Header: "X-S", Value: "podIP"}, 0
	for name, tc := range map[string]struct {
		m        record.Mesh
		session  *record.StreamSession
		seen     string
		sessions [][]string
		want     bool
	}{
		"a choice for each request that is none":          {record.Mesh{Policy: "random"}, nil, "10.78.1.200", pinned(50), true},
		"only the clients' sidecars are passed by":        {record.Mesh{Policy: "leastRequest"}, nil, "127.0.0.6", pinned(50), true},
		"turns that meet a connection where it was":       {record.Mesh{Policy: "roundRobin"}, nil, "127.0.0.6", pinned(50), false},
		"turns that are none":                             {record.Mesh{Policy: "roundRobin"}, nil, "10.78.1.200", pinned(50), true},
		"a hash that looks held, and right":               {record.Mesh{Policy: "headerHash", Header: "X-S"}, own, "10.78.1.200", pinned(50), true},
		"a hash that is":                                  {record.Mesh{Policy: "headerHash", Header: "X-S"}, own, "127.0.0.6", pinned(50), false},
		"too little to tell":                              {record.Mesh{Policy: "random"}, nil, "10.78.1.200", pinned(10), false},
		"addresses that are kept, and a choice all along": {record.Mesh{Policy: "random"}, nil, "10.78.1.200", dealt(2, 50, func() int { turn++; return turn % 3 }), false},
	} {
		rec := meshRecord(3, tc.m, tc.session, tc.sessions...)
		for i := range rec.Tallies {
			rec.Tallies[i].Observed = tc.seen
		}
		f := findingOf(reportOn(t, rec), analyze.MeasurementArtefact)
		if (f != nil) != tc.want {
			t.Errorf("%s: finding %+v", name, f)
		}
		if f != nil && (!strings.Contains(f.Summary, "the clients' sidecars left no trace") || strings.Contains(f.Summary, "own addresses") != (tc.seen != "127.0.0.6")) {
			t.Errorf("%s: %s", name, f.Summary)
		}
	}
}
