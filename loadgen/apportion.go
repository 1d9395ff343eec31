package loadgen

import (
	"cmp"
	"slices"
)

// apportion deals n among shares in proportion to weights, whose sum is sum: the whole part of each quota, and what is left
// to the largest remainders, the first ones among equals (Hamilton's method).
func apportion(shares []int, weights []float64, sum float64, n int) {
	left := n
	order := make([]int, len(shares))
	remainders := make([]float64, len(shares))
	for i, w := range weights {
		quota := float64(n) * w / sum
		shares[i] = min(int(quota), left)
		left -= shares[i]
		order[i], remainders[i] = i, quota-float64(shares[i])
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(remainders[b], remainders[a]) })
	for i := 0; left > 0; i++ {
		shares[order[i%len(order)]]++
		left--
	}
}
