package skew

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// Group is a number of units that choose with the same probabilities.
type Group struct {
	Units int
	P     []float64 // probability of each backend, adding up to 1; 0: cannot be chosen
	Loads []float64 // what each unit carries, Units of them; nil: the same for all
}

// Law is what counts of units over backends should follow: the sum of one multinomial distribution per group. It is
// immutable; the zero value has no backends.
type Law struct {
	groups   []Group   // no two with the same probabilities, none empty
	units    int       // of all groups
	expected []float64 // E[X_b]
	variance []float64 // Var[X_b]
}

// NewLaw returns the law of groups over n backends. Groups that choose with the same probabilities become one, because
// the sum of their counts follows one multinomial distribution. It keeps no reference to groups.
func NewLaw(n int, groups []Group) (*Law, error) {
	l := &Law{expected: make([]float64, n), variance: make([]float64, n)}
	for i, g := range groups {
		if err := g.check(n); err != nil {
			return nil, fmt.Errorf("group %d: %w", i, err)
		}
		if g.Units > 0 {
			l.add(g)
		}
	}
	for _, g := range l.groups {
		l.units += g.Units
		for b, p := range g.P {
			l.expected[b] += float64(g.Units) * p
			l.variance[b] += float64(g.Units) * p * (1 - p)
		}
	}
	return l, nil
}

func (g Group) check(n int) error {
	if len(g.P) != n {
		return fmt.Errorf("%d probabilities for %d backends", len(g.P), n)
	}
	if g.Units < 0 || (g.Loads != nil && len(g.Loads) != g.Units) {
		return fmt.Errorf("%d loads for %d units", len(g.Loads), g.Units)
	}
	var sum float64
	for _, p := range g.P {
		if !(p >= 0 && p <= 1) {
			return fmt.Errorf("%v is no probability", p)
		}
		sum += p
	}
	if math.Abs(sum-1) > 1e-9 {
		return fmt.Errorf("the probabilities add up to %v", sum)
	}
	return nil
}

// add merges g into the group with the same probabilities, or appends it.
func (l *Law) add(g Group) {
	i := slices.IndexFunc(l.groups, func(have Group) bool {
		return slices.Equal(have.P, g.P) && (have.Loads == nil) == (g.Loads == nil)
	})
	if i < 0 {
		l.groups = append(l.groups, Group{Units: g.Units, P: slices.Clone(g.P), Loads: slices.Clone(g.Loads)})
		return
	}
	l.groups[i].Units += g.Units
	l.groups[i].Loads = append(l.groups[i].Loads, g.Loads...)
}

// Units returns the number of units of all groups.
func (l *Law) Units() int { return l.units }

// Expected returns the expected number of units of each backend. The caller must not change it.
func (l *Law) Expected() []float64 { return l.expected }

// MinExpected returns the smallest expected number of units among backends that can be chosen at all, 0 without any.
func (l *Law) MinExpected() float64 {
	smallest := math.Inf(1)
	for _, e := range l.expected {
		if e > 0 {
			smallest = min(smallest, e)
		}
	}
	if math.IsInf(smallest, 1) {
		return 0
	}
	return smallest
}

// Free reports whether any unit had a choice: without one the counts cannot differ from what is expected.
func (l *Law) Free() bool {
	return slices.ContainsFunc(l.variance, func(v float64) bool { return v > 0 })
}

// SmallestP returns the probability of the least likely outcome with all units on as few backends as they can be on:
// below the level of a test it can reject, above it no outcome can. With n equal backends it is n^(1-N).
func (l *Law) SmallestP() float64 {
	logP := 0.0
	for _, g := range l.groups {
		least := 1.0
		for _, p := range g.P {
			if p > 0 {
				least = min(least, p)
			}
		}
		logP += float64(g.Units) * math.Log(least)
	}
	if len(l.groups) != 1 {
		return math.Exp(logP)
	}
	least := slices.MinFunc(l.groups[0].P, func(a, b float64) int { return cmp.Compare(positive(a), positive(b)) })
	equals := 0
	for _, p := range l.groups[0].P {
		if p == least {
			equals++
		}
	}
	return min(1, math.Exp(logP)*float64(equals))
}

// positive makes 0 the largest of all, so that a minimum skips it.
func positive(p float64) float64 {
	if p == 0 {
		return math.Inf(1)
	}
	return p
}

// moments returns the mean of X² = Σ(X-E)²/E, and the factor and degrees of freedom with which X²/factor has the first
// two moments of a χ² (Satterthwaite 1946). For one group they are n-1, 1 and n-1.
func (l *Law) moments() (mean, factor, df float64) {
	var single, crossed, alive float64
	for _, e := range l.expected {
		if e > 0 {
			alive++
		}
	}
	for i, g := range l.groups {
		for j, h := range l.groups {
			var a float64
			for b, e := range l.expected {
				if e > 0 {
					a += g.P[b] * h.P[b] / e
				}
			}
			if i == j {
				single += float64(g.Units) * a
			}
			crossed += float64(g.Units) * float64(h.Units) * a * a
		}
	}
	mean = alive - single
	second := alive - 2*single + crossed
	if mean <= 1e-12 || second <= 1e-12 {
		return 0, 1, 0
	}
	return mean, second / mean, mean * mean / second
}

// Order returns the order in which backends belong so that no digit of any result depends on how they are named or in
// which order they came: by their probabilities in each group, then by counts, then by loads. Backends that agree in all
// three stay as they were; nothing tells them apart. counts and loads have one entry per backend; loads may be nil.
func Order(groups []Group, counts []int, loads []float64) []int {
	order := make([]int, len(counts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		for _, g := range groups {
			if c := cmp.Compare(g.P[b], g.P[a]); c != 0 {
				return c
			}
		}
		if c := cmp.Compare(counts[b], counts[a]); c != 0 || loads == nil {
			return c
		}
		return cmp.Compare(loads[b], loads[a])
	})
	return order
}

// Distance returns X² = Σ(x-E)²/E of loads, one per backend, over those with an expected count.
func (l *Law) Distance(loads []float64) float64 {
	var sum float64
	for b, e := range l.expected {
		if e > 0 {
			d := loads[b] - e
			sum += d * d / e
		}
	}
	return sum
}

// DistanceLimit returns the X² that the law's own counts stay below with probability level, 0 if they cannot vary.
func (l *Law) DistanceLimit(level float64) float64 {
	_, factor, df := l.moments()
	if df == 0 {
		return 0
	}
	return factor * distuv.ChiSquared{K: df}.Quantile(level)
}

// Resized returns the law of units many units in the proportions of l, all carrying the same. It is l's own proportions
// only as far as whole numbers allow. A law without units stays without.
func (l *Law) Resized(units int) *Law {
	groups := make([]Group, len(l.groups))
	seen, given := 0, 0
	for i, g := range l.groups {
		seen += g.Units
		upTo := int(math.Round(float64(seen) / float64(l.units) * float64(units)))
		groups[i] = Group{Units: upTo - given, P: g.P}
		given = upTo
	}
	resized, _ := NewLaw(len(l.expected), groups) // valid as they come from a law
	return resized
}

// MeanDistance returns what [Law.Distance] of the law's own counts is on average; 0 if they cannot vary.
func (l *Law) MeanDistance() float64 {
	mean, _, _ := l.moments()
	return mean
}
