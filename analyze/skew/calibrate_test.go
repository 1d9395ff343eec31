package skew

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// full asks for the calibration at its full size: 10,000 runs of each model instead of a fixed small number.
var full = flag.Bool("full", false, "calibrate with 10,000 runs of each model")

// calibrationRuns is how often a model is simulated; short of the full size, dear models are simulated more rarely.
func calibrationRuns(dear int) int {
	switch {
	case *full:
		return 10_000
	case testing.Short() || slowdown > 1:
		return max(4, 100/slowdown/dear)
	default:
		return max(40, 200/dear)
	}
}

// countRuns runs one simulation per seed on all processors and counts those for which it is true.
func countRuns(name string, runs int, hit func(rng *rand.Rand, seed Seed) bool) int {
	var hits, next atomic.Int64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := next.Add(1); i <= int64(runs); i = next.Add(1) {
				seed := NewSeed("calibrate", name, fmt.Sprint(i))
				if hit(rand.New(seed.For("model").source()), seed) {
					hits.Add(1)
				}
			}
		})
	}
	group.Wait()
	return int(hits.Load())
}

// nullModel is a run in which nothing is wrong, judged by a test at a level.
type nullModel struct {
	name  string
	level float64
	dear  int // costs about as much as this many cheap ones
	p     func(rng *rand.Rand, seed Seed) float64
}

// TestCalibration simulates runs in which nothing is wrong. The false-alarm rate of every test must not be above its level by
// more than chance allows once in ten thousand times.
func TestCalibration(t *testing.T) {
	models := slices.Concat(countModels(), mixtureModels(), orderModels(), loadModels(), shiftModels(), comparisonModels(), latencyModels(), closedLoopModels())
	var table strings.Builder
	fmt.Fprintf(&table, "%-58s %6s %7s %9s %8s\n", "model", "level", "runs", "rejected", "rate")
	for _, m := range models {
		runs := calibrationRuns(m.dear)
		hits := countRuns(m.name, runs, func(rng *rand.Rand, seed Seed) bool { return m.p(rng, seed) <= m.level })
		fmt.Fprintf(&table, "%-58s %6.3f %7d %9d %8.4f\n", m.name, m.level, runs, hits, float64(hits)/float64(runs))
		if tooMany(hits, runs, m.level) {
			t.Errorf("%s: %d of %d runs rejected at %v", m.name, hits, runs, m.level)
		}
	}
	t.Log("false alarms\n" + table.String())
}

// combined is the p-value of the combined test of counts that follow their law.
func combined(l *Law, draws int) func(rng *rand.Rand, seed Seed) float64 {
	return func(_ *rand.Rand, seed Seed) float64 {
		counts := slices.Clone(newDrawer(l, seed.For("counts")).draw())
		return l.Test(counts, seed, draws).P
	}
}

func mustLaw(n int, groups ...Group) *Law {
	l, err := NewLaw(n, groups)
	if err != nil {
		panic(err)
	}
	return l
}

func countModels() []nullModel {
	var out []nullModel
	for _, n := range []int{2, 3, 5, 10, 50} {
		for _, units := range []int{3, 10, 30, 100, 1000, 10_000} {
			l := mustLaw(n, Group{Units: units, P: even(n)})
			dear := 2
			if l.outcomes() {
				dear = 1
			}
			if n*units >= 50_000 || n == 2 && units == 10_000 {
				dear = 8
			}
			out = append(out, nullModel{fmt.Sprintf("equal shares, %d units on %d", units, n), 0.01, dear, combined(l, fewDraws)})
		}
	}
	return out
}

// outcomes reports whether there are few enough to be enumerated in no time.
func (l *Law) outcomes() bool { return outcomes(l.units, l.groups[0].P) < 2_000 }

func mixtureModels() []nullModel {
	third := 1. / 3
	local := mustLaw(4, Group{Units: 200, P: []float64{1, 0, 0, 0}}, Group{Units: 200, P: []float64{0, third, third, third}})
	zones := mustLaw(6, Group{Units: 50, P: []float64{.5, .5, 0, 0, 0, 0}}, Group{Units: 60, P: []float64{0, 0, .5, .5, 0, 0}}, Group{Units: 70, P: []float64{0, 0, 0, 0, .5, .5}})
	both := mustLaw(3, Group{Units: 300, P: even(3)}, Group{Units: 60, P: []float64{.5, .5, 0}})
	few := mustLaw(3, Group{Units: 10, P: even(3)}, Group{Units: 10, P: []float64{.5, .5, 0}})
	uneven := mustLaw(4, Group{Units: 60, P: []float64{.4, .3, .2, .1}})
	return []nullModel{
		{"Local policy, 1 and 3 pods", 0.01, 2, combined(local, fewDraws)},
		{"three zones of two pods", 0.01, 2, combined(zones, fewDraws)},
		{"a stream to all pods and one to two of them", 0.01, 2, combined(both, fewDraws)},
		{"few units of both", 0.01, 2, combined(few, fewDraws)},
		{"uneven shares", 0.01, 2, combined(uneven, fewDraws)},
		{"affinity: 40 client addresses on 3 pods", 0.01, 1, combined(mustLaw(3, Group{Units: 40, P: even(3)}), fewDraws)},
		{"12 streams, the smallest of their p by Holm", 0.01, 8, func(rng *rand.Rand, seed Seed) float64 {
			var p []float64
			for i := range 12 {
				l := mustLaw(3, Group{Units: 10 + 20*i, P: even(3)})
				p = append(p, l.Test(newDrawer(l, seed.For(fmt.Sprint("stream", i))).draw(), seed, fewDraws).P)
			}
			_ = rng
			return slices.Min(Holm(p))
		}},
	}
}

func orderModels() []nullModel {
	var out []nullModel
	pick := map[string]func(OrderResult) float64{
		"in turn": func(r OrderResult) float64 { return r.Turns }, "in runs": func(r OrderResult) float64 { return r.Runs },
		"alternating": func(r OrderResult) float64 { return r.Alternation }, "any": func(r OrderResult) float64 { return r.P },
	}
	for _, which := range []string{"in turn", "in runs", "alternating", "any"} {
		for _, n := range []int{2, 3, 10} {
			out = append(out, nullModel{fmt.Sprintf("order of 60 units on %d, %s", n, which), 0.01, 1, func(rng *rand.Rand, seed Seed) float64 {
				return pick[which](OrderTest([]Sequence{{P: even(n), Backends: independent(rng, even(n), 60)}}, seed, 0))
			}})
		}
		out = append(out, nullModel{"order of units with uneven shares on two nodes, " + which, 0.01, 2, func(rng *rand.Rand, seed Seed) float64 {
			p, q := []float64{.6, .3, .1}, []float64{.5, .5, 0}
			return pick[which](OrderTest([]Sequence{{P: p, Backends: independent(rng, p, 40)}, {P: q, Backends: independent(rng, q, 25)}}, seed, 499))
		}})
	}
	return out
}

// lognormal draws units that choose evenly and carry loads that have nothing to do with where they are.
func lognormal(rng *rand.Rand, n, units int, sigma float64) []Cell {
	cells := make([]Cell, units)
	for i := range cells {
		cells[i] = Cell{rng.IntN(n), math.Exp(sigma * rng.NormFloat64()), 1}
	}
	return cells
}

func loadModels() []nullModel {
	var out []nullModel
	for _, units := range []int{10, 30, 200} {
		out = append(out, nullModel{fmt.Sprintf("load per unit, %d lognormal loads on 3", units), 0.01, 2, func(rng *rand.Rand, seed Seed) float64 {
			return LoadTest([]Sample{{P: even(3), Cells: lognormal(rng, 3, units, 1)}}, seed, 199).P
		}})
	}
	return append(out,
		nullModel{"load per unit, two streams of different load", 0.01, 2, func(rng *rand.Rand, seed Seed) float64 {
			heavy := Sample{P: []float64{.5, .5, 0}}
			for range 30 {
				heavy.Cells = append(heavy.Cells, Cell{rng.IntN(2), 100 * math.Exp(rng.NormFloat64()), 1})
			}
			return LoadTest([]Sample{{P: even(3), Cells: lognormal(rng, 3, 40, 0.3)}, heavy}, seed, 199).P
		}},
		nullModel{"load per unit by its limit, 3,000 loads on 10", 0.01, 2, func(rng *rand.Rand, _ Seed) float64 {
			return newLoads([]Sample{{P: even(10), Cells: lognormal(rng, 10, 3000, 0.5)}}).limit()
		}},
	)
}

func shiftModels() []nullModel {
	var out []nullModel
	for _, c := range [][3]int{{3, 10, 10}, {3, 10, 100}, {6, 30, 30}, {10, 20, 200}} {
		out = append(out, nullModel{fmt.Sprintf("homogeneity on %d, %d before and %d after", c[0], c[1], c[2]), 0.01, 1, func(rng *rand.Rand, seed Seed) float64 {
			s := Shift{Before: make([]int, c[0]), After: make([]int, c[0])}
			for _, b := range independent(rng, even(c[0]), c[1]) {
				s.Before[b]++
			}
			for _, b := range independent(rng, even(c[0]), c[2]) {
				s.After[b]++
			}
			return HomogeneityTest([]Shift{s}, seed, 199).P
		}})
	}
	return append(out,
		nullModel{"change at an unknown time, 300 units on 3", 0.05, 2, func(rng *rand.Rand, seed Seed) float64 {
			return ChangeTest(independent(rng, even(3), 300), 3, 0, seed, 99).P
		}},
		nullModel{"300 looks at a growing run", 0.01, 2, func(rng *rand.Rand, _ Seed) float64 {
			a, counts, p := NewAnytime(even(3)), make([]int, 3), 1.0
			for range 300 {
				for range 10 {
					counts[rng.IntN(3)]++
				}
				p = a.Look(counts)
			}
			return p
		}},
	)
}

// comparisonModels are pairs of runs of the same process. Each must differ at 0.05 at most, whatever the threshold in force.
func comparisonModels() []nullModel {
	hot := func(n int, factor float64, at int) []float64 {
		p := slices.Repeat([]float64{(1 - factor/float64(n)) / float64(n-1)}, n)
		p[at] = factor / float64(n)
		return p
	}
	place := func(rng *rand.Rand, p []float64, units int, load func(i int) float64) []Cell {
		cells := make([]Cell, units)
		for i, b := range independent(rng, p, units) {
			cells[i] = Cell{b, load(i), 1}
		}
		return cells
	}
	flat := func(int) float64 { return 1 }
	zipf := func(i int) float64 { return 1 / float64(i+1) }
	pair := func(name string, matching Matching, n int, a, b func(rng *rand.Rand) []Cell) nullModel {
		return nullModel{"comparison by " + string(matching) + ", " + name, 0.05, 4, func(rng *rand.Rand, seed Seed) float64 {
			x, y := newRun(a(rng), n, matching), newRun(b(rng), n, matching)
			p := exchange([2]run{x, y}, n, seed, 199)
			if matching == ByRank && p > RankLevel {
				return 1
			}
			return p
		}}
	}
	evenly := func(units int) func(*rand.Rand) []Cell {
		return func(rng *rand.Rand) []Cell { return place(rng, even(3), units, flat) }
	}
	of := func(p []float64, units int, load func(int) float64) func(*rand.Rand) []Cell {
		return func(rng *rand.Rand) []Cell { return place(rng, p, units, load) }
	}
	return []nullModel{
		pair("300 and 300 even", ByIdentity, 3, evenly(300), evenly(300)),
		pair("300 and 300 even", ByRank, 3, evenly(300), evenly(300)),
		pair("10 and 10 connections", ByRank, 3, evenly(10), evenly(10)),
		pair("10 and 10 Zipf loads", ByIdentity, 3, of(even(3), 10, zipf), of(even(3), 10, zipf)),
		pair("10 and 10 Zipf loads", ByRank, 3, of(even(3), 10, zipf), of(even(3), 10, zipf)),
		pair("4 and 100 connections", ByRank, 3, evenly(4), evenly(100)),
		pair("30 and 1,000", ByRank, 3, evenly(30), evenly(1000)),
		pair("1.5x hot in both", ByIdentity, 3, of(hot(3, 1.5, 0), 300, flat), of(hot(3, 1.5, 0), 300, flat)),
		pair("1.5x hot in both, on other pods", ByRank, 3, of(hot(3, 1.5, 0), 300, flat), of(hot(3, 1.5, 2), 1000, flat)),
		pair("1.25x hot of 10 in both", ByRank, 10, of(hot(10, 1.25, 0), 1000, flat), of(hot(10, 1.25, 0), 1000, flat)),
	}
}

func latencyModels() []nullModel {
	return []nullModel{{"slow pod, 40 connections with a level of their own on 4", 0.05, 4, func(rng *rand.Rand, seed Seed) float64 {
		list := make([]Exceeding, 40)
		for i := range list {
			rate := 0.01 * math.Exp(rng.NormFloat64())
			list[i] = Exceeding{Backend: rng.IntN(4), Requests: 200}
			for range 200 {
				list[i].Slow += one(rng.Float64() < rate)
			}
		}
		return ExceedanceTest(list, 4, seed, 199).P
	}}}
}

// closedLoop plays workers that each open a connection, wait for its answer and open the next, until time is up, on three
// pods of which the first is ten times slower. It returns the connections opened on each pod and those that completed.
func closedLoop(rng *rand.Rand, workers, each int) (opened, completed []int) {
	opened, completed = make([]int, 3), make([]int, 3)
	// A worker completes one connection in (1+1+10)/3 units of time on average.
	end := float64(each) * 4
	for range workers {
		for now := 0.0; now < end; {
			pod := rng.IntN(3)
			opened[pod]++
			took := rng.ExpFloat64()
			if pod == 0 {
				took *= 10
			}
			if now += took; now < end {
				completed[pod]++
			}
		}
	}
	return opened, completed
}

func closedLoopModels() []nullModel {
	var out []nullModel
	for _, each := range []int{4, 5, 25} {
		out = append(out, nullModel{fmt.Sprintf("closed loop, a pod 10x slower, %d connections per worker", each), 0.01, 2, func(rng *rand.Rand, seed Seed) float64 {
			opened, _ := closedLoop(rng, 50, each)
			return mustLaw(3, Group{Units: opened[0] + opened[1] + opened[2], P: even(3)}).Test(opened, seed, fewDraws).P
		}})
	}
	return out
}

// Counting the connections that completed would accuse the slow pod: that is why they are counted when they are opened.
func TestCompletedConnectionsWouldAccuseTheSlowPod(t *testing.T) {
	runs := calibrationRuns(4)
	hits := countRuns("completed", runs, func(rng *rand.Rand, seed Seed) bool {
		_, completed := closedLoop(rng, 50, 4)
		return mustLaw(3, Group{Units: completed[0] + completed[1] + completed[2], P: even(3)}).Test(completed, seed, fewDraws).P <= 0.01
	})
	if rate := float64(hits) / float64(runs); rate < 0.5 {
		t.Errorf("only %.3f false alarms: the model no longer shows what it is there for", rate)
	}
}

// Ten keep-alive connections over three pods are never a fault: the finding needs p ≤ 0.001 and 5 expected on each pod.
func TestKeepAliveIsNeverAFault(t *testing.T) {
	l := equal(t, 3, 10)
	r := l.Test([]int{10, 0, 0}, Seed{}, 0)
	if r.MinExpected >= 5 {
		t.Errorf("%v connections expected on each of 3 pods by 10", r.MinExpected)
	}
	rejected := levels(l, 0.01, 0.001)
	if math.Abs(rejected[0]-0.0058) > 0.0005 || rejected[1] > 1e-4 {
		t.Errorf("10 connections on 3 pods are rejected in %.5f of runs at 0.01 and %.6f at 0.001, want 0.0058 and 0.00007", rejected[0], rejected[1])
	}
}

// Intervals of the decomposition must hold the truth in about 95 % of runs; below 30 units they are shown with a warning.
func TestCoverageOfIntervals(t *testing.T) {
	for _, c := range []struct {
		n, units int
		factor   float64
		least    float64
	}{
		{3, 30, 1, .98}, {3, 300, 1, .98}, {3, 30, 1.5, .93}, {3, 300, 1.5, .90}, {10, 300, 1.25, .95}, {10, 300, 2, .90},
	} {
		p := make([]float64, c.n)
		truth := 0.0
		for b := range p {
			p[b] = (1 - c.factor/float64(c.n)) / float64(c.n-1)
			if b == 0 {
				p[b] = c.factor / float64(c.n)
			}
			truth += float64(c.n) * (p[b] - 1/float64(c.n)) * (p[b] - 1/float64(c.n))
		}
		runs := calibrationRuns(8)
		name := fmt.Sprintf("%d units on %d, %vx", c.units, c.n, c.factor)
		hits := countRuns(name, runs, func(rng *rand.Rand, seed Seed) bool {
			s := Sample{P: even(c.n)}
			for _, b := range independent(rng, p, c.units) {
				s.Cells = append(s.Cells, Cell{b, 1, 1})
			}
			r := DecompositionIntervals([]Sample{s}, false, seed, 400)
			return r.Total[0] <= truth && truth <= r.Total[1]
		})
		t.Logf("%s: CV² in its interval in %d of %d runs", name, hits, runs)
		if LowerTail(hits, runs, c.least) < 1e-4 {
			t.Errorf("%s: CV² in its interval in %d of %d runs", name, hits, runs)
		}
	}
}

// The interval of the affinity timeout holds it in at least 95 % of runs.
func TestCoverageOfTheTimeout(t *testing.T) {
	for _, n := range []int{2, 3, 5, 20} {
		runs := 10 * calibrationRuns(2)
		hits := countRuns(fmt.Sprint("timeout", n), runs, func(rng *rand.Rand, _ Seed) bool {
			const timeout = 5.0
			gaps := make([]Gap, 60)
			for i := range gaps {
				g := 10 * rng.Float64()
				gaps[i] = Gap{g, g < timeout || rng.IntN(n) == 0}
			}
			r := AffinityTimeout(gaps, 1/float64(n))
			return r.Low <= timeout && r.Broken && timeout <= r.High
		})
		t.Logf("%d backends: timeout in its interval in %d of %d runs", n, hits, runs)
		if LowerTail(hits, runs, 0.95) < 1e-4 {
			t.Errorf("%d backends: timeout in its interval in %d of %d runs", n, hits, runs)
		}
	}
}

// A pod three times as slow as the three others has half of the slow requests and a quarter of all: an excess of 0.25.
func TestCoverageOfTheExcess(t *testing.T) {
	for _, c := range []struct {
		connections int
		least       float64
	}{{40, .89}, {100, .91}, {300, .925}} {
		runs := calibrationRuns(4)
		hits := countRuns(fmt.Sprint("excess", c.connections), runs, func(rng *rand.Rand, seed Seed) bool {
			list := make([]Exceeding, c.connections)
			for i := range list {
				rate := 0.01 * math.Exp(0.5*rng.NormFloat64())
				if list[i] = (Exceeding{Backend: rng.IntN(4), Requests: 200}); list[i].Backend == 0 {
					rate *= 3
				}
				for range list[i].Requests {
					list[i].Slow += one(rng.Float64() < rate)
				}
			}
			r, some := ExcessInterval(list, 4, 0, seed, 400)
			return some && r[0] <= 0.25 && 0.25 <= r[1]
		})
		t.Logf("%d connections: the excess in its interval in %d of %d runs", c.connections, hits, runs)
		if LowerTail(hits, runs, c.least) < 1e-4 {
			t.Errorf("%d connections: the excess in its interval in %d of %d runs", c.connections, hits, runs)
		}
	}
}

func TestExcessNeedsConnectionsAndSlowRequests(t *testing.T) {
	list := make([]Exceeding, 2*FewUnits)
	for i := range list {
		list[i] = Exceeding{Backend: i % 2, Requests: 10, Slow: one(i%2 == 0)}
	}
	if r, some := ExcessInterval(list, 2, 0, NewSeed("excess"), 0); !some || r[0] < 0.3 || r[1] > 0.7 || r[0] > 0.5 || r[1] < 0.5 {
		t.Errorf("one pod has half of the requests and all slow ones: %v, %v", r, some)
	}
	if r, some := ExcessInterval(list[:FewUnits-1], 2, 0, NewSeed("excess"), 0); some {
		t.Errorf("too few connections give %v", r)
	}
	for i := range list {
		list[i].Slow = 0
	}
	if r, some := ExcessInterval(list, 2, 0, NewSeed("excess"), 0); some {
		t.Errorf("nothing slow gives %v", r)
	}
}
