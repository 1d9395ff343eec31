package skew

import "math"

// FurthestTail bounds the probability that the count of any backend is as far from what is expected, on either side, as the furthest one
// in counts is: the smallest exact binomial tail, times two for each backend (Bonferroni). Counts of several groups vary less than
// binomial ones with the same mean, so it holds for them too where it is small (Hoeffding 1956). 1 without any choice.
func (l *Law) FurthestTail(counts []int) float64 {
	smallest, backends := 1.0, 0
	for b, e := range l.expected {
		if l.variance[b] == 0 {
			continue
		}
		backends++
		p := e / float64(l.units)
		smallest = min(smallest, UpperTail(counts[b], l.units, p), LowerTail(counts[b], l.units, p))
	}
	return math.Min(1, 2*float64(backends)*smallest)
}
