package skew

import (
	"math"
	"math/rand/v2"
	"slices"
)

// placer draws where units with given loads end up.
type placer struct {
	batches []batch
	src     *rand.PCG
	rng     *rand.Rand
	counts  []int
	loads   []float64
	own     []int // counts of one batch
	scratch []int
}

// batch is a number of units of one group that carry the same load.
type batch struct {
	sampler *sampler
	units   int
	load    float64
}

// Beyond this many batches with different loads, loads are binned: 64 bins of equal ratio keep Σw² within a tenth of a per cent.
const (
	mostBatches = 20_000
	loadBins    = 64
)

func newPlacer(l *Law, seed Seed) *placer {
	n := len(l.expected)
	p := &placer{src: seed.source(), counts: make([]int, n), loads: make([]float64, n), own: make([]int, n), scratch: make([]int, n)}
	p.rng = rand.New(p.src) // #nosec G404 -- a simulation has to be repeatable
	for _, g := range l.groups {
		s := newSampler(g.P)
		if g.Loads == nil {
			p.batches = append(p.batches, batch{s, g.Units, 1})
			continue
		}
		runs := runsOf(g.Loads)
		if len(runs) > mostBatches {
			runs = binned(runs)
		}
		for _, r := range runs {
			p.batches = append(p.batches, batch{s, r.units, r.load})
		}
	}
	return p
}

// runsOf returns the different loads, ascending, and how many units carry each.
func runsOf(loads []float64) []batch {
	var runs []batch
	for _, w := range slices.Sorted(slices.Values(loads)) {
		if len(runs) == 0 || runs[len(runs)-1].load != w {
			runs = append(runs, batch{load: w})
		}
		runs[len(runs)-1].units++
	}
	return runs
}

// binned joins runs into bins of equal ratio, each with the mean load of its units. Zero loads keep a bin of their own.
func binned(runs []batch) []batch {
	first := slices.IndexFunc(runs, func(r batch) bool { return r.load > 0 })
	if first < 0 {
		return runs
	}
	bins := slices.Clone(runs[:first])
	low, high := math.Log(runs[first].load), math.Log(runs[len(runs)-1].load)
	last := -1
	for _, r := range runs[first:] {
		bin := min(loadBins-1, int(loadBins*(math.Log(r.load)-low)/(high-low)))
		if bin != last {
			bins = append(bins, batch{})
			last = bin
		}
		b := &bins[len(bins)-1]
		b.load = (b.load*float64(b.units) + r.load*float64(r.units)) / float64(b.units+r.units)
		b.units += r.units
	}
	return bins
}

// draw returns units and load of each backend in one outcome. They are overwritten by the next.
func (p *placer) draw() (counts []int, loads []float64) {
	clear(p.counts)
	clear(p.loads)
	for _, b := range p.batches {
		if b.units == 1 {
			at := b.sampler.one(p.rng)
			p.counts[at]++
			p.loads[at] += b.load
			continue
		}
		clear(p.own)
		b.sampler.add(b.units, p.own, p.scratch, p.src, p.rng)
		for at, x := range p.own {
			p.counts[at] += x
			p.loads[at] += b.load * float64(x)
		}
	}
	return p.counts, p.loads
}

// draws is how many outcomes cost about half a second, at least 1,000 and at most limit.
func (p *placer) draws(limit int) int {
	return int(min(float64(limit), max(1_000, 4e8/p.nanoseconds())))
}

func (p *placer) nanoseconds() float64 {
	n := float64(len(p.counts))
	total := 30 * n * math.Log2(n+2)
	for _, b := range p.batches {
		total += b.sampler.drawNanoseconds(b.units) + 3*n
	}
	return total
}
