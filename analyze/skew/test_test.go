package skew

import (
	"fmt"
	"math"
	"testing"
)

// equal returns the law of units that choose evenly among n backends.
func equal(tb testing.TB, n, units int) *Law {
	tb.Helper()
	return law(tb, n, Group{Units: units, P: even(n)})
}

func even(n int) []float64 {
	p := make([]float64, n)
	for i := range p {
		p[i] = 1 / float64(n)
	}
	return p
}

func law(tb testing.TB, n int, groups ...Group) *Law {
	tb.Helper()
	l, err := NewLaw(n, groups)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func sum(counts []int) int {
	total := 0
	for _, x := range counts {
		total += x
	}
	return total
}

// near reports whether two figures agree to a relative difference.
func near(got, want, tolerance float64) bool {
	return got == want || math.Abs(got-want) <= tolerance*math.Abs(want)
}

// The values are from exact rational arithmetic over all outcomes (a program of its own).
func TestTestAgreesWithExactArithmetic(t *testing.T) {
	for _, c := range []struct {
		counts                 []int
		combined               float64
		over, hot, cold, under float64
		direction              Direction
	}{
		{[]int{5, 4, 1}, 0.5839048925, 0.3705227862, 0.6265813138, 0.3065081542, 0.7575064777, Cold},
		{[]int{4, 3, 3}, 0.3918609968, 1, 1, 1, 0.2133821064, Under},
		{[]int{7, 3, 0}, 0.02240512117, 0.02240512117, 0.05898491084, 0.05197378448, 0.9897881421, Over},
		{[]int{4, 0, 0}, 0.03703703704, 0.03703703704, 0.03703703704, 0.5555555556, 1, Over},
		{[]int{5, 0, 0}, 0.01234567901, 0.01234567901, 0.01234567901, 0.3827160494, 1, Over},
		{[]int{6, 0, 0}, 0.004115226337, 0.004115226337, 0.004115226337, 0.2592592593, 1, Over},
		{[]int{10, 0, 0}, 5.080526343e-05, 5.080526343e-05, 5.080526343e-05, 0.05197378448, 1, Over},
		{[]int{13, 2, 12}, 0.009386070847, 0.01920347771, 0.2369440557, 0.005399041218, 0.9869721534, Cold},
		{[]int{10, 10, 10}, 0.05585009264, 1, 1, 1, 0.02696083476, Under},
		{[]int{530, 470}, 0.08724821328, 0.0620231951, 0.0620231951, 0.0620231951, 0.9463221504, Over},
		{[]int{873, 127}, 1.69362041e-137, 1.69362041e-137, 1.69362041e-137, 1.69362041e-137, 1, Over},
	} {
		r := equal(t, len(c.counts), sum(c.counts)).Test(c.counts, NewSeed("golden"), 0)
		if r.Method != Exact {
			t.Errorf("%v: method %s, want exact", c.counts, r.Method)
		}
		if !near(r.P, c.combined, 1e-9) {
			t.Errorf("%v: combined p %.12g, want %.12g", c.counts, r.P, c.combined)
		}
		for d, want := range map[Direction]float64{Over: c.over, Hot: c.hot, Cold: c.cold, Under: c.under} {
			if !near(r.Parts[d], want, 1e-9) {
				t.Errorf("%v: %s %.12g, want %.12g", c.counts, d, r.Parts[d], want)
			}
		}
		if r.Direction != c.direction {
			t.Errorf("%v: direction %s, want %s", c.counts, r.Direction, c.direction)
		}
	}
}

func TestTestOfPlainCounts(t *testing.T) {
	for _, c := range []struct {
		counts    []int
		x2, chi2P float64
	}{
		{[]int{60, 10, 7, 3, 6, 4, 10}, 173.7, 7.379620899687932e-35},
		{[]int{530, 470}, 3.6, 0.0577795711},
		{[]int{873, 127}, 556.516, 4.814048e-123},
		{[]int{13, 2, 12}, 8.222222222, 0.01638955},
	} {
		r := equal(t, len(c.counts), sum(c.counts)).Test(c.counts, NewSeed("plain"), 0)
		if !near(r.X2, c.x2, 1e-9) || !near(r.ChiSquareP, c.chi2P, 1e-6) {
			t.Errorf("%v: X² %.10g, χ² p %.10g; want %.10g, %.10g", c.counts, r.X2, r.ChiSquareP, c.x2, c.chi2P)
		}
		if r.P > 0.1 {
			t.Errorf("%v: p %v", c.counts, r.P)
		}
	}
}

// levels returns the chance that the exact test of a law rejects at each level: the sum over all outcomes that do.
func levels(l *Law, at ...float64) []float64 {
	counts := make([]int, len(l.expected))
	counts[0] = l.units
	e := newEnumeration(l, counts, newScorer(l))
	e.place(0, l.units, 0)
	p := e.outcomes.allCombined()
	rejected := make([]float64, len(at))
	for i, w := range e.outcomes.weights {
		for k, level := range at {
			if p[i] <= level {
				rejected[k] += w
			}
		}
	}
	return rejected
}

// allCombined is combine for every outcome at once.
func (t *table) allCombined() []float64 {
	p := make([]float64, len(t.columns[0]))
	for i := range p {
		p[i], _ = t.combine(i)
	}
	return p
}

// The level of the exact test is a theorem; this checks the code that claims it, without any simulation.
func TestExactTestKeepsItsLevel(t *testing.T) {
	for _, c := range []struct{ n, units int }{{2, 10}, {2, 30}, {2, 100}, {3, 3}, {3, 10}, {3, 30}, {5, 10}, {10, 3}} {
		t.Run(fmt.Sprintf("%d backends, %d units", c.n, c.units), func(t *testing.T) {
			at := []float64{0.05, 0.01, 0.001}
			for k, rejected := range levels(equal(t, c.n, c.units), at...) {
				if rejected > at[k]*(1+1e-9) {
					t.Errorf("rejects %.6f at %v", rejected, at[k])
				}
			}
		})
	}
}

// Uneven probabilities take the same way, without the shortcut for equal ones.
func TestExactTestKeepsItsLevelWithUnevenShares(t *testing.T) {
	l := law(t, 4, Group{Units: 14, P: []float64{0.5, 0.2, 0.2, 0.1}})
	rejected := levels(l, 0.05, 0.01)
	if rejected[0] > 0.05 || rejected[1] > 0.01 || rejected[0] == 0 {
		t.Errorf("rejects %v at 0.05, 0.01", rejected)
	}
}

// The shortcut must not change what is summed up: the same counts with probabilities that differ in the last digits only.
func TestEnumerationCountsEqualBackendsOnce(t *testing.T) {
	counts := []int{9, 4, 3, 1}
	const tiny = 1e-13
	exact := equal(t, 4, 17).Test(counts, Seed{}, 0)
	apart := law(t, 4, Group{Units: 17, P: []float64{0.25 + tiny, 0.25, 0.25 - 2*tiny, 0.25 + tiny}}).Test(counts, Seed{}, 0)
	if !near(exact.P, apart.P, 1e-9) {
		t.Errorf("p %.12g with equal shares, %.12g with nearly equal ones", exact.P, apart.P)
	}
}

// rejections counts how often counts drawn by draw are rejected at level under l.
func rejections(l *Law, runs, draws int, level float64, draw func() []int) int {
	hits := 0
	for i := range runs {
		if l.Test(draw(), NewSeed("run", fmt.Sprint(i)), draws).P <= level {
			hits++
		}
	}
	return hits
}

// tooMany is the check of a false-alarm rate: that many or more would come up less than once in ten thousand times.
func tooMany(hits, runs int, level float64) bool { return UpperTail(hits, runs, level) < 1e-4 }

func TestMonteCarloKeepsItsLevel(t *testing.T) {
	local := []float64{1, 0, 0, 0}
	rest := []float64{0, 1. / 3, 1. / 3, 1. / 3}
	for _, c := range []struct {
		name string
		law  *Law
	}{
		{"10 backends, 30 units", equal(t, 10, 30)},
		{"10 backends, 1000 units", equal(t, 10, 1000)},
		{"50 backends, 100 units", equal(t, 50, 100)},
		{"one pod and three under a Local policy", law(t, 4, Group{Units: 200, P: local}, Group{Units: 200, P: rest})},
		{"a stream to all and one to two of them", law(t, 3, Group{Units: 300, P: even(3)}, Group{Units: 60, P: []float64{0.5, 0.5, 0}})},
		{"few units on both", law(t, 3, Group{Units: 10, P: even(3)}, Group{Units: 10, P: []float64{0.5, 0.5, 0}})},
	} {
		t.Run(c.name, func(t *testing.T) {
			const runs, level = 1_000 / slowdown, 0.05
			if got := c.law.Test(make([]int, len(c.law.expected)), Seed{}, 99).Method; got != MonteCarlo {
				t.Fatalf("method %s: this is no test of the simulation", got)
			}
			d := newDrawer(c.law, NewSeed(c.name))
			if hits := rejections(c.law, runs, 199, level, d.draw); tooMany(hits, runs, level) || hits < runs/50 {
				t.Errorf("%d of %d rejected at %v", hits, runs, level)
			}
		})
	}
}

func TestApproximationKeepsItsLevel(t *testing.T) {
	l := law(t, 20, Group{Units: 2000, P: even(20)}, Group{Units: 600, P: append(even(10), make([]float64, 10)...)})
	d := newDrawer(l, NewSeed("approximate"))
	score := newScorer(l)
	const runs, level = 4_000 / slowdown, 0.05
	hits := 0
	for range runs {
		counts := d.draw()
		r := Result{X2: score.of(counts).x2, MinExpected: l.MinExpected(), ChiSquareP: 1}
		_, r.Factor, r.DF = l.moments()
		r.ChiSquareP = chiSquareTail(r)
		if p, _ := l.approximate(counts, score, r); p <= level {
			hits++
		}
	}
	if tooMany(hits, runs, level) || hits < runs/100 {
		t.Errorf("%d of %d rejected at %v", hits, runs, level)
	}
}

func TestLargeLawsAreNotSimulated(t *testing.T) {
	l := equal(t, 6_000, 600_000)
	counts := make([]int, 6_000)
	for i := range counts {
		counts[i] = 100
	}
	counts[0], counts[1] = 190, 10
	if r := l.Test(counts, Seed{}, 0); r.Method != ChiSquare || r.P > 1e-6 {
		t.Errorf("method %s, p %v", r.Method, r.P)
	}
}

// hotDraw draws counts in which backend 0 has factor times its share.
func hotDraw(t *testing.T, n, units int, factor float64) func() []int {
	t.Helper()
	p := make([]float64, n)
	for i := range p {
		p[i] = (1 - factor/float64(n)) / float64(n-1)
	}
	p[0] = factor / float64(n)
	return newDrawer(law(t, n, Group{Units: units, P: p}), NewSeed("hot", fmt.Sprint(n, units, factor))).draw
}

// The powers were measured with other code in another language, 20,000 runs each.
func TestPower(t *testing.T) {
	for _, c := range []struct {
		n, units int
		factor   float64
		want     float64
	}{
		{2, 100, 1.5, 0.995},
		{3, 30, 2, 0.84},
		{3, 100, 1.5, 0.71},
		{3, 100, 1.25, 0.14},
		{10, 300, 2, 0.94},
		{10, 100, 0, 1}, // one idle
	} {
		t.Run(fmt.Sprintf("%d backends, %d units, %vx", c.n, c.units, c.factor), func(t *testing.T) {
			const runs, draws = 300 / slowdown, 999
			hits := rejections(equal(t, c.n, c.units), runs, draws, 0.01, hotDraw(t, c.n, c.units, c.factor))
			got := float64(hits) / runs
			// Fewer draws than the measurement had lose a little power at this level.
			if limit := 4*math.Sqrt(c.want*(1-c.want)/runs) + 0.03; math.Abs(got-c.want) > limit {
				t.Errorf("power %.3f, want %.3f ± %.3f", got, c.want, limit)
			}
		})
	}
}

func TestNothingToTest(t *testing.T) {
	for _, c := range []struct {
		name   string
		law    *Law
		counts []int
	}{
		{"a single backend", equal(t, 1, 10), []int{10}},
		{"no units", law(t, 3), []int{0, 0, 0}},
		{"no choice in any group", law(t, 2, Group{Units: 4, P: []float64{1, 0}}, Group{Units: 2, P: []float64{0, 1}}), []int{4, 2}},
	} {
		r := c.law.Test(c.counts, Seed{}, 0)
		if r.Method != None || r.P != 1 || r.Hot != -1 || r.Cold != -1 || r.X2 != 0 {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

func TestTestIsRepeatable(t *testing.T) {
	l := equal(t, 10, 500)
	counts := []int{70, 60, 50, 50, 50, 50, 50, 50, 40, 30}
	first, second := l.Test(counts, NewSeed("a"), 0), l.Test(counts, NewSeed("a"), 0)
	if first.P != second.P || first.Parts[Hot] != second.Parts[Hot] {
		t.Errorf("p %v, then %v", first, second)
	}
	if other := l.Test(counts, NewSeed("b"), 0); other.Parts[Over] == first.Parts[Over] && other.Parts[Hot] == first.Parts[Hot] && other.Parts[Cold] == first.Parts[Cold] {
		t.Error("another seed has the very same draws")
	}
}
