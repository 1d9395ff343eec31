package skew

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// FewUnits is the number of units below which intervals by resampling are rough and are to be shown with a warning.
const FewUnits = 30

// Intervals are 95 % intervals for the long run of the parts of a decomposition. What is designed has none: it is the
// settings.
type Intervals struct {
	Total, Placement, LoadPerUnit, Unexplained Range // of CV² and its parts
	MaxOverMean                                Range // about 95 %: the maximum is not smooth
	Units                                      int   // below FewUnits the intervals are rough
	Resamples                                  int   // 0: there was nothing to resample and all ranges are [0, 0]
}

// DecompositionIntervals resamples whole units within each sample draws times (0: 2,000) and shifts for the bias that
// resampling adds, another dose of chance: the interval is that of the resamples minus twice the bias. Without the shift it
// would hold the truth almost never. differs is that of [Decompose]. Samples with the same probabilities are one.
func DecompositionIntervals(samples []Sample, differs bool, seed Seed, draws int) Intervals {
	b := newBootstrap(samples, seed)
	if b == nil {
		return Intervals{}
	}
	r := Intervals{Units: b.units, Resamples: cmp.Or(draws, resamples)}
	estimate := b.values(differs)
	columns := make([][]float64, len(estimate))
	for range r.Resamples {
		b.draw()
		for i, v := range b.values(differs) {
			columns[i] = append(columns[i], v)
		}
	}
	for i, into := range []*Range{&r.Total, &r.Placement, &r.LoadPerUnit, &r.Unexplained, &r.MaxOverMean} {
		*into = shifted(columns[i], estimate[i])
	}
	r.Total = r.Total.atLeast(0)
	r.Unexplained = r.Unexplained.atLeast(0)
	r.MaxOverMean = r.MaxOverMean.atLeast(1)
	return r
}

// atLeast clips both ends.
func (r Range) atLeast(least float64) Range { return Range{max(r[0], least), max(r[1], least)} }

// shifted returns the central range of resampled values minus twice their bias. It sorts the values.
func shifted(values []float64, estimate float64) Range {
	slices.Sort(values)
	mean := 0.0
	for _, v := range values {
		mean += v / float64(len(values))
	}
	r := central(values)
	bias := mean - estimate
	return Range{r[0] - 2*bias, r[1] - 2*bias}
}

// bootstrap resamples the units of some samples, each within its own.
type bootstrap struct {
	groups []resampled
	parts  []Part // of the current resample, the samples themselves at first
	units  int
	total  []float64
	src    *rand.PCG
	rng    *rand.Rand
}

// resampled is one sample: its cells, and how to draw as many units from them with replacement.
type resampled struct {
	cells   []Cell
	units   int
	draw    *sampler
	counts  []int
	scratch []int
}

// newBootstrap returns nil if there is no unit.
func newBootstrap(samples []Sample, seed Seed) *bootstrap {
	b := &bootstrap{src: seed.source()}
	b.rng = rand.New(b.src) // #nosec G404 -- a simulation has to be repeatable
	for _, s := range joined(samples) {
		n := len(s.P)
		if b.total == nil {
			b.total = make([]float64, n)
		}
		g := resampled{cells: coarse(merged(s.Cells), n)}
		for _, c := range g.cells {
			g.units += c.Units
		}
		if g.units == 0 {
			continue
		}
		g.counts, g.scratch = make([]int, len(g.cells)), make([]int, len(g.cells))
		p := make([]float64, len(g.cells))
		for i, c := range g.cells {
			p[i] = float64(c.Units) / float64(g.units)
			g.counts[i] = c.Units
		}
		g.draw = newSampler(p)
		b.units += g.units
		b.groups = append(b.groups, g)
		b.parts = append(b.parts, Part{P: s.P, Units: make([]int, n), Requests: make([]float64, n)})
	}
	if b.units == 0 {
		return nil
	}
	b.tabulate()
	return b
}

// joined makes one sample of those with the same probabilities.
func joined(samples []Sample) []Sample {
	var out []Sample
	for _, s := range samples {
		at := slices.IndexFunc(out, func(have Sample) bool { return slices.Equal(have.P, s.P) })
		if at < 0 {
			out = append(out, Sample{P: s.P, Cells: slices.Clone(s.Cells)})
			continue
		}
		out[at].Cells = append(out[at].Cells, s.Cells...)
	}
	return out
}

// coarse bins the loads on each backend where there are very many different ones, so that a resample costs no more than
// some thousand draws; 64 bins of equal ratio keep Σw² within a tenth of a per cent.
func coarse(cells []Cell, n int) []Cell {
	if len(cells) <= max(mostCells, 2*n) {
		return cells
	}
	var out []Cell
	for from := 0; from < len(cells); {
		to := from
		var runs []batch
		for to < len(cells) && cells[to].Backend == cells[from].Backend {
			runs = append(runs, batch{units: cells[to].Units, load: cells[to].Load})
			to++
		}
		if len(runs) > loadBins {
			runs = binned(runs)
		}
		for _, r := range runs {
			out = append(out, Cell{Backend: cells[from].Backend, Load: r.load, Units: r.units})
		}
		from = to
	}
	return out
}

// draw makes parts the next resample.
func (b *bootstrap) draw() {
	for _, g := range b.groups {
		clear(g.counts)
		g.draw.add(g.units, g.counts, g.scratch, b.src, b.rng)
	}
	b.tabulate()
}

// tabulate fills parts and total from the counts of the cells.
func (b *bootstrap) tabulate() {
	clear(b.total)
	for i, g := range b.groups {
		part := b.parts[i]
		clear(part.Units)
		clear(part.Requests)
		for k, c := range g.cells {
			part.Units[c.Backend] += g.counts[k]
			part.Requests[c.Backend] += float64(g.counts[k]) * c.Load
		}
		for k, r := range part.Requests {
			b.total[k] += r
		}
	}
}

// values returns what intervals are asked for: CV², placement, load per unit, unexplained, max/mean.
func (b *bootstrap) values(differs bool) [5]float64 {
	d := Decompose(b.parts, differs)
	return [5]float64{d.Total, d.Placement, d.LoadPerUnit, d.Unexplained, maxOverMean(b.total)}
}

func maxOverMean(loads []float64) float64 {
	var total, most float64
	for _, x := range loads {
		total += x
		most = max(most, x)
	}
	if total == 0 {
		return 0
	}
	return most * float64(len(loads)) / total
}

// Resample draws n things with replacement draws times (0: 2,000) and returns the central 95 % of statistic, which gets
// how often each of them was drawn. Values that are not a number are left out; without any other the range is [NaN, NaN].
// It is the plain percentile interval: for statistics that resampling does not shift, such as a quantile or a difference
// of two.
func Resample(n int, seed Seed, draws int, statistic func(times []int) float64) Range {
	rng := rand.New(seed.source()) // #nosec G404 -- a simulation has to be repeatable
	times := make([]int, n)
	var values []float64
	for range cmp.Or(draws, resamples) {
		clear(times)
		for range n {
			times[rng.IntN(n)]++
		}
		if v := statistic(times); !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return Range{math.NaN(), math.NaN()}
	}
	slices.Sort(values)
	return central(values)
}
