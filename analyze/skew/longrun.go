package skew

import (
	"slices"
)

// LongRun is a question about the shares behind a run: units with their loads fell on backends as Cells say, and a run of as many
// has some value of Metric. What does a run show if the metric of the shares themselves is some bound?
type LongRun struct {
	Backends int
	Cells    []Cell
	Metric   func(Metrics) float64 // of loads or of shares
	Seed     Seed
	Draws    int // outcomes simulated for one bound; 0: 9,999
}

// Bounded is what runs show whose shares have a metric of exactly the bound.
type Bounded struct {
	Above, Below float64 // probability that a run's metric is at least, and at most, the one that was seen; never 0
	Range        Range   // central 95 % of the runs
}

// At simulates runs whose shares are those that were seen, brought nearer to equal ones or further from them until their metric is the bound.
// Where no such shares reach the bound, the load goes to the busiest backend until they do. The tails are those of a parametric
// bootstrap at the bound, so that the unevenness which chance adds to every run is in them.
func (q LongRun) At(bound float64) Bounded {
	loads, units := make([]float64, q.Backends), make([]float64, 0, len(q.Cells))
	for _, c := range q.Cells {
		loads[c.Backend] += float64(c.Units) * c.Load
		for range c.Units {
			units = append(units, c.Load)
		}
	}
	seen := q.Metric(Measure(loads))
	law, err := NewLaw(q.Backends, []Group{{Units: len(units), P: q.sharesAt(loads, bound), Loads: units}})
	if err != nil || len(units) == 0 {
		return Bounded{Above: 1, Below: 1}
	}
	draws := q.Draws
	if draws == 0 {
		draws = Draws
	}
	placer := newPlacer(law, q.Seed)
	values := make([]float64, draws)
	above, below := 1, 1
	for i := range values {
		_, drawn := placer.draw()
		values[i] = q.Metric(Measure(drawn))
		above += truth(values[i] >= seen-1e-12)
		below += truth(values[i] <= seen+1e-12)
	}
	slices.Sort(values)
	return Bounded{Above: float64(above) / float64(draws+1), Below: float64(below) / float64(draws+1), Range: central(values)}
}

func truth(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// sharesAt returns shares in the direction of loads whose metric is the bound.
func (q LongRun) sharesAt(loads []float64, bound float64) []float64 {
	n := float64(q.Backends)
	total, hot := 0.0, 0
	for b, x := range loads {
		total += x
		if x > loads[hot] {
			hot = b
		}
	}
	at := func(step float64) []float64 { return sharesToward(loads, total, hot, n, step) }
	even, odd := q.Metric(Measure(at(0))), q.Metric(Measure(at(2)))
	rises := odd > even
	low, high := 0.0, 2.0
	for range 60 {
		mid := (low + high) / 2
		if (q.Metric(Measure(at(mid))) < bound) == rises {
			low = mid
		} else {
			high = mid
		}
	}
	p := at((low + high) / 2)
	sum := 0.0
	for _, x := range p {
		sum += x
	}
	for b := range p {
		p[b] /= sum
	}
	return p
}

// sharesToward returns equal shares at step 0, at step 1 the shares of the loads drawn out until one of them is 0, and at step 2 all on
// the hottest backend.
func sharesToward(loads []float64, total float64, hot int, n, step float64) []float64 {
	p := make([]float64, len(loads))
	furthest := 0.0 // how far the shares can be drawn out
	if total > 0 {
		if least := slices.Min(loads) / total; least < 1/n {
			furthest = (1 / n) / (1/n - least)
		}
	}
	out := min(step, 1) * furthest
	rest := max(0, step-1)
	if furthest == 0 {
		rest = step / 2
	}
	for b, x := range loads {
		p[b] = 1 / n
		if total > 0 {
			p[b] = max(0, 1/n+out*(x/total-1/n))
		}
		p[b] *= 1 - rest
		if b == hot {
			p[b] += rest
		}
	}
	return p
}
