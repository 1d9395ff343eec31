package analyze_test

import (
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// What was opened after an event is over is held against what it made of the Service: of three pods, one on each node, two are
// left, so that a third of the pods answers nothing from then on.
func TestExpectationsAboutTheTimeAfterAnEvent(t *testing.T) {
	three := []int{1, 1, 1}
	scene := func(effective float64) *record.Record {
		rec := simulate.Scene{
			Seed: 3, Placement: three, Events: []simulate.Event{{At: 3, Placement: []int{1, 1, 0}}},
			Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 30, Requests: 1, Lifetime: 0.5}},
		}.Record()
		for i := range rec.Events {
			rec.Events[i].Effective = effective
		}
		return rec
	}
	cut := scene(5)
	cut.End = nil
	nothing := simulate.Scene{Seed: 3, Placement: three, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 30, Requests: 1}}}.Record()
	for name, c := range map[string]struct {
		rec    *record.Record
		after  float64
		passed bool
		detail string
	}{
		"that it is over":            {scene(5), .25, true, "from 5.25 s on"},
		"that counts from its end":   {scene(5), 0, true, "from 5 s on"},
		"of a record that was cut":   {cut, 0, true, "from 5 s on"},
		"that nobody knows to end":   {scene(0), 0, false, "not every node had learned of"},
		"that the load does not see": {scene(5), 60, false, "before 65 s: longer load, or spec.settle, is needed"},
		"of which there was none":    {nothing, 0, false, "nothing happened during the run"},
	} {
		t.Run(name, func(t *testing.T) {
			r := report(t, c.rec, analyze.Expectation{Name: "gone", Shares: map[string]float64{"worker3": 0}, FromEffective: new(c.after)})
			got := r.Expectations[0]
			if got.Passed != c.passed || !strings.Contains(got.Detail, c.detail) {
				t.Errorf("passed %v: %s", got.Passed, got.Detail)
			}
		})
	}
}
