package report

import (
	"fmt"
	"math"

	"github.com/podskew/podskew/analyze"
)

// splitChart shows which cause the request skew has.
type splitChart struct {
	figure
	Total     string
	Interval  string // of the total in the long run
	Intervals bool   // the parts have intervals
	Parts     []splitPart
}

type splitPart struct {
	Class, Name, Meaning, Value, Part, Words string
	Interval                                 string
	X, Width                                 string // nothing for a part that offsets the others
}

func newSplitChart(id string, s *analyze.Stream) *splitChart {
	d := s.Decomposition
	if d == nil || alone(s) {
		return nil
	}
	unit := unitWord(s.Test.Unit)
	c := &splitChart{
		figure: figure{
			id + "-causes", "causes", "Where the skew of the requests comes from",
			"The squared coefficient of variation (CV²) of the pods' requests, split by cause. A part below zero offsets the others.",
		},
		Total: places(d.Total, 3),
	}
	var intervals analyze.DecompositionIntervals
	if d.Intervals != nil {
		intervals = *d.Intervals
		c.Intervals, c.Interval = true, placesRange(intervals.Total)
		c.Desc += " In the long run: the 95 % interval, were the run repeated."
		if intervals.Rough {
			c.Desc += " With so few " + unitPlural(unit) + " it is rough."
		}
	}
	parts := []struct {
		class, name, meaning string
		value                float64
		interval             string
	}{
		{"designed", "designed", "the settings ask for uneven shares", d.Designed, none},
		{"placement", "placement", fmt.Sprintf("%s are few, and each went to a pod at random", unitPlural(unit)), d.Placement, placesRange(intervals.Placement)},
		{"load", "load per " + unit, fmt.Sprintf("some %s carried more than others", unitPlural(unit)), d.LoadPerUnit, placesRange(intervals.LoadPerUnit)},
		{"unexplained", "unexplained", "neither settings nor chance account for it", d.Unexplained, placesRange(intervals.Unexplained)},
	}
	whole := 0.0
	for _, p := range parts {
		whole += math.Max(p.value, 0)
	}
	x := 0.0
	for _, p := range parts {
		part := splitPart{Class: p.class, Name: p.name, Meaning: p.meaning, Value: places(p.value, 3), Part: none, Interval: p.interval}
		if p.value > 0 && whole > 0 {
			part.X, part.Width, part.Part = pct(x/whole), pct(p.value/whole), percent(p.value/whole)
			x += p.value
		} else if p.value < -0.0005 {
			part.Part = "offsets"
		}
		part.Words = fmt.Sprintf("%s: %s of CV² %s", part.Name, part.Value, c.Total)
		c.Parts = append(c.Parts, part)
	}
	return c
}

func unitPlural(unit string) string {
	if unit == "client address" {
		return "client addresses"
	}
	return unit + "s"
}

// placesRange writes an interval with three places.
func placesRange(r analyze.Range) string { return places(r[0], 3) + "–" + places(r[1], 3) }
