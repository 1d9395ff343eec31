package skew

import (
	"math/rand/v2"
)

// simulate returns the combined p-value of the observed scores and its parts by ranking it among draws simulated
// outcomes. Observed and simulated outcomes are ranked in one set, so the level is exact for any number of draws
// (Davison & Hinkley 1997, Phipson & Smyth 2010; min-p from a single set: Westfall & Young 1993).
func (l *Law) simulate(observed scores, score *scorer, seed Seed, draws int) (p float64, parts [directions]float64) {
	d := newDrawer(l, seed)
	var t table
	for i := range t.columns {
		t.columns[i] = make([]float64, 0, draws+1)
	}
	t.add(observed)
	for range draws {
		t.add(score.of(d.draw()))
	}
	p, parts = t.combine(0)
	total := float64(draws + 1)
	for i := range parts {
		parts[i] /= total
	}
	return p / total, parts
}

// drawer draws counts under a law.
type drawer struct {
	groups   []Group
	samplers []*sampler
	src      *rand.PCG
	rng      *rand.Rand
	counts   []int
	scratch  []int
}

func newDrawer(l *Law, seed Seed) *drawer {
	d := &drawer{groups: l.groups, src: seed.source(), counts: make([]int, len(l.expected)), scratch: make([]int, len(l.expected))}
	d.rng = rand.New(d.src) // #nosec G404 -- a simulation has to be repeatable
	for _, g := range l.groups {
		d.samplers = append(d.samplers, newSampler(g.P))
	}
	return d
}

// draw returns the counts of one outcome. They are overwritten by the next.
func (d *drawer) draw() []int {
	clear(d.counts)
	for i, g := range d.groups {
		d.samplers[i].add(g.Units, d.counts, d.scratch, d.src, d.rng)
	}
	return d.counts
}
