package analyze_test

import (
	"math"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// growing is a Service of three pods that becomes one of six after three of ten seconds.
func growing(connections int, lifetime float64) simulate.Scene {
	return simulate.Scene{
		Seed: 7, Placement: []int{1, 1, 1}, Events: []simulate.Event{{At: 3, Placement: []int{2, 2, 2}}},
		Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: connections, Requests: 50, Lifetime: lifetime}},
	}
}

func restarting(connections int) simulate.Scene {
	return simulate.Scene{
		Seed: 7, Placement: []int{1, 1, 1}, Events: []simulate.Event{{At: 3}},
		Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: connections, Requests: 50, Lifetime: math.Inf(1)}},
	}
}

func TestChanges(t *testing.T) {
	shrinking := growing(40, math.Inf(1))
	shrinking.Placement, shrinking.Events[0] = []int{2, 2, 2}, simulate.Event{At: 3, Placement: []int{1, 1, 1}, Forgotten: true}
	for _, c := range []struct {
		name    string
		scene   simulate.Scene
		want    analyze.Code // "": none of the three about change
		reached string
	}{
		{"long-lived connections leave new pods idle", growing(15, math.Inf(1)), analyze.IdleAfterScaleOut, "not within the run"},
		{"connections of three seconds spread to them", growing(100, 3), "", "later"},
		{"connections of two minutes do so slowly", growing(100, 60), analyze.SlowToBalance, "not within the run"},
		{"a rolling restart leaves the last pod with little", restarting(60), analyze.SkewAfterRestart, "not within the run"},
		{"connections stay at pods that are no endpoints any more", shrinking, analyze.StaleEndpoint, "at once"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, c.scene.Record())
			if c.want != "" && !has(r, c.want) {
				t.Errorf("no %s among %v", c.want, found(r))
			}
			for _, other := range []analyze.Code{analyze.IdleAfterScaleOut, analyze.SlowToBalance, analyze.SkewAfterRestart, analyze.StaleEndpoint} {
				if other != c.want && has(r, other) {
					t.Errorf("%s: %s", other, finding(t, r, other).Summary)
				}
			}
			b := r.Events[0].Effects[0].Balance
			if b == nil || b.Reached != c.reached {
				t.Errorf("balance %+v, want it %s", b, c.reached)
			}
			for _, f := range r.Findings {
				t.Log(f.Severity, f.Code, f.Summary)
			}
		})
	}
}

func TestTheTimelineAddsUpToTheStream(t *testing.T) {
	for name, scene := range map[string]simulate.Scene{"held": growing(15, 3), "fresh": fresh()} {
		r := report(t, scene.Record())
		s := r.Streams[0]
		requests, connections := 0, 0
		for _, b := range s.Timeline.Backends {
			for w := range s.Timeline.Windows {
				requests += b.Requests[w]
				connections += b.Connections[w]
			}
		}
		if requests != s.Requests || connections != s.Connections {
			t.Errorf("%s: the timeline holds %d requests and %d connections, the stream %d and %d", name, requests, connections, s.Requests, s.Connections)
		}
	}
}

func TestTimelinesAreBounded(t *testing.T) {
	rec := fresh().Record()
	for i := range rec.Tallies {
		rec.Tallies[i].Second = i * 997
	}
	rec.Tallies[0].Second = math.MaxInt64
	lines := report(t, rec).Streams[0].Timeline
	if lines.Windows > 300 || lines.Windows < 100 {
		t.Errorf("%d windows of %d s", lines.Windows, lines.Width)
	}
}

// Nothing is wrong with a run in which pods are added, and connections are too short to notice.
func TestFreshConnectionsBalanceAtOnce(t *testing.T) {
	scene := simulate.Scene{
		Seed: 3, Placement: []int{1, 1, 1}, Events: []simulate.Event{{At: 2, Placement: []int{2, 2, 2}}},
		Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 1500}},
	}
	r := report(t, scene.Record())
	e := r.Events[0].Effects[0]
	if e.Balance == nil || e.Balance.Reached != "at once" {
		t.Errorf("balance %+v", e.Balance)
	}
	if e.P > 0.01 {
		t.Errorf("shares of three pods of six did not shift: p = %v", e.P)
	}
	if got, want := e.Balance.NewExpected, 0.5; math.Abs(got-want) > 1e-9 {
		t.Errorf("the new pods should get %v, want %v", got, want)
	}
}

func TestErrorsAreCountedAroundEvents(t *testing.T) {
	rec := growing(15, math.Inf(1)).Record()
	rec.Tallies = append(rec.Tallies,
		record.Tally{Stream: "web", Agent: "web-0", Address: rec.Tallies[0].Address, Second: 1, Requests: 2, Errors: map[record.ErrorKind]int{record.ErrReset: 2}},
		record.Tally{Stream: "web", Agent: "web-0", Address: rec.Tallies[0].Address, Second: 4, Requests: 7, Errors: map[record.ErrorKind]int{record.ErrTimeout: 7}},
	)
	e := report(t, rec).Events[0].Effects[0]
	if e.Errors[0][record.ErrReset] != 2 || e.Errors[1][record.ErrTimeout] != 7 || e.Seconds != [2]float64{3, 5} {
		t.Errorf("%+v", e)
	}
}
