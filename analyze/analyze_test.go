package analyze_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// The scenes most tests start from, after the built-in scenarios.
func keepalive() simulate.Scene {
	return simulate.Scene{Seed: 7, Placement: []int{2, 2, 2}, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 4, Requests: 6000, Spread: 0.1}}}
}

func fresh() simulate.Scene {
	return simulate.Scene{Seed: 7, Placement: []int{2, 2, 2}, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 1500}}}
}

func affine() simulate.Scene {
	return simulate.Scene{Seed: 7, Placement: []int{2, 2, 2}, AffinitySeconds: 10_800, Streams: []simulate.Stream{{Name: "web", Clients: 24, Connections: 40}}}
}

func outside(local bool) simulate.Scene {
	return simulate.Scene{Seed: 7, Placement: []int{1, 3, 0}, ExternalLocal: local,
		Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Connections: 600}}}
}

func report(tb testing.TB, rec *record.Record, expect ...analyze.Expectation) *analyze.Report {
	tb.Helper()
	r, err := analyze.Analyze(rec, expect, analyze.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// found lists codes with their severity and, by design, a star.
func found(r *analyze.Report) []string {
	var list []string
	for _, f := range r.Findings {
		text := fmt.Sprintf("%s %s %s", f.Severity, f.Code, f.Stream)
		if f.ByDesign {
			text += "*"
		}
		list = append(list, text)
	}
	slices.Sort(list)
	return list
}

func finding(t *testing.T, r *analyze.Report, code analyze.Code) analyze.Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Code == code {
			return f
		}
	}
	t.Fatalf("no %s among %v", code, found(r))
	return analyze.Finding{}
}

func has(r *analyze.Report, code analyze.Code) bool {
	return slices.ContainsFunc(r.Findings, func(f analyze.Finding) bool { return f.Code == code })
}

func TestFindingsOfTheBuiltInScenarios(t *testing.T) {
	for _, c := range []struct {
		name  string
		scene simulate.Scene
		want  []string
	}{
		{"keep-alive", keepalive(), []string{
			"info CrossNodeHops web*", "info IdleBackends web", "info SourceIPPreserved web*", "info TooFewConnections web*", "warning ConnectionPinning web*",
		}},
		{"fresh", fresh(), []string{"info Balanced web", "info CrossNodeHops web*", "info SourceIPPreserved web*"}},
		{"affinity", affine(), []string{"info AffinityHeld web*", "info CrossNodeHops web*", "info SourceIPPreserved web*"}},
		{"external policy Cluster", outside(false), []string{"info Balanced outside", "info CrossNodeHops outside*", "warning SourceIPLost outside*"}},
		{"external policy Local", outside(true), []string{
			"info SourceIPPreserved outside*", "warning LocalPolicyImbalance outside*", "warning NoLocalEndpoint outside*",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, found(report(t, c.scene.Record()))); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPinningSpeaksOfWholeConnections(t *testing.T) {
	rec := keepalive().Record()
	r := report(t, rec)
	f := finding(t, r, analyze.ConnectionPinning)
	s := r.Streams[0]
	connections, requests := 0, 0
	for _, row := range f.Evidence["byBackend"].([]map[string]any) {
		connections += row["connections"].(int)
		requests += row["requests"].(int)
	}
	if connections != 8 || requests != s.Requests {
		t.Errorf("evidence has %d connections and %d requests, want 8 and %d", connections, requests, s.Requests)
	}
	if !strings.HasPrefix(f.Summary, "8 connections carried ") {
		t.Errorf("summary %q", f.Summary)
	}
	if len(f.Remedies) != 3 {
		t.Fatalf("%d remedies, want more connections, shorter ones, and a choice per request", len(f.Remedies))
	}
	for _, m := range f.Remedies {
		width := rangeOf(t, m.Predicted["maxOverMean"])
		if width[0] > width[1] || width[1] >= s.Skew.MaxOverMean {
			t.Errorf("%s: predicts %v, which is no improvement on %v", m.What, width, s.Skew.MaxOverMean)
		}
	}
}

func rangeOf(t *testing.T, v any) (r analyze.Range) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatalf("%v is no range: %v", v, err)
	}
	return r
}

// However few keep-alive connections fall, it is not called a fault.
func TestFewKeepAliveConnectionsAreNeverUnexplained(t *testing.T) {
	const runs = 100 / slowdown
	all := 0
	for seed := range uint64(runs) {
		scene := simulate.Scene{Seed: seed, Placement: []int{1, 1, 1}, Streams: []simulate.Stream{{Name: "web", Connections: 10, Requests: 1000}}}
		r := report(t, scene.Record())
		if has(r, analyze.UnexplainedSkew) {
			t.Errorf("seed %d: %v", seed, finding(t, r, analyze.UnexplainedSkew).Summary)
		}
		if has(r, analyze.ConnectionPinning) {
			all++
		}
	}
	if all != runs {
		t.Errorf("ConnectionPinning in %d of %d runs", all, runs)
	}
}

// Even with all of them on one pod.
func TestAllKeepAliveConnectionsOnOnePod(t *testing.T) {
	scene := simulate.Scene{Seed: 1, Placement: []int{1, 1, 1}, Hot: 3, Streams: []simulate.Stream{{Name: "web", Connections: 10, Requests: 100}}}
	r := report(t, scene.Record())
	if r.Streams[0].Skew.MaxOverMean != 3 {
		t.Fatalf("max/mean %v: not all on one", r.Streams[0].Skew.MaxOverMean)
	}
	if has(r, analyze.UnexplainedSkew) {
		t.Errorf("called unexplained: %v", found(r))
	}
	if f := finding(t, r, analyze.ConnectionPinning); f.Severity != analyze.Warning || !strings.Contains(f.Summary, "more than chance (p = 5.08e-05") {
		t.Errorf("%s: %s", f.Severity, f.Summary)
	}
}

func TestAFaultIsFoundAndNamed(t *testing.T) {
	scene := simulate.Scene{Seed: 7, Placement: []int{1, 1, 1}, Hot: 1.8, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 150}}}
	r := report(t, scene.Record())
	f := finding(t, r, analyze.UnexplainedSkew)
	if f.Severity != analyze.Error || f.ByDesign {
		t.Errorf("severity %s, by design %v", f.Severity, f.ByDesign)
	}
	if hot := f.Evidence["hotBackend"]; hot != simulate.PodName(0, 0) {
		t.Errorf("hot backend %v, want %s", hot, simulate.PodName(0, 0))
	}
	if has(r, analyze.Balanced) {
		t.Error("balanced as well")
	}
	d := r.Streams[0].Decomposition
	if d.Unexplained < 0.8*d.Total {
		t.Errorf("%+v: most of it should be unexplained", d)
	}
}

// A pod that is a little hot for each of many streams is seen in all of them together.
func TestStreamsOfOneTargetAreTestedTogether(t *testing.T) {
	scene := simulate.Scene{Seed: 5, Placement: []int{1, 1, 1}, Hot: 1.3}
	for i := range 6 {
		scene.Streams = append(scene.Streams, simulate.Stream{Name: fmt.Sprintf("web%d", i), Connections: 100})
	}
	f := finding(t, report(t, scene.Record()), analyze.UnexplainedSkew)
	if f.Stream != "" || f.Evidence["units"] != 600 {
		t.Errorf("finding for stream %q on %v units, want the 600 of all together", f.Stream, f.Evidence["units"])
	}
}

func TestLocalPolicyPredictsShares(t *testing.T) {
	r := report(t, outside(true).Record())
	want := map[string]float64{"echo-a0": 0.5, "echo-b0": 1. / 6, "echo-b1": 1. / 6, "echo-b2": 1. / 6}
	for _, b := range r.Streams[0].Backends {
		if math.Abs(b.ExpectedShare-want[b.Pod]) > 1e-9 {
			t.Errorf("%s: expected share %v, want %v", b.Pod, b.ExpectedShare, want[b.Pod])
		}
	}
	f := finding(t, r, analyze.LocalPolicyImbalance)
	if !strings.Contains(f.Summary, "50/16.7/16.7/16.7 %") {
		t.Errorf("summary %q", f.Summary)
	}
	if got := f.Remedies[0].Predicted["maxOverMean"]; got != digits(4./3) {
		t.Errorf("four pods spread over three nodes: max/mean %v, want 4/3", got)
	}
	if got := f.Remedies[1].Predicted["sourceIP"]; got != "lost" {
		t.Errorf("the Cluster policy keeps the address: %v", got)
	}
	if math.Abs(r.Streams[0].Decomposition.Designed-1./3) > 1e-9 {
		t.Errorf("%+v: a third is designed", r.Streams[0].Decomposition)
	}
}

func digits(x float64) float64 { return math.Round(x*1e9) / 1e9 }

func TestNoLocalEndpointCountsTimeouts(t *testing.T) {
	rec := outside(true).Record()
	r := report(t, rec)
	f := finding(t, r, analyze.NoLocalEndpoint)
	if f.Evidence["timeouts"] != 200 || f.Evidence["refused"] != 0 || f.Evidence["connections"] != 200 {
		t.Errorf("evidence %v", f.Evidence)
	}
	if !strings.Contains(f.Summary, "200 of 200 connections there timed out, 0 were refused") {
		t.Errorf("summary %q", f.Summary)
	}
	s := r.Streams[0]
	if s.Errors[record.ErrTimeout] != 200 || s.Connections != 600 || s.UnknownBackend != 200 || s.Test.Units != 400 {
		t.Errorf("errors %v, %d connections, %d unanswered, %d units", s.Errors, s.Connections, s.UnknownBackend, s.Test.Units)
	}
	for _, n := range s.Nodes {
		if n.Node == "worker3" && (n.Endpoints != 0 || n.Expected != "timeout" || n.Errors[record.ErrTimeout] != 200 || n.Answered != 0) {
			t.Errorf("worker3: %+v", n)
		}
	}
	// A record that was cut may lack the tallies: the rows alone must do.
	rec.Tallies = nil
	if n := report(t, rec).Streams[0].Errors[record.ErrTimeout]; n != 200 {
		t.Errorf("%d timeouts without tallies, want 200", n)
	}
}

func TestNothingGetsThroughIsAnError(t *testing.T) {
	scene := outside(true)
	scene.Streams[0].TargetNodes = []int{2}
	r := report(t, scene.Record())
	if f := finding(t, r, analyze.NoLocalEndpoint); f.Severity != analyze.Error || !f.ByDesign {
		t.Errorf("severity %s, by design %v", f.Severity, f.ByDesign)
	}
	for _, code := range []analyze.Code{analyze.IdleBackends, analyze.UnexplainedSkew, analyze.TooFewUnits, analyze.LocalPolicyImbalance} {
		if has(r, code) {
			t.Errorf("%s about a stream that was predicted to fail", code)
		}
	}
}

func TestNoEndpoints(t *testing.T) {
	rec := fresh().Record()
	rec.Facts.Endpoints, rec.FactsAfter.Endpoints, rec.Tallies, rec.Servers = nil, nil, nil, nil
	for i := range rec.Connections {
		c := &rec.Connections[i]
		*c = record.Connection{Stream: c.Stream, Agent: c.Agent, ID: c.ID, Address: c.Address, Opened: c.Opened, Error: record.ErrRefused}
	}
	r := report(t, rec)
	if diff := cmp.Diff([]string{"error NoEndpoints web"}, found(r)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if f := finding(t, r, analyze.NoEndpoints); f.Evidence["refused"] != 3000 {
		t.Errorf("evidence %v", f.Evidence)
	}
}

func TestInternalLocalPolicy(t *testing.T) {
	scene := simulate.Scene{Seed: 3, Placement: []int{1, 3, 0}, InternalLocal: true, Streams: []simulate.Stream{{Name: "web", Clients: 3, Connections: 200}}}
	r := report(t, scene.Record())
	want := []string{"info SourceIPPreserved web*", "warning LocalPolicyImbalance web*", "warning NoLocalEndpoint web*"}
	if diff := cmp.Diff(want, found(r)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if f := finding(t, r, analyze.LocalPolicyImbalance); !strings.Contains(f.Summary, "internalTrafficPolicy") {
		t.Errorf("summary %q", f.Summary)
	}
}

func TestSourcesAreToldApart(t *testing.T) {
	r := report(t, outside(false).Record())
	classes := map[string]int{}
	for _, s := range r.Streams[0].Sources {
		classes[s.Class] += s.Requests
	}
	if classes["receiving-node"]+classes["pod-gateway"] != 600 || classes["pod-gateway"] == 0 || len(classes) != 2 {
		t.Errorf("classes %v", classes)
	}
	f := finding(t, r, analyze.SourceIPLost)
	for _, want := range []string{"receiving-node in", "pod-gateway in", simulate.NodeIP(0), simulate.Gateway(0), "externalTrafficPolicy: Cluster"} {
		if !strings.Contains(f.Summary, want) {
			t.Errorf("summary lacks %q: %s", want, f.Summary)
		}
	}
}

// Under Local the settings keep the address: whoever rewrites it is not kube-proxy.
func TestSourceLostAgainstTheSettings(t *testing.T) {
	rec := outside(true).Record()
	for i := range rec.Tallies {
		if rec.Tallies[i].Observed != "" {
			rec.Tallies[i].Observed = "192.0.2.77"
		}
	}
	f := finding(t, report(t, rec), analyze.SourceIPLost)
	if f.ByDesign || !strings.Contains(f.Summary, "unknown in 400 (192.0.2.77)") {
		t.Errorf("by design %v: %s", f.ByDesign, f.Summary)
	}
}

// Node clients are masqueraded by kube-proxy to reach a ClusterIP at all: no policy loses anything.
func TestNodeClientsLoseNothing(t *testing.T) {
	scene := fresh()
	scene.Streams[0].Vantage = "node"
	if r := report(t, scene.Record()); has(r, analyze.SourceIPLost) || has(r, analyze.UnexplainedSkew) {
		t.Errorf("findings %v", found(r))
	}
}

func TestHairpin(t *testing.T) {
	rec := fresh().Record()
	// The client is one of the pods and reaches itself now and then.
	self := simulate.PodName(0, 0)
	ip := rec.Facts.Pods[0].IPs[0]
	rec.Streams[0].Agents[0] = record.AgentRef{Name: self, Node: simulate.NodeName(0), IPs: []string{ip}}
	for i := range rec.Connections {
		if c := &rec.Connections[i]; c.Agent == "web-0" {
			c.Agent, c.Local = self, ip+":40000"
		}
	}
	for i := range rec.Tallies {
		if tally := &rec.Tallies[i]; tally.Agent == "web-0" {
			tally.Agent, tally.Observed = self, ip
			if tally.Backend == self {
				tally.Observed = simulate.Gateway(0)
			}
		}
	}
	r := report(t, rec)
	f := finding(t, r, analyze.HairpinSNAT)
	if f.Severity != analyze.Info || !strings.Contains(f.Summary, simulate.Gateway(0)) {
		t.Errorf("%s: %s", f.Severity, f.Summary)
	}
	if !has(r, analyze.SourceIPPreserved) || !has(r, analyze.Balanced) {
		t.Errorf("findings %v: a hairpin is neither a loss nor a skew", found(r))
	}
}

func TestForeignBackend(t *testing.T) {
	rec := outside(true).Record()
	moved := 0
	for i := range rec.Connections {
		if c := &rec.Connections[i]; c.Backend == "echo-a0" && moved < 5 {
			c.Backend = "echo-b0"
			moved++
		}
	}
	for i := range rec.Tallies {
		if tally := &rec.Tallies[i]; tally.Backend == "echo-a0" {
			tally.Requests -= 5
			rec.Tallies = append(rec.Tallies, record.Tally{Stream: tally.Stream, Agent: tally.Agent, Address: tally.Address, Backend: "echo-b0", Observed: tally.Observed, Requests: 5})
			break
		}
	}
	f := finding(t, report(t, rec), analyze.ForeignBackend)
	if f.Severity != analyze.Error || f.Evidence["connections"] != 5 || !strings.Contains(f.Summary, "echo-b0") {
		t.Errorf("%s %v: %s", f.Severity, f.Evidence, f.Summary)
	}
}

// A pod that came during the run is no stranger, and shares that changed under way are not tested.
func TestFactsThatChange(t *testing.T) {
	for _, c := range []struct {
		name     string
		events   []record.Event
		severity analyze.Severity
	}{
		{"on purpose", []record.Event{{At: 2, What: "scale to 7"}}, analyze.Info},
		{"by themselves", nil, analyze.Warning},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := fresh().Record()
			rec.Events = c.events
			after := rec.FactsAfter
			after.Endpoints = append(after.Endpoints, record.Endpoint{Service: simulate.Service, Address: "10.78.16.99", Pod: "echo-new", Node: "worker", Ready: true, Serving: true})
			after.Pods = append(after.Pods, record.Pod{Name: "echo-new", Role: "echo", IPs: []string{"10.78.16.99"}, Node: "worker", Ready: true})
			for i := range rec.Connections[:500] {
				rec.Connections[i].Backend = "echo-new"
			}
			r := report(t, rec)
			if f := finding(t, r, analyze.FactsChanged); f.Severity != c.severity || !strings.Contains(f.Summary, "pod echo-new is new") {
				t.Errorf("%s: %s", f.Severity, f.Summary)
			}
			if has(r, analyze.ForeignBackend) || has(r, analyze.UnexplainedSkew) || has(r, analyze.Balanced) {
				t.Errorf("findings %v", found(r))
			}
			if r.Streams[0].Test.Method != "none" {
				t.Errorf("tested by %s all the same", r.Streams[0].Test.Method)
			}
		})
	}
}

func TestUnansweredConnectionsHoldTheVerdictBack(t *testing.T) {
	scene := simulate.Scene{Seed: 7, Placement: []int{1, 1, 1}, Hot: 1.8, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 150}}}
	rec := scene.Record()
	for i := range rec.Connections {
		if i%50 == 0 {
			c := &rec.Connections[i]
			c.Backend, c.Observed, c.Requests, c.Error = "", "", 0, record.ErrReset
		}
	}
	r := report(t, rec)
	if f := finding(t, r, analyze.UnexplainedSkew); f.Severity != analyze.Warning || !strings.Contains(f.Summary, "2 % of the connections were never answered") {
		t.Errorf("%s: %s", f.Severity, f.Summary)
	}
	b := r.Streams[0].Backends[0]
	if b.Bounds == nil || !(b.Bounds[0] < b.ConnectionShare && b.ConnectionShare < b.Bounds[1]) {
		t.Errorf("share %v within %v", b.ConnectionShare, b.Bounds)
	}
}

func TestTooFewUnits(t *testing.T) {
	scene := simulate.Scene{Seed: 1, Placement: []int{1, 1, 1}, Streams: []simulate.Stream{{Name: "web", Connections: 4}}}
	r := report(t, scene.Record())
	if f := finding(t, r, analyze.TooFewUnits); !strings.Contains(f.Summary, "4 connections cannot show any skew on 3 pods; it takes 49") {
		t.Errorf("summary %q", f.Summary)
	}
	if r.Streams[0].Test.Method != "none" {
		t.Errorf("a verdict by %s", r.Streams[0].Test.Method)
	}
}

func TestConnectionsAnsweredBySeveralPods(t *testing.T) {
	rec := keepalive().Record()
	rec.Connections[0].Others = map[string]int{"echo-c1": 10}
	if f := finding(t, report(t, rec), analyze.MeasurementArtefact); !strings.HasPrefix(f.Summary, "1 connection was answered by more than one pod") {
		t.Errorf("summary %q", f.Summary)
	}
}

func TestMoreEvenThanChanceIsNoSkew(t *testing.T) {
	scene := simulate.Scene{Seed: 7, Placement: []int{2, 1}, Streams: []simulate.Stream{{Name: "web", Connections: 630}}}
	rec := scene.Record()
	for i := range rec.Connections {
		rec.Connections[i].Backend = rec.Facts.Endpoints[i%3].Pod
	}
	r := report(t, rec)
	if has(r, analyze.UnexplainedSkew) || r.Streams[0].Test.Direction != "under" || r.Streams[0].Test.AdjustedP > 0.01 {
		t.Errorf("%v, test %+v", found(r), r.Streams[0].Test)
	}
	if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "more evenly than independent choices") }) {
		t.Errorf("notes %v", r.Notes)
	}
}

func TestTargetsWithoutAModelAreDescribedNotJudged(t *testing.T) {
	rec := fresh().Record()
	rec.Streams[0].Target = "headless"
	r := report(t, rec)
	if has(r, analyze.Balanced) || has(r, analyze.UnexplainedSkew) || r.Streams[0].Test.Method != "none" {
		t.Errorf("%v by %s", found(r), r.Streams[0].Test.Method)
	}
	if r.Streams[0].Skew.MaxOverMean < 1 || len(r.Streams[0].Backends) != 6 || len(r.Notes) == 0 {
		t.Errorf("skew %+v of %d backends, notes %v", r.Streams[0].Skew, len(r.Streams[0].Backends), r.Notes)
	}
}

func TestRecordsThatMakeNoSense(t *testing.T) {
	for _, c := range []struct {
		name string
		with func(*record.Record)
		want string
	}{
		{"no stream", func(r *record.Record) { r.Streams = nil }, "no stream"},
		{"a stream twice", func(r *record.Record) { r.Streams = append(r.Streams, r.Streams[0]) }, "twice"},
		{"a connection of nobody", func(r *record.Record) { r.Connections[0].Stream = "x" }, "belongs to no stream"},
		{"a tally of nobody", func(r *record.Record) { r.Tallies[0].Stream = "x" }, "belongs to no stream"},
	} {
		rec := keepalive().Record()
		c.with(rec)
		if _, err := analyze.Analyze(rec, nil, analyze.Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := analyze.Analyze(&record.Record{}, nil, analyze.Options{}); !errors.Is(err, analyze.ErrEmpty) {
		t.Errorf("an empty record: %v", err)
	}
}

func TestRecordsThatWereCut(t *testing.T) {
	rec := fresh().Record()
	rec.End, rec.FactsAfter = nil, nil
	rec.Connections = rec.Connections[:100]
	r := report(t, rec)
	if !r.Run.Interrupted || r.Run.Seconds <= 0 || len(r.Notes) == 0 {
		t.Errorf("run %+v, notes %v", r.Run, r.Notes)
	}
	rec.Connections, rec.Tallies = nil, nil
	r = report(t, rec)
	if s := r.Streams[0]; s.Requests != 0 || len(s.Backends) != 6 || s.Skew.IdleBackends != 6 {
		t.Errorf("a stream that never ran: %+v", s)
	}
	if has(r, analyze.IdleBackends) {
		t.Errorf("%v about a stream that never ran", found(r))
	}
}

func TestDecompositionAddsUp(t *testing.T) {
	for _, scene := range []simulate.Scene{keepalive(), fresh(), affine(), outside(false), outside(true)} {
		for _, s := range report(t, scene.Record()).Streams {
			d := s.Decomposition
			if sum := d.Designed + d.Placement + d.LoadPerUnit + d.Unexplained; math.Abs(sum-d.Total) > 1e-12 {
				t.Errorf("%+v adds up to %v", d, sum)
			}
			if math.Abs(d.Total-s.Skew.CV*s.Skew.CV) > 1e-8 {
				t.Errorf("total %v is not CV² %v", d.Total, s.Skew.CV*s.Skew.CV)
			}
		}
	}
}

// FuzzAnalyze holds records with whatever is wrong with them against two promises: no panic, and a report that JSON can hold.
func FuzzAnalyze(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8}, uint64(1))
	f.Add([]byte{200, 0, 0, 255}, uint64(2))
	f.Fuzz(func(t *testing.T, damage []byte, seed uint64) {
		scenes := []simulate.Scene{keepalive(), affine(), outside(true), outside(false)}
		scene := scenes[seed%4]
		scene.Seed = seed
		scene.Streams[0].Connections = 20
		rec := scene.Record()
		for i := 0; i+1 < len(damage); i += 2 {
			spoil(rec, damage[i], int(damage[i+1]))
		}
		r, err := analyze.Analyze(rec, []analyze.Expectation{{Metric: "cv", Above: new(0.0)}}, analyze.Options{})
		if err != nil {
			return
		}
		if _, err := json.Marshal(r); err != nil {
			t.Errorf("the report is no JSON: %v", err)
		}
	})
}

// spoil damages a record in one of several ways.
func spoil(rec *record.Record, how byte, where int) {
	c := &rec.Connections[where%len(rec.Connections)]
	tally := &rec.Tallies[where%len(rec.Tallies)]
	switch how % 14 {
	case 0:
		c.Backend = ""
	case 1:
		c.Backend = "stranger"
	case 2:
		c.Address = "nowhere"
	case 3:
		c.Local, c.Agent = "", "ghost"
	case 4:
		c.Opened, c.Connected = -c.Opened, 1e300
	case 5:
		tally.Backend = "stranger"
	case 6:
		tally.Requests = -tally.Requests
	case 7:
		tally.Observed = "not an address"
	case 8:
		rec.Facts.Endpoints = rec.Facts.Endpoints[:where%(1+len(rec.Facts.Endpoints))]
	case 9:
		rec.Facts.Services = nil
	case 10:
		rec.Facts.Cluster.Nodes = nil
	case 11:
		rec.Streams[0].Agents, rec.Streams[0].Addresses = nil, nil
	case 12:
		rec.FactsAfter = nil
	case 13:
		tally.Errors = map[record.ErrorKind]int{record.ErrReset: where}
	}
}
