package skew

import (
	"math"
	"slices"
)

// Range is an interval, low and high end, both included.
type Range [2]float64

// Chance is what a law alone, without any fault, does to the loads: the central 95 % of each metric.
type Chance struct {
	MaxOverMean, CV, Gini, Jain, Effective, Idle Range
	Dispersion                                   Range   // of the units: X² over its mean
	Shares                                       []Range // of the units on each backend
	Mean                                         Means   // of each metric over the same outcomes
	idle                                         []int   // units' idle backends in each draw, ascending
}

// Means are metrics on average.
type Means struct{ MaxOverMean, CV, Gini, Jain, Effective, Idle, Dispersion float64 }

// IdleAtLeast returns the probability that at least k backends get no unit, from the same draws, never 0.
func (c *Chance) IdleAtLeast(k int) float64 {
	first, _ := slices.BinarySearch(c.idle, k)
	return float64(len(c.idle)-first+1) / float64(len(c.idle)+1)
}

// ChanceDraws returns how many outcomes [Law.Chance] can simulate in about a second, at least 1,000 and at most limit.
func (l *Law) ChanceDraws(limit int) int {
	if l.units == 0 {
		return limit
	}
	return newPlacer(l, Seed{}).draws(limit)
}

// ChanceLevel is the part of outcomes a chance range covers.
const ChanceLevel = 0.95

// Chance simulates the law draws times (0: 2,000, fewer where a draw is dear) with the loads its units carry, and
// returns what comes out. Units keep their loads and only change places. Without any unit, all ranges are [0, 0].
func (l *Law) Chance(seed Seed, draws int) *Chance {
	c := &Chance{Shares: make([]Range, len(l.expected))}
	if l.units == 0 {
		return c
	}
	placer := newPlacer(l, seed)
	if draws == 0 {
		draws = placer.draws(2_000)
	}
	score := newScorer(l)
	usual, _, _ := l.moments()
	var columns [7][]float64
	for i := range columns {
		columns[i] = make([]float64, draws)
	}
	shares := newShareDraws(l, draws)
	sorted := make([]float64, len(l.expected))
	for i := range draws {
		counts, loads := placer.draw()
		copy(sorted, loads)
		slices.Sort(sorted)
		m := measureSorted(sorted)
		dispersion := 1.0
		if usual > 0 {
			dispersion = score.of(counts).x2 / usual
		}
		for k, v := range [...]float64{m.MaxOverMean, m.CV, m.Gini, m.Jain, m.Effective, float64(m.Idle), dispersion} {
			columns[k][i] = v
		}
		c.idle = append(c.idle, idleUnits(counts))
		shares.add(counts)
	}
	for k, r := range []*Range{&c.MaxOverMean, &c.CV, &c.Gini, &c.Jain, &c.Effective, &c.Idle, &c.Dispersion} {
		*c.Mean.at(k) = mean(columns[k])
		slices.Sort(columns[k])
		*r = central(columns[k])
	}
	slices.Sort(c.idle)
	shares.ranges(l, c.Shares)
	return c
}

// at returns the k-th field.
func (m *Means) at(k int) *float64 {
	return [...]*float64{&m.MaxOverMean, &m.CV, &m.Gini, &m.Jain, &m.Effective, &m.Idle, &m.Dispersion}[k]
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func idleUnits(counts []int) int {
	idle := 0
	for _, x := range counts {
		if x == 0 {
			idle++
		}
	}
	return idle
}

// central returns the central range of sorted values.
func central(sorted []float64) Range {
	n := float64(len(sorted))
	low := int(math.Floor(n * (1 - ChanceLevel) / 2))
	high := int(math.Ceil(n*(1+ChanceLevel)/2)) - 1
	return Range{sorted[low], sorted[high]}
}

// shareDraws collects the units of each backend over the draws. Backends that have the same probabilities in every group have
// the same range, so they share one pool of draws; what has one group needs none, its counts are binomial.
type shareDraws struct {
	class []int // of each backend
	pools [][]int
}

func newShareDraws(l *Law, draws int) *shareDraws {
	s := &shareDraws{}
	if len(l.groups) < 2 {
		return s
	}
	var first []int // backend that stands for each class
	for b := range l.expected {
		at := slices.IndexFunc(first, func(other int) bool {
			return !slices.ContainsFunc(l.groups, func(g Group) bool { return g.P[b] != g.P[other] })
		})
		if at < 0 {
			at = len(first)
			first = append(first, b)
			s.pools = append(s.pools, make([]int, 0, draws))
		}
		s.class = append(s.class, at)
	}
	return s
}

func (s *shareDraws) add(counts []int) {
	for b, class := range s.class {
		s.pools[class] = append(s.pools[class], counts[b])
	}
}

func (s *shareDraws) ranges(l *Law, into []Range) {
	units := float64(l.units)
	if len(s.pools) == 0 {
		for b, p := range l.groups[0].P {
			low, high := BinomialRange(l.units, p, ChanceLevel)
			into[b] = Range{float64(low) / units, float64(high) / units}
		}
		return
	}
	byClass := make([]Range, len(s.pools))
	for class, pool := range s.pools {
		slices.Sort(pool)
		low := int(math.Floor(float64(len(pool)) * (1 - ChanceLevel) / 2))
		high := int(math.Ceil(float64(len(pool))*(1+ChanceLevel)/2)) - 1
		byClass[class] = Range{float64(pool[low]) / units, float64(pool[high]) / units}
	}
	for b, class := range s.class {
		into[b] = byClass[class]
	}
}
