package analyze

import (
	"fmt"
	"math"

	"github.com/podskew/podskew/analyze/skew"
)

// looked is what one window after an event showed of the open connections.
type looked struct {
	p       float64
	out     bool // in a direction that is a skew
	visible bool // the connections in it could have shown one
}

// balanceTime bounds the seconds from an event until the open connections were balanced: low is when they last were out of balance for
// sure, high when they last may have been. Both are +Inf if that is so at the end.
func (b *balance) balanceTime(alpha float64) (low, high float64) {
	after := func(w int) float64 {
		if w == len(b.looks)-1 {
			return math.Inf(1)
		}
		return float64(w+1) * b.Window
	}
	for w, l := range b.looks {
		if l.visible && l.out && l.p <= alpha/float64(len(b.looks)) {
			low = after(w)
		}
		if !l.visible || l.out && l.p <= balanceAlpha {
			high = after(w)
		}
	}
	return low, max(low, high)
}

func lookedAt(r skew.Result, visible float64) looked {
	return looked{p: r.P, out: r.Direction != skew.Under, visible: r.Method != skew.None && visible > 0}
}

// timeToBalance decides how long after the last event the open connections may take to fall as the settings say.
func (c *checker) timeToBalance(s *subject, e Expectation) outcome {
	where := fmt.Sprintf("%s for %s", e.Metric, s.name)
	clue := s.lastEvent(c.family)
	switch {
	case clue == nil:
		return outcome{false, where + ": nothing happened during the run, so there is nothing to count from"}
	case clue.balance == nil || clue.balance.method == skew.None && clue.balance.Open == 0:
		return outcome{true, where + ": it is not known how open connections should fall after the event, so that they cannot be out of balance"}
	}
	b := clue.balance
	low, high := b.balanceTime(1 - e.confidence())
	failed := e.Below != nil && low >= *e.Below || e.Above != nil && high <= *e.Above ||
		e.Equals != nil && (*e.Equals < low || *e.Equals > high)
	text := fmt.Sprintf("%s is %s after %q, wanted %s", where, seconds(low, high), clue.event.What, wantedAs(e, func(x float64) string { return figure(x) + " s" }))
	if b.law != nil {
		text += "; at the end " + b.where(s)
	}
	if !math.IsInf(high, 1) || !math.IsInf(low, 1) {
		if b.VisibleFactor > 0 {
			text += fmt.Sprintf(" (seen in windows of %s s, which show a pod at %s times its share)", figure(b.Window), figure(b.VisibleFactor))
		} else {
			text += fmt.Sprintf("; %s cannot tell", plural(b.Open, "connection", "connections"))
			if needed := (skew.Need{Backends: chosen(b.law)}).Units(visibleSkew); needed > 0 {
				text += fmt.Sprintf(": it takes about %s to see a pod at twice its share", roundUp(needed))
			}
		}
	}
	return outcome{!failed, text}
}

// seconds says how long it took, as far as that is known.
func seconds(low, high float64) string {
	switch {
	case math.IsInf(low, 1):
		return "longer than the run"
	case low == high:
		return figure(low) + " s"
	case math.IsInf(high, 1):
		return fmt.Sprintf("%s s or more", figure(low))
	}
	return fmt.Sprintf("between %s s and %s s", figure(low), figure(high))
}
