package analyze

import (
	"slices"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// claim is a p-value that shares the report's budget without being a test of where units went.
type claim struct {
	p        float64
	adjusted float64 // for all tests of the report
}

// clues are the tests of one stream besides that of its shares. A nil claim: there was nothing to test.
type clues struct {
	order      skew.OrderResult
	orderClaim *claim
	load       skew.LoadResult
	loadClaim  *claim
	slow       slowness
	slowClaim  *claim
	events     []*eventClue // one per event of the run
}

// examine runs the tests of one stream that are not about its shares. Each joins the family.
func (f *family) examine(rec *record.Record, t *traffic) *clues {
	c := &clues{}
	seed := runSeed(rec, t.plan.ID, "clues")
	c.order = skew.OrderTest(t.sequences(), seed.For("order"), 0)
	c.orderClaim = f.claim(c.order.Method, c.order.P)
	c.load = skew.LoadResult{Method: skew.None, P: 1, Highest: -1, Lowest: -1}
	if t.testable() && !t.plain {
		c.load = skew.LoadTest(t.samples(), seed.For("load"), 0)
	}
	c.loadClaim = f.claim(c.load.Method, c.load.P)
	c.slow = t.slowness(rec, seed.For("latency"))
	c.slowClaim = f.claim(c.slow.Method, c.slow.P)
	c.events = f.examineEvents(rec, t, seed.For("events"))
	return c
}

// claim adds a p-value to the family, unless there was no test.
func (f *family) claim(method skew.Method, p float64) *claim {
	if method == skew.None || method == "" {
		return nil
	}
	c := &claim{p: p, adjusted: 1}
	f.claims = append(f.claims, c)
	return c
}

// upholds reports whether a claim is rejected by the budget of the report.
func (f *family) upholds(c *claim) bool { return c != nil && c.adjusted <= f.alpha }

// sequences returns the units in order of opening, apart for each node that chooses and each shape of its choice.
func (t *traffic) sequences() []skew.Sequence {
	if !t.testable() || t.plain || !ofConnections(t.unit) {
		return nil
	}
	var sequences []skew.Sequence
	var deciders []string // of each sequence
	index := map[*stratum]int{}
	for _, one := range t.list {
		i, seen := index[one.stratum]
		if !seen {
			i = t.sequenceOf(one.stratum, &sequences, &deciders)
			index[one.stratum] = i
		}
		if at, known := t.byPod[one.pod]; known && i >= 0 && one.n <= 1 && sequences[i].P[at] > 0 {
			sequences[i].Backends = append(sequences[i].Backends, at)
		}
	}
	return sequences
}

// sequenceOf finds the sequence a stratum's units belong to, or begins it; -1 if nobody knows who chose.
func (t *traffic) sequenceOf(s *stratum, sequences *[]skew.Sequence, deciders *[]string) int {
	if s.at.Decider == "" {
		return -1
	}
	p := t.probabilities(s)
	for i, have := range *sequences {
		if (*deciders)[i] == s.at.Decider && slices.Equal(have.P, p) {
			return i
		}
	}
	*sequences = append(*sequences, skew.Sequence{P: p})
	*deciders = append(*deciders, s.at.Decider)
	return len(*sequences) - 1
}

// probabilities of each backend of the reference set, for a unit of one stratum.
func (t *traffic) probabilities(s *stratum) []float64 {
	p := make([]float64, len(t.backends))
	for _, b := range s.at.Backends {
		if at, known := t.byPod[b.Pod]; known {
			p[at] = b.P
		}
	}
	return p
}

// samples returns the units with their loads, stratum by stratum.
func (t *traffic) samples() []skew.Sample {
	index := map[*stratum]int{}
	var samples []skew.Sample
	for _, one := range t.list {
		at, known := t.byPod[one.pod]
		if !known {
			continue
		}
		i, seen := index[one.stratum]
		if !seen {
			i = len(samples)
			index[one.stratum] = i
			samples = append(samples, skew.Sample{P: t.probabilities(one.stratum)})
		}
		samples[i].Cells = append(samples[i].Cells, skew.Cell{Backend: at, Load: float64(one.load), Units: max(one.n, 1)})
	}
	return samples
}

// pooledSamples joins the samples that choose with the same probabilities.
func pooledSamples(samples []skew.Sample) []skew.Sample {
	var out []skew.Sample
	for _, s := range samples {
		at := slices.IndexFunc(out, func(have skew.Sample) bool { return slices.Equal(have.P, s.P) })
		if at < 0 {
			out = append(out, skew.Sample{P: s.P, Cells: slices.Clone(s.Cells)})
			continue
		}
		out[at].Cells = append(out[at].Cells, s.Cells...)
	}
	return out
}
