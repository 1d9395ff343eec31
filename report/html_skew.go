package report

import (
	"math"

	"github.com/podskew/podskew/analyze"
)

// skewChart shows each metric beside its chance range, on a scale of its own.
type skewChart struct {
	figure
	Rows []skewRow
}

type skewRow struct {
	Name, Meaning, Here, Chance, Against, Tone string
	Dot, BandX, BandWidth                      string
	HasBand                                    bool
}

// metric is one measure of skew with what chance makes of it.
type metric struct {
	name, meaning string
	value         float64
	chance        analyze.Range
	places        int
	floor         float64 // the least it can be
}

// metricsOf returns the measures of a stream in the order reports show them.
func metricsOf(s *analyze.Stream) []metric {
	return []metric{
		{"max/mean", "the busiest pod against an even share", s.Skew.MaxOverMean, s.Chance.MaxOverMean, 2, 1},
		{"CV", "spread of the pods' loads, in means", s.Skew.CV, s.Chance.CV, 3, 0},
		{"Gini", "0 even, near 1 all on one pod", s.Skew.Gini, s.Chance.Gini, 3, 0},
		{"Jain", "1 even, 1/pods all on one pod", s.Skew.Jain, s.Chance.Jain, 3, 0},
		{"effective pods", "as many evenly loaded pods as this is worth", s.Skew.EffectiveBackends, s.Chance.EffectiveBackends, 2, 0},
		{"idle pods", "pods without a request", float64(s.Skew.IdleBackends), s.Chance.IdleBackends, 0, 0},
		{"dispersion", "of " + unitsWord(s.Test.Unit) + ": 1 is random, below it too even", s.Skew.Dispersion, s.Chance.Dispersion, 2, 0},
	}
}

// chanceKnown tells whether there is a chance range: max/mean is never below 1.
func chanceKnown(s *analyze.Stream) bool { return s.Chance.MaxOverMean != analyze.Range{} }

func newSkewChart(id string, s *analyze.Stream) *skewChart {
	if len(s.Backends) == 0 || alone(s) {
		return nil
	}
	known := chanceKnown(s)
	c := &skewChart{figure: figure{
		id + "-skew", "skew", "How uneven that is", "Each measure of skew (the dot) beside the range in which chance alone puts it in 95 % of runs (the band).",
	}}
	if !known {
		c.Desc = "Each measure of skew (the dot). There is no range of chance to set beside it."
	}
	for _, m := range metricsOf(s) {
		row := skewRow{Name: m.name, Meaning: m.meaning, Here: places(m.value, m.places), Chance: none}
		top := 1.08 * math.Max(m.value, m.chance[1])
		at := func(f float64) float64 { return (f - m.floor) / math.Max(top-m.floor, 1e-9) }
		row.Dot = pct(math.Min(at(m.value), 0.99))
		if known {
			row.Chance = places(m.chance[0], m.places) + "–" + places(m.chance[1], m.places)
			row.Against, row.Tone = against(m.value, m.chance), toneOf(m.value, m.chance)
			row.HasBand, row.BandX, row.BandWidth = true, pct(at(m.chance[0])), pct(math.Max(at(m.chance[1])-at(m.chance[0]), 0.004))
		}
		c.Rows = append(c.Rows, row)
	}
	return c
}
