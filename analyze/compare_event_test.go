package analyze_test

import (
	"math"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// grown is a report of a Service that grows while clients hold so many connections for so long.
func grown(t *testing.T, seed uint64, connections int, lifetime float64) *analyze.Report {
	t.Helper()
	scene := growing(connections, lifetime)
	scene.Seed = seed
	return report(t, scene.Record())
}

func TestCompareShowsWhatALifetimeOfConnectionsGivesToNewPods(t *testing.T) {
	held, aged := grown(t, 1, 20, math.Inf(1)), grown(t, 2, 20, 1)
	c := compared(t, []*analyze.Report{held}, []*analyze.Report{aged})
	s := c.Streams[0]
	if c.Verdict != analyze.Better || s.Settling == nil || s.Settling.NewPods != [2]int{3, 3} || s.Settling.Reached[0] != "not within the run" || s.Settling.Reached[1] == s.Settling.Reached[0] {
		t.Fatalf("%s, %+v", c.Verdict, s.Settling)
	}
	share := metricOf(t, c, "newShare")
	if share.Before != 0 || math.Abs(share.After-0.5) > 0.25 || share.Verdict != analyze.Better || share.Interval[0] <= 0 {
		t.Errorf("the new pods' part: %+v", share)
	}
	if m := metricOf(t, c, "maxOverMean"); m.Before < 2 || m.After > 1.8 || m.Verdict != analyze.Better {
		t.Errorf("of the open connections, half of the pods had none: %+v", m)
	}
	if len(c.Notes) != 1 {
		t.Errorf("it does not say which part of the runs is compared: %q", c.Notes)
	}
	if back := compared(t, []*analyze.Report{aged}, []*analyze.Report{held}); back.Verdict != analyze.Worse {
		t.Errorf("the other way round it is %s, want worse", back.Verdict)
	}
}

func TestCompareShowsWhatALifetimeDoesAfterARestart(t *testing.T) {
	scene := restarting(400)
	held := report(t, scene.Record())
	scene.Streams[0].Lifetime = 1
	scene.Seed = 8
	c := compared(t, []*analyze.Report{held}, []*analyze.Report{report(t, scene.Record())})
	if c.Verdict != analyze.Better {
		t.Errorf("%s: %+v", c.Verdict, c.Streams[0].Metrics)
	}
	for _, m := range c.Streams[0].Metrics {
		if m.Name == "newShare" {
			t.Error("all pods are new after a restart: their part says nothing")
		}
	}
}

// Two runs of one scenario with an event differ by chance alone: at least 95 % of the pairs must show no difference.
func TestCompareShowsNoDifferenceAfterTheSameEvent(t *testing.T) {
	pairs := 40
	if testing.Short() || slowdown > 1 {
		pairs = 10
	}
	different := 0
	for i := range uint64(pairs) {
		c := compared(t, []*analyze.Report{grown(t, 2*i+100, 20, 1)}, []*analyze.Report{grown(t, 2*i+101, 20, 1)})
		if c.Verdict != analyze.NoDifference {
			different++
			t.Log(c.Verdict, c.Streams[0].Metrics, c.Streams[0].Placement)
		}
	}
	if different > pairs*10/100 {
		t.Errorf("%d of %d pairs", different, pairs)
	}
}

// A remedy of a restart is about the pods there are, not about those that went.
func TestARemedyOfARestartCountsNoPodThatWent(t *testing.T) {
	f := finding(t, report(t, restarting(60).Record()), analyze.SkewAfterRestart)
	for _, r := range f.Remedies {
		if even, ok := r.Predicted["maxOverMean"].(analyze.Range); ok && even[1] > 1.5 {
			t.Errorf("120 connections to three pods: %s", r.What)
		}
	}
}

// Of twelve connections to six pods no pod has strikingly few; that three new ones have none of them together is striking.
func TestFewConnectionsShowThatNewPodsHaveNone(t *testing.T) {
	b := report(t, growing(6, math.Inf(1)).Record()).Events[0].Effects[0].Balance
	if b == nil || b.Reached != "not within the run" || b.NewOpen != 0 || math.Abs(b.NewOpenExpected-6) > 1e-9 || len(b.OpenByPod) != 6 {
		t.Errorf("%+v", b)
	}
}

func TestClientsUnderAffinityStayWhenPodsAreAdded(t *testing.T) {
	scene := simulate.Scene{
		Seed: 5, Placement: []int{1, 1}, AffinitySeconds: 600, Events: []simulate.Event{{At: 3, Placement: []int{2, 2}}},
		Streams: []simulate.Stream{{Name: "web", Clients: 24, Connections: 40}},
	}
	r := report(t, scene.Record())
	f := finding(t, r, analyze.IdleAfterScaleOut)
	if !f.ByDesign || f.Evidence["clientsHeld"] != 24 {
		t.Errorf("%+v", f)
	}
	if has(r, analyze.AffinityBroken) {
		t.Errorf("%v", found(r))
	}
	t.Log(f.Summary)
}

// replaced is a record of UDP flows whose pods are replaced by others under way, which then answer.
func replaced(t *testing.T, cleared bool) *record.Record {
	t.Helper()
	rec := simulate.Scene{
		Seed: 5, Placement: []int{2}, Events: []simulate.Event{{At: 3, Over: 0.1}},
		Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 8, Requests: 100, Lifetime: math.Inf(1)}},
	}.Record()
	rec.Streams[0].Protocol = "udp"
	var old, young string
	for _, e := range rec.Facts.Endpoints {
		old = e.Pod
		rec.Events = append(rec.Events, record.Event{At: 3.1, Kind: record.EventRemoved, Target: e.Pod, What: "removed"})
	}
	for _, e := range rec.FactsAfter.Endpoints {
		young = e.Pod
	}
	rec.Connections, rec.Tallies, rec.Servers = nil, nil, nil
	address := rec.Streams[0].Addresses[0].HostPort
	for id := range 8 {
		c := record.Connection{Stream: "web", Agent: "web-0", ID: id + 1, Slot: id, Address: address, Opened: 0.1, Connected: 0.1, Closed: 9.9, Requests: 10, Backend: old}
		if cleared {
			c.Others = map[string]int{young: 5}
		}
		rec.Connections = append(rec.Connections, c)
	}
	for second := range 10 {
		pod := old
		if cleared && second > 3 {
			pod = young
		}
		rec.Tallies = append(rec.Tallies, record.Tally{Stream: "web", Agent: "web-0", Address: address, Backend: pod, Second: second, Requests: 8})
	}
	return rec
}

// A flow that goes on to another pod when its own is none any more is what kube-proxy is to do; one that stays is not.
func TestFlowsThatFollowTheEndpointsAreNoFault(t *testing.T) {
	moved := report(t, replaced(t, true))
	for _, code := range []analyze.Code{analyze.MeasurementArtefact, analyze.StaleEndpoint, analyze.SlowToBalance, analyze.SkewAfterRestart} {
		if has(moved, code) {
			t.Errorf("%s", finding(t, moved, code).Summary)
		}
	}
	if stuck := report(t, replaced(t, false)); !has(stuck, analyze.StaleEndpoint) {
		t.Errorf("flows that stay with pods that are no endpoints: %v", found(stuck))
	}
}

// Connections in turn are an order; next to an event that changes where they can fall, a pattern may be the event's.
func TestAnEventIsNoRotation(t *testing.T) {
	rec := simulate.Scene{Seed: 3, Placement: []int{1, 1, 1}, Streams: []simulate.Stream{{Name: "web", Clients: 1, Connections: 900}}}.Record()
	for i := range rec.Connections {
		rec.Connections[i].Backend = rec.Facts.Endpoints[i%3].Pod
	}
	if r := report(t, rec); !has(r, analyze.RoundRobin) {
		t.Fatalf("connections in turn: %v", found(r))
	}
	rec.Events = []record.Event{{At: 1, What: "node lost its power", Kind: record.EventKill, Target: "worker3"}}
	if r := report(t, rec); has(r, analyze.RoundRobin) || has(r, analyze.SlowToBalance) {
		t.Errorf("%v", found(r))
	}
	rec.Events[0].Kind = record.EventSlow
	if r := report(t, rec); !has(r, analyze.RoundRobin) {
		t.Errorf("a slow pod changes nothing about the choices: %v", found(r))
	}
}
