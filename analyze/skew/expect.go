package skew

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// SomeIdle returns the probability that at least one of n equally likely backends gets none of units. It is exact by
// inclusion and exclusion to 30 backends and by the Poisson limit beyond (Kolchin, Sevast'yanov & Chistyakov 1978).
// 0 without backends.
func SomeIdle(n, units int) float64 {
	switch {
	case n < 1:
		return 0
	case units < n:
		return 1
	case n == 1:
		return 0
	case n > 30:
		return -math.Expm1(-float64(n) * math.Exp(float64(units)*math.Log1p(-1/float64(n))))
	}
	var sum float64
	ways := 1.0 // C(n, j)
	for j := 1; j < n; j++ {
		ways = ways * float64(n-j+1) / float64(j)
		term := ways * math.Pow(1-float64(j)/float64(n), float64(units))
		if j%2 == 0 {
			term = -term
		}
		sum += term
	}
	return min(1, max(0, sum))
}

// ExpectedIdle returns how many of the law's backends get no unit on average, those that cannot be chosen included.
func (l *Law) ExpectedIdle() float64 {
	var sum float64
	for b := range l.expected {
		missed := 0.0
		for _, g := range l.groups {
			missed += float64(g.Units) * math.Log1p(-g.P[b])
		}
		sum += math.Exp(missed)
	}
	return sum
}

// DesignEffect returns X²/χ²(0.99; df): counts that differ by x2 would not be significant at 0.01 if each independent
// choice stood for at least that many of what was counted, on average (Rao & Scott 1981). 0 without degrees of freedom.
func DesignEffect(x2, df float64) float64 {
	if df <= 0 {
		return 0
	}
	return x2 / distuv.ChiSquared{K: df}.Quantile(0.99)
}

// MaxRange returns the central range, with probability level, of the largest count of units on n equally likely
// backends. It is good to about 0.001 at any size (see [MaxAtMost]).
func MaxRange(n, units int, level float64) (low, high int) {
	if n < 1 || units < 1 {
		return 0, 0
	}
	least := (units + n - 1) / n
	quantile := func(q float64) int {
		return bisect(least, units, func(most int) bool { return MaxAtMost(n, units, most) >= q })
	}
	return quantile((1 - level) / 2), quantile((1 + level) / 2)
}

// HotBound bounds the probability that any backend gets as many more than expected, in standard deviations, as the
// furthest in counts does: the sum of exact binomial tails. It tells how far out counts are where a simulated p-value
// has reached its floor. 1 without any choice.
func (l *Law) HotBound(counts []int) float64 {
	if !l.Free() {
		return 1
	}
	return l.anyAbove(newScorer(l).of(counts).hot)
}
