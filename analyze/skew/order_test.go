package skew

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// inTurn is a perfect rotation.
func inTurn(n, units int) []int {
	out := make([]int, units)
	for i := range out {
		out[i] = i % n
	}
	return out
}

// independent draws units that choose with probabilities p.
func independent(rng *rand.Rand, p []float64, units int) []int {
	s := newSampler(p)
	out := make([]int, units)
	for i := range out {
		out[i] = s.one(rng)
	}
	return out
}

func generator(name string) *rand.Rand { return rand.New(NewSeed(name).source()) }

// The smallest numbers of units that show a rotation at 0.001 were worked out by hand: n^-(N-n) ≤ 0.001.
func TestOrderShowsRotationFrom(t *testing.T) {
	for n, from := range map[int]int{2: 12, 3: 10, 5: 10, 10: 13, 50: 52} {
		for units, want := range map[int]bool{from - 1: false, from: true} {
			r := OrderTest([]Sequence{{P: even(n), Backends: inTurn(n, units)}}, Seed{}, 0)
			if got := r.Turns <= 0.001; got != want || r.Method != Exact || r.Matches != units-n {
				t.Errorf("%d units in turn over %d backends: %d matches, p %v by %s", units, n, r.Matches, r.Turns, r.Method)
			}
		}
	}
}

// Not a single repeat shows taking turns, whatever the order, from these numbers on: (1-1/n)^(N-1) ≤ 0.001.
func TestOrderShowsAlternationFrom(t *testing.T) {
	for n, from := range map[int]int{2: 11, 3: 19, 5: 32, 10: 67, 50: 343} {
		for units, want := range map[int]bool{from - 1: false, from: true} {
			if got := OrderTest([]Sequence{{P: even(n), Backends: inTurn(n, units)}}, Seed{}, 0).Alternation <= 0.001; got != want {
				t.Errorf("%d units over %d backends without repeats: shown %v, want %v", units, n, got, want)
			}
		}
	}
}

func TestOrderTellsKindsApart(t *testing.T) {
	rng := generator("kinds")
	uneven := []float64{0.5, 0.3, 0.2}
	sorted := independent(rng, uneven, 60)
	slices.Sort(sorted)
	for _, c := range []struct {
		name      string
		sequences []Sequence
		method    Method
		smallest  func(OrderResult) float64
	}{
		{"in turn on two nodes", []Sequence{{P: even(3), Backends: inTurn(3, 8)}, {P: even(3), Backends: inTurn(3, 9)}}, Exact, func(r OrderResult) float64 { return r.Turns }},
		{"in turn on nodes with different backends", []Sequence{{P: []float64{.5, .5, 0}, Backends: inTurn(2, 30)}, {P: even(3), Backends: inTurn(3, 40)}}, MonteCarlo, func(r OrderResult) float64 { return r.Turns }},
		{"in runs", []Sequence{{P: even(3), Backends: slices.Concat(make([]int, 20), slices.Repeat([]int{1}, 20))}}, Exact, func(r OrderResult) float64 { return r.Runs }},
		{"in runs with uneven shares", []Sequence{{P: uneven, Backends: sorted}}, MonteCarlo, func(r OrderResult) float64 { return r.Runs }},
	} {
		r := OrderTest(c.sequences, NewSeed("kinds"), 0)
		if p := c.smallest(r); r.Method != c.method || p > 0.001 || p > min(r.Turns, r.Runs, r.Alternation) || r.P != min(1, 3*p) {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

func TestOrderTestDoesNotDependOnNames(t *testing.T) {
	rng := generator("names")
	p := []float64{0.6, 0.2, 0.2}
	a, b := independent(rng, p, 50), independent(rng, p, 70)
	renamed := func(s []int) []int {
		out := make([]int, len(s))
		for i, x := range s {
			out[i] = (x + 1) % 3
		}
		return out
	}
	first := OrderTest([]Sequence{{P: p, Backends: a}, {P: p, Backends: b}}, Seed{1}, 500)
	moved := []float64{0.2, 0.6, 0.2}
	second := OrderTest([]Sequence{{P: moved, Backends: renamed(b)}, {P: moved, Backends: renamed(a)}}, Seed{1}, 500)
	if first != second {
		t.Errorf("%+v, renamed and merged in another order %+v", first, second)
	}
}

func TestOrderWithoutAChoice(t *testing.T) {
	for name, s := range map[string][]Sequence{
		"nothing":               nil,
		"one backend":           {{P: []float64{1}, Backends: make([]int, 50)}},
		"one unit":              {{P: even(2), Backends: []int{1}}},
		"no more than backends": {{P: even(5), Backends: inTurn(5, 5)}},
	} {
		if r := OrderTest(s, Seed{}, 0); r.Method != None || r.P != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestHomogeneity(t *testing.T) {
	// Reference: scipy.stats.chi2_contingency([[30,10,20],[15,25,20]], correction=False).
	r := HomogeneityTest([]Shift{{Before: []int{30, 10, 20}, After: []int{15, 25, 20}}}, NewSeed("shift"), 0)
	if !near(r.X2, 11.428571428571429, 1e-12) || r.DF != 2 || !near(r.ChiSquareP, 0.003298509, 1e-5) || r.Method != MonteCarlo {
		t.Errorf("%+v", r)
	}
	if math.Abs(r.P-r.ChiSquareP) > 0.004 {
		t.Errorf("p %v by permutations, %v by χ²", r.P, r.ChiSquareP)
	}
	two := HomogeneityTest([]Shift{{Before: []int{30, 10, 20}, After: []int{15, 25, 20}}, {Before: []int{9, 0}, After: []int{0, 8}}, {Before: []int{5}, After: []int{9}}}, NewSeed("shift"), 0)
	if !near(two.X2, r.X2+17, 1e-12) || two.DF != 3 || two.P > 0.001 || two.Units != [2]int{74, 77} {
		t.Errorf("two strata and one without a choice: %+v", two)
	}
	if many := HomogeneityTest([]Shift{{Before: []int{30_000, 30_000}, After: []int{300, 350}}}, Seed{}, 0); many.Method != ChiSquare {
		t.Errorf("60,650 units: %+v", many)
	}
	for name, s := range map[string][]Shift{"nothing": nil, "nothing before": {{Before: []int{0, 0}, After: []int{4, 5}}}, "one backend": {{Before: []int{3, 0}, After: []int{4, 0}}}} {
		if r := HomogeneityTest(s, Seed{}, 0); r.Method != None || r.P != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// The quick way to the statistic must give the one that is defined.
func TestLargestCut(t *testing.T) {
	backends := independent(generator("cut"), even(4), 80)
	total, seen := make([]int, 4), make([]int, 4)
	for _, b := range backends {
		total[b]++
	}
	at, x2 := largestCut(backends, total, seen, 10)
	best, bestAt := 0.0, 0
	for k := 10; k <= 70; k++ {
		s := Shift{Before: make([]int, 4), After: make([]int, 4)}
		for i, b := range backends {
			if i < k {
				s.Before[b]++
			} else {
				s.After[b]++
			}
		}
		if v := newSides(s).x2(s.Before); v > best*(1+1e-9) {
			best, bestAt = v, k
		}
	}
	if !near(x2, best, 1e-9) || at != bestAt {
		t.Errorf("cut %d with X² %v, want %d with %v", at, x2, bestAt, best)
	}
}

func TestChangeIsFound(t *testing.T) {
	rng := generator("change")
	before, after := independent(rng, even(3), 200), independent(rng, []float64{0.6, 0.2, 0.2}, 200)
	r := ChangeTest(append(before, after...), 3, 0, NewSeed("change"), 0)
	if r.P > 0.005 || r.At < 170 || r.At > 230 {
		t.Errorf("%+v, want a change at about 200", r)
	}
	for name, backends := range map[string][]int{"nothing": nil, "too few": inTurn(3, 19), "one backend": make([]int, 50)} {
		if r := ChangeTest(backends, 3, 10, Seed{}, 0); r.Method != None || r.P != 1 || r.At != -1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestChangeInVeryManyUnits(t *testing.T) {
	rng := generator("many")
	units := 250_000 / slowdown
	before, after := independent(rng, even(2), units), independent(rng, []float64{0.7, 0.3}, units)
	r := ChangeTest(append(before, after...), 2, 0, NewSeed("many"), 19)
	if r.P != 0.05 || math.Abs(float64(r.At-units)) > float64(units)/20 {
		t.Errorf("%+v, want a change at about %d", r, units)
	}
}

func TestAnytime(t *testing.T) {
	a := NewAnytime(even(3))
	counts := make([]int, 3)
	var p float64
	last := 1.0
	for i := range 400 {
		counts[i%2]++ // a third backend that never answers
		if p = a.Look(counts); p > last {
			t.Fatalf("p rises from %v to %v", last, p)
		}
		last = p
	}
	if p > 1e-6 {
		t.Errorf("an idle third after 400 units: p %v", p)
	}
	if got := NewAnytime([]float64{1, 0}).Look([]int{5, 1}); got != 0 {
		t.Errorf("a unit where none can be: p %v", got)
	}
	// By hand, one unit on two backends: E = Γ(30)Γ(16)/(Γ(31)Γ(15)·½) = 15/30·2 = 1.
	if got := NewAnytime(even(2)).Look([]int{1, 0}); !near(got, 1, 1e-9) {
		t.Errorf("one unit: p %v, want 1", got)
	}
}
