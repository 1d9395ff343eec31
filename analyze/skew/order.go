package skew

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Sequence is the backends of units in the order in which one decider (a proxying node) opened them.
type Sequence struct {
	P        []float64 // probability of each backend
	Backends []int     // of each unit, first to last; units on backends with probability 0 are left out
}

// OrderResult says whether units were handed out in an order: in turn, or in runs.
type OrderResult struct {
	// Method is Exact (binomial), MonteCarlo (permutations of each sequence) or None (no sequence is longer than its
	// backends are many).
	Method Method

	// Matches is how many units have the backend of the unit n places before, n being the backends of its sequence
	// that can be chosen; Trials is how many units have such a predecessor. Turns is the probability of at least as many
	// by independent choices: it is what says round robin, whose matches equal the trials.
	Matches, Trials int
	ExpectedMatches float64
	Turns           float64

	// Repeats is how many units have the backend of the unit just before, of RepeatTrials. Runs is the probability of at
	// least as many (pooling, affinity, flow hashing), Alternation that of at most as many (taking turns).
	Repeats, RepeatTrials int
	ExpectedRepeats       float64
	Runs, Alternation     float64

	P float64 // for the family: three times the smallest of the three, at most 1
}

// Resamplings of the tests that permute or resample, unless told otherwise, and the number of units beyond which they judge
// by a part of the units or by a limiting distribution.
const (
	permutations  = 1_999
	resamples     = 2_000
	manyUnits     = 20_000
	longSequence  = 20_000
	mostCells     = 5_000
	manyOrdered   = 20_000
	changeShuffle = 999
)

// OrderTest tests whether the units of each sequence are independent of those before them. Counts cannot show that on
// few backends; order can (10 units are enough on 3). With equal probabilities and the same number of backends
// everywhere it is exact: the matches are binomial. Otherwise sequences are permuted draws times (0: 1,999), and only the
// first 20,000 units of each count.
func OrderTest(sequences []Sequence, seed Seed, draws int) OrderResult {
	r := OrderResult{Method: None, Turns: 1, Runs: 1, Alternation: 1, P: 1}
	list := orderable(sequences)
	for _, s := range list {
		r.add(s)
	}
	if r.Trials == 0 {
		return r
	}
	if n := list[0].lag; !slices.ContainsFunc(list, func(s ordered) bool { return !s.equal || s.lag != n }) {
		r.Method = Exact
		chance := 1 / float64(n)
		r.Turns = UpperTail(r.Matches, r.Trials, chance)
		r.Runs = UpperTail(r.Repeats, r.RepeatTrials, chance)
		r.Alternation = LowerTail(r.Repeats, r.RepeatTrials, chance)
	} else {
		r.permute(list, seed, cmp.Or(draws, permutations))
	}
	r.P = min(1, 3*min(r.Turns, r.Runs, r.Alternation))
	return r
}

// ordered is a sequence with the lag at which taking turns shows.
type ordered struct {
	backends []int // numbered by first appearance, so that names do not matter
	lag      int
	equal    bool // all backends are equally likely
	matches  float64
	repeats  float64
}

// orderable returns the sequences that have a choice, in an order that depends on nothing but what they are.
func orderable(sequences []Sequence) []ordered {
	var list []ordered
	for _, s := range sequences {
		if o := newOrdered(s); o.lag >= 2 && len(o.backends) >= 2 {
			list = append(list, o)
		}
	}
	permuted := slices.ContainsFunc(list, func(s ordered) bool { return !s.equal || s.lag != list[0].lag })
	for i := range list {
		if permuted {
			list[i].backends = list[i].backends[:min(len(list[i].backends), longSequence)]
		}
		list[i].expect()
	}
	slices.SortFunc(list, func(a, b ordered) int {
		return cmp.Or(cmp.Compare(a.lag, b.lag), cmp.Compare(len(a.backends), len(b.backends)), slices.Compare(a.backends, b.backends))
	})
	return list
}

// newOrdered numbers the backends of a sequence by first appearance.
func newOrdered(s Sequence) ordered {
	o := ordered{equal: true}
	first := 0.0
	for _, p := range s.P {
		if p <= 0 {
			continue
		}
		if o.lag++; o.lag == 1 {
			first = p
		}
		o.equal = o.equal && p == first
	}
	number := map[int]int{}
	for _, b := range s.Backends {
		if s.P[b] <= 0 {
			continue // no choice of the decider's
		}
		if _, seen := number[b]; !seen {
			number[b] = len(number)
		}
		o.backends = append(o.backends, number[b])
	}
	return o
}

// expect fills in the matches and repeats that independent choices give on average: by the probabilities where they are
// equal, by the sequence's own counts otherwise.
func (s *ordered) expect() {
	chance := 1 / float64(s.lag)
	if n := len(s.backends); !s.equal {
		counts := make([]int, s.lag)
		for _, b := range s.backends {
			counts[b]++
		}
		chance = 0
		for _, x := range counts {
			chance += float64(x) * float64(x-1) / (float64(n) * float64(n-1))
		}
	}
	s.matches = chance * float64(max(0, len(s.backends)-s.lag))
	s.repeats = chance * float64(len(s.backends)-1)
}

func (r *OrderResult) add(s ordered) {
	r.Trials += max(0, len(s.backends)-s.lag)
	r.RepeatTrials += len(s.backends) - 1
	r.Matches += same(s.backends, s.lag)
	r.Repeats += same(s.backends, 1)
	r.ExpectedMatches += s.matches
	r.ExpectedRepeats += s.repeats
}

// same counts the units that have the backend of the one lag places before.
func same(backends []int, lag int) int {
	n := 0
	for t := lag; t < len(backends); t++ {
		if backends[t] == backends[t-lag] {
			n++
		}
	}
	return n
}

// permute ranks matches and repeats among those of shuffled sequences: which backends there were is given, their order is
// not (the (b+1)/(B+1) rule, Phipson & Smyth 2010).
func (r *OrderResult) permute(list []ordered, seed Seed, draws int) {
	r.Method = MonteCarlo
	rng := rand.New(seed.source()) // #nosec G404 -- a simulation has to be repeatable
	turns, runs, alternations := 1, 1, 1
	for i := range list {
		list[i].backends = slices.Clone(list[i].backends)
	}
	for range draws {
		matches, repeats := 0, 0
		for _, s := range list {
			rng.Shuffle(len(s.backends), func(i, k int) { s.backends[i], s.backends[k] = s.backends[k], s.backends[i] })
			matches += same(s.backends, s.lag)
			repeats += same(s.backends, 1)
		}
		turns += one(matches >= r.Matches)
		runs += one(repeats >= r.Repeats)
		alternations += one(repeats <= r.Repeats)
	}
	total := float64(draws + 1)
	r.Turns, r.Runs, r.Alternation = float64(turns)/total, float64(runs)/total, float64(alternations)/total
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
