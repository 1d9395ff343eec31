package skew

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Method is how the p-value of a test was had.
type Method string

// The methods.
const (
	None       Method = "none"        // nothing to test
	Exact      Method = "exact"       // every outcome enumerated
	MonteCarlo Method = "monte-carlo" // ranked among simulated outcomes
	ChiSquare  Method = "chi-square"  // from the limiting distributions
)

// Direction is a way in which counts can differ from their law.
type Direction string

// The directions, in the order in which ties between them are settled.
const (
	Over  Direction = "over"  // uneven all over: X² is large
	Hot   Direction = "hot"   // one backend has too many
	Cold  Direction = "cold"  // one backend has too few
	Under Direction = "under" // more even than independent choices are: X² is small
)

const directions = 4

func directionNames() [directions]Direction { return [directions]Direction{Over, Hot, Cold, Under} }

// Default and larger numbers of draws of a Monte Carlo test. The larger is for results too near a threshold to call.
const (
	Draws     = 9_999
	MoreDraws = 99_999
	fewDraws  = 999
)

// Result is the outcome of a test of observed counts against a law.
type Result struct {
	Method      Method
	P           float64               // of all four directions together
	Parts       map[Direction]float64 // p-value of each direction alone, not adjusted for there being four
	Direction   Direction             // of the smallest part; "" without a test
	X2          float64               // Σ(X-E)²/E
	MeanX2      float64               // what X² is on average; X²/MeanX2 is the dispersion index
	DF          float64               // degrees of freedom of X²/Factor
	Factor      float64               // 1 for one group
	ChiSquareP  float64               // upper tail of X² alone: how far out where a Monte Carlo P cannot go below 1/(Draws+1)
	Draws       int                   // simulated outcomes; 0 unless Monte Carlo
	Hot, Cold   int                   // backends furthest above and below what is expected; -1 if none is
	EffectSize  float64               // Cohen's w: √(X²/N)
	MinExpected float64               // smallest expected count
}

// Test compares counts, units per backend, with the law in four ways at once (too uneven, too even, one backend too hot,
// one too cold) and gives one p-value for the smallest of the four. Its level holds for any number of units and
// backends: it is exact by enumeration where there are few outcomes and ranks the observed one among draws simulated
// ones otherwise (0: [Draws]). The way is chosen from the law alone. counts has one entry per backend and 0 wherever the law
// has probability 0: units there break the settings and are not for a test to judge.
func (l *Law) Test(counts []int, seed Seed, draws int) Result {
	r := Result{Method: None, P: 1, Factor: 1, ChiSquareP: 1, Hot: -1, Cold: -1, MinExpected: l.MinExpected()}
	if !l.Free() {
		return r
	}
	score := newScorer(l)
	observed := score.of(counts)
	r.Hot, r.Cold = score.extremes(counts)
	r.X2 = observed.x2
	r.EffectSize = math.Sqrt(r.X2 / float64(l.units))
	r.MeanX2, r.Factor, r.DF = l.moments()
	r.ChiSquareP = chiSquareTail(r)
	if draws == 0 {
		draws = Draws
	}
	r.Method, draws = l.plan(draws)
	var parts [directions]float64
	switch r.Method {
	case Exact:
		r.P, parts = l.enumerate(counts, score)
	case MonteCarlo:
		r.Draws = draws
		r.P, parts = l.simulate(observed, score, seed, draws)
	default:
		r.P, parts = l.approximate(counts, score, r)
	}
	r.Parts = make(map[Direction]float64, directions)
	smallest := 0
	for i, name := range directionNames() {
		r.Parts[name] = parts[i]
		if parts[i] < parts[smallest] {
			smallest = i
		}
	}
	r.Direction = directionNames()[smallest]
	return r
}

// chiSquareTail is the upper tail of X² by itself.
func chiSquareTail(r Result) float64 {
	if r.DF == 0 {
		return 1
	}
	return distuv.ChiSquared{K: r.DF}.Survival(r.X2 / r.Factor)
}

// mostOutcomes is the number of outcomes up to which they are enumerated, and slowDraw the nanoseconds above which a
// draw is too dear for a full simulation.
const (
	mostOutcomes = 200_000
	slowDraw     = 100_000
)

// plan chooses the method before any count is looked at: choosing by the result would spoil the level.
func (l *Law) plan(draws int) (Method, int) {
	if len(l.groups) == 1 && outcomes(l.units, l.groups[0].P) <= mostOutcomes {
		return Exact, 0
	}
	var cost float64
	for _, g := range l.groups {
		cost += newSampler(g.P).drawNanoseconds(g.Units)
	}
	switch {
	case cost <= slowDraw:
		return MonteCarlo, draws
	case l.MinExpected() >= 5:
		return ChiSquare, 0
	}
	return MonteCarlo, min(draws, fewDraws)
}

// outcomes returns the number of ways to spread units over the backends that can be chosen, or more than mostOutcomes.
func outcomes(units int, p []float64) int {
	n := 0
	for _, pb := range p {
		if pb > 0 {
			n++
		}
	}
	ways := 1.0
	for i := 1; i < n; i++ {
		ways = ways * float64(units+i) / float64(i)
		if ways > mostOutcomes {
			return mostOutcomes + 1
		}
	}
	return int(math.Round(ways))
}

// scores are the statistics of one outcome. A larger hot or cold is further out.
type scores struct{ x2, hot, cold float64 }

// scorer computes scores; it holds the reciprocals so that a draw costs no division.
type scorer struct {
	expected, perExpected, perDeviation []float64
}

func newScorer(l *Law) *scorer {
	s := &scorer{expected: l.expected, perExpected: make([]float64, len(l.expected)), perDeviation: make([]float64, len(l.expected))}
	for b, e := range l.expected {
		if e > 0 && l.variance[b] > 0 {
			s.perExpected[b] = 1 / e
			s.perDeviation[b] = 1 / math.Sqrt(l.variance[b])
		}
	}
	return s
}

func (s *scorer) of(counts []int) scores {
	r := scores{hot: math.Inf(-1), cold: math.Inf(-1)}
	for b, x := range counts {
		if s.perDeviation[b] == 0 {
			continue
		}
		d := float64(x) - s.expected[b]
		z := d * s.perDeviation[b]
		r.x2 += d * d * s.perExpected[b]
		r.hot = max(r.hot, z)
		r.cold = max(r.cold, -z)
	}
	return r
}

// extremes returns the backends that are furthest above and below what is expected, -1 where none is.
func (s *scorer) extremes(counts []int) (hot, cold int) {
	hot, cold = -1, -1
	highest, lowest := 1e-9, -1e-9
	for b, x := range counts {
		z := (float64(x) - s.expected[b]) * s.perDeviation[b]
		if z > highest {
			hot, highest = b, z
		}
		if z < lowest {
			cold, lowest = b, z
		}
	}
	return hot, cold
}
