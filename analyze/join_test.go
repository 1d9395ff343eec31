package analyze_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// artefact returns the summary of the finding about the measurement itself, "" without one.
func artefact(r *analyze.Report) string {
	for _, f := range r.Findings {
		if f.Code == analyze.MeasurementArtefact {
			return f.Summary
		}
	}
	return ""
}

// lose takes the first n connections' rows and requests out of the clients' account.
func lose(rec *record.Record, n int) {
	for _, c := range rec.Connections[:n] {
		for i := range rec.Tallies {
			if t := &rec.Tallies[i]; t.Agent == c.Agent && t.Backend == c.Backend && t.Requests >= c.Requests {
				t.Requests -= c.Requests
				break
			}
		}
	}
	rec.Connections = rec.Connections[n:]
}

func TestBothEndsAgree(t *testing.T) {
	for name, scene := range scenesOfAllKinds() {
		rec := scene.Record()
		answered, connections := 0, 0
		for _, c := range rec.Connections {
			if c.Backend != "" {
				connections++
				answered += c.Requests
			}
		}
		r := report(t, rec)
		b := r.BothEnds
		if b == nil || b.Connections != connections || b.Agreeing != connections || b.OnlyClients+b.OnlyPods+b.Missing+b.Surplus != 0 ||
			b.Requests != answered || b.PodRequests != answered || !b.ByConnection {
			t.Errorf("%s: %+v, want %d connections and %d requests at both ends", name, b, connections, answered)
		}
		if text := artefact(r); text != "" {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// TestBothEndsAgreeOnAWarmUp has pods that counted requests and connections from before time 0.
func TestBothEndsAgreeOnAWarmUp(t *testing.T) {
	rec := scenesOfAllKinds()["keep-alive"].Record()
	rec.Streams[0].WarmUp = 2
	warmed := &record.WarmUp{Connections: 1, Answered: map[string]int{}}
	for i := range rec.Servers {
		s := &rec.Servers[i]
		for j := range s.Rows {
			at := slices.IndexFunc(rec.Connections, func(c record.Connection) bool {
				return c.Backend == s.Pod && c.ServerConn == s.Rows[j].Connection && c.Observed == s.Rows[j].Client
			})
			rec.Connections[at].WarmUp, rec.Connections[at].Opened, rec.Connections[at].Connected = 3, -1.5, -1.4
			s.Rows[j].Requests += 3
			s.Requests += 3
			warmed.Answered[s.Pod] += 3
		}
	}
	s := &rec.Servers[0]
	s.Rows = append(s.Rows, record.ServerConnection{Connection: 99_999_999, Client: "10.0.0.1:1", Requests: 5})
	s.Requests += 5
	s.Connections++
	warmed.Answered[s.Pod] += 5
	rec.Generators = append(rec.Generators, record.Generator{Stream: rec.Streams[0].ID, Agent: rec.Connections[0].Agent, WarmUp: warmed})
	r := report(t, rec)
	if text := artefact(r); text != "" {
		t.Errorf("%s: %+v", text, r.BothEnds)
	}
	if start := r.Streams[0].Timeline.Start; start < 0 {
		t.Errorf("the timeline begins at %d s", start)
	}
	warmed.Answered[s.Pod]--
	if text := artefact(report(t, rec)); text == "" {
		t.Error("a request that only the pod knows was not found")
	}
}

func TestBothEndsDisagree(t *testing.T) {
	for _, c := range []struct {
		name    string
		do      func(*record.Record)
		mention string // of the finding; "" none
		note    string
	}{
		{"three connections lost on the way into the record", func(r *record.Record) { lose(r, 3) },
			"3 requests that pods counted are not in the clients' account, 3 connections of the pods' lists are in no client's", ""},
		{"rows lost and tallies not", func(r *record.Record) { r.Connections = r.Connections[3:] }, "3 connections of the pods' lists", ""},
		{"a row that no pod knows", func(r *record.Record) { r.Connections[0].ServerConn = 99_999_999 }, "1 connection of the clients are in no pod's list", ""},
		{"requests nobody asked for", func(r *record.Record) { r.Servers[0].Requests += 7 }, "7 requests that pods counted", ""},
		{"answers no pod gave", func(r *record.Record) { r.Servers[0].Requests -= 7 }, "7 requests that clients saw answered", ""},
		{"a row with too many requests", func(r *record.Record) { r.Connections[0].Requests++ }, "1 connection have another number", ""},
		{"lists that were cut", func(r *record.Record) {
			for i := range r.Servers {
				s := &r.Servers[i]
				s.Truncated = len(s.Rows) - 10
				s.Rows = s.Rows[:10]
			}
		}, "", ""},
		{"rows beyond the cap", func(r *record.Record) {
			r.Generators = []record.Generator{{Stream: "web", Agent: "web-0", DroppedRows: 100}}
			r.Connections = slices.DeleteFunc(r.Connections, func(c record.Connection) bool { return c.Agent == "web-0" && c.ID > 1400 })
		}, "", "not every connection has a row"},
		{"requests without an answer", func(r *record.Record) {
			r.Connections[0].Requests--
			r.Tallies[0].Errors = map[record.ErrorKind]int{record.ErrTimeout: 1}
		}, "", ""},
		{"a pod that began anew", func(r *record.Record) {
			r.Servers[0].Requests, r.Servers[0].Rows = 0, nil
			r.FactsAfter.Pods[0].Restarts++
		}, "", "began to count anew"},
		{"a run that was interrupted", func(r *record.Record) { lose(r, 3); r.End.Interrupted = true }, "", "it is not whole"},
		{"something in between", func(r *record.Record) {
			r.Streams[0].Target = "gateway"
			for i := range r.Connections {
				r.Connections[i].Others = map[string]int{"other": 1}
			}
		}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := fresh().Record()
			c.do(rec)
			r := report(t, rec)
			text := artefact(r)
			if (text == "") != (c.mention == "") || !strings.Contains(text, c.mention) {
				t.Errorf("found %q, want %q; %+v", text, c.mention, r.BothEnds)
			}
			if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, c.note) }) && c.note != "" {
				t.Errorf("notes %q lack %q", r.Notes, c.note)
			}
		})
	}
}

func TestPodsThatSayNothingAreNotCompared(t *testing.T) {
	rec := fresh().Record()
	rec.Servers = nil
	if r := report(t, rec); r.BothEnds != nil || r.Servers != nil || artefact(r) != "" {
		t.Errorf("%+v", r.BothEnds)
	}
}

func TestSaturatedPods(t *testing.T) {
	for _, c := range []struct {
		name                string
		cpu, seconds, limit float64
		saturated           bool
	}{
		{"at its limit", 4.8, 10, 0.5, true},
		{"below its limit", 4, 10, 0.5, false},
		{"a core without a limit", 9.5, 10, 0, true},
		{"half a core without a limit", 5, 10, 0, false},
		{"time not known", 9.5, 0, 0, false},
		{"CPU not known", 0, 10, 0.5, false},
	} {
		rec := fresh().Record()
		s := &rec.Servers[0]
		s.CPUSeconds, s.Seconds, s.CPULimit = c.cpu, c.seconds, c.limit
		r := report(t, rec)
		if got := r.Servers[0].Saturated; got != c.saturated {
			t.Errorf("%s: %+v", c.name, r.Servers[0])
		}
		if text := artefact(r); c.saturated != strings.Contains(text, simulate.PodName(0, 0)+" used") {
			t.Errorf("%s: %q", c.name, text)
		}
	}
}

func TestGeneratorLimited(t *testing.T) {
	late := func(seconds float64) (h record.Histogram) {
		h.Add(int64(seconds*1e9), 1000)
		return h
	}
	for _, c := range []struct {
		name      string
		generator record.Generator
		rate      float64
		mention   string // of GeneratorLimited; "" none
		artefact  string // of MeasurementArtefact
	}{
		{"at ease", record.Generator{Seconds: 10, CPUSeconds: 1, CPULimit: 1, Busy: 0.2}, 0, "", ""},
		{"a busy loop", record.Generator{Seconds: 10, Busy: 0.97}, 0, "work 97 % of the time", ""},
		{"no CPU left", record.Generator{Seconds: 10, CPUSeconds: 9.5, CPULimit: 1}, 0, "0.95 of the 1 cores", ""},
		{"much CPU without a limit", record.Generator{Seconds: 10, CPUSeconds: 9.5}, 0, "", ""},
		{"results not taken", record.Generator{Seconds: 10, HeldBack: 0.5}, 0, "waited 0.5 s for results", ""},
		{"no room in conntrack", record.Generator{Conntrack: &record.Conntrack{Max: 100, HeldBack: 7}}, 0, "7 connections were opened late", ""},
		{"on time", record.Generator{Intended: 1000, Lateness: late(0.0002)}, 100, "", ""},
		{"late", record.Generator{Intended: 1000, Lateness: late(0.1)}, 100, "sent 100 ms late", ""},
		{"dropped", record.Generator{Intended: 1000, Dropped: 30, Lateness: late(0.0002)}, 100, "30 of 1000 requests that were due were never sent", ""},
		{"a full conntrack table", record.Generator{Conntrack: &record.Conntrack{Max: 100, Peak: 99, Full: true}}, 0, "", "was full (99 of 100 entries)"},
		{"no ports left", record.Generator{OutOfPorts: 12, LocalPorts: 28000}, 0, "", "left for 12 connections"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := fresh().Record()
			c.generator.Stream, c.generator.Agent = "web", "web-0"
			rec.Generators, rec.Streams[0].Rate = []record.Generator{c.generator}, c.rate
			r := report(t, rec)
			text := ""
			if has(r, analyze.GeneratorLimited) {
				text = finding(t, r, analyze.GeneratorLimited).Summary
			}
			if (text == "") != (c.mention == "") || !strings.Contains(text, c.mention) {
				t.Errorf("%q, want %q", text, c.mention)
			}
			if text != "" && (finding(t, r, analyze.GeneratorLimited).Severity == analyze.Warning) != (c.rate > 0) {
				t.Error("only a schedule that is not kept is worth a warning")
			}
			if text := artefact(r); (text == "") != (c.artefact == "") || !strings.Contains(text, c.artefact) {
				t.Errorf("artefact %q, want %q", text, c.artefact)
			}
			if (r.Streams[0].OpenLoop != nil) != (c.rate > 0) {
				t.Errorf("open loop %+v", r.Streams[0].OpenLoop)
			}
			if len(r.Streams[0].Generators) != 1 {
				t.Errorf("generators %+v", r.Streams[0].Generators)
			}
		})
	}
}

// With too few connections for its rate an open loop is late whatever the generator can do, and the report says so.
func TestOpenLoopWithoutAFreeConnection(t *testing.T) {
	rec := fresh().Record()
	st := &rec.Streams[0]
	st.Rate, st.Connections = 600, 2
	// 3,000 requests in 5 s that took 3 ms each occupy 1.8 connections.
	for i := range rec.Tallies {
		tally := &rec.Tallies[i]
		tally.Latency = record.Histogram{}
		tally.Latency.Add(1_003e6, uint64(tally.Requests))
	}
	g := record.Generator{Stream: "web", Agent: "web-0", Intended: 3000}
	g.Lateness.Add(1e9, 3000)
	rec.Generators = []record.Generator{g}
	f := finding(t, report(t, rec), analyze.GeneratorLimited)
	if !strings.Contains(f.Summary, "of 2 connections were busy on average") || f.Remedies[0].Predicted["connections"] != 4 {
		t.Errorf("%s; %v", f.Summary, f.Remedies)
	}
}

// Without the generators' own account the lateness comes from the samples.
func TestOpenLoopFromSamples(t *testing.T) {
	rec := fresh().Record()
	rec.Streams[0].Rate = 600
	for i := range 100 {
		rec.Samples = append(rec.Samples, record.Sample{Stream: "web", Agent: "web-0", Connection: i + 1, Late: 0.02, Latency: 0.03})
	}
	o := report(t, rec).Streams[0].OpenLoop
	if o == nil || o.From != "samples" || o.LateP50 < 0.02 || o.LateP50 > 0.0202 || o.Sent != 3000 {
		t.Errorf("%+v", o)
	}
}
