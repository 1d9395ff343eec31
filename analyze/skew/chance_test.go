package skew

import (
	"fmt"
	"math"
	"testing"
)

// The ranges were measured with other code, 60,000 draws each. Counts are whole numbers, so an end may be one step off.
func TestChance(t *testing.T) {
	for _, c := range []struct {
		n, units int
		want     Chance
	}{
		{3, 4, Chance{MaxOverMean: Range{1.50, 3.00}, CV: Range{.354, 1.414}, Gini: Range{.167, .667}, Effective: Range{1, 2.83}, Idle: Range{0, 2}}},
		{3, 10, Chance{MaxOverMean: Range{1.20, 2.10}, CV: Range{.141, .787}, Gini: Range{.067, .400}, Effective: Range{1.96, 2.97}, Idle: Range{0, 1}}},
		{10, 100, Chance{MaxOverMean: Range{1.20, 1.90}, CV: Range{.167, .436}, Gini: Range{.090, .238}, Effective: Range{9.07, 9.86}}},
		{10, 1000, Chance{MaxOverMean: Range{1.07, 1.28}, CV: Range{.052, .139}, Gini: Range{.028, .076}, Effective: Range{9.90, 9.99}}},
		{50, 100, Chance{MaxOverMean: Range{2, 4}, CV: Range{.566, .843}, Gini: Range{.307, .451}, Effective: Range{33.9, 41.6}, Idle: Range{3, 11}}},
	} {
		got := equal(t, c.n, c.units).Chance(NewSeed("chance"), 20_000)
		for name, pair := range map[string][2]Range{
			"max/mean": {got.MaxOverMean, c.want.MaxOverMean}, "CV": {got.CV, c.want.CV}, "Gini": {got.Gini, c.want.Gini},
			"effective": {got.Effective, c.want.Effective}, "idle": {got.Idle, c.want.Idle},
		} {
			for end := range 2 {
				if a, b := pair[0][end], pair[1][end]; math.Abs(a-b) > 0.035*math.Max(b, 0.3) {
					t.Errorf("%d units on %d backends: %s %.3f, want %.3f", c.units, c.n, name, pair[0], pair[1])
				}
			}
		}
	}
}

func TestChanceOfShares(t *testing.T) {
	single := equal(t, 4, 100).Chance(NewSeed("single"), 1_000)
	for b, r := range single.Shares {
		if r != (Range{0.17, 0.34}) {
			t.Errorf("backend %d: %v, want the binomial 0.17 to 0.34", b, r)
		}
	}
	mixed := law(t, 3, Group{Units: 100, P: []float64{1, 0, 0}}, Group{Units: 100, P: []float64{0, 0.5, 0.5}}).Chance(NewSeed("mixed"), 4_000)
	if mixed.Shares[0] != (Range{0.5, 0.5}) {
		t.Errorf("a backend without competition: %v, want exactly half", mixed.Shares[0])
	}
	if mixed.Shares[1] != mixed.Shares[2] || math.Abs(mixed.Shares[1][0]-0.2) > 0.011 || math.Abs(mixed.Shares[1][1]-0.3) > 0.011 {
		t.Errorf("its fellows: %v and %v, want 0.2 to 0.3 twice", mixed.Shares[1], mixed.Shares[2])
	}
}

func TestIdleAtLeast(t *testing.T) {
	c := equal(t, 3, 10).Chance(NewSeed("idle"), 20_000)
	if got, want := c.IdleAtLeast(1), 0.0520; math.Abs(got-want) > 0.006 {
		t.Errorf("P(some of 3 pods idle with 10 connections) = %.4f, want %.4f", got, want)
	}
	if got := c.IdleAtLeast(0); got != 1 {
		t.Errorf("P(no or more idle) = %v", got)
	}
	if got := c.IdleAtLeast(3); got <= 0 || got > 1e-4 {
		t.Errorf("P(all idle) = %v, want small and not 0", got)
	}
}

// Ten connections whose loads follow Zipf's law are as uneven as five and a half equal ones.
func TestChanceOfUnequalLoads(t *testing.T) {
	loads := make([]float64, 10)
	for i := range loads {
		loads[i] = 1000 / float64(i+1)
	}
	c := law(t, 3, Group{Units: 10, P: even(3), Loads: loads}).Chance(NewSeed("zipf"), 20_000)
	if math.Abs(c.MaxOverMean[0]-1.16) > 0.02 || math.Abs(c.MaxOverMean[1]-2.43) > 0.03 {
		t.Errorf("max/mean %.3f, want 1.16 to 2.43", c.MaxOverMean)
	}
}

// Bins of loads must not change how uneven the outcome is.
func TestBinnedLoadsKeepTheirSquares(t *testing.T) {
	d := newDrawer(equal(t, 2, 1), NewSeed("bins"))
	loads := make([]float64, 50_000)
	var sum, squares float64
	for i := range loads {
		loads[i] = math.Exp(d.rng.NormFloat64())
		sum += loads[i]
		squares += loads[i] * loads[i]
	}
	var binnedSum, binnedSquares float64
	units := 0
	for _, b := range binned(runsOf(loads)) {
		units += b.units
		binnedSum += b.load * float64(b.units)
		binnedSquares += b.load * b.load * float64(b.units)
	}
	if units != len(loads) || !near(binnedSum, sum, 1e-9) || !near(binnedSquares, squares, 0.002) {
		t.Errorf("%d units, sum %v, squares %v; want %d, %v, %v", units, binnedSum, binnedSquares, len(loads), sum, squares)
	}
}

func TestSamplersHaveTheMomentsOfTheMultinomial(t *testing.T) {
	for _, c := range []struct {
		name  string
		p     []float64
		units int
	}{
		{"unit by unit, equal", even(10), 100},
		{"unit by unit, uneven", []float64{0.5, 0.3, 0.15, 0.05, 0}, 60},
		{"by Poisson filling, equal", even(10), 3000},
		{"by Poisson filling, uneven", []float64{0.5, 0.3, 0.15, 0.05, 0}, 2000},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := law(t, len(c.p), Group{Units: c.units, P: c.p})
			d, score := newDrawer(l, NewSeed(c.name)), newScorer(l)
			const draws = 20_000 / slowdown
			n := len(c.p)
			means := make([]float64, n)
			var mean, square float64
			for range draws {
				counts := d.draw()
				if got := sum(counts); got != c.units {
					t.Fatalf("%d units drawn, want %d", got, c.units)
				}
				x2 := score.of(counts).x2
				mean += x2 / draws
				square += x2 * x2 / draws
				for b, x := range counts {
					means[b] += float64(x) / draws
				}
			}
			for b := range means {
				if limit := 5 * math.Sqrt(l.variance[b]/draws); math.Abs(means[b]-l.expected[b]) > limit {
					t.Errorf("backend %d: mean %.3f, want %.3f ± %.3f", b, means[b], l.expected[b], limit)
				}
			}
			df, _, _ := l.moments()
			if math.Abs(mean-df) > 0.07*df || math.Abs((square-mean*mean)/(2*df)-1) > 0.25 {
				t.Errorf("X² has mean %.3f and variance %.3f, want %.3f and about %.3f", mean, square-mean*mean, df, 2*df)
			}
		})
	}
}

func TestSatterthwaite(t *testing.T) {
	third := 1. / 3
	for _, c := range []struct {
		name             string
		law              *Law
		mean, factor, df float64
	}{
		{"one group", equal(t, 5, 100), 4, 1, 4},
		{"Local, one pod and three", law(t, 4, Group{Units: 200, P: []float64{1, 0, 0, 0}}, Group{Units: 200, P: []float64{0, third, third, third}}), 2, 1, 2},
		{"three disjoint zones of two", law(t, 6,
			Group{Units: 50, P: []float64{.5, .5, 0, 0, 0, 0}}, Group{Units: 60, P: []float64{0, 0, .5, .5, 0, 0}}, Group{Units: 70, P: []float64{0, 0, 0, 0, .5, .5}}), 3, 1, 3},
	} {
		mean, factor, df := c.law.moments()
		if !near(mean, c.mean, 1e-9) || !near(factor, c.factor, 1e-9) || !near(df, c.df, 1e-9) {
			t.Errorf("%s: mean %v, factor %v, df %v; want %v, %v, %v", c.name, mean, factor, df, c.mean, c.factor, c.df)
		}
	}
}

func TestDistanceLimit(t *testing.T) {
	l := equal(t, 3, 300)
	if got := l.DistanceLimit(0.99); !near(got, 9.21034, 1e-5) {
		t.Errorf("99 %% of X² on 3 backends below %v, want 9.21034", got)
	}
	if got := l.Distance([]float64{110, 100, 90}); !near(got, 2, 1e-12) {
		t.Errorf("X² %v, want 2", got)
	}
	if got := equal(t, 1, 5).DistanceLimit(0.99); got != 0 {
		t.Errorf("a single backend varies by %v", got)
	}
}

func TestResized(t *testing.T) {
	l := law(t, 2, Group{Units: 10, P: []float64{1, 0}}, Group{Units: 30, P: []float64{0.5, 0.5}})
	r := l.Resized(1000)
	if r.Units() != 1000 || !near(r.Expected()[0], 625, 1e-12) {
		t.Errorf("%d units, %v expected; want 1000, 625 and 375", r.Units(), r.Expected())
	}
	if got := law(t, 2).Resized(10).Units(); got != 0 {
		t.Errorf("a law without units has %d after resizing", got)
	}
}

func TestNewLawRejects(t *testing.T) {
	for name, g := range map[string]Group{
		"probabilities that do not add up":  {Units: 1, P: []float64{0.5, 0.4}},
		"probabilities for another number":  {Units: 1, P: []float64{1}},
		"a negative probability":            {Units: 1, P: []float64{-0.5, 1.5}},
		"what is not a number":              {Units: 1, P: []float64{math.NaN(), 1}},
		"a negative number of units":        {Units: -1, P: []float64{0.5, 0.5}},
		"loads for another number of units": {Units: 2, P: []float64{0.5, 0.5}, Loads: []float64{1}},
	} {
		if _, err := NewLaw(2, []Group{g}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSmallestP(t *testing.T) {
	for _, c := range []struct {
		name string
		law  *Law
		want float64
	}{
		{"three equal backends, five units", equal(t, 3, 5), math.Pow(3, -4)},
		{"two groups", law(t, 4, Group{Units: 2, P: []float64{.5, .5, 0, 0}}, Group{Units: 3, P: []float64{0, 0, .5, .5}}), math.Pow(2, -5)},
		{"no units", law(t, 2), 1},
		{"no choice", equal(t, 1, 9), 1},
	} {
		if got := c.law.SmallestP(); !near(got, c.want, 1e-9) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestOrderDoesNotDependOnNames(t *testing.T) {
	groups := []Group{{P: []float64{0.2, 0.4, 0.2, 0.2}}}
	counts, loads := []int{5, 1, 9, 5}, []float64{50, 10, 90, 60}
	if got, want := fmt.Sprint(Order(groups, counts, loads)), "[1 2 3 0]"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	swapped := Order([]Group{{P: []float64{0.2, 0.2, 0.2, 0.4}}}, []int{5, 9, 5, 1}, []float64{60, 90, 50, 10})
	if got, want := fmt.Sprint(swapped), "[3 1 0 2]"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}
