package skew

import "math"

// anytimeMass is the weight of the Dirichlet mixture's centre: 30 finds 1.25x to 2x on a few pods soonest.
const anytimeMass = 30

// Anytime watches counts while they grow and may be asked as often as wanted (Dirichlet mixture: Lindon & Malek 2022; the
// bound over all times: Ville 1939). It is for stopping a live run: a finished one is tested once, by [Law.Test].
type Anytime struct {
	p        []float64
	smallest float64
}

// NewAnytime starts watching units that should choose with probabilities p.
func NewAnytime(p []float64) *Anytime { return &Anytime{p: p, smallest: 1} }

// Look takes the counts so far, one per backend, and returns a p-value that is valid however often one looks. It never
// rises. Units on a backend with probability 0 make it 0.
func (a *Anytime) Look(counts []int) float64 {
	units := 0
	var logE float64
	for b, x := range counts {
		p := a.p[b]
		if p <= 0 {
			if x > 0 {
				a.smallest = 0
			}
			continue
		}
		units += x
		with, _ := math.Lgamma(anytimeMass*p + float64(x))
		without, _ := math.Lgamma(anytimeMass * p)
		logE += with - without - float64(x)*math.Log(p)
	}
	before, _ := math.Lgamma(anytimeMass)
	after, _ := math.Lgamma(anytimeMass + float64(units))
	logE += before - after
	a.smallest = min(a.smallest, math.Exp(-logE))
	return a.smallest
}
