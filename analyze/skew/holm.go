package skew

import (
	"cmp"
	"slices"
)

// Holm returns the p-values adjusted for being looked at together, in the order given: the chance that any of those
// at or below a threshold is there by chance alone is at most the threshold, whatever the p-values depend on.
func Holm(p []float64) []float64 {
	order := ascending(p)
	adjusted := make([]float64, len(p))
	highest := 0.0
	for rank, i := range order {
		highest = max(highest, min(1, float64(len(p)-rank)*p[i]))
		adjusted[i] = highest
	}
	return adjusted
}

// HolmThresholds returns for each p-value the unadjusted threshold that is in force for it at the level alpha.
func HolmThresholds(p []float64, alpha float64) []float64 {
	thresholds := make([]float64, len(p))
	for rank, i := range ascending(p) {
		thresholds[i] = alpha / float64(len(p)-rank)
	}
	return thresholds
}

func ascending(p []float64) []int {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	return order
}
