package skew

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Exceeding is how one connection did against a latency threshold.
type Exceeding struct {
	Backend  int
	Requests int // answered
	Slow     int // of those above the threshold, the pooled 99th percentile as a rule
}

// ExceedanceResult says whether one backend is slower than the others.
type ExceedanceResult struct {
	Method      Method    // MonteCarlo; None: fewer than two backends with requests, or nothing slow
	P           float64   // of so high a rate on some backend if backends did not matter
	Slowest     int       // backend with the highest rate, -1 without any
	Rates       []float64 // slow requests over requests of each backend; 0 without requests
	Connections []int     // of each backend
}

// ExceedanceTest tests which of n backends is slow: the statistic is the largest rate of slow requests, p its rank among
// draws permutations (0: 1,999) of the backends over whole connections, because requests on one connection are alike (a test
// of requests raises a false alarm in four runs of five). Of more than 20,000 connections, neighbours are taken together.
func ExceedanceTest(connections []Exceeding, n int, seed Seed, draws int) ExceedanceResult {
	r := ExceedanceResult{Method: None, P: 1, Slowest: -1, Rates: make([]float64, n), Connections: make([]int, n)}
	requests, slow := make([]int, n), make([]int, n)
	all := 0
	for _, c := range connections {
		r.Connections[c.Backend]++
		requests[c.Backend] += c.Requests
		slow[c.Backend] += c.Slow
		all += c.Slow
	}
	used := 0
	for b, x := range requests {
		if x > 0 {
			used++
			r.Rates[b] = float64(slow[b]) / float64(x)
			if r.Slowest < 0 || r.Rates[b] > r.Rates[r.Slowest] {
				r.Slowest = b
			}
		}
	}
	if used < 2 || all == 0 {
		return r
	}
	r.Method = MonteCarlo
	list := thinned(connections, n)
	backends := make([]int, len(list))
	for i, c := range list {
		backends[i] = c.Backend
	}
	rng := rand.New(seed.source()) // #nosec G404 -- a simulation has to be repeatable
	draws = cmp.Or(draws, permutations)
	limit := r.Rates[r.Slowest] * (1 - tie)
	hits := 1
	for range draws {
		rng.Shuffle(len(backends), func(i, k int) { backends[i], backends[k] = backends[k], backends[i] })
		clear(requests)
		clear(slow)
		for i, b := range backends {
			requests[b] += list[i].Requests
			slow[b] += list[i].Slow
		}
		most := 0.0
		for b, x := range requests {
			if x > 0 {
				most = max(most, float64(slow[b])/float64(x))
			}
		}
		hits += one(most >= limit)
	}
	r.P = float64(hits) / float64(draws+1)
	return r
}

// ExcessInterval returns a 95 % interval for how much larger one backend's share of the slow requests is than its share of all requests, by
// resampling whole connections draws times (0: 2,000): requests on one are alike. The ends lie between -1 and 1. It is false if nothing is
// slow, or if there are fewer than [FewUnits] connections: then the interval would be far too narrow. Of more than 20,000 connections,
// neighbours are taken together. Resampling is short of what it claims with few connections: the interval holds the truth in 91 % of the
// runs with 40 of them, in 93 % with 100 and in 94 % with 300 (TestCoverageOfTheExcess).
func ExcessInterval(connections []Exceeding, n, backend int, seed Seed, draws int) (Range, bool) {
	slow := 0
	for _, c := range connections {
		slow += c.Slow
	}
	if slow == 0 || len(connections) < FewUnits {
		return Range{}, false
	}
	list := thinned(connections, n)
	rng := rand.New(seed.source()) // #nosec G404 -- a simulation has to be repeatable
	values := make([]float64, 0, cmp.Or(draws, resamples))
	for range cap(values) {
		var requests, slow, hot, hotSlow int
		for range list {
			c := list[rng.IntN(len(list))]
			requests += c.Requests
			slow += c.Slow
			if c.Backend == backend {
				hot += c.Requests
				hotSlow += c.Slow
			}
		}
		if requests > 0 && slow > 0 {
			values = append(values, float64(hotSlow)/float64(slow)-float64(hot)/float64(requests))
		}
	}
	if len(values) == 0 {
		return Range{}, false
	}
	slices.Sort(values)
	return central(values), true
}

// thinned takes neighbouring connections of each backend together, as many as it takes for no more than 20,000 to be left.
// They keep all their requests; blocks instead of connections only cost a little power.
func thinned(connections []Exceeding, n int) []Exceeding {
	size := (len(connections)-1)/manyUnits + 1
	if size <= 1 {
		return connections
	}
	open := make([]Exceeding, n)
	have := make([]int, n)
	var out []Exceeding
	for _, c := range connections {
		o := &open[c.Backend]
		o.Backend = c.Backend
		o.Requests += c.Requests
		o.Slow += c.Slow
		if have[c.Backend]++; have[c.Backend] == size {
			out = append(out, *o)
			*o, have[c.Backend] = Exceeding{}, 0
		}
	}
	for b, o := range open {
		if have[b] > 0 {
			out = append(out, o)
		}
	}
	return out
}

// QuantileRanks returns the ranks, from 1, of the order statistics between which the q-quantile of n independent samples
// lies with probability level. 0 stands for an end there are too few samples for: the upper one of p99 at 0.95 exists from
// 368 samples on. Requests on one connection are not independent; for those see [Resample].
func QuantileRanks(n int, q, level float64) (low, high int) {
	tail := (1 - level) / 2
	// The l-th value is above the quantile if at most l-1 samples are below it.
	low = bisect(0, n, func(l int) bool { return LowerTail(l, n, q) > tail })
	// The h-th is below it if at least h samples are.
	high = bisect(1, n+1, func(h int) bool { return UpperTail(h, n, q) <= tail })
	if high > n {
		high = 0
	}
	return low, high
}
