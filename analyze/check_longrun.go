package analyze

import (
	"fmt"
	"math"

	"github.com/podskew/podskew/analyze/skew"
)

// mostDraws bounds a simulation at a bound.
const mostDraws = 200_000

// longRun decides what is wanted of the spread that the choices lead to in the long run, whatever one run adds to it: units keep their loads
// and fall by shares at the bound; it fails if a run as far beyond it is rarer than the confidence leaves room for.
func (c *checker) longRun(s *subject, e Expectation, m measurement) outcome {
	alpha := 1 - e.Confidence
	level := alpha / float64(bounds(e))
	names, cells := c.unitCells(s, e.window())
	text := fmt.Sprintf("%s is %s for %s%s, wanted %s in the long run", e.Metric, figure(m.value), s.name, e.window().words(), wanted(e))
	if len(cells) == 0 || len(names) < 2 {
		return outcome{len(cells) > 0, text + fmt.Sprintf("; there are no loads of single %s to tell", unitWords(s.unit))}
	}
	q := skew.LongRun{
		Backends: len(names), Cells: cells, Metric: metricNamed(e.Metric), Seed: c.seed(s, "long run "+e.Metric),
		Draws: int(min(mostDraws, max(skew.Draws, math.Ceil(20/level)))),
	}
	passed := true
	for _, bound := range []struct {
		value       *float64
		least, most bool // what contradicts it: a run that shows too little, too much
	}{{e.Above, true, false}, {e.Below, false, true}, {e.Equals, true, true}} {
		if bound.value == nil {
			continue
		}
		at := askAt(q, *bound.value, level)
		if bound.least && at.Below <= level || bound.most && at.Above <= level {
			passed = false
		}
		text += fmt.Sprintf(" (a run at %s shows %s to %s)", figure(*bound.value), figure(at.Range[0]), figure(at.Range[1]))
	}
	if passed && !within(m.value, e) {
		text += fmt.Sprintf("; %s cannot tell the two apart", unitCount(unitsOf(cells), s.unit))
	}
	return outcome{passed, text}
}

// askAt simulates in full only where a few outcomes leave it open.
func askAt(q skew.LongRun, bound, level float64) skew.Bounded {
	const few = 999
	full := q.Draws
	q.Draws = few
	at := q.At(bound)
	if rough := 10*level + 10.0/few; at.Below > rough && at.Above > rough {
		return at
	}
	q.Draws, q.Seed = full, q.Seed.For("in full")
	return q.At(bound)
}

func unitsOf(cells []skew.Cell) int {
	n := 0
	for _, c := range cells {
		n += c.Units
	}
	return n
}

func metricNamed(name string) func(skew.Metrics) float64 {
	return func(m skew.Metrics) float64 {
		switch name {
		case "cv":
			return m.CV
		case "gini":
			return m.Gini
		case "jain":
			return m.Jain
		case "effectiveBackends":
			return m.Effective
		}
		return m.MaxOverMean
	}
}

// unitCells returns the choices with what each carried; of a window those that were opened in it.
func (c *checker) unitCells(s *subject, w window) (names []string, cells []skew.Cell) {
	names, index := c.reference(s, erasOf(c.rec, s.now, s.later), w)
	if w.whole() {
		for _, one := range s.list {
			if at, ok := index[one.pod]; ok {
				cells = append(cells, skew.Cell{Backend: at, Load: float64(one.load), Units: max(one.n, 1)})
			}
		}
		return names, cells
	}
	for _, row := range s.rows {
		at, ok := index[row.Backend]
		if ok && ofConnections(s.unit) && w.holds(row.Opened) && !s.byKey[stratumKey{row.Agent, row.Address}].byTally {
			cells = append(cells, skew.Cell{Backend: at, Load: float64(row.Requests), Units: 1})
		}
	}
	return names, cells
}
