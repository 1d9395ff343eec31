package analyze

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// subject is one stream with everything the findings are made from.
type subject struct {
	*traffic
	trial  *trial
	chance *skew.Chance
	report *Stream
	past   *history
	pairs  []*pair // under ClientIP affinity
	judged []verdict
}

// describe fills in what a report says about one stream, findings aside.
func describe(rec *record.Record, t *traffic, f *family) *subject {
	s := &subject{traffic: t, trial: f.of[t]}
	s.chance = t.chances(rec)
	s.report = &Stream{
		Client: t.name, Vantage: t.plan.Vantage, Target: t.plan.Target, Address: t.addresses(),
		Connections: t.opened(), UnknownBackend: t.unanswered(), RequestsPerConnection: t.plan.RequestsPerConnection,
		ConnectionLifetime: t.plan.ConnectionLifetime, ConnectionsPerSecond: t.plan.ConnectionsPerSecond,
		Errors: t.allErrors(), CrossNode: t.crossNode(), Latency: t.latency(),
	}
	for _, st := range t.strata {
		s.report.Requests += st.sent
	}
	s.report.RequestsPerSecond = float64(s.report.Requests) / cmp.Or(t.seconds(rec), 1)
	s.report.Backends = s.backendRows()
	s.report.Skew, s.report.Chance = s.metrics()
	s.report.Test = s.testRow(f)
	s.report.Decomposition = s.decomposition(f, runSeed(rec, t.plan.ID, "intervals"))
	s.report.Cost = s.cost(runSeed(rec, t.plan.ID, "cost"))
	s.report.Sources = t.sourceRows()
	s.report.Nodes = t.nodeRows()
	s.report.Order = orderRow(f.about[t])
	s.report.Latency.Tail = s.tail(f)
	t.draw(rec, s.report)
	s.report.Sessions = t.sessions()
	if t.unit == unitClientIP {
		s.pairs = t.clientPairs()
		s.report.Affinity = s.affinity()
	}
	return s
}

// chances is what chance makes of the units' law; all zero where no law is known, so that nothing is set beside it.
func (t *traffic) chances(rec *record.Record) *skew.Chance {
	if t.untested != "" || t.changed { // the law of the start is not that of all units
		return &skew.Chance{Shares: make([]skew.Range, len(t.backends))}
	}
	return t.law.Chance(runSeed(rec, t.plan.ID, "chance"), 0)
}

func (t *traffic) addresses() string {
	var list []string
	for _, a := range t.plan.Addresses {
		list = append(list, a.HostPort)
	}
	return strings.Join(list, ", ")
}

func (t *traffic) unanswered() int {
	n := 0
	for _, s := range t.strata {
		n += s.opened - s.known
	}
	return n
}

// noErrors is what an error table starts with: those two are told apart even where there are none.
func noErrors() map[record.ErrorKind]int {
	return map[record.ErrorKind]int{record.ErrRefused: 0, record.ErrTimeout: 0}
}

func (t *traffic) allErrors() map[record.ErrorKind]int {
	all := noErrors()
	for _, s := range t.strata {
		s.addErrors(all)
	}
	return all
}

// addErrors adds the stratum's errors by kind. A dial that failed takes a request's place, so tallies hold it; a record that
// was cut may have its row alone.
func (s *stratum) addErrors(to map[record.ErrorKind]int) {
	for kind, n := range s.errors {
		to[kind] += max(n, s.dials[kind])
	}
	for kind, n := range s.dials {
		if _, counted := s.errors[kind]; !counted {
			to[kind] += n
		}
	}
}

// crossNode counts answered requests whose pod is on another node than the one that chose it.
func (t *traffic) crossNode() int {
	n := 0
	for _, s := range t.strata {
		for pod, a := range s.answered {
			if s.crosses(t.nodeOf(pod)) {
				n += a.requests
			}
		}
	}
	return n
}

func (s *stratum) crosses(node string) bool {
	return node != "" && s.at.Decider != "" && node != s.at.Decider
}

func (t *traffic) nodeOf(pod string) string {
	if at, ok := t.byPod[pod]; ok {
		return t.backends[at].node
	}
	for _, b := range t.foreign {
		if b.pod == pod {
			return b.node
		}
	}
	return ""
}

func (t *traffic) latency() Latency {
	var all record.Histogram
	for _, b := range slices.Concat(t.backends, t.foreign) {
		all.Merge(b.latency)
	}
	return Latency{P50: all.Quantile(0.5), P99: tailOf(all)}
}

// fewAnswers is the number of answers below which a 99th percentile would be a guess, so that the maximum is given.
const fewAnswers = 100

func tailOf(h record.Histogram) float64 {
	if h.Count() < fewAnswers {
		return h.Quantile(1)
	}
	return h.Quantile(0.99)
}

// seconds is how long the stream was at work: from its first opening to its last closing.
func (t *traffic) seconds(rec *record.Record) float64 {
	first, last := math.Inf(1), math.Inf(-1)
	for _, c := range t.rows {
		first = min(first, c.Opened)
		last = max(last, c.Opened, c.Connected, c.Closed)
		if c.Closed == 0 && rec.End != nil {
			last = max(last, rec.End.Seconds)
		}
	}
	if t.plan.WarmUp > 0 {
		first = max(first, 0) // nothing before is counted
	}
	if len(t.dropped) > 0 || len(t.rows) == 0 {
		first, last = min(first, t.tallySpan[0]), max(last, t.tallySpan[1])
	}
	return max(0, last-first)
}

// expectedShares returns the share of the units each backend of the reference set should have: by the units whose backend is
// known, or by all connections that should have been answered if none was.
func (t *traffic) expectedShares() []float64 {
	shares := make([]float64, len(t.backends))
	if units := t.law.Units(); units > 0 {
		for b, e := range t.law.Expected() {
			shares[b] = e / float64(units)
		}
		return shares
	}
	total := 0.0
	for _, s := range t.strata {
		weight := float64(max(s.opened, 1))
		for _, b := range s.at.Backends {
			shares[t.byPod[b.Pod]] += weight * b.P
			total += weight * b.P
		}
	}
	for b := range shares {
		shares[b] /= cmp.Or(total, 1)
	}
	return shares
}

func (s *subject) backendRows() []Backend {
	answered := 0
	for _, b := range slices.Concat(s.backends, s.foreign) {
		answered += b.requests
	}
	expected := s.expectedShares()
	var rows []Backend
	for i, b := range slices.Concat(s.backends, s.foreign) {
		row := Backend{
			Pod: b.pod, Node: b.node, Requests: b.requests, Connections: b.connections, Eligible: b.eligible,
			Share: float64(b.requests) / float64(max(answered, 1)), P50: b.latency.Quantile(0.5), P99: tailOf(b.latency), P99Interval: p99Interval(b),
		}
		if i < len(s.backends) {
			row.ExpectedShare = expected[i]
			row.ConnectionShare = float64(s.counts[i]) / float64(max(s.law.Units(), 1))
			row.ChanceShare = Range(s.chance.Shares[i])
			row.Bounds = s.bounds(i)
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b Backend) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.Pod, b.Pod))
	})
	return rows
}

// bounds is what a backend's share of the units would be if none or all of the unanswered connections were its.
func (s *subject) bounds(i int) *Range {
	if s.unknown == 0 || !ofConnections(s.unit) {
		return nil
	}
	all := float64(s.law.Units() + s.unknown)
	return &Range{float64(s.counts[i]) / all, float64(s.counts[i]+s.unknown) / all}
}

func (s *subject) metrics() (Skew, Chance) {
	loads := make([]float64, len(s.backends))
	for i, b := range s.backends {
		loads[i] = float64(b.requests)
	}
	m := skew.Measure(loads)
	c := s.chance
	return Skew{
			MaxOverMean: m.MaxOverMean, CV: m.CV, Gini: m.Gini, Jain: m.Jain,
			EffectiveBackends: m.Effective, IdleBackends: m.Idle, Dispersion: s.dispersion(),
		}, Chance{
			MaxOverMean: Range(c.MaxOverMean), CV: Range(c.CV), Gini: Range(c.Gini), Jain: Range(c.Jain),
			EffectiveBackends: Range(c.Effective), IdleBackends: Range(c.Idle), Dispersion: Range(c.Dispersion),
		}
}

// dispersion is X² over what it is on average; 1 where it cannot vary.
func (s *subject) dispersion() float64 {
	if s.trial.result.MeanX2 == 0 {
		return 1
	}
	return s.trial.result.X2 / s.trial.result.MeanX2
}

// Power questions a report answers for every stream: a pod at this multiple of its share, seen with this probability.
const (
	usualFactor = 1.5
	usualPower  = 0.8
)

func (s *subject) testRow(f *family) Test {
	r := s.trial.result
	row := Test{
		Unit: s.unit, Units: s.law.Units(), Method: string(r.Method), Statistic: r.X2, DF: int(math.Round(r.MeanX2)),
		P: r.P, AdjustedP: s.trial.p, Untested: s.untested, Direction: string(r.Direction), EffectSize: r.EffectSize,
	}
	if r.Hot >= 0 {
		row.HotBackend = s.trial.pods[r.Hot]
	}
	if r.Cold >= 0 {
		row.ColdBackend = s.trial.pods[r.Cold]
	}
	if !s.testable() || !s.law.Free() {
		return row
	}
	need := s.need(f)
	if s.law.MinExpected() >= fewPerPod { // fewer say nothing of a single pod, whatever their p
		row.SmallestFactor = need.SmallestFactor(row.Units)
	}
	if needed := unitsFor(need, usualFactor); needed > row.Units {
		row.UnitsNeeded = needed
	}
	return row
}

// unitsFor is the number of units from which on a factor is found: with the power asked for, and with enough of them for every pod.
func unitsFor(need skew.Need, factor float64) int {
	needed := need.Units(factor)
	if needed == 0 {
		return 0
	}
	return max(needed, int(math.Ceil(fewPerPod/need.Share)))
}

// need asks about the backend with the smallest expected share, at the level that the first of the report's tests has to pass to be called
// an unexplained skew.
func (s *subject) need(f *family) skew.Need {
	eligible, smallest := 0, 1.0
	for _, share := range s.expectedShares() {
		if share > 0 {
			eligible++
			smallest = min(smallest, share)
		}
	}
	return skew.Need{Backends: eligible, Share: smallest, Alpha: f.alpha * errorShare / float64(max(f.size(), 1)), Power: usualPower}
}

// nodeRows sums up per address whose port was dialled.
func (t *traffic) nodeRows() []TargetNode {
	if t.plan.Target != "nodePort" {
		return nil
	}
	byAddress := map[string]*TargetNode{}
	var rows []*TargetNode
	for _, s := range t.strata {
		row := byAddress[s.addr.HostPort]
		if row == nil {
			row = &TargetNode{
				Node: cmp.Or(s.at.Decider, s.addr.Node), Address: s.addr.HostPort, Endpoints: len(s.at.Backends),
				Expected: string(s.at.Outcome), Errors: noErrors(),
			}
			byAddress[s.addr.HostPort] = row
			rows = append(rows, row)
		}
		row.Connections += s.opened
		row.Requests += s.sent
		for _, a := range s.answered {
			row.Answered += a.requests
		}
		s.addErrors(row.Errors)
	}
	slices.SortFunc(rows, func(a, b *TargetNode) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Address, b.Address))
	})
	out := make([]TargetNode, len(rows))
	for i, r := range rows {
		out[i] = *r
	}
	return out
}
