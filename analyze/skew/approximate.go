package skew

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// approximate returns the combined p-value and its parts from limiting distributions, for laws too large to simulate. All of
// it errs on the safe side: Bonferroni over the backends is nearly exact because multinomial counts are negatively
// associated (Joag-Dev & Proschan 1983), and the binomial with the same mean bounds the tail of a sum of different
// binomials (Hoeffding 1956).
func (l *Law) approximate(counts []int, score *scorer, r Result) (p float64, parts [directions]float64) {
	for i := range parts {
		parts[i] = 1
	}
	s := score.of(counts)
	parts[0] = r.ChiSquareP
	parts[1] = l.anyAbove(s.hot)
	parts[2] = l.anyBelow(s.cold)
	if len(l.expected) >= 10 && r.MinExpected >= 10 && r.DF > 0 {
		// On few backends, or with few units, the lower tail of χ² calls chance a rotation far too often.
		parts[3] = distuv.ChiSquared{K: r.DF}.CDF(r.X2 / r.Factor)
	}
	return min(1, directions*min(parts[0], parts[1], parts[2], parts[3])), parts
}

// anyAbove bounds the probability that some backend is at least z standard deviations above what is expected.
func (l *Law) anyAbove(z float64) float64 {
	var sum float64
	for b, e := range l.expected {
		if v := l.variance[b]; v > 0 {
			sum += UpperTail(int(math.Ceil(e+z*math.Sqrt(v)-tie*e)), l.units, e/float64(l.units))
		}
	}
	return min(1, sum)
}

// anyBelow bounds the probability that some backend is at least z standard deviations below what is expected.
func (l *Law) anyBelow(z float64) float64 {
	var sum float64
	for b, e := range l.expected {
		if v := l.variance[b]; v > 0 {
			sum += LowerTail(int(math.Floor(e-z*math.Sqrt(v)+tie*e)), l.units, e/float64(l.units))
		}
	}
	return min(1, sum)
}
