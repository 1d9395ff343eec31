package analyze

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/podskew/podskew/analyze/skew"
)

// Of 400 pairs of equal groups the interval leaves the true difference, 0, out in about one of twenty.
func TestIntervalOfTheHopCovers(t *testing.T) {
	runs := 400
	misses := 0
	for i := range runs {
		rng := rand.New(rand.NewPCG(uint64(i), 3))
		near, far := make([]float64, 30), make([]float64, 60)
		for k := range near {
			near[k] = rng.ExpFloat64()
		}
		for k := range far {
			far[k] = rng.ExpFloat64()
		}
		slices.Sort(near)
		slices.Sort(far)
		if _, r := difference(near, far, skew.Seed{uint64(i), 1}); r[0] > 0 || r[1] < 0 {
			misses++
		}
	}
	if misses > runs/10 {
		t.Errorf("left out in %d of %d", misses, runs)
	}
}
