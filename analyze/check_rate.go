package analyze

import (
	"fmt"
	"math"

	"github.com/podskew/podskew/analyze/skew"
)

// rate is how many of a number of trials came out one way.
type rate struct {
	name, of string // the metric, and what the trials are: connections, pairs of …
	k, n     int
	unknown  int // trials of which nobody knows how they came out
	expected float64
	known    bool // expected is
}

// judgeRate decides a metric that is a share of trials. It fails if the trials contradict the bound: if, were the true share at the
// bound, at most one run in 1/(1-confidence) came out that far beyond it (binomial tails). Trials with unequal probabilities vary less
// than binomial ones with the same mean, so for those it is a bound (Hoeffding 1956). Trials of which nobody knows the outcome are taken
// to have come out as the expectation would have it.
func (c *checker) judgeRate(s *subject, e Expectation, r rate) outcome {
	where := fmt.Sprintf("%s for %s%s", r.name, s.name, e.window().words())
	if r.n+r.unknown == 0 {
		return outcome{false, fmt.Sprintf("%s: there were no %s, wanted %s", where, r.of, wantedAs(e, percent))}
	}
	if r.n == 0 {
		return outcome{false, fmt.Sprintf("%s: of %d %s not one was answered, wanted %s", where, r.unknown, r.of, wantedAs(e, percent))}
	}
	level := (1 - e.confidence()) / float64(max(1, bounds(e)))
	share := float64(r.k) / float64(r.n)
	text := fmt.Sprintf("%s is %s (%d of %d %s), wanted %s", where, percent(share), r.k, r.n, r.of, wantedAs(e, percent))
	if r.known {
		text += ", expected " + percent(r.expected)
	}
	interval := skew.ClopperPearson(r.k, r.n, e.confidence())
	text += fmt.Sprintf(" (as far as they tell: %s to %s)", percent(interval[0]), percent(interval[1]))
	if r.unknown > 0 {
		text += fmt.Sprintf("; %d more were never answered", r.unknown)
	}
	if r.contradicts(e, level) {
		return outcome{false, text}
	}
	if !within(share, e) {
		text += "; " + r.cannotTell(e, level)
	}
	return outcome{true, text}
}

// bounds counts the tails an expectation has.
func bounds(e Expectation) int {
	n := 0
	for _, b := range []*float64{e.Above, e.Below, e.Equals, e.Equals} {
		if b != nil {
			n++
		}
	}
	return n
}

// contradicts reports whether the trials contradict a bound, each tail at a level.
func (r rate) contradicts(e Expectation, level float64) bool {
	n := r.n + r.unknown
	tooFew := func(p float64) bool { return skew.LowerTail(r.k+r.unknown, n, p) <= level }
	tooMany := func(p float64) bool { return skew.UpperTail(r.k, n, p) <= level }
	switch {
	case e.Above != nil && (*e.Above >= 1 || tooFew(*e.Above)):
		return *e.Above >= 0
	case e.Below != nil && (*e.Below <= 0 || tooMany(*e.Below)):
		return *e.Below <= 1
	case e.Equals != nil:
		return tooFew(*e.Equals) || tooMany(*e.Equals)
	}
	return false
}

// cannotTell says that a share is not what is wanted and might be all the same, and how many trials would settle it.
func (r rate) cannotTell(e Expectation, level float64) string {
	share := float64(r.k) / float64(r.n)
	const most = 1 << 40
	enough := func(n int) bool {
		more := rate{k: int(math.Round(share * float64(n))), n: n}
		return more.contradicts(e, level)
	}
	low, high := r.n, 2*max(r.n, 1)
	for !enough(high) {
		if high *= 2; high > most {
			return fmt.Sprintf("%d cannot tell the two apart", r.n)
		}
	}
	for high-low > max(1, low/100) {
		if mid := low + (high-low)/2; enough(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return fmt.Sprintf("%d cannot tell the two apart: it takes about %s if the share stays there", r.n, roundUp(high))
}

// roundUp writes a number with two digits that count, rounded up.
func roundUp(n int) string {
	unit := 1
	for n/unit >= 100 {
		unit *= 10
	}
	return fmt.Sprint((n + unit - 1) / unit * unit)
}
