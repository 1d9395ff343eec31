package skew

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// UpperTail returns P(X ≥ k) of X ~ Binomial(n, p). It stays accurate far below the smallest 1-P(X < k) a float64 can
// hold, which is why it does not go through the distribution function.
func UpperTail(k, n int, p float64) float64 {
	switch {
	case k <= 0:
		return 1
	case k > n || p <= 0:
		return 0
	case p >= 1:
		return 1
	}
	return mathext.RegIncBeta(float64(k), float64(n-k+1), p)
}

// LowerTail returns P(X ≤ k) of X ~ Binomial(n, p).
func LowerTail(k, n int, p float64) float64 {
	return UpperTail(n-k, n, 1-p)
}

// BinomialRange returns the central range of X ~ Binomial(n, p): the smallest counts at which the distribution function
// reaches (1-level)/2 and (1+level)/2.
func BinomialRange(n int, p, level float64) (low, high int) {
	return binomialQuantile(n, p, (1-level)/2), binomialQuantile(n, p, (1+level)/2)
}

// binomialQuantile returns the smallest k with P(X ≤ k) ≥ q.
func binomialQuantile(n int, p, q float64) int {
	return bisect(0, n, func(k int) bool { return LowerTail(k, n, p) >= q })
}

// ClopperPearson returns the exact confidence interval of a proportion of which k of n were seen. It is [0, 1] for n=0.
func ClopperPearson(k, n int, level float64) [2]float64 {
	if n <= 0 {
		return [2]float64{0, 1}
	}
	tail := (1 - level) / 2
	interval := [2]float64{0, 1}
	if k > 0 {
		interval[0] = mathext.InvRegIncBeta(float64(k), float64(n-k+1), tail)
	}
	if k < n {
		interval[1] = mathext.InvRegIncBeta(float64(k+1), float64(n-k), 1-tail)
	}
	return interval
}

// logFactorials returns the natural logarithms of 0! to n!.
func logFactorials(n int) []float64 {
	table := make([]float64, n+1)
	for i := range table {
		table[i], _ = math.Lgamma(float64(i) + 1)
	}
	return table
}
