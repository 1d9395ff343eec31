package analyze_test

import (
	"math"
	"testing"

	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

func TestCostOfASkew(t *testing.T) {
	long := func(connections int) *record.Record {
		return simulate.Scene{Seed: 3, Placement: []int{1, 1, 1}, Streams: []simulate.Stream{{Name: "web", Connections: connections, Requests: 100}}}.Record()
	}
	for _, c := range []struct {
		name        string
		rec         *record.Record
		hottest     int
		capacity    float64
		extra       [2]int // from, to
		atLeast     bool
		indivisible bool
	}{
		{"an even load costs nothing", fallen(100, 100, 100), 100, 1, [2]int{0, 0}, false, false},
		{"a pod at 1.8 times the mean", fallen(180, 60, 60), 180, 100. / 180, [2]int{3, 6}, false, false},
		{"a pod at twice the mean of two", fallen(400, 0), 400, 0.5, [2]int{2, 4}, false, false},
		{"few connections get more uneven on more pods", fallen(8, 2, 2), 8, 0.5, [2]int{3, 3}, true, false},
		{"one connection carries more than the mean", long(2), 100, 2. / 3, [2]int{0, 0}, false, true},
		{"without a law the shares stay as they are", named(pool(30), inTurns, func(_, nth, _ int) int { return nth % 3 }), 800, 0.5, [2]int{6, 6}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := report(t, c.rec).Streams[0].Cost
			if got == nil {
				t.Fatal("no cost")
			}
			if got.HottestRequests != c.hottest || math.Abs(got.Capacity-c.capacity) > 1e-3 || got.AtLeast != c.atLeast || got.Indivisible != c.indivisible ||
				got.ExtraReplicas < c.extra[0] || got.ExtraReplicas > c.extra[1] {
				t.Errorf("%+v, want %+v", *got, c)
			}
		})
	}
	if c := report(t, refused(long(2))).Streams[0].Cost; c != nil {
		t.Errorf("nobody answered, and it costs %+v", *c)
	}
}

// More pods for the same skew never cost less.
func TestCostGrowsWithTheSkew(t *testing.T) {
	last := 0
	for _, hot := range []int{110, 150, 200, 250} {
		c := report(t, fallen(hot, (300-hot)/2, 300-hot-(300-hot)/2)).Streams[0].Cost
		if c.ExtraReplicas < last || c.HottestPod != simulate.PodName(0, 0) {
			t.Errorf("%d of 300 on one pod: %+v, %d less skewed", hot, *c, last)
		}
		last = c.ExtraReplicas
	}
	if last == 0 {
		t.Error("250 of 300 on one of three pods cost nothing")
	}
}
