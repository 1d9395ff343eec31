package analyze

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// metric decides what is wanted of a number of one stream. What a run did (counts, errors, the spread of the load over the pods,
// latency) is compared as it is: it is no estimate of anything. Shares of choices are held against chance, and so is the spread
// if a confidence is asked for: then the expectation is about the choices in the long run.
func (c *checker) metric(s *subject, e Expectation) outcome {
	area, rest, _ := strings.Cut(e.Metric, ".")
	switch {
	case area == "sources" && rest != "":
		return c.sourceShare(s, e, rest)
	case e.Metric == "affinity.held":
		return c.successive(s, e)
	case e.Metric == "sessions.held", e.Metric == "sessions.rightPod":
		return c.sessionShare(s, e)
	case e.Metric == "newPodShare":
		return c.newPodShare(s, e)
	case e.Metric == "timeToBalance":
		return c.timeToBalance(s, e)
	}
	m, ok := c.measure(s, e)
	switch {
	case !ok:
		return outcome{false, fmt.Sprintf("there is no metric %q", e.Metric)}
	case m.missing != "":
		return outcome{false, fmt.Sprintf("%s for %s: %s, wanted %s", e.Metric, s.name, m.missing, wanted(e))}
	case e.Confidence > 0 && m.spread:
		return c.longRun(s, e, m)
	}
	text := fmt.Sprintf("%s is %s for %s%s, wanted %s", e.Metric, figure(m.value)+m.suffix, s.name, e.window().words(), wanted(e))
	if m.chance != nil {
		text += fmt.Sprintf(" (expected %s, chance range %s to %s)", figure(m.mean), figure(m.chance[0]), figure(m.chance[1]))
	}
	return outcome{within(m.value, e), text}
}

// measurement is a number of a stream, with what chance makes of it where it is a number of the spread.
type measurement struct {
	value   float64
	suffix  string // what it is a part of, or its unit
	chance  *Range
	mean    float64 // by chance
	spread  bool    // it says how uneven loads are
	missing string  // why there is no such number
}

// measure returns a metric by the name that scenarios use.
func (c *checker) measure(s *subject, e Expectation) (measurement, bool) {
	if m, ok := c.spread(s, e); ok {
		return m, true
	}
	w := e.window()
	if m, ok := c.openLoopMetric(s, e.Metric); ok {
		return m, true
	}
	sum := c.inWindow(s, w)
	failed := 0
	for _, n := range sum.errors {
		failed += n
	}
	if kind, ok := strings.CutPrefix(e.Metric, "errors."); ok {
		n := sum.errors[record.ErrorKind(kind)]
		if kind == "total" {
			n = failed
		}
		return measurement{value: float64(n), suffix: fmt.Sprintf(" of %s", plural(sum.requests, "request", "requests"))}, true
	}
	switch e.Metric {
	case "failedShare":
		return measurement{value: float64(failed) / float64(max(sum.requests, 1)), suffix: fmt.Sprintf(" (%d of %d)", failed, sum.requests)}, true
	case "requests":
		return measurement{value: float64(sum.requests)}, true
	case "connections":
		return measurement{value: float64(sum.connections)}, true
	case "openConnections":
		if len(s.dropped) > 0 {
			return measurement{missing: "not every connection has a row"}, true
		}
		return measurement{value: float64(s.mostOpen(c.rec, w))}, true
	case "requestsPerSecond":
		return measurement{value: c.pace(s, w, sum)}, true
	case "deviations":
		return measurement{value: float64(deviating(s.paths()))}, true
	case "backends":
		return measurement{value: float64(len(sum.answered)), suffix: fmt.Sprintf(" of %d", len(s.backends))}, true
	case "p50", "p99":
		return c.latencyMetric(e.Metric, sum), true
	}
	return measurement{}, false
}

// inWindow sums up a window; of a whole run a report's own numbers, which know of dials that have a row alone.
func (c *checker) inWindow(s *subject, w window) *share {
	sum := s.in(c.rec, w)
	if w.whole() {
		sum.requests, sum.connections, sum.errors = s.report.Requests, s.report.Connections, s.report.Errors
	}
	return sum
}

// pace is the requests of a window over its seconds, as far as the stream was at work in them.
func (c *checker) pace(s *subject, w window, sum *share) float64 {
	if w.whole() {
		return s.report.RequestsPerSecond
	}
	first, last := float64(s.past.first), float64(s.past.last+1)
	seconds := min(last, w.to) - max(first, w.from)
	if seconds <= 0 {
		return 0
	}
	return float64(sum.requests) / seconds
}

func (c *checker) latencyMetric(name string, sum *share) measurement {
	switch {
	case sum.latency.Count() == 0:
		return measurement{missing: "nothing was answered"}
	case name == "p50":
		return measurement{value: sum.latency.Quantile(0.5), suffix: " s"}
	case sum.latency.Count() < fewAnswers:
		return measurement{value: sum.latency.Quantile(1), suffix: fmt.Sprintf(" s (the longest of %d)", sum.latency.Count())}
	}
	return measurement{value: sum.latency.Quantile(0.99), suffix: " s"}
}

// openLoopMetric returns how far an open loop kept to its schedule.
func (c *checker) openLoopMetric(s *subject, name string) (measurement, bool) {
	if name != "late" && name != "dropped" {
		return measurement{}, false
	}
	o := s.report.OpenLoop
	switch {
	case o == nil:
		return measurement{missing: "a closed loop has no schedule to keep; give the client a rate"}, true
	case name == "late":
		return measurement{value: o.LateP99, suffix: " s"}, true
	}
	return measurement{value: float64(o.Dropped), suffix: fmt.Sprintf(" of %s due", plural(o.Intended, "request", "requests"))}, true
}

// spread returns the metrics that say how uneven the load on the pods was.
func (c *checker) spread(s *subject, e Expectation) (measurement, bool) {
	k, chance, means := s.report.Skew, s.report.Chance, skew.Means{}
	if s.chance != nil {
		means = s.chance.Mean
	}
	lawful := chance.MaxOverMean != (Range{}) // else no law is known of the choices
	if w := e.window(); !w.whole() {
		k, lawful = c.skewIn(s, w), false
	}
	for _, one := range []struct {
		name   string
		value  float64
		chance Range
		mean   float64
	}{
		{"maxOverMean", k.MaxOverMean, chance.MaxOverMean, means.MaxOverMean},
		{"cv", k.CV, chance.CV, means.CV},
		{"gini", k.Gini, chance.Gini, means.Gini},
		{"jain", k.Jain, chance.Jain, means.Jain},
		{"effectiveBackends", k.EffectiveBackends, chance.EffectiveBackends, means.Effective},
		{"idleBackends", float64(k.IdleBackends), chance.IdleBackends, means.Idle},
		{"dispersion", k.Dispersion, chance.Dispersion, means.Dispersion},
	} {
		if one.name != e.Metric {
			continue
		}
		m := measurement{value: one.value, spread: one.name != "idleBackends" && one.name != "dispersion"}
		if lawful {
			m.chance, m.mean = &one.chance, one.mean
		}
		return m, true
	}
	return measurement{}, false
}

// skewIn measures the load of a window, over the backends that the stream could reach in it.
func (c *checker) skewIn(s *subject, w window) Skew {
	loads, _ := c.loadsIn(s, w)
	m := skew.Measure(loads)
	k := Skew{MaxOverMean: m.MaxOverMean, CV: m.CV, Gini: m.Gini, Jain: m.Jain, EffectiveBackends: m.Effective, IdleBackends: m.Idle, Dispersion: 1}
	names, of := c.castsOf(s, Expectation{From: max(w.from, 0), To: finiteOr(w.to, 0), Distribution: "expected"})
	counts, known, _ := of.filled(len(names))
	if law, err := skew.NewLaw(len(names), of.law()); err == nil && known > 0 && law.Free() {
		loads := make([]float64, len(counts))
		for i, n := range counts {
			loads[i] = float64(n)
		}
		k.Dispersion = law.Distance(loads) / law.MeanDistance()
	}
	return k
}

// law returns the groups with the units that were made.
func (of *casts) law() []skew.Group {
	groups := make([]skew.Group, len(of.groups))
	for i, g := range of.groups {
		groups[i] = skew.Group{Units: sum(g.counts) + g.unknown, P: g.p}
	}
	return groups
}

func finiteOr(x, other float64) float64 { return cmp.Or(finite(x), other) }

// loadsIn returns the answered requests of a window by backend.
func (c *checker) loadsIn(s *subject, w window) (loads []float64, names []string) {
	names, index := c.reference(s, erasOf(c.rec, s.now, s.later), w)
	loads = make([]float64, len(names))
	for pod, n := range s.in(c.rec, w).answered {
		if at, ok := index[pod]; ok {
			loads[at] += float64(n)
		}
	}
	return loads, names
}

// newPodShare is the share of the choices made since the last event that fell on pods which were no backends when the load began.
func (c *checker) newPodShare(s *subject, e Expectation) outcome {
	got, of, unknown := c.newPodChoices(s, e.window())
	r := rate{name: e.Metric, of: unitWords(s.unit) + " since the last event", k: got, n: of, unknown: unknown}
	if of+unknown == 0 {
		text := fmt.Sprintf("%s for %s%s: none was opened since the last event, so that new pods got none; wanted %s", e.Metric, s.name, e.window().words(), wantedAs(e, percent))
		return outcome{within(0, e), text}
	}
	if clue := s.lastEvent(c.family); clue != nil && clue.balance != nil {
		r.expected, r.known = clue.balance.NewExpected, true
	}
	return c.judgeRate(s, e, r)
}

// sourceShare is the share of the connections whose pod saw an address of a class as their client, or one that the settings do not lead to.
func (c *checker) sourceShare(s *subject, e Expectation, class string) outcome {
	r := rate{name: e.Metric, of: "connections"}
	expected := 0
	w := e.window()
	count := func(x *stratum, pod, observed string, n int) {
		if pod == "" || observed == "" || n == 0 {
			return
		}
		r.n += n
		seen, _ := classify(s.facts, s.plan, x.agent, x.addr, observed)
		foreseen := x.expects(pod, seen)
		if string(seen) == class || class == "unexpected" && !foreseen && x.sourceClass(pod) != "" {
			r.k += n
		}
		if string(x.sourceClass(pod)) == class {
			expected += n
		}
	}
	for _, row := range s.rows {
		if x := s.byKey[stratumKey{row.Agent, row.Address}]; !x.byTally && w.holds(row.Opened) {
			count(x, row.Backend, addressOf(row.Observed), 1)
		}
	}
	s.eachTally(c.rec, w, func(x *stratum, tally *record.Tally) {
		if x.byTally {
			count(x, tally.Backend, tally.Observed, tally.Connections)
		}
	})
	r.expected, r.known = float64(expected)/float64(max(r.n, 1)), s.modelled
	if r.n == 0 {
		return outcome{false, fmt.Sprintf("%s for %s%s: no answer said whom the pod saw, wanted %s", e.Metric, s.name, w.words(), wantedAs(e, percent))}
	}
	return c.judgeRate(s, e, r)
}

// successive is the share of pairs of a client's successive connections, at one port of one node, that went to the same pod. A connection
// that was opened before the one before it was established may have found nothing to follow: it is left out.
func (c *checker) successive(s *subject, e Expectation) outcome {
	r := rate{name: e.Metric, of: "pairs of a client's successive connections"}
	w := e.window()
	for _, p := range s.clientPairs() {
		var last *record.Connection
		for _, row := range p.rows {
			if row.Backend == "" || !w.holds(row.Opened) {
				continue
			}
			if last != nil && last.Connected > 0 && last.Connected <= row.Opened {
				r.n++
				if row.Backend == last.Backend {
					r.k++
				}
			}
			last = row
		}
	}
	if s.unit == unitClientIP && len(s.backends) > 0 {
		r.expected, r.known = 1, true
	}
	return c.judgeRate(s, e, r)
}

// sessionCounts are what became of the sessions of a stream.
type sessionCounts struct {
	held, heldOf   int // pairs of a session's successive requests or connections, and of these with the same pod
	right, rightOf int // requests or connections that named a pod, and of these those it answered
}

// sessionShare is the share of a session's successive choices that fell on the same pod, or of those that named a pod that fell on it.
func (c *checker) sessionShare(s *subject, e Expectation) outcome {
	counts := s.sessionsIn(e.window())
	r := rate{name: e.Metric, of: "pairs of a session's successive choices", k: counts.held, n: counts.heldOf}
	if e.Metric == "sessions.rightPod" {
		r = rate{name: e.Metric, of: "choices that named a pod", k: counts.right, n: counts.rightOf}
	}
	return c.judgeRate(s, e, r)
}
