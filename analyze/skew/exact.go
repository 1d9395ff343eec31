package skew

import (
	"math"
	"slices"
)

// enumerate returns the combined p-value of counts and its parts from all outcomes of the one group of the law.
func (l *Law) enumerate(counts []int, score *scorer) (p float64, parts [directions]float64) {
	e := newEnumeration(l, counts, score)
	e.place(0, l.units, 0)
	p, parts = e.outcomes.combine(e.observed)
	for i := range parts {
		parts[i] = min(1, parts[i])
	}
	return min(1, p), parts
}

// enumeration walks through all outcomes of one multinomial distribution. Outcomes that differ only in which of several
// equally likely backends has which count have the same probability and the same scores, so only the one with these
// counts in descending order is visited and weighted with how many it stands for: n=3 then takes a sixth of the time.
type enumeration struct {
	p        []float64 // of the backends that can be chosen, equal ones side by side
	log      []float64
	index    []int // which backend that is
	counts   []int // the outcome being built, by backend of the law
	run      []int // length of the run of equal p and equal counts that ends here
	logs     []float64
	score    *scorer
	target   []int // the observed counts in the same order
	outcomes table
	observed int
}

func newEnumeration(l *Law, counts []int, score *scorer) *enumeration {
	e := &enumeration{logs: logFactorials(l.units), score: score, counts: make([]int, len(counts)), observed: -1}
	e.index = Order([]Group{{P: l.groups[0].P}}, counts, nil)
	e.index = slices.DeleteFunc(e.index, func(b int) bool { return l.groups[0].P[b] == 0 })
	for _, b := range e.index {
		e.p = append(e.p, l.groups[0].P[b])
		e.log = append(e.log, math.Log(l.groups[0].P[b]))
		e.target = append(e.target, counts[b])
	}
	e.run = make([]int, len(e.p))
	e.outcomes.weights = []float64{}
	return e
}

// place tries all counts of backend i when left units are not placed yet; logP is the log probability so far, without N!.
func (e *enumeration) place(i, left int, logP float64) {
	most, least := left, 0
	equal := i > 0 && e.p[i] == e.p[i-1]
	if equal {
		most = min(most, e.counts[e.index[i-1]])
	}
	if e.p[i] == e.p[len(e.p)-1] {
		// What is left must fit on the backends from here on, none of which may hold more than this one.
		rest := len(e.p) - i
		least = (left + rest - 1) / rest
	}
	last := i == len(e.p)-1
	for x := most; x >= least; x-- {
		e.counts[e.index[i]] = x
		e.run[i] = 1
		if equal && x == e.counts[e.index[i-1]] {
			e.run[i] = e.run[i-1] + 1
		}
		here := logP + float64(x)*e.log[i] - e.logs[x]
		if last {
			e.visit(here)
		} else {
			e.place(i+1, left-x, here)
		}
	}
}

func (e *enumeration) visit(logP float64) {
	matches := true
	for i, b := range e.index {
		if e.counts[b] != e.target[i] {
			matches = false
			break
		}
	}
	if matches {
		e.observed = len(e.outcomes.weights)
	}
	e.outcomes.add(e.score.of(e.counts))
	e.outcomes.weights = append(e.outcomes.weights, math.Exp(logP+e.logs[len(e.logs)-1])*e.arrangements())
}

// arrangements returns in how many ways the counts of this outcome can be dealt to equally likely backends.
func (e *enumeration) arrangements() float64 {
	ways, size := 1.0, 0
	for i := range e.p {
		if i > 0 && e.p[i] != e.p[i-1] {
			size = 0
		}
		size++
		ways *= float64(size) / float64(e.run[i])
	}
	return ways
}
