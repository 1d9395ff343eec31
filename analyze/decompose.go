package analyze

import (
	"math"

	"github.com/podskew/podskew/analyze/skew"
)

// DecompositionIntervals are 95 % intervals for the long run: of other runs like this one, not of this one, whose parts are exact.
// What is designed has none, as it is the settings.
type DecompositionIntervals struct {
	Total       Range `json:"total"`
	Placement   Range `json:"placement"`
	LoadPerUnit Range `json:"loadPerUnit"`
	Unexplained Range `json:"unexplained"`
	MaxOverMean Range `json:"maxOverMean"`     // roughly: the maximum is not smooth
	Rough       bool  `json:"rough,omitempty"` // fewer than 30 units
}

// Order says whether connections were dealt out in an order: in turn, or in runs.
type Order struct {
	Matches         int     `json:"matches"`         // connections on the pod of the one as many before as there are pods: all of them in turn
	Of              int     `json:"of"`              // connections that have one so far before
	Expected        float64 `json:"expected"`        // matches of independent choices
	Repeats         int     `json:"repeats"`         // connections on the pod of the one just before
	RepeatsOf       int     `json:"repeatsOf"`       // connections that have one before
	RepeatsExpected float64 `json:"repeatsExpected"` // of independent choices
	Method          string  `json:"method"`          // exact or monte-carlo
	P               float64 `json:"p"`               // that choices were independent
	AdjustedP       float64 `json:"adjustedP"`       // Holm, over the report
}

func orderRow(c *clues) *Order {
	if c.orderClaim == nil {
		return nil
	}
	o := c.order
	return &Order{
		Matches: o.Matches, Of: o.Trials, Expected: o.ExpectedMatches, Repeats: o.Repeats, RepeatsOf: o.RepeatTrials, RepeatsExpected: o.ExpectedRepeats,
		Method: string(o.Method), P: o.P, AdjustedP: c.orderClaim.adjusted,
	}
}

func (s *subject) decomposition(f *family, seed skew.Seed) *Decomposition {
	if len(s.parts) == 0 || s.changed {
		return nil // what is designed changed under way
	}
	differs := f.rejects(s.trial)
	d := skew.Decompose(s.parts, differs)
	// Rounded here so that the parts of the report still add up.
	out := &Decomposition{
		Designed: decimals(d.Designed), Placement: decimals(d.Placement),
		LoadPerUnit: decimals(d.LoadPerUnit), Unexplained: decimals(d.Unexplained), LoadAdjustedP: 1,
	}
	out.Total = decimals(out.Designed + out.Placement + out.LoadPerUnit + out.Unexplained)
	if in := skew.DecompositionIntervals(pooledSamples(s.samples()), differs, seed, 0); in.Resamples > 0 {
		out.Intervals = &DecompositionIntervals{
			Total: Range(in.Total), Placement: Range(in.Placement), LoadPerUnit: Range(in.LoadPerUnit), Unexplained: Range(in.Unexplained),
			MaxOverMean: Range(in.MaxOverMean), Rough: in.Units < skew.FewUnits,
		}
	}
	s.loadClues(f.about[s.traffic], f, out)
	return out
}

// loadClues labels the load per unit: by luck, or following the pod.
func (s *subject) loadClues(c *clues, f *family, out *Decomposition) {
	if c.loadClaim == nil {
		return
	}
	out.LoadAdjustedP = c.loadClaim.adjusted
	out.LoadFollowsBackend = f.upholds(c.loadClaim)
	if !out.LoadFollowsBackend {
		return
	}
	out.LoadPerUnitOf = map[string]float64{}
	for i, b := range s.backends {
		if s.counts[i] > 0 && i < len(c.load.PerUnit) && !math.IsNaN(c.load.PerUnit[i]) {
			out.LoadPerUnitOf[b.pod] = c.load.PerUnit[i]
		}
	}
}
