package skew

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// plant is a fault: what the backends' shares really are.
type plant struct {
	name   string
	factor float64               // of the hot backend, 0: something else
	p      func(n int) []float64 // nil: cannot be on n backends
}

func plants() []plant {
	hot := func(f float64) func(n int) []float64 {
		return func(n int) []float64 {
			if f >= float64(n) {
				return nil
			}
			p := slices.Repeat([]float64{(1 - f/float64(n)) / float64(n-1)}, n)
			p[0] = f / float64(n)
			return p
		}
	}
	return []plant{
		{"1.1x", 1.1, hot(1.1)},
		{"1.25x", 1.25, hot(1.25)},
		{"1.5x", 1.5, hot(1.5)},
		{"2x", 2, hot(2)},
		{"idle", 0, hot(0)},
		{"60/40", 1.2, func(n int) []float64 {
			if n != 2 {
				return nil
			}
			return []float64{0.6, 0.4}
		}},
	}
}

// powerRow is the power of the combined test at 0.01 for each plant as measured with other code, 20,000 runs each; -1: cannot be.
type powerRow struct {
	n, units int
	want     [6]float64
}

func powerRows() []powerRow {
	return []powerRow{
		{2, 100, [6]float64{.04, .42, .995, -1, 1, .24}},
		{3, 100, [6]float64{.02, .14, .71, 1, 1, -1}},
		{10, 300, [6]float64{.01, .04, .26, .94, 1, -1}},
		// from here on at full size only
		{2, 30, [6]float64{-1, .08, .51, -1, 1, .04}},
		{2, 300, [6]float64{.19, .96, 1, -1, 1, .82}},
		{2, 1000, [6]float64{.71, 1, 1, -1, 1, 1}},
		{2, 3000, [6]float64{.998, 1, 1, -1, 1, 1}},
		{3, 30, [6]float64{.01, .04, .18, .84, 1, -1}},
		{3, 300, [6]float64{.04, .50, .998, 1, 1, -1}},
		{3, 1000, [6]float64{.24, .99, 1, 1, 1, -1}},
		{3, 3000, [6]float64{.79, 1, 1, 1, 1, -1}},
		{5, 100, [6]float64{.02, .04, .25, .91, 1, -1}},
		{5, 1000, [6]float64{.07, .74, 1, 1, 1, -1}},
		{5, 3000, [6]float64{.32, 1, 1, 1, 1, -1}},
		{10, 100, [6]float64{.01, .01, .05, .38, 1, -1}},
		{10, 1000, [6]float64{.02, .21, .93, 1, 1, -1}},
		{10, 3000, [6]float64{.06, .83, 1, 1, 1, -1}},
		{10, 10_000, [6]float64{.45, 1, 1, 1, 1, -1}},
		{50, 1000, [6]float64{.01, .02, .06, .54, 1, -1}},
		{50, 3000, [6]float64{.01, .04, .41, .997, 1, -1}},
		{50, 10_000, [6]float64{.02, .35, .995, 1, 1, -1}},
	}
}

// measuredPower is the part of runs with shares p that the test of equal shares rejects at level.
func measuredPower(t *testing.T, p []float64, units, runs, draws int, level float64) float64 {
	t.Helper()
	null, truth := equal(t, len(p), units), law(t, len(p), Group{Units: units, P: p})
	hits := countRuns(fmt.Sprint("power", p[0], units), runs, func(_ *rand.Rand, seed Seed) bool {
		return null.Test(newDrawer(truth, seed.For("counts")).draw(), seed, draws).P <= level
	})
	return float64(hits) / float64(runs)
}

// TestPowerCurves measures how often planted skews are found, beside what is stated: the bound by exact binomial tails (in
// brackets) and the smallest factor seen in 80 % of runs.
func TestPowerCurves(t *testing.T) {
	rows, runs := powerRows()[:3], 150/slowdown
	if *full {
		rows, runs = powerRows(), 2000
	}
	if testing.Short() {
		rows, runs = rows[1:2], 50
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%9s %6s", "backends", "units")
	for _, pl := range plants() {
		fmt.Fprintf(&table, " %-11s", pl.name)
	}
	fmt.Fprintf(&table, " %s\n", "smallest factor: seen")
	for _, row := range rows {
		need := Need{Backends: row.n}
		fmt.Fprintf(&table, "%9d %6d", row.n, row.units)
		for i, pl := range plants() {
			p := pl.p(row.n)
			if p == nil {
				fmt.Fprintf(&table, " %-11s", "-")
				continue
			}
			got := measuredPower(t, p, row.units, runs, fewDraws, 0.01)
			bound := need.PowerAt(row.units, pl.factor)
			fmt.Fprintf(&table, " %5.3f %-5s", got, bracketed(pl.factor, bound))
			checkPower(t, row, pl.name, got, row.want[i], runs)
			if got < bound-4*math.Sqrt(bound*(1-bound)/float64(runs))-0.03 {
				t.Errorf("%d units on %d, %s: power %.3f is below the bound %.3f that is stated", row.units, row.n, pl.name, got, bound)
			}
		}
		if f := need.SmallestFactor(row.units); f > 0 && f < float64(row.n) {
			p := slices.Repeat([]float64{(1 - f/float64(row.n)) / float64(row.n-1)}, row.n)
			p[0] = f / float64(row.n)
			got := measuredPower(t, p, row.units, runs, fewDraws, 0.01)
			fmt.Fprintf(&table, " %.2f: %.3f", f, got)
			if se := math.Sqrt(.8 * .2 / float64(runs)); got < 0.8-4*se-0.03 || got > 0.95+4*se {
				t.Errorf("%d units on %d: the smallest factor, %.2f, is seen in %.3f of runs, not in about 0.8", row.units, row.n, f, got)
			}
		}
		table.WriteString("\n")
	}
	t.Log("power at 0.01 (bound), and of the stated smallest factor\n" + table.String())
}

func bracketed(factor, bound float64) string {
	if factor == 0 {
		return ""
	}
	return fmt.Sprintf("(%.2f)", bound)
}

// checkPower allows four standard errors, the rounding of the reference, and a little for having fewer draws than it.
func checkPower(t *testing.T, row powerRow, name string, got, want float64, runs int) {
	t.Helper()
	if want < 0 {
		return
	}
	limit := 4*math.Sqrt(math.Max(want*(1-want), 0.005)/float64(runs)) + 0.035
	if math.Abs(got-want) > limit {
		t.Errorf("%d units on %d, %s: power %.3f, want %.3f ± %.3f", row.units, row.n, name, got, want, limit)
	}
}

// One backend with 1.5 times its share over 3,000 fresh connections is found at 0.001 in 99 % of runs for up to 10 backends;
// beyond that the power is what is stated.
func TestHotBackendOverFreshConnections(t *testing.T) {
	runs, sizes := 50, []int{3, 10}
	if *full {
		runs, sizes = 1000, []int{2, 3, 5, 10, 15, 20, 30, 50}
	}
	if testing.Short() || slowdown > 1 {
		runs = 10
	}
	for _, n := range sizes {
		p := plants()[2].p(n)
		got := measuredPower(t, p, 3000, runs, Draws, 0.001)
		bound := Need{Backends: n, Alpha: 0.001}.PowerAt(3000, 1.5)
		t.Logf("%d backends: found in %.3f of %d runs, stated %.3f", n, got, runs, bound)
		least := bound - 4*math.Sqrt(bound*(1-bound)/float64(runs)) - 0.03
		if n <= 10 {
			least = 0.99
		}
		if hits := int(math.Round(got * float64(runs))); got < least && (n > 10 || LowerTail(hits, runs, 0.99) < 1e-3) {
			t.Errorf("%d backends: found in %.3f of %d runs, want %.3f", n, got, runs, least)
		}
	}
}
