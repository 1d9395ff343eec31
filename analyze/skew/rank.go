package skew

import (
	"cmp"
	"math"
	"slices"
)

// table holds the scores of many outcomes, column by column, with the weight of each.
type table struct {
	columns [3][]float64 // x2, hot, cold
	weights []float64    // nil: 1 each
}

func (t *table) add(s scores) {
	t.columns[0] = append(t.columns[0], s.x2)
	t.columns[1] = append(t.columns[1], s.hot)
	t.columns[2] = append(t.columns[2], s.cold)
}

func (t *table) weight(i int) float64 {
	if t.weights == nil {
		return 1
	}
	return t.weights[i]
}

// combine ranks every outcome in every direction and returns, for the outcome at, the weight of those whose smallest part is
// no larger than its own, and its parts. Both are sums of weights; divide by the total.
func (t *table) combine(at int) (p float64, parts [directions]float64) {
	n := len(t.columns[0])
	smallest := make([]float64, n)
	for i := range smallest {
		smallest[i] = math.Inf(1)
	}
	tail := make([]float64, n)
	for i, column := range []int{0, 1, 2, 0} {
		t.tails(t.columns[column], i == 3, tail)
		parts[i] = tail[at]
		for k, w := range tail {
			smallest[k] = min(smallest[k], w)
		}
	}
	limit := smallest[at] * (1 + tie)
	// From the lightest up, so that a p far below 1e-16 is not lost in the sum.
	var weights []float64
	for k, w := range smallest {
		if w <= limit {
			weights = append(weights, t.weight(k))
		}
	}
	slices.Sort(weights)
	for _, w := range weights {
		p += w
	}
	return p, parts
}

// tie is the relative difference below which two values count as equal: outcomes that differ only in the order of
// backends reach the same score by different roundings.
const tie = 1e-9

// tails sets tail[i] to the weight of all outcomes at least as extreme as i by the scores in column: as large, or as small
// if low. Equal outcomes count against each other.
func (t *table) tails(column []float64, low bool, tail []float64) {
	order := make([]int32, len(column))
	for i := range order {
		order[i] = int32(i) // #nosec G115 -- at most a few hundred thousand outcomes
	}
	slices.SortFunc(order, func(a, b int32) int {
		if low {
			return cmp.Compare(column[a], column[b])
		}
		return cmp.Compare(column[b], column[a])
	})
	var sum float64
	for from := 0; from < len(order); {
		first := column[order[from]]
		within := tie*math.Abs(first) + 1e-12
		to := from
		for to < len(order) && math.Abs(column[order[to]]-first) <= within {
			sum += t.weight(int(order[to]))
			to++
		}
		for _, i := range order[from:to] {
			tail[i] = sum
		}
		from = to
	}
}
