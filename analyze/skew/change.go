package skew

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// Shift is the units of one stratum on each backend before and after an event.
type Shift struct{ Before, After []int }

// HomogeneityResult says whether units fell the same way before and after.
type HomogeneityResult struct {
	// Method is MonteCarlo, ChiSquare for more than 20,000 units, or None: in each stratum one side is empty or all units
	// are on one backend.
	Method     Method
	P          float64 // of X² at least as large if the event changed nothing
	X2, DF     float64 // of 2 × n homogeneity, summed over the strata
	ChiSquareP float64
	Units      [2]int // before and after
}

// HomogeneityTest tests whether shares shifted at a known time, whatever they should be: units change sides of the event
// at random within each stratum, draws times (0: 1,999). Count units at opening.
func HomogeneityTest(shifts []Shift, seed Seed, draws int) HomogeneityResult {
	r := HomogeneityResult{Method: None, P: 1, ChiSquareP: 1}
	var sides []*sides
	for _, s := range shifts {
		t := newSides(s)
		r.Units[0] += t.before
		r.Units[1] += t.units - t.before
		if df := t.df(); df > 0 {
			r.X2 += t.x2(s.Before)
			r.DF += df
			sides = append(sides, t)
		}
	}
	if r.DF == 0 {
		return r
	}
	r.ChiSquareP = distuv.ChiSquared{K: r.DF}.Survival(r.X2)
	if r.Units[0]+r.Units[1] > manyUnits {
		r.Method, r.P = ChiSquare, r.ChiSquareP
		return r
	}
	r.Method = MonteCarlo
	draws = cmp.Or(draws, permutations)
	rng := rand.New(seed.source()) // #nosec G404 -- a simulation has to be repeatable
	hits := 1
	for range draws {
		var x2 float64
		for _, t := range sides {
			x2 += t.x2(t.shuffle(rng))
		}
		hits += one(x2 >= r.X2*(1-tie))
	}
	r.P = float64(hits) / float64(draws+1)
	return r
}

// sides is one stratum laid out for permuting.
type sides struct {
	backends      []int // of each unit
	total         []int // of each backend
	before, units int
	counts        []int
}

func newSides(s Shift) *sides {
	t := &sides{total: make([]int, len(s.Before)), counts: make([]int, len(s.Before))}
	for b, x := range s.Before {
		t.total[b] = x + s.After[b]
		t.before += x
		t.units += t.total[b]
		t.backends = append(t.backends, slices.Repeat([]int{b}, t.total[b])...)
	}
	return t
}

// df is the degrees of freedom, 0 if there is nothing to compare.
func (t *sides) df() float64 {
	used := 0
	for _, x := range t.total {
		used += one(x > 0)
	}
	if t.before == 0 || t.before == t.units || used < 2 {
		return 0
	}
	return float64(used - 1)
}

// x2 is the 2 × n homogeneity statistic of the units before: with E_b = N_before·T_b/N,
// Σ (x_b-E_b)²/T_b · N²/(N_before·N_after).
func (t *sides) x2(before []int) float64 {
	n, first := float64(t.units), float64(t.before)
	var sum float64
	for b, x := range before {
		if t.total[b] > 0 {
			size := float64(t.total[b])
			d := float64(x) - first*size/n
			sum += d * d / size
		}
	}
	return sum * n * n / (first * (n - first))
}

// shuffle draws which units are before, by the smaller side.
func (t *sides) shuffle(rng *rand.Rand) []int {
	few := min(t.before, t.units-t.before)
	clear(t.counts)
	for i := range few {
		k := i + rng.IntN(t.units-i)
		t.backends[i], t.backends[k] = t.backends[k], t.backends[i]
		t.counts[t.backends[i]]++
	}
	if few < t.before {
		for b, x := range t.counts {
			t.counts[b] = t.total[b] - x
		}
	}
	return t.counts
}

// ChangeResult is the likeliest time at which shares shifted.
type ChangeResult struct {
	Method Method  // MonteCarlo or None
	P      float64 // of so large a maximum in any order of the units
	At     int     // index of the first unit after the change; -1 without any
	X2     float64 // homogeneity of what is before and after it
}

// ChangeTest looks for a change of shares at an unknown time in units in order of opening, over n backends: the largest
// 2 × n homogeneity X² over all cuts with at least margin units on either side (0: 10), ranked among draws shuffles (0: 999)
// of the order. The χ² probability of that maximum would raise a false alarm in four runs of ten. Of more than
// 20,000 units, every k-th is looked at.
func ChangeTest(backends []int, n, margin int, seed Seed, draws int) ChangeResult {
	r := ChangeResult{Method: None, P: 1, At: -1}
	step := (len(backends)-1)/manyOrdered + 1
	looked := make([]int, 0, len(backends)/step+1)
	for i := 0; i < len(backends); i += step {
		looked = append(looked, backends[i])
	}
	margin = max(1, cmp.Or(margin, 10))
	total := make([]int, n)
	for _, b := range looked {
		total[b]++
	}
	if len(looked) < 2*margin || slices.Max(total) == len(looked) {
		return r
	}
	seen := make([]int, n)
	at, x2 := largestCut(looked, total, seen, margin)
	r.Method, r.At, r.X2 = MonteCarlo, at*step, x2
	rng := rand.New(seed.source()) // #nosec G404 -- a simulation has to be repeatable
	draws = cmp.Or(draws, changeShuffle)
	hits := 1
	for range draws {
		rng.Shuffle(len(looked), func(i, k int) { looked[i], looked[k] = looked[k], looked[i] })
		_, other := largestCut(looked, total, seen, margin)
		hits += one(other >= x2*(1-tie))
	}
	r.P = float64(hits) / float64(draws+1)
	return r
}

// largestCut returns the cut with the largest X². With A_b units of T_b before a cut after k of N units, X² is
// (Σ A_b²/T_b - k²/N)·N²/(k(N-k)), and the sum changes by (2A_b+1)/T_b with each unit.
func largestCut(backends, total, seen []int, margin int) (at int, x2 float64) {
	clear(seen)
	at, x2 = -1, math.Inf(-1)
	n := float64(len(backends))
	var sum float64
	for i, b := range backends {
		sum += float64(2*seen[b]+1) / float64(total[b])
		seen[b]++
		if k := float64(i + 1); i+1 >= margin && len(backends)-i-1 >= margin {
			if v := (sum - k*k/n) * n * n / (k * (n - k)); v > x2*(1+tie)+1e-12 || at < 0 {
				at, x2 = i+1, v
			}
		}
	}
	return at, max(0, x2)
}
