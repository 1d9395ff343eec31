package analyze

import (
	"fmt"
	"math"

	"github.com/podskew/podskew/record"
)

// window is the part of a run that an expectation is about, in seconds since its start, to not included.
type window struct{ from, to float64 }

func (e Expectation) window() window {
	w := window{math.Inf(-1), math.Inf(1)}
	if e.From > 0 {
		w.from = e.From
	}
	if e.To > 0 {
		w.to = e.To
	}
	return w
}

func (w window) whole() bool                 { return math.IsInf(w.from, -1) && math.IsInf(w.to, 1) }
func (w window) holds(at float64) bool       { return at >= w.from && at < w.to }
func (w window) second(second int) bool      { return w.holds(float64(second)) }
func (w window) meets(from, to float64) bool { return from < w.to && to > w.from }

// words says which part of the run it is, "" for all of it.
func (w window) words() string {
	switch {
	case w.whole():
		return ""
	case math.IsInf(w.to, 1):
		return fmt.Sprintf(" from %s s on", figure(w.from))
	case math.IsInf(w.from, -1):
		return fmt.Sprintf(" before %s s", figure(w.to))
	}
	return fmt.Sprintf(" from %s s to %s s", figure(w.from), figure(w.to))
}

// fallen is one choice, or several that are known by their number only, and where it fell.
type fallen struct {
	stratum *stratum
	pod     string  // "": nobody answered
	at      float64 // when it was made
	n       int
}

// fell returns the choices of a stream that were made in a window, whatever the settings foresaw: each unit once, when its first
// connection was opened or, where each request is one, when that was sent.
func (t *traffic) fell(rec *record.Record, w window) []fallen {
	var out []fallen
	switch t.unit {
	case unitClientIP:
		for _, p := range t.clientPairs() {
			for _, s := range p.spans {
				if w.holds(s.rows[0].Opened) {
					out = append(out, fallen{s.first, firstAnswer(s.rows), s.rows[0].Opened, 1})
				}
			}
		}
		return out
	case unitSession:
		s := t.firstAnswering()
		for _, p := range t.parties(w) {
			if pod, _ := p.most(); s != nil && p.requests > 0 {
				out = append(out, fallen{s, pod, max(0, w.from), 1})
			}
		}
		return out
	case unitUpstream:
		for _, one := range t.list {
			out = append(out, fallen{one.stratum, one.pod, 0, one.n})
		}
		return out
	case unitRequest:
		t.eachTally(rec, w, func(s *stratum, tally *record.Tally) {
			got := answeredOf(tally)
			out = append(out, fallen{s, tally.Backend, float64(tally.Second), got}, fallen{s, "", float64(tally.Second), tally.Requests - got})
		})
		return out
	}
	return t.fellByConnection(rec, w)
}

// fellByConnection returns the choices where each connection is one.
func (t *traffic) fellByConnection(rec *record.Record, w window) []fallen {
	var out []fallen
	for _, c := range t.rows {
		if s := t.byKey[stratumKey{c.Agent, c.Address}]; !s.byTally && w.holds(c.Opened) && (t.cut || !unasked(c)) {
			out = append(out, fallen{s, c.Backend, c.Opened, 1})
		}
	}
	t.eachTally(rec, w, func(s *stratum, tally *record.Tally) {
		if s.byTally {
			out = append(out, fallen{s, tally.Backend, float64(tally.Second), tally.Connections})
		}
	})
	return out
}

// untimed says why the choices of a part of the run cannot be told; "" they can.
func (t *traffic) untimed(w window) string {
	if t.unit == unitUpstream && !w.whole() {
		return "when the gateway opened its connections to the pods is not known, so that those of a part of the run cannot be told"
	}
	return ""
}

func firstAnswer(rows []*record.Connection) string {
	for _, c := range rows {
		if c.Backend != "" {
			return c.Backend
		}
	}
	return ""
}

// answeredOf counts the requests of a tally that were answered, by an error status or otherwise; 0 where nobody answered.
func answeredOf(tally *record.Tally) int {
	if tally.Backend == "" {
		return 0
	}
	got := tally.Requests
	for kind, n := range tally.Errors {
		if kind != record.ErrStatus {
			got -= n
		}
	}
	return max(got, 0)
}

// eachTally goes through the tallies of a stream whose second begins in a window.
func (t *traffic) eachTally(rec *record.Record, w window, do func(s *stratum, tally *record.Tally)) {
	for i := range rec.Tallies {
		tally := &rec.Tallies[i]
		if tally.Stream == t.plan.ID && w.second(tally.Second) {
			do(t.byKey[stratumKey{tally.Agent, tally.Address}], tally)
		}
	}
}

// share is what a window holds of a stream's requests and connections.
type share struct {
	requests, connections int
	errors                map[record.ErrorKind]int
	answered              map[string]int // by pod
	latency               record.Histogram
}

// in sums up a window of a stream.
func (t *traffic) in(rec *record.Record, w window) *share {
	sum := &share{errors: noErrors(), answered: map[string]int{}}
	t.eachTally(rec, w, func(s *stratum, tally *record.Tally) {
		sum.requests += tally.Requests
		for kind, n := range tally.Errors {
			sum.errors[kind] += n
		}
		if got := answeredOf(tally); got > 0 {
			sum.answered[tally.Backend] += got
			sum.latency.Merge(tally.Latency)
		}
		if s.byTally {
			sum.connections += tally.Connections
		}
	})
	for _, c := range t.rows {
		if s := t.byKey[stratumKey{c.Agent, c.Address}]; !s.byTally && w.holds(c.Opened) {
			sum.connections++
		}
	}
	return sum
}
