package skew

import (
	"math"
	"testing"
)

func TestLoadFollowsTheBackend(t *testing.T) {
	// One of four pods is slow: its connections carry less in a closed loop.
	rng := generator("slow pod")
	s := Sample{P: even(4)}
	for i := range 200 {
		load := 1000 * math.Exp(0.1*rng.NormFloat64())
		if i%4 == 0 {
			load /= 4
		}
		s.Cells = append(s.Cells, Cell{Backend: i % 4, Load: load, Units: 1})
	}
	r := LoadTest([]Sample{s}, NewSeed("slow pod"), 0)
	if r.Method != MonteCarlo || !near(r.P, 1./2000, 1e-9) || r.Lowest != 0 || r.PerUnit[0] > 0.35 || r.PerUnit[r.Highest] < 1.1 {
		t.Errorf("%+v", r)
	}
}

// Streams may carry very different loads: that alone is no dependence on the backend, even when placement differs.
func TestLoadsOfDifferentStreams(t *testing.T) {
	few := Sample{P: []float64{0.9, 0.1}, Cells: []Cell{{0, 1, 90}, {1, 1, 10}}}
	many := Sample{P: []float64{0.1, 0.9}, Cells: []Cell{{0, 99, 5}, {0, 101, 5}, {1, 99, 45}, {1, 101, 45}}}
	r := LoadTest([]Sample{few, many}, NewSeed("streams"), 0)
	if r.P < 0.5 || math.Abs(r.PerUnit[0]-1) > 1e-9 || math.Abs(r.PerUnit[1]-1) > 1e-9 {
		t.Errorf("%+v", r)
	}
}

// The limiting distribution takes over where there are many units: it must agree with the permutations.
func TestLoadLimitAgreesWithPermutations(t *testing.T) {
	rng := generator("limit")
	for range 5 {
		var samples []Sample
		for g := range 2 {
			s := Sample{P: even(4)}
			for b := range 4 {
				for range 40 + 30*g*b {
					s.Cells = append(s.Cells, Cell{b, float64(1+g) * rng.ExpFloat64() * (1 + 0.05*float64(b)), 1})
				}
			}
			samples = append(samples, s)
		}
		l := newLoads(samples)
		exact, limit := l.permute(NewSeed("limit"), permutations/slowdown), l.limit()
		if se := math.Sqrt(exact * (1 - exact) / (permutations / slowdown)); math.Abs(exact-limit) > 4*se+0.02 {
			t.Errorf("p %v by permutations, %v by the limit", exact, limit)
		}
	}
}

func TestNothingToPermute(t *testing.T) {
	for name, samples := range map[string][]Sample{
		"nothing":        nil,
		"no units":       {{P: even(2)}},
		"equal loads":    {{P: even(2), Cells: []Cell{{0, 5, 3}, {1, 5, 4}}}},
		"one backend":    {{P: even(2), Cells: []Cell{{0, 5, 3}, {0, 6, 4}}}},
		"one unit":       {{P: even(2), Cells: []Cell{{0, 5, 1}}}},
		"no load at all": {{P: even(2), Cells: []Cell{{0, 0, 2}, {1, 0, 1}}}},
	} {
		if r := LoadTest(samples, Seed{}, 0); r.Method != None || r.P != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestResultsDoNotDependOnTheOrderOfCells(t *testing.T) {
	cells := []Cell{{0, 3, 2}, {1, 2, 1}, {2, 7, 1}, {1, 5, 1}, {0, 1, 2}, {1, 2, 1}}
	apart := []Cell{{1, 5, 1}, {0, 1, 1}, {1, 2, 2}, {2, 7, 1}, {0, 3, 1}, {0, 1, 1}, {0, 3, 1}}
	a, b := []Sample{{P: even(3), Cells: cells}}, []Sample{{P: even(3), Cells: apart}}
	if x, y := LoadTest(a, Seed{3}, 99).P, LoadTest(b, Seed{3}, 99).P; x != y {
		t.Errorf("load: p %v and %v", x, y)
	}
	if x, y := DecompositionIntervals(a, true, Seed{3}, 99), DecompositionIntervals(b, true, Seed{3}, 99); x != y {
		t.Errorf("intervals %+v and %+v", x, y)
	}
	if x, y := CompareRuns(cells, cells, 3, ByRank, Seed{3}, 99), CompareRuns(apart, apart, 3, ByRank, Seed{3}, 99); x != y {
		t.Errorf("comparison %+v and %+v", x, y)
	}
}

// Two copies of every unit leave CV² as it is and halve its variance.
func TestDoublingEveryUnitHalvesTheVariance(t *testing.T) {
	rng := generator("double")
	one, two := Sample{P: even(4)}, Sample{P: even(4)}
	for range 400 {
		c := Cell{rng.IntN(4), 1 + rng.Float64(), 1}
		one.Cells = append(one.Cells, c)
		c.Units = 2
		two.Cells = append(two.Cells, c)
	}
	spread := func(s Sample) (estimate, variance float64) {
		b := newBootstrap([]Sample{s}, NewSeed("double"))
		estimate = math.Sqrt(b.values(false)[0])
		const draws = 4000
		var sum, squares float64
		for range draws {
			b.draw()
			// The shares themselves: their variance is what halves exactly; CV² also loses bias.
			v := b.total[0] / (b.total[0] + b.total[1] + b.total[2] + b.total[3])
			sum += v
			squares += v * v
		}
		return estimate, squares/draws - sum/draws*sum/draws
	}
	cv1, v1 := spread(one)
	cv2, v2 := spread(two)
	if !near(cv1, cv2, 1e-12) || math.Abs(v1/v2-2) > 0.2 {
		t.Errorf("CV %v and %v, variance of a share %v and %v", cv1, cv2, v1, v2)
	}
}

func TestIntervals(t *testing.T) {
	hot := []Sample{{P: even(3), Cells: []Cell{{0, 1, 1493}, {1, 1, 716}, {2, 1, 791}}}}
	r := DecompositionIntervals(hot, true, NewSeed("hot"), 0)
	if r.Total[0] > 0.1225 || r.Total[1] < 0.1225 || r.Total[0] < 0.09 || r.Total[1] > 0.16 || r.Unexplained[0] < 0.09 || r.Units != 3000 || r.Resamples != 2000 {
		t.Errorf("a hot pod of three: %+v", r)
	}
	if r.LoadPerUnit[0] < -1e-9 || r.LoadPerUnit[1] > 1e-9 {
		t.Errorf("equal loads have a part of %v", r.LoadPerUnit)
	}
	if r.MaxOverMean[0] > 1.493 || r.MaxOverMean[1] < 1.493 || r.MaxOverMean[0] < 1.4 {
		t.Errorf("max/mean %v around 1.493", r.MaxOverMean)
	}
	if r := DecompositionIntervals([]Sample{{P: even(3)}}, true, Seed{}, 0); r != (Intervals{}) {
		t.Errorf("no units: %+v", r)
	}
}

func TestResample(t *testing.T) {
	values := make([]float64, 400)
	rng := generator("resample")
	for i := range values {
		values[i] = rng.NormFloat64()
	}
	mean := func(times []int) float64 {
		var sum float64
		for i, n := range times {
			sum += float64(n) * values[i]
		}
		return sum / float64(len(values))
	}
	r := Resample(len(values), NewSeed("resample"), 0, mean)
	if width := r[1] - r[0]; math.Abs(width-2*1.96/20) > 0.02 {
		t.Errorf("interval of a mean of 400: %v wide, want 0.196", width)
	}
	if r := Resample(5, Seed{}, 10, func([]int) float64 { return math.NaN() }); !math.IsNaN(r[0]) {
		t.Errorf("nothing but NaN: %v", r)
	}
}

// Loads of very many different values are binned; that must not change what is estimated.
func TestCoarseCellsKeepTheSkew(t *testing.T) {
	rng := generator("coarse")
	var cells []Cell
	for range 20_000 {
		cells = append(cells, Cell{rng.IntN(3), math.Exp(rng.NormFloat64()), 1})
	}
	fine, binned := loadsOf(cells, 3), loadsOf(coarse(merged(cells), 3), 3)
	for b := range fine {
		if !near(fine[b], binned[b], 1e-9) {
			t.Errorf("backend %d: load %v, binned %v", b, fine[b], binned[b])
		}
	}
	if got := len(coarse(merged(cells), 3)); got > 3*loadBins {
		t.Errorf("%d cells left", got)
	}
}

func loadsOf(cells []Cell, n int) []float64 {
	out := make([]float64, n)
	for _, c := range cells {
		out[c.Backend] += float64(c.Units) * c.Load
	}
	return out
}

func TestCompareRuns(t *testing.T) {
	evenly := []Cell{{0, 1, 100}, {1, 1, 104}, {2, 1, 96}}
	hot := []Cell{{0, 1, 150}, {1, 1, 76}, {2, 1, 74}}
	moved := []Cell{{0, 1, 74}, {1, 1, 150}, {2, 1, 76}}
	for _, c := range []struct {
		name     string
		a, b     []Cell
		matching Matching
		differs  bool
	}{
		{"even twice", evenly, []Cell{{0, 1, 97}, {1, 1, 99}, {2, 1, 104}}, ByIdentity, false},
		{"even twice, by rank", evenly, []Cell{{0, 2, 97}, {1, 2, 99}, {2, 2, 104}}, ByRank, false},
		{"a hot pod in one", evenly, hot, ByRank, true},
		{"a hot pod in one of the same pods", evenly, hot, ByIdentity, true},
		{"the same heat on other pods", hot, moved, ByRank, false},
	} {
		r := CompareRuns(c.a, c.b, 3, c.matching, NewSeed(c.name), 0)
		if r.Method != MonteCarlo || r.Differs != c.differs || (r.P <= r.Threshold) != r.Differs {
			t.Errorf("%s: %+v, want differs %v", c.name, r, c.differs)
		}
		if d := r.B.CV*r.B.CV - r.A.CV*r.A.CV; d < r.SquaredCV[0]-0.02 || d > r.SquaredCV[1]+0.02 {
			t.Errorf("%s: CV² changes by %v, interval %v", c.name, d, r.SquaredCV)
		}
	}
	big := func(first int) []Cell { return []Cell{{0, 1, first}, {1, 1, 30_000}, {2, 1, 30_000}} }
	if r := CompareRuns(big(30_100), big(30_000), 3, ByRank, Seed{}, 499); r.Differs {
		t.Errorf("180,000 even units: %+v", r)
	}
	if r := CompareRuns(big(32_000), big(30_000), 3, ByRank, Seed{}, 499); !r.Differs {
		t.Errorf("7 %% more on one of 180,000: %+v", r)
	}
	for name, cells := range map[string][]Cell{"nothing": nil, "one unit": {{0, 1, 1}}, "no load": {{0, 0, 5}, {1, 0, 5}}} {
		if r := CompareRuns(evenly, cells, 3, ByRank, Seed{}, 0); r.Method != None || r.P != 1 || r.Differs {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestExceedance(t *testing.T) {
	rng := generator("exceed")
	var list []Exceeding
	for i := range 160 {
		c := Exceeding{Backend: i % 4, Requests: 100}
		rate := 0.01 * math.Exp(0.3*rng.NormFloat64())
		if c.Backend == 2 {
			rate *= 4
		}
		for range c.Requests {
			c.Slow += one(rng.Float64() < rate)
		}
		list = append(list, c)
	}
	r := ExceedanceTest(list, 4, NewSeed("exceed"), 0)
	if r.Slowest != 2 || r.P > 0.01 || r.Connections[2] != 40 || r.Rates[2] < 0.02 {
		t.Errorf("one slow pod: %+v", r)
	}
	for name, list := range map[string][]Exceeding{"nothing": nil, "one backend": {{0, 10, 3}, {0, 10, 4}}, "nothing slow": {{0, 10, 0}, {1, 10, 0}}} {
		if r := ExceedanceTest(list, 2, Seed{}, 0); r.Method != None || r.P != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	many := make([]Exceeding, 120_000)
	for i := range many {
		many[i] = Exceeding{Backend: i % 3, Requests: 1, Slow: one(i%100 == 0)}
	}
	if got := thinned(many, 3); len(got) != 20_001 && len(got) != 20_000 && len(got) != 20_004 {
		t.Errorf("%d blocks of 120,000 connections", len(got))
	}
}

func TestQuantileRanks(t *testing.T) {
	for _, c := range []struct {
		n         int
		low, high int
	}{{367, 359, 0}, {368, 360, 368}, {2000, 1971, 1989}, {1, 0, 0}} {
		low, high := QuantileRanks(c.n, 0.99, 0.95)
		if high != c.high || math.Abs(float64(low-c.low)) > 1 {
			t.Errorf("%d samples: ranks %d and %d, want %d and %d", c.n, low, high, c.low, c.high)
		}
	}
}

// The tests that permute are a part of every report: none of them may take long, however many units there are.
func BenchmarkPermutations(b *testing.B) {
	rng := generator("benchmark")
	const units = 20_000
	cells := lognormal(rng, 10, units, 1)
	backends := independent(rng, even(10), units)
	slow := make([]Exceeding, units)
	for i := range slow {
		slow[i] = Exceeding{backends[i], 100, one(i%7 == 0)}
	}
	s := Shift{Before: make([]int, 10), After: make([]int, 10)}
	for i, x := range backends {
		if i%2 == 0 {
			s.Before[x]++
		} else {
			s.After[x]++
		}
	}
	uneven := []float64{.2, .2, .1, .1, .1, .1, .1, .05, .05, 0}
	for name, run := range map[string]func(){
		"load":        func() { LoadTest([]Sample{{P: even(10), Cells: cells}}, Seed{}, 0) },
		"intervals":   func() { DecompositionIntervals([]Sample{{P: even(10), Cells: cells}}, true, Seed{}, 0) },
		"order":       func() { OrderTest([]Sequence{{P: uneven, Backends: backends}}, Seed{}, 0) },
		"homogeneity": func() { HomogeneityTest([]Shift{s}, Seed{}, 0) },
		"change":      func() { ChangeTest(backends, 10, 0, Seed{}, 0) },
		"comparison":  func() { CompareRuns(cells[:units/2], cells[units/2:], 10, ByRank, Seed{}, 0) },
		"exceedance":  func() { ExceedanceTest(slow, 10, Seed{}, 0) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				run()
			}
		})
	}
}
