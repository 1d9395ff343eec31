package skew

import (
	"math"
	"slices"
	"testing"
)

func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		name  string
		loads []float64
		want  Metrics
	}{
		{"seven pods, one hot", []float64{60, 10, 7, 3, 6, 4, 10}, Metrics{4.2, 1.317952958, 0.5342857143, 0.3653635367, 3.880317609, 0}},
		{"nearly even", []float64{530, 470}, Metrics{1.06, 0.06, 0.03, 0.9964129135, 1.996401079, 0}},
		{"uneven pair", []float64{873, 127}, Metrics{1.746, 0.746, 0.373, 0.6424604694, 1.46322628, 0}},
		{"one cold", []float64{13, 2, 12}, Metrics{1.444444444, 0.5518394232, 0.2716049383, 0.7665615142, 2.472213884, 0}},
		{"even", []float64{5, 5, 5, 5}, Metrics{1, 0, 0, 1, 4, 0}},
		{"all on one of four", []float64{0, 0, 8, 0}, Metrics{4, math.Sqrt(3), 0.75, 0.25, 1, 3}},
		{"nothing at all", []float64{0, 0}, Metrics{Idle: 2}},
	} {
		got := Measure(c.loads)
		for _, pair := range [][2]float64{{got.MaxOverMean, c.want.MaxOverMean}, {got.CV, c.want.CV}, {got.Gini, c.want.Gini}, {got.Jain, c.want.Jain}, {got.Effective, c.want.Effective}} {
			if !near(pair[0], pair[1], 1e-9) && math.Abs(pair[0]-pair[1]) > 1e-12 {
				t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
				break
			}
		}
		if got.Idle != c.want.Idle {
			t.Errorf("%s: %d idle, want %d", c.name, got.Idle, c.want.Idle)
		}
	}
}

func TestBinomialTails(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"the upper tail of all", UpperTail(10, 10, 0.5), math.Pow(2, -10)},
		{"far below the smallest difference to 1", UpperTail(1000, 1000, 0.5), math.Pow(2, -1000)},
		{"the lower tail of none", LowerTail(0, 10, 0.3), math.Pow(0.7, 10)},
		{"all outcomes", UpperTail(0, 10, 0.3), 1},
		{"more than there are", UpperTail(11, 10, 0.3), 0},
		{"a certain event", UpperTail(10, 10, 1), 1},
		{"an impossible event", UpperTail(1, 10, 0), 0},
		{"both tails around a count", UpperTail(4, 10, 0.4) + LowerTail(3, 10, 0.4), 1},
	} {
		if !near(c.got, c.want, 1e-10) {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	if low, high := BinomialRange(100, 0.5, 0.95); low != 40 || high != 60 {
		t.Errorf("95 %% of 100 throws: %d to %d, want 40 to 60", low, high)
	}
}

func TestClopperPearson(t *testing.T) {
	for _, c := range []struct {
		k, n int
		want [2]float64
	}{
		{60, 60, [2]float64{0.9404, 1}},
		{59, 60, [2]float64{0.9106, 0.9996}},
		{57, 60, [2]float64{0.8608, 0.9895}},
		{0, 60, [2]float64{0, 0.0596}},
		{0, 0, [2]float64{0, 1}},
	} {
		got := ClopperPearson(c.k, c.n, 0.95)
		if math.Abs(got[0]-c.want[0]) > 1e-4 || math.Abs(got[1]-c.want[1]) > 1e-4 {
			t.Errorf("%d of %d: %.4f, want %.4f", c.k, c.n, got, c.want)
		}
	}
}

func TestHolm(t *testing.T) {
	p := []float64{0.01, 0.04, 0.03, 0.005}
	if got, want := Holm(p), []float64{0.03, 0.06, 0.06, 0.02}; !slices.EqualFunc(got, want, func(a, b float64) bool { return near(a, b, 1e-12) }) {
		t.Errorf("adjusted %v, want %v", got, want)
	}
	if got, want := HolmThresholds(p, 0.012), []float64{0.004, 0.012, 0.006, 0.003}; !slices.EqualFunc(got, want, func(a, b float64) bool { return near(a, b, 1e-12) }) {
		t.Errorf("thresholds %v, want %v", got, want)
	}
	if len(Holm(nil)) != 0 {
		t.Error("nothing adjusted is something")
	}
	if got := Holm([]float64{0.9, 0.8}); got[0] != 1 || got[1] != 1 {
		t.Errorf("adjusted %v, want no more than 1", got)
	}
}

func TestSmallestFactor(t *testing.T) {
	units := []int{10, 30, 100, 300, 1000, 3000, 10000}
	for n, want := range map[int][]float64{
		2:  {1.96, 1.68, 1.39, 1.22, 1.12, 1.07, 1.04},
		3:  {2.75, 2.06, 1.61, 1.34, 1.18, 1.10, 1.06},
		5:  {4.21, 2.80, 1.93, 1.52, 1.28, 1.15, 1.08},
		10: {6.73, 4.26, 2.62, 1.84, 1.44, 1.25, 1.13},
		50: {24.2, 12.5, 6.15, 3.55, 2.25, 1.68, 1.36},
	} {
		for i, w := range want {
			if got := (Need{Backends: n}).SmallestFactor(units[i]); !near(got, w, 0.005) {
				t.Errorf("%d units on %d backends show %.3f, want %.3f", units[i], n, got, w)
			}
		}
	}
	if got := (Need{Backends: 50}).SmallestFactor(2); got != 0 {
		t.Errorf("2 units on 50 backends show %v, want nothing", got)
	}
	if got := (Need{Backends: 1}).SmallestFactor(1000); got != 0 {
		t.Errorf("a single backend shows %v, want nothing", got)
	}
}

func TestUnitsNeeded(t *testing.T) {
	factors := []float64{1.1, 1.25, 1.5, 2}
	for n, want := range map[int][4]int{
		2: {1530, 247, 61, 0}, 3: {3259, 536, 146, 38}, 5: {7106, 1186, 322, 92}, 10: {17525, 2969, 787, 230},
		50: {114059, 19365, 5305, 1525}, 100: {248133, 41845, 11390, 3318},
	} {
		for i, w := range want {
			if w == 0 {
				continue // a pod of two at twice its share has everything: the tables leave it out
			}
			got := Need{Backends: n}.Units(factors[i])
			if !near(float64(got), float64(w), 0.04) {
				t.Errorf("%vx on %d backends needs %d units, want about %d", factors[i], n, got, w)
			}
			if f := (Need{Backends: n}).SmallestFactor(got); f > factors[i] {
				t.Errorf("%d units on %d backends show %v only, not %v", got, n, f, factors[i])
			}
		}
	}
	if got := (Need{Backends: 3}).Units(4); got != 0 {
		t.Errorf("four times a third needs %d units, want none to do", got)
	}
}

func TestUnitsForMax(t *testing.T) {
	factors := []float64{1.1, 1.2, 1.5, 2}
	for n, want := range map[int][4]int{
		3: {920, 233, 38, 11}, 5: {2237, 580, 97, 28}, 10: {6182, 1592, 274, 75}, 50: {48300, 12450, 2200, 625}, 100: {110700, 28570, 5000, 1400},
	} {
		for i, w := range want {
			if got := UnitsForMax(n, factors[i], 0.95); !near(float64(got), float64(w), 0.01) {
				t.Errorf("max/mean ≤ %v on %d backends from %d units, want %d", factors[i], n, got, w)
			}
		}
	}
	if got := UnitsForMax(1, 1.5, 0.95); got != 0 {
		t.Errorf("a single backend needs %d", got)
	}
}

func TestMaxAtMost(t *testing.T) {
	for _, c := range []struct {
		n, units, most int
		want           float64
	}{
		{10, 1000, 125, 0.9556}, {50, 500, 21, 0.9693}, {100, 10000, 134, 0.9541}, {3, 100, 44, 0.9702}, {3, 10, 5, 0.770},
		{3, 10, 10, 1}, {3, 10, 3, 0}, {2, 4, 2, 6. / 16},
	} {
		if got := MaxAtMost(c.n, c.units, c.most); math.Abs(got-c.want) > 0.002 {
			t.Errorf("P(max of %d units on %d backends ≤ %d) = %.4f, want %.4f", c.units, c.n, c.most, got, c.want)
		}
	}
}

func TestDecompose(t *testing.T) {
	for _, c := range []struct {
		name    string
		parts   []Part
		differs bool
		want    Decomposition
	}{
		{
			"ten equal connections", []Part{{P: even(3), Units: []int{5, 4, 1}, Requests: []float64{5000, 4000, 1000}}}, false,
			Decomposition{Total: 0.26, Placement: 0.26},
		},
		{
			"a Local policy with one pod here and three there", []Part{
				{P: []float64{1, 0, 0, 0}, Units: []int{200, 0, 0, 0}, Requests: []float64{200, 0, 0, 0}},
				{P: []float64{0, 1. / 3, 1. / 3, 1. / 3}, Units: []int{0, 67, 68, 65}, Requests: []float64{0, 67, 68, 65}},
			}, false,
			Decomposition{Total: 0.33345, Designed: 1. / 3, Placement: 0.0001166667},
		},
		{
			"a hot pod of three", []Part{{P: even(3), Units: []int{1493, 716, 791}, Requests: []float64{1493, 716, 791}}}, true,
			Decomposition{Total: 0.1225, Placement: 0.00066667, Unexplained: 0.1218},
		},
		{"no requests", []Part{{P: even(2), Units: []int{0, 0}, Requests: []float64{0, 0}}}, false, Decomposition{}},
		{"nothing", nil, false, Decomposition{}},
	} {
		got := Decompose(c.parts, c.differs)
		for name, pair := range map[string][2]float64{
			"total": {got.Total, c.want.Total}, "designed": {got.Designed, c.want.Designed}, "placement": {got.Placement, c.want.Placement},
			"load": {got.LoadPerUnit, c.want.LoadPerUnit}, "unexplained": {got.Unexplained, c.want.Unexplained},
		} {
			if math.Abs(pair[0]-pair[1]) > 1e-4 {
				t.Errorf("%s: %s %.6f, want %.6f", c.name, name, pair[0], pair[1])
			}
		}
	}
}

func FuzzDecomposePartsAddUp(f *testing.F) {
	f.Add(uint64(1), true)
	f.Add(uint64(99), false)
	f.Fuzz(func(t *testing.T, seed uint64, differs bool) {
		rng := newDrawer(equal(t, 2, 1), Seed{seed}).rng
		n := 1 + rng.IntN(6)
		var parts []Part
		for range 1 + rng.IntN(4) {
			p := Part{P: make([]float64, n), Units: make([]int, n), Requests: make([]float64, n)}
			total := 0.0
			for b := range n {
				p.P[b] = rng.ExpFloat64()
				total += p.P[b]
				p.Units[b] = rng.IntN(5)
				p.Requests[b] = float64(p.Units[b]) * rng.ExpFloat64()
			}
			for b := range n {
				p.P[b] /= total
			}
			parts = append(parts, p)
		}
		d := Decompose(parts, differs)
		if got := d.Designed + d.Placement + d.LoadPerUnit + d.Unexplained; math.Abs(got-d.Total) > 1e-12 {
			t.Errorf("the parts of %+v add up to %v", d, got)
		}
	})
}
