package simulate_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

func scene(hot float64) simulate.Scene {
	return simulate.Scene{Seed: 3, Placement: []int{1, 2}, Hot: hot, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 3000, Requests: 2}}}
}

func TestEqualScenesGiveEqualRecords(t *testing.T) {
	if diff := cmp.Diff(scene(0).Record(), scene(0).Record()); diff != "" {
		t.Errorf("(-first +second):\n%s", diff)
	}
	other := scene(0)
	other.Seed = 4
	if cmp.Equal(scene(0).Record(), other.Record()) {
		t.Error("another seed gives the same record")
	}
}

func TestTalliesAndRowsAgree(t *testing.T) {
	for name, s := range map[string]simulate.Scene{
		"answered": scene(0),
		"a third dropped": {Placement: []int{1, 1, 0}, ExternalLocal: true,
			Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Connections: 90}}},
	} {
		rec := s.Record()
		rows, tallies := map[string]int{}, map[string]int{}
		for _, c := range rec.Connections {
			rows[c.Backend] += max(c.Requests, 1) // a dial that failed takes a request's place
		}
		for _, tally := range rec.Tallies {
			tallies[tally.Backend] += tally.Requests
			if failed := tally.Errors[record.ErrTimeout]; (failed > 0) != (tally.Backend == "") {
				t.Errorf("%s: %d timeouts by %q", name, failed, tally.Backend)
			}
		}
		if diff := cmp.Diff(rows, tallies); diff != "" {
			t.Errorf("%s: (-rows +tallies):\n%s", name, diff)
		}
	}
}

func TestHotPodGetsItsMultiple(t *testing.T) {
	for _, hot := range []float64{1, 1.5, 3} {
		hits := 0
		for _, c := range scene(hot).Record().Connections {
			if c.Backend == simulate.PodName(0, 0) {
				hits++
			}
		}
		if got := float64(hits) / 2000; math.Abs(got-hot) > 0.09 {
			t.Errorf("%.3f times its share, want %v", got, hot)
		}
	}
}
