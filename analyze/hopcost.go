package analyze

import (
	"math/rand/v2"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
)

// CrossNode is what the hop to another node costs.
type CrossNode struct {
	Requests    int     `json:"requests"` // answered, whose deciding node and pod's node are known
	Crossed     int     `json:"crossed"`  // of these, by a pod on another node
	Fraction    float64 `json:"fraction"`
	Expected    float64 `json:"expected"`        // fraction that the settings foresee
	MedianOther float64 `json:"medianOtherNode"` // seconds
	MedianSame  float64 `json:"medianSameNode"`  // seconds; 0 without answers
	Difference  float64 `json:"difference"`      // seconds: of the medians of connections
	Interval    *Range  `json:"interval"`        // 95 % of Difference, by resampling connections; null with fewer than 5 connections of each kind
	Connections [2]int  `json:"connections"`     // that Difference is of: same node, other node
}

// Bounds of the resampling.
const (
	fewestConnections = 5
	resamples         = 1_000
)

// difference returns the difference of two medians and its 95 % interval by a bootstrap over connections (Efron 1979). Both are sorted.
func difference(near, far []float64, seed skew.Seed) (diff float64, interval *Range) {
	if len(near) == 0 || len(far) == 0 {
		return 0, nil
	}
	diff = median(far) - median(near)
	if min(len(near), len(far)) < fewestConnections {
		return diff, nil
	}
	rng := rand.New(rand.NewPCG(seed[0], seed[1])) // #nosec G404 -- a simulation has to be repeatable
	counts := make([]int, max(len(near), len(far)))
	drawn := make([]float64, resamples)
	for i := range drawn {
		drawn[i] = resampledMedian(far, counts, rng) - resampledMedian(near, counts, rng)
	}
	slices.Sort(drawn)
	return diff, &Range{drawn[resamples/40], drawn[resamples-1-resamples/40]}
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// resampledMedian is the median of as many values drawn with replacement. counts is scratch, at least as long.
func resampledMedian(sorted []float64, counts []int, rng *rand.Rand) float64 {
	n := len(sorted)
	clear(counts[:n])
	for range n {
		counts[rng.IntN(n)]++
	}
	seen := 0
	for i, c := range counts[:n] {
		if seen += c; 2*seen > n-1 {
			return sorted[i]
		}
	}
	return sorted[n-1]
}

// expectedCrossing is the fraction of answers that the settings foresee from another node than the deciding one, each stratum
// weighted with its connections.
func (t *traffic) expectedCrossing() float64 {
	crossing, all := 0.0, 0.0
	for _, s := range t.strata {
		if s.at.Outcome != Answer || s.at.Decider == "" {
			continue
		}
		weight := float64(max(s.opened, 1))
		for _, b := range s.at.Backends {
			all += weight * b.P
			if s.crosses(b.Node) {
				crossing += weight * b.P
			}
		}
	}
	if all == 0 {
		return 0
	}
	return crossing / all
}
