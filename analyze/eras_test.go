package analyze_test

import (
	"math"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// twice is a Service of three pods that becomes one of six and then one of nine.
func twice(lifetime float64) simulate.Scene {
	return simulate.Scene{
		Seed: 5, Placement: []int{1, 1, 1}, Events: []simulate.Event{{At: 3, Placement: []int{2, 2, 2}}, {At: 7, Placement: []int{3, 3, 3}}},
		Streams: []simulate.Stream{{Name: "web", Clients: 3, Connections: 40, Requests: 20, Lifetime: lifetime}},
	}
}

// became adds what the cluster says of its endpoints: from then on these pods are ready.
func became(rec *record.Record, at float64, pods ...string) {
	for _, pod := range pods {
		rec.Events = append(rec.Events, record.Event{At: at, Kind: record.EventReady, What: pod + " became ready", Target: pod, Effective: at + 0.1})
	}
}

func TestBalanceIsJudgedAfterEveryEventWhoseFactsAreKnown(t *testing.T) {
	for name, c := range map[string]struct {
		lifetime float64
		said     bool
		want     [2]string // how balance was reached after each event; "" not known
	}{
		"connections that stay, with what the cluster said":    {math.Inf(1), true, [2]string{"not before the next event", "not within the run"}},
		"connections of half a second":                         {0.5, true, [2]string{"at once", "at once"}},
		"connections that stay, without what the cluster said": {math.Inf(1), false, [2]string{"", "not within the run"}},
	} {
		t.Run(name, func(t *testing.T) {
			rec := twice(c.lifetime).Record()
			if c.said {
				became(rec, 3, "echo-a1", "echo-b1", "echo-c1")
				became(rec, 7, "echo-a2", "echo-b2", "echo-c2")
			}
			r := report(t, rec)
			for i, want := range c.want {
				got := ""
				if b := r.Events[i].Effects[0].Balance; b != nil {
					got = b.Reached
				}
				if got != want && (want != "at once" || got != "later") {
					t.Errorf("after event %d: %q, want %q", i, got, want)
				}
			}
			if b := r.Events[0].Effects[0].Balance; b != nil && len(b.NewPods) != 3 {
				t.Errorf("new pods after the first event: %v", b.NewPods)
			}
		})
	}
}

// What is expected of a part of a run is judged by the facts of that part.
func TestExpectationsFollowTheFactsOfTheirTime(t *testing.T) {
	rec := twice(0.3).Record()
	became(rec, 3, "echo-a1", "echo-b1", "echo-c1")
	became(rec, 7, "echo-a2", "echo-b2", "echo-c2")
	backends := func(n float64, from, to float64) analyze.Expectation {
		return analyze.Expectation{Metric: "backends", Equals: new(n), From: from, To: to}
	}
	even := func(from, to float64) analyze.Expectation {
		return analyze.Expectation{Distribution: "even", From: from, To: to}
	}
	r := report(t, rec, backends(3, 0, 3), backends(6, 4, 7), backends(9, 8, 0), even(0, 3), even(4, 7), even(8, 0), even(0, 0),
		analyze.Expectation{Distribution: "expected"}, analyze.Expectation{Metric: "newPodShare", Equals: new(2.0 / 3), From: 7.5})
	for i, want := range []bool{true, true, true, true, true, true, false, true, true} {
		if x := r.Expectations[i]; x.Passed != want {
			t.Errorf("expectation %d: passed %v: %s", i, x.Passed, x.Detail)
		}
	}
}
