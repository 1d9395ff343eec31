package analyze_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// Connections that have no row are in the tallies, and count as much.
func TestConnectionsBeyondTheRowsAreCounted(t *testing.T) {
	whole := report(t, fresh().Record()).Streams[0]
	for _, c := range []struct {
		name string
		keep func(record.Connection) bool
	}{
		{"none has a row", func(record.Connection) bool { return false }},
		{"the first hundred of each agent have", func(c record.Connection) bool { return c.ID <= 100 }},
		{"those of one agent have", func(c record.Connection) bool { return c.Agent == "web-1" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := fresh().Record()
			rec.Connections = slices.DeleteFunc(rec.Connections, func(row record.Connection) bool { return !c.keep(row) })
			missing := map[string]int{}
			for _, row := range fresh().Record().Connections {
				if !c.keep(row) {
					missing[row.Agent]++
				}
			}
			for agent, n := range missing {
				rec.Generators = append(rec.Generators, record.Generator{Stream: "web", Agent: agent, DroppedRows: n})
			}
			got := report(t, rec).Streams[0]
			if diff := cmp.Diff(whole.Test, got.Test, cmpopts.IgnoreFields(analyze.Test{}, "AdjustedP", "SmallestFactor")); diff != "" {
				t.Errorf("test (-with rows +without):\n%s", diff)
			}
			if got.Connections != 3000 || got.UnknownBackend != 0 {
				t.Errorf("%d connections, %d of an unknown backend", got.Connections, got.UnknownBackend)
			}
			for i, b := range got.Backends {
				want := whole.Backends[i]
				if b.Connections != want.Connections || b.ConnectionShare != want.ConnectionShare || b.ExpectedShare != want.ExpectedShare {
					t.Errorf("%+v, want %+v", b, want)
				}
			}
		})
	}
}

func TestUnansweredConnectionsBeyondTheRows(t *testing.T) {
	rec := outside(true).Record()
	rec.Connections = nil
	s := report(t, rec).Streams[0]
	if s.Connections != 600 || s.UnknownBackend != 200 || s.Errors[record.ErrTimeout] != 200 || s.Test.Units != 400 {
		t.Errorf("%d connections, %d unanswered, errors %v, %d units", s.Connections, s.UnknownBackend, s.Errors, s.Test.Units)
	}
}

// url makes a run of which nothing is known but who answered.
func url(scene simulate.Scene) *record.Record {
	rec := scene.Record()
	rec.Facts, rec.FactsAfter, rec.Servers = record.Facts{}, nil, nil
	rec.Streams[0].Target, rec.Streams[0].Service, rec.Streams[0].Vantage = "url", "", "external"
	rec.Streams[0].Agents = []record.AgentRef{{Name: "web-0"}, {Name: "web-1"}}
	return rec
}

func TestATargetWithoutFacts(t *testing.T) {
	for _, c := range []struct {
		name     string
		do       func(*record.Record)
		unit     string
		units    int
		backends int
		tested   bool
		note     string
	}{
		{"who answered is as likely as any other", func(*record.Record) {}, "connection", 3000, 6, true, "each backend that answered is taken to be equally likely"},
		{"more than answered, as the user says", func(r *record.Record) { r.Streams[0].Backends = 8 }, "connection", 3000, 8, true, "each of 8 backends"},
		{"fewer than answered: those that did count", func(r *record.Record) { r.Streams[0].Backends = 2 }, "connection", 3000, 6, true, "each of 6 backends"},
		{"a choice for each request", func(r *record.Record) { r.Streams[0].Unit = record.UnitRequest }, "request", 3000, 6, true, "no facts"},
		{"nobody knows what shared a connection", func(r *record.Record) { r.Streams[0].Unit = record.UnitUnknown }, "request", 3000, 6, false, "which requests shared a connection is not known"},
		{"datagrams", func(r *record.Record) { r.Streams[0].Protocol = "udp" }, "flow", 3000, 6, true, "no facts"},
		{"connections answered by several", func(r *record.Record) {
			for i := range r.Connections {
				r.Connections[i].Others = map[string]int{"another": 1}
			}
		}, "connection", 3000, 6, false, "deals out single requests"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := url(fresh())
			c.do(rec)
			r := report(t, rec)
			s := r.Streams[0]
			if s.Test.Unit != c.unit || s.Test.Units != c.units || len(s.Backends) != c.backends || (s.Test.Method != "none") != c.tested {
				t.Errorf("%+v on %d backends", s.Test, len(s.Backends))
			}
			for _, b := range s.Backends {
				if math.Abs(b.ExpectedShare-1/float64(c.backends)) > 1e-9 || !b.Eligible {
					t.Errorf("%s should get %v", b.Pod, b.ExpectedShare)
				}
			}
			if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, c.note) }) {
				t.Errorf("notes %q lack %q", r.Notes, c.note)
			}
			if c.backends == 8 && (s.Skew.IdleBackends != 2 || !has(r, analyze.UnexplainedSkew)) {
				t.Errorf("two that never answered: %v", found(r))
			}
			if c.tested && c.backends == 6 && !has(r, analyze.Balanced) {
				t.Errorf("findings %v", found(r))
			}
		})
	}
}

func TestNobodyBehindAURLAnswers(t *testing.T) {
	rec := url(fresh())
	for i := range rec.Connections {
		c := &rec.Connections[i]
		*c = record.Connection{Stream: c.Stream, Agent: c.Agent, ID: c.ID, Address: c.Address, Opened: c.Opened, Error: record.ErrRefused}
	}
	rec.Tallies = nil
	s := report(t, rec).Streams[0]
	if s.Test.Units != 0 || s.Errors[record.ErrRefused] != 3000 || len(s.Backends) != 0 {
		t.Errorf("%+v", s)
	}
}

// A client that takes addresses in turn is no chance: its shares are given, not tested.
func TestARotationIsNotTested(t *testing.T) {
	rec := fresh().Record()
	st := &rec.Streams[0]
	st.Target, st.ResolveOrder = "headless", "roundRobin"
	st.Addresses = []record.Address{{HostPort: "echo.ns.svc:8080"}}
	pods := rec.Facts.Endpoints
	for i := range rec.Connections {
		c := &rec.Connections[i]
		c.Address, c.Backend = st.Addresses[0].HostPort, pods[c.ID%2].Pod // two of six: no chance would do that
	}
	rec.Tallies, rec.Servers = nil, nil
	r := report(t, rec)
	s := r.Streams[0]
	if s.Test.Method != "none" || s.Test.Units != 3000 || has(r, analyze.UnexplainedSkew) || has(r, analyze.TooFewUnits) || has(r, analyze.Balanced) {
		t.Errorf("%+v; %v", s.Test, found(r))
	}
	if math.Abs(s.Backends[0].ExpectedShare-1./6) > 1e-9 {
		t.Errorf("expected share %v, want 1/6", s.Backends[0].ExpectedShare)
	}
	if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "in turn") }) {
		t.Errorf("notes %q", r.Notes)
	}
}

// many is the record of a thousand agents that ran for a minute, tallies only.
func many(agents int) *record.Record {
	scene := simulate.Scene{Seed: 1, Placement: []int{4, 4, 4}, Streams: []simulate.Stream{{Name: "web", Clients: agents, Connections: 1}}}
	rec := scene.Record()
	rec.Tallies, rec.Connections, rec.Servers = nil, nil, nil
	rng := rand.New(rand.NewPCG(1, uint64(agents)))
	for _, ref := range rec.Streams[0].Agents {
		rec.Generators = append(rec.Generators, record.Generator{Stream: "web", Agent: ref.Name, Seconds: 60, DroppedRows: 1})
		for second := range 60 {
			for _, e := range rec.Facts.Endpoints {
				t := record.Tally{Stream: "web", Agent: ref.Name, Address: rec.Streams[0].Addresses[0].HostPort, Backend: e.Pod, Observed: ref.IPs[0],
					Second: second, Requests: 1000}
				for k := range 12 {
					t.Latency.Add(int64(200_000+1000*k*k), 80)
				}
				rec.Tallies = append(rec.Tallies, t)
			}
			last := rec.Tallies[len(rec.Tallies)-12:]
			for range 24 {
				last[rng.IntN(12)].Connections++
			}
		}
	}
	return rec
}

func TestManyAgents(t *testing.T) {
	rec := many(50)
	want := 0
	for _, tally := range rec.Tallies {
		want += tally.Connections
	}
	if s := report(t, rec).Streams[0]; s.Connections != want || s.Test.Units != want || s.Requests != 1000*len(rec.Tallies) {
		t.Errorf("%d connections, %d units, %d requests; want %d, %d", s.Connections, s.Test.Units, s.Requests, want, 1000*len(rec.Tallies))
	}
}

// Merging the tallies of 1,000 agents is to stay below a second; the tests and simulations after it cost the same for any number of them.
func BenchmarkTalliesOfAgents(b *testing.B) {
	for _, agents := range []int{10, 100, 1000} {
		rec := many(agents)
		name := fmt.Sprintf("%d agents, %d tallies", agents, len(rec.Tallies))
		b.Run("merging/"+name, func(b *testing.B) {
			for b.Loop() {
				if err := analyze.Collect(rec); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("whole analysis/"+name, func(b *testing.B) {
			for b.Loop() {
				report(b, rec)
			}
		})
	}
}

// A pool that never needs a connection leaves it unused: nobody failed to answer on it.
func TestConnectionsThatWereNeverUsed(t *testing.T) {
	rec := fresh().Record()
	for i := range rec.Connections[:1000] {
		c := &rec.Connections[i]
		c.Backend, c.Observed, c.Requests, c.ServerConn = "", "", 0, 0
	}
	rec.Tallies, rec.Servers = nil, nil
	r := report(t, rec)
	if s := r.Streams[0]; s.Test.Units != 2000 || s.UnknownBackend != 1000 || s.Backends[0].Bounds != nil || !has(r, analyze.Balanced) {
		t.Errorf("%d units, %v", s.Test.Units, found(r))
	}
	for _, n := range r.Notes {
		if strings.Contains(n, "should have been answered") {
			t.Error(n)
		}
	}
}

// Addresses that nobody serves, and names without an address, fail as predicted.
func TestFailuresThatAreExpected(t *testing.T) {
	fail := func(rec *record.Record, kind record.ErrorKind) {
		for i := range rec.Connections {
			c := &rec.Connections[i]
			*c = record.Connection{Stream: c.Stream, Agent: c.Agent, ID: c.ID, Address: c.Address, Opened: c.Opened, Error: kind}
		}
		rec.Tallies, rec.Servers = nil, nil
	}
	t.Run("a headless Service without a ready pod", func(t *testing.T) {
		rec := fresh().Record()
		rec.Streams[0].Target = "headless"
		rec.Streams[0].Addresses = []record.Address{{HostPort: "echo.ns.svc:8080"}}
		for i := range rec.Connections {
			rec.Connections[i].Address = "echo.ns.svc:8080"
		}
		for _, f := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
			f.Endpoints = nil
		}
		fail(rec, record.ErrDNS)
		if f := finding(t, report(t, rec), analyze.NoEndpoints); !strings.Contains(f.Summary, "3000 found no address under the name") {
			t.Error(f.Summary)
		}
	})
	t.Run("127.0.0.1 in nftables mode", func(t *testing.T) {
		rec := simulate.Scene{Placement: []int{1, 1}, Streams: []simulate.Stream{{Name: "web", Vantage: "node", Target: "nodePort", Connections: 20, TargetNodes: []int{0}}}}.Record()
		rec.Streams[0].Addresses = []record.Address{{HostPort: "127.0.0.1:30080"}}
		for i := range rec.Connections {
			rec.Connections[i].Address = "127.0.0.1:30080"
		}
		fail(rec, record.ErrRefused)
		r := report(t, rec)
		if has(r, analyze.NoEndpoints) || !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "does not serve node ports on 127.0.0.1") }) {
			t.Errorf("%v, %q", found(r), r.Notes)
		}
	})
	t.Run("internalTrafficPolicy Local in ipvs mode", func(t *testing.T) {
		rec := simulate.Scene{Placement: []int{0, 2}, ProxyMode: "ipvs", InternalLocal: true, Streams: []simulate.Stream{{Name: "web", Connections: 20}}}.Record()
		for _, f := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
			f.Services[0].Type, f.Services[0].ExternalTrafficPolicy = "ClusterIP", ""
		}
		fail(rec, record.ErrRefused)
		r := report(t, rec)
		if f := finding(t, r, analyze.NoLocalEndpoint); has(r, analyze.NoEndpoints) || !strings.Contains(f.Summary, "0 of 20 connections there timed out, 20 were refused") {
			t.Errorf("%v: %s", found(r), f.Summary)
		}
	})
}

// A balancer that keeps the client's address sends to nodes, and a node with one pod gives it all it gets.
func TestLocalPolicyBehindABalancer(t *testing.T) {
	rec := outside(true).Record()
	st := &rec.Streams[0]
	st.Target, st.Addresses = "loadBalancer", []record.Address{{HostPort: "10.77.9.9:80"}}
	rec.Connections = slices.DeleteFunc(rec.Connections, func(c record.Connection) bool { return c.Backend == "" })
	rec.Tallies = slices.DeleteFunc(rec.Tallies, func(c record.Tally) bool { return c.Backend == "" })
	for i := range rec.Connections {
		rec.Connections[i].Address = "10.77.9.9:80"
	}
	for i := range rec.Tallies {
		rec.Tallies[i].Address = "10.77.9.9:80"
	}
	r := report(t, rec)
	f := finding(t, r, analyze.LocalPolicyImbalance)
	if len(f.Evidence["byNode"].([]map[string]any)) != 2 || !strings.Contains(f.Summary, "50/16.7/16.7/16.7 %") {
		t.Errorf("%s; %v", f.Summary, f.Evidence["byNode"])
	}
	if s := r.Streams[0]; s.Test.Method != "none" || has(r, analyze.SourceIPLost) || !has(r, analyze.SourceIPPreserved) {
		t.Errorf("%+v; %v", s.Test, found(r))
	}
}
