package analyze

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// EventReport is something that happened to the cluster during the run, and what it did to each stream.
type EventReport struct {
	At        float64          `json:"at"` // seconds since the start of the run
	What      string           `json:"what"`
	Kind      record.EventKind `json:"kind,omitempty"`
	Target    string           `json:"target,omitempty"`
	Before    string           `json:"before,omitempty"`
	After     string           `json:"after,omitempty"`
	Effective float64          `json:"effective,omitempty"` // when every node in use knew; 0: not known
	Effects   []EventEffect    `json:"effects"`             // by stream
}

// EventEffect is what one stream met around an event.
type EventEffect struct {
	Stream   string                      `json:"stream"`
	Seconds  [2]float64                  `json:"seconds"`  // that Requests and Errors are of: before and after
	Requests [2]int                      `json:"requests"` // sent
	Errors   [2]map[record.ErrorKind]int `json:"errors"`   // requests and dials that failed
	Units    [2]int                      `json:"units"`    // connections opened since the event before, and until the next

	Method    string  `json:"method"` // of P: monte-carlo, chi-square or none
	P         float64 `json:"p"`      // that connections fell the same way before and after
	AdjustedP float64 `json:"adjustedP"`

	Balance *Balance `json:"balance,omitempty"` // of the last event only: nothing says what was to be expected between two
}

// Balance says how long the connections that were open took to spread as the facts after an event say: until the next, or the end of the run.
type Balance struct {
	Reached       string   `json:"reached"`       // at once, later, not within the run, or not before the next event
	Seconds       float64  `json:"seconds"`       // later: from the event to the end of the last window that was out of balance
	Window        float64  `json:"window"`        // seconds
	Windows       int      `json:"windows"`       // that were looked at
	VisibleFactor float64  `json:"visibleFactor"` // a pod at this multiple of its share would have been seen in a window; 0: none would
	P             float64  `json:"p"`             // of the last window
	AdjustedP     float64  `json:"adjustedP"`
	NewPods       []string `json:"newPods,omitempty"` // that were no backends when the load started
	NewUnits      int      `json:"newUnits"`          // connections opened to them after the event
	NewShare      float64  `json:"newShare"`          // of the connections opened after the event
	NewExpected   float64  `json:"newExpected"`       // by the settings
	NewOpen       int      `json:"newOpen"`           // connections to them that were open in the last window
	Open          int      `json:"open"`              // connections to all backends at the end that were

	Direction       string    `json:"direction,omitempty"` // of what P is about: over, hot, cold, or under: more even than chance is
	Left            int       `json:"left"`                // connections open in the last window to pods that are no backends any more
	NewOpenExpected float64   `json:"newOpenExpected"`     // of these, by the settings, to new pods
	OpenByPod       []OpenPod `json:"openByPod,omitempty"` // in the last window, most first; of backends at the end
}

// OpenPod is what one pod holds once the last event is over.
type OpenPod struct {
	Pod      string  `json:"pod"`
	Open     int     `json:"open"` // connections
	Expected float64 `json:"expected"`
	New      bool    `json:"new,omitempty"` // no backend when the load started
}

// The ways to reach balance.
const (
	atOnce    = "at once"
	inTime    = "later"
	notInTime = "not within the run"

	notBeforeNext = "not before the next event"
)

// Bounds of what is looked at around an event.
const (
	aroundSeconds  = 5   // on either side, at most
	fewestShifted  = 5   // connections on either side to ask whether shares shifted
	balanceAlpha   = .05 // of all windows together: a description, outside the report's budget
	balanceWindows = 30
)

// eventClue is what was tested about one event of one stream.
type eventClue struct {
	event       *record.Event
	from, until float64 // of the eras before and after it
	units       [2]int
	shift       skew.HomogeneityResult
	claim       *claim
	balance     *balance // nil: how connections should fall after it is not known
}

// examineEvents asks of every event whether shares shifted, and whether balance came back.
func (f *family) examineEvents(rec *record.Record, t *traffic, seed skew.Seed) []*eventClue {
	events := doneTo(rec)
	var out []*eventClue
	for i, e := range events {
		c := &eventClue{event: e, from: math.Inf(-1), until: math.Inf(1)}
		if i > 0 {
			c.from = events[i-1].At
		}
		if i+1 < len(events) {
			c.until = events[i+1].At
		}
		t.shifted(c, seed.For("shift "+strconv.Itoa(i)))
		c.claim = f.claim(c.shift.Method, c.shift.P)
		out = append(out, c)
	}
	f.examineBalance(rec, t, out, seed)
	return out
}

// examineBalance asks of every event that changes which pods are chosen whether balance came back: of the last by the facts at the end, of
// those before by the facts of their time, where the record tells them.
func (f *family) examineBalance(rec *record.Record, t *traffic, clues []*eventClue, seed skew.Seed) {
	until, eras, facts := math.Inf(1), erasOf(rec, t.now, t.later), t.later
	for i, c := range slices.Backward(clues) {
		if leavesShares(c.event.Kind) {
			continue
		}
		own := seed.For("balance")
		if !math.IsInf(until, 1) {
			facts, own = factsBefore(eras, c.event.At, until), seed.For("balance "+strconv.Itoa(i))
		}
		if c.balance = t.balanceAfter(c.event, until, facts, own); c.balance != nil {
			c.balance.claim = f.claim(c.balance.method, c.balance.P)
		}
		until = c.event.At
	}
}

// factsBefore returns the facts in force at the end of a time; nil if they are not known, or were in force before it began.
func factsBefore(eras []era, from, until float64) *atlas {
	for _, e := range slices.Backward(eras) {
		if e.from < until && e.to >= until && e.from > from {
			return e.atlas
		}
	}
	return nil
}

// doneTo returns what was done to the cluster, by time. What the cluster said of itself is no event of its own.
func doneTo(rec *record.Record) []*record.Event {
	var out []*record.Event
	for i := range rec.Events {
		switch e := &rec.Events[i]; e.Kind {
		case record.EventReady, record.EventUnready, record.EventRemoved:
		default:
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b *record.Event) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.What, b.What))
	})
	return out
}

// shifted tests whether the connections opened after an event fell differently from those before it.
func (t *traffic) shifted(c *eventClue, seed skew.Seed) {
	c.shift = skew.HomogeneityResult{Method: skew.None, P: 1}
	effective := max(c.event.At, c.event.Effective)
	shifts := map[*stratum]*skew.Shift{}
	var order []*stratum
	for _, row := range t.rows {
		at, known := t.byPod[row.Backend]
		s := t.byKey[stratumKey{row.Agent, row.Address}]
		if !known || s == nil {
			continue
		}
		if shifts[s] == nil {
			shifts[s] = &skew.Shift{Before: make([]int, len(t.backends)), After: make([]int, len(t.backends))}
			order = append(order, s)
		}
		switch {
		case row.Opened >= c.from && row.Opened < c.event.At:
			shifts[s].Before[at]++
			c.units[0]++
		case row.Opened >= effective && row.Opened < c.until:
			shifts[s].After[at]++
			c.units[1]++
		}
	}
	if !ofConnections(t.unit) || min(c.units[0], c.units[1]) < fewestShifted {
		return
	}
	list := make([]skew.Shift, len(order))
	for i, s := range order {
		list[i] = *shifts[s]
	}
	c.shift = skew.HomogeneityTest(list, seed, 0)
}

// eventReports lists the run's events with what each stream met.
func (j *judge) eventReports() []EventReport {
	var out []EventReport
	for i, e := range doneTo(j.rec) {
		r := EventReport{
			At: e.At, What: e.What, Kind: e.Kind, Target: e.Target, Before: e.Before, After: e.After, Effective: e.Effective, Effects: []EventEffect{},
		}
		if r.Before == "" && e.Kind == record.EventScale && i == 0 {
			r.Before = strconv.Itoa(echoPods(&j.rec.Facts))
		}
		for _, s := range j.subjects {
			r.Effects = append(r.Effects, s.effect(j.family.about[s.traffic].events[i]))
		}
		out = append(out, r)
	}
	return out
}

func echoPods(facts *record.Facts) int {
	n := 0
	for _, p := range facts.Pods {
		if p.Role == "echo" {
			n++
		}
	}
	return n
}

// effect reports what a stream met around an event. Requests are known by whole seconds: the second of the event counts as
// after it.
func (s *subject) effect(c *eventClue) EventEffect {
	at := int(math.Floor(c.event.At))
	before, after := at-aroundSeconds, at+aroundSeconds
	if c.from > float64(before) {
		before = int(math.Floor(c.from))
	}
	if c.until < float64(after) {
		after = int(math.Floor(c.until))
	}
	before, after = max(before, min(s.past.first, at)), min(after, max(s.past.last+1, at))
	e := EventEffect{
		Stream: s.name, Seconds: [2]float64{float64(at - before), float64(after - at)}, Units: c.units,
		Method: string(c.shift.Method), P: c.shift.P, AdjustedP: 1,
	}
	e.Requests[0], e.Errors[0] = s.past.around(before, at)
	e.Requests[1], e.Errors[1] = s.past.around(at, after)
	if c.claim != nil {
		e.AdjustedP = c.claim.adjusted
	}
	if c.balance != nil {
		e.Balance = &c.balance.Balance
		if c.balance.claim != nil {
			e.Balance.AdjustedP = c.balance.claim.adjusted
		}
	}
	return e
}
