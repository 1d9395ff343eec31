package skew

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Matching is how the backends of two runs are identified with each other.
type Matching string

// The matchings.
const (
	ByIdentity Matching = "identity" // the same pods in both runs: index i is the same one
	ByRank     Matching = "rank"     // others: busiest with busiest
)

// Thresholds of a comparison. By rank the test is not exact; at RankLevel it stays below 0.05 false alarms.
const (
	IdentityLevel = 0.05
	RankLevel     = 0.04
)

// Comparison is two runs side by side.
type Comparison struct {
	Matching    Matching
	Method      Method  // MonteCarlo; None: a run with fewer than 2 units, without any load, or over fewer than 2 backends
	P           float64 // that units placed by one process differ as much in max/mean or in CV
	Threshold   float64 // IdentityLevel or RankLevel
	Differs     bool    // P ≤ Threshold
	A, B        Metrics
	MaxOverMean Range // about 95 % interval of B's minus A's max/mean in the long run
	SquaredCV   Range // 95 % interval of B's minus A's CV²
	Units       [2]int
}

// CompareRuns asks whether the process that placed units and their loads changed between run a and run b, each over n
// backends: whole units with their loads (scaled to mean 1) change runs, draws times (0: 1,999), and the differences in
// max/mean and in CV are ranked among them; the smaller of the two p-values is the statistic. More than 20,000 units are
// drawn with replacement instead, from binned loads. It does not ask whether load is more even: 4 connections against 100
// differ by design, and for that the metrics stand beside each run's own [Law.Chance].
func CompareRuns(a, b []Cell, n int, matching Matching, seed Seed, draws int) Comparison {
	r := Comparison{Matching: matching, Method: None, P: 1, Threshold: IdentityLevel}
	if matching == ByRank {
		r.Threshold = RankLevel
	}
	runs := [2]run{newRun(a, n, matching), newRun(b, n, matching)}
	r.A, r.B = Measure(runs[0].loads), Measure(runs[1].loads)
	r.Units = [2]int{runs[0].units, runs[1].units}
	if n < 2 || min(runs[0].units, runs[1].units) < 2 || min(runs[0].total, runs[1].total) <= 0 {
		return r
	}
	r.Method = MonteCarlo
	r.P = exchange(runs, n, seed.For("exchange"), cmp.Or(draws, permutations))
	r.Differs = r.P <= r.Threshold
	r.MaxOverMean, r.SquaredCV = differences(runs, n, seed.For("differences"))
	return r
}

// run is one side of a comparison.
type run struct {
	cells []Cell // loads scaled to mean 1, backends renamed if matched by rank
	units int
	total float64 // before scaling
	loads []float64
}

func newRun(cells []Cell, n int, matching Matching) run {
	r := run{cells: coarse(merged(cells), n), loads: make([]float64, n)}
	for _, c := range r.cells {
		r.units += c.Units
		r.total += float64(c.Units) * c.Load
		r.loads[c.Backend] += float64(c.Units) * c.Load
	}
	if r.total <= 0 {
		return r
	}
	place := make([]int, n) // of each backend
	for i := range place {
		place[i] = i
	}
	if matching == ByRank {
		order := slices.Clone(place)
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(r.loads[b], r.loads[a]) })
		for rank, b := range order {
			place[b] = rank
		}
	}
	scale := float64(r.units) / r.total
	clear(r.loads)
	for i := range r.cells {
		c := &r.cells[i]
		c.Backend, c.Load = place[c.Backend], c.Load*scale
		r.loads[c.Backend] += float64(c.Units) * c.Load
	}
	r.cells = merged(r.cells)
	return r
}

// exchange returns the p-value of units changing runs.
func exchange(runs [2]run, n int, seed Seed, draws int) float64 {
	var columns [2][]float64
	add := func(a, b []float64) {
		columns[0] = append(columns[0], math.Abs(maxOverMean(a)-maxOverMean(b)))
		columns[1] = append(columns[1], math.Abs(variation(a)-variation(b)))
	}
	add(runs[0].loads, runs[1].loads)
	rng := rand.New(seed.source()) // #nosec G404 -- a simulation has to be repeatable
	draw := dealer(runs, n, rng)
	if runs[0].units+runs[1].units > manyUnits {
		draw = redraw(runs, n, seed)
	}
	for range draws {
		add(draw())
	}
	return smallestOf(columns[:])
}

// dealer deals all units to the two runs anew.
func dealer(runs [2]run, n int, rng *rand.Rand) func() (a, b []float64) {
	type unit struct {
		backend int
		load    float64
	}
	var units []unit
	for _, r := range runs {
		for _, c := range r.cells {
			for range c.Units {
				units = append(units, unit{c.Backend, c.Load})
			}
		}
	}
	loads := [2][]float64{make([]float64, n), make([]float64, n)}
	return func() (a, b []float64) {
		clear(loads[0])
		clear(loads[1])
		rng.Shuffle(len(units), func(i, k int) { units[i], units[k] = units[k], units[i] })
		for i, u := range units {
			loads[one(i >= runs[0].units)][u.backend] += u.load
		}
		return loads[0], loads[1]
	}
}

// redraw draws the units of both runs with replacement from all of them.
func redraw(runs [2]run, n int, seed Seed) func() (a, b []float64) {
	pool := coarse(merged(slices.Concat(runs[0].cells, runs[1].cells)), n)
	var sides [2]*bootstrap
	for i := range sides {
		s := newBootstrap([]Sample{{P: make([]float64, n), Cells: pool}}, seed.For("side"+string(rune('a'+i))))
		s.groups[0].units = runs[i].units
		sides[i] = s
	}
	return func() (a, b []float64) {
		for _, s := range sides {
			s.draw()
		}
		return sides[0].total, sides[1].total
	}
}

// smallestOf ranks all rows in each column, large being extreme, and returns the rank of row 0 by its smallest p-value:
// the level is exact as all rows are ranked together (Westfall & Young 1993). Ties count against row 0.
func smallestOf(columns [][]float64) float64 {
	n := len(columns[0])
	smallest := make([]float64, n)
	for i := range smallest {
		smallest[i] = math.Inf(1)
	}
	t, tail := table{}, make([]float64, n)
	for _, column := range columns {
		t.tails(column, false, tail)
		for i, v := range tail {
			smallest[i] = min(smallest[i], v)
		}
	}
	hits := 0
	for _, v := range smallest {
		hits += one(v <= smallest[0])
	}
	return float64(hits) / float64(n)
}

// variation is the coefficient of variation.
func variation(loads []float64) float64 { return math.Sqrt(squaredCV(loads)) }

func squaredCV(loads []float64) float64 {
	var total, squares float64
	for _, x := range loads {
		total += x
	}
	if total == 0 {
		return 0
	}
	mean := total / float64(len(loads))
	for _, x := range loads {
		squares += (x/mean - 1) * (x/mean - 1)
	}
	return squares / float64(len(loads))
}

// differences returns intervals of run 1 minus run 0 by resampling the units of each, shifted for the bias of both.
func differences(runs [2]run, n int, seed Seed) (most, squared Range) {
	var sides [2]*bootstrap
	for i, r := range runs {
		sides[i] = newBootstrap([]Sample{{P: make([]float64, n), Cells: r.cells}}, seed.For("side"+string(rune('a'+i))))
	}
	estimate := [2]float64{
		maxOverMean(runs[1].loads) - maxOverMean(runs[0].loads),
		squaredCV(runs[1].loads) - squaredCV(runs[0].loads),
	}
	var columns [2][]float64
	for range resamples {
		for _, s := range sides {
			s.draw()
		}
		columns[0] = append(columns[0], maxOverMean(sides[1].total)-maxOverMean(sides[0].total))
		columns[1] = append(columns[1], squaredCV(sides[1].total)-squaredCV(sides[0].total))
	}
	return shifted(columns[0], estimate[0]), shifted(columns[1], estimate[1])
}
