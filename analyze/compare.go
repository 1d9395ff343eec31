package analyze

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// Comparison sets runs before a change against runs after it. As JSON it is a contract like [Report].
type Comparison struct {
	APIVersion string             `json:"apiVersion"`
	Kind       string             `json:"kind"` // Comparison
	Before     []Run              `json:"before"`
	After      []Run              `json:"after"`
	Streams    []StreamComparison `json:"streams"`
	Verdict    Change             `json:"verdict"` // of all streams together
	Notes      []string           `json:"notes"`   // sentences: what could not be compared
}

// Change is what a comparison says of a metric, a stream or of all.
type Change string

// The verdicts of a comparison.
const (
	Better       Change = "better"
	Worse        Change = "worse"
	Mixed        Change = "mixed"               // better in one respect, worse in another
	Changed      Change = "changed"             // connections fall otherwise, which is neither better nor worse
	NoDifference Change = "no difference shown" // which does not say that there is none
)

// StreamComparison is one stream before and after.
type StreamComparison struct {
	Stream    string             `json:"stream"`
	Sides     [2]Side            `json:"sides"` // before, after
	Metrics   []MetricComparison `json:"metrics"`
	Placement PlacementTest      `json:"placement"`
	Shares    [][2]float64       `json:"shares"`             // of the k-th busiest pod before and after, at most 40
	Settling  *Settling          `json:"settling,omitempty"` // pods came or went in all runs: the part of them that is compared
	Verdict   Change             `json:"verdict"`
}

// Side is a stream on one side of a comparison; of several runs: sums, and means of latencies.
type Side struct {
	Runs              int     `json:"runs"`
	Requests          int     `json:"requests"`
	Failed            int     `json:"failed"` // requests and dials
	Connections       int     `json:"connections"`
	Unit              string  `json:"unit"`  // what is tested: connection, clientIP or flow
	Units             int     `json:"units"` // of these
	Backends          int     `json:"backends"`
	RequestsPerSecond float64 `json:"requestsPerSecond"`
	P50               float64 `json:"p50"` // seconds
	P99               float64 `json:"p99"`
	Explained         bool    `json:"explained"` // settings and chance explain where units went
}

// MetricComparison is one metric before and after.
type MetricComparison struct {
	Name       string  `json:"name"` // as scenarios call it
	Before     float64 `json:"before"`
	After      float64 `json:"after"`
	Difference float64 `json:"difference"` // after less before
	Interval   Range   `json:"interval"`   // of the difference: 95 % of repetitions of both sides
	Verdict    Change  `json:"verdict"`
}

// PlacementTest asks whether the process changed that places units on pods: docs/method.md, comparing two runs.
type PlacementTest struct {
	Matching  string  `json:"matching"`  // identity: the same pods before and after; rank: busiest with busiest
	Method    string  `json:"method"`    // monte-carlo; none if the sides cannot be tested against each other
	P         float64 `json:"p"`         // that units placed by one process differ as much
	Threshold float64 `json:"threshold"` // at or below it Changed
	Changed   bool    `json:"changed"`
}

// ErrNothingInCommon is returned for runs without a stream to compare.
var ErrNothingInCommon = errors.New("the runs have no stream in common")

// Compare sets runs before a change against runs after it, stream by stream. Several runs of a side are pooled: units are put
// together by pod or, where pods differ, by rank, and metrics are means over the runs. The same reports give the same
// comparison. The error is [ErrNothingInCommon], or says that a side is empty.
func Compare(before, after []*Report) (*Comparison, error) {
	if len(before) == 0 || len(after) == 0 {
		return nil, errors.New("comparing runs: each side needs one")
	}
	c := &Comparison{APIVersion: record.Version, Kind: "Comparison", Verdict: NoDifference, Notes: []string{}}
	for _, r := range before {
		c.Before = append(c.Before, r.Run)
	}
	for _, r := range after {
		c.After = append(c.After, r.Run)
	}
	for _, pair := range c.pairs(before, after) {
		s := pair.compare()
		if s.Settling != nil {
			c.Notes = append(c.Notes, s.Settling.note(s.Stream))
		}
		c.Streams = append(c.Streams, s)
		c.Verdict = together(c.Verdict, s.Verdict)
	}
	if len(c.Streams) == 0 {
		return nil, ErrNothingInCommon
	}
	roundComparison(c)
	return c, nil
}

// together joins two verdicts.
func together(a, b Change) Change {
	rank := []Change{NoDifference, Changed}
	switch {
	case a == b || b == NoDifference:
		return a
	case a == NoDifference || slices.Contains(rank, a):
		return b
	case b == Changed:
		return a
	default:
		return Mixed
	}
}

// streamPair is one stream in all runs of both sides.
type streamPair struct {
	name string
	key  string // of the simulations
	runs [2][]*Stream

	reports [2][]*Report // that they are of
}

// pairs finds the streams that are on both sides, by client; if there is just one on each side, it is the same whatever its name.
func (c *Comparison) pairs(before, after []*Report) []*streamPair {
	var names []string
	found := map[string]*streamPair{}
	for side, reports := range [2][]*Report{before, after} {
		for _, r := range reports {
			for i, name := range streamNames(r, before[0], after[0]) {
				if found[name] == nil {
					found[name] = &streamPair{name: name, key: c.key()}
					names = append(names, name)
				}
				found[name].runs[side] = append(found[name].runs[side], &r.Streams[i])
				found[name].reports[side] = append(found[name].reports[side], r)
			}
		}
	}
	var pairs []*streamPair
	for _, name := range names {
		switch p := found[name]; {
		case len(p.runs[0]) == 0:
			c.Notes = append(c.Notes, fmt.Sprintf("%s is in no run before the change.", name))
		case len(p.runs[1]) == 0:
			c.Notes = append(c.Notes, fmt.Sprintf("%s is in no run after the change.", name))
		default:
			pairs = append(pairs, p)
			c.noteDifferences(p, len(before), len(after))
		}
	}
	return pairs
}

// key seeds the simulations of a comparison: it names all its runs.
func (c *Comparison) key() string {
	var ids []string
	for _, r := range c.Before {
		ids = append(ids, r.ID)
	}
	ids = append(ids, "|")
	for _, r := range c.After {
		ids = append(ids, r.ID)
	}
	return strings.Join(ids, "/")
}

// streamNames names the streams of a report, of which several may be called the same.
func streamNames(r, firstBefore, firstAfter *Report) []string {
	if len(r.Streams) == 1 && len(firstBefore.Streams) == 1 && len(firstAfter.Streams) == 1 {
		return []string{firstBefore.Streams[0].Client}
	}
	seen := map[string]int{}
	names := make([]string, len(r.Streams))
	for i := range r.Streams {
		names[i] = r.Streams[i].Client
		if seen[names[i]]++; seen[names[i]] > 1 {
			names[i] = fmt.Sprintf("%s (%d)", names[i], seen[names[i]])
		}
	}
	return names
}

// noteDifferences says what differs beside the shares.
func (c *Comparison) noteDifferences(p *streamPair, before, after int) {
	if len(p.runs[0]) < before || len(p.runs[1]) < after {
		c.Notes = append(c.Notes, fmt.Sprintf("%s is not in every run: %d of %d before, %d of %d after.", p.name, len(p.runs[0]), before, len(p.runs[1]), after))
	}
	a, b := p.runs[0][0], p.runs[1][0]
	if n, m := eligibleOf(a), eligibleOf(b); n != m {
		c.Notes = append(c.Notes, fmt.Sprintf("%s: %s before, %d after: whether connections fall otherwise cannot be tested, and max/mean of more pods is larger by chance alone.",
			p.name, plural(n, "pod", "pods"), m))
	}
	for side, when := range []string{"before", "after"} {
		if n := outOfReach(p.reports[side][0], p.runs[side][0].Client); n > 0 {
			c.Notes = append(c.Notes, fmt.Sprintf("%s: %s, %s out of its reach by the settings and in none of these numbers.", p.name, when, plural(n, "ready pod was", "ready pods were")))
		}
	}
	if a.Test.Unit != b.Test.Unit {
		c.Notes = append(c.Notes, fmt.Sprintf("%s: the unit is a %s before and a %s after.", p.name, a.Test.Unit, b.Test.Unit))
	}
}

// outOfReach is how many ready pods a stream cannot reach, as its findings say.
func outOfReach(r *Report, stream string) int {
	n := 0
	for _, f := range r.Findings {
		for _, key := range []string{"unreached", "apart"} {
			switch pods := f.Evidence[key].(type) {
			case []string:
				n = max(n, truth(f.Stream == stream)*len(pods))
			case []any: // read from a file
				n = max(n, truth(f.Stream == stream)*len(pods))
			}
		}
	}
	return n
}

func eligibleOf(s *Stream) int {
	n := 0
	for _, b := range s.Backends {
		if b.Eligible {
			n++
		}
	}
	return n
}

// compare compares one stream.
func (p *streamPair) compare() StreamComparison {
	out := StreamComparison{Stream: p.name, Verdict: NoDifference}
	out.Settling = p.settlings(p.reports)
	out.Sides = [2]Side{pooledSide(p.runs[0]), pooledSide(p.runs[1])}
	out.Placement = p.placement()
	repeats := p.repeats(out.Placement)
	for _, m := range comparedMetrics() {
		row := MetricComparison{Name: m.name, Before: meanOf(p.runs[0], m.of), After: meanOf(p.runs[1], m.of)}
		row.Difference = row.After - row.Before
		row.Interval = intervalOf(repeats, m)
		row.Verdict = m.judge(row.Interval)
		out.Metrics = append(out.Metrics, row)
		out.Verdict = together(out.Verdict, row.Verdict)
	}
	if out.Settling != nil {
		if row, ok := p.newShare(out.Settling); ok {
			out.Metrics = append(out.Metrics, row)
			out.Verdict = together(out.Verdict, row.Verdict)
		}
	}
	if out.Placement.Changed {
		out.Verdict = together(out.Verdict, Changed)
	}
	out.Shares = rankedShares(p.runs)
	return out
}

// repeatDraws is how often each side is repeated in simulation.
const repeatDraws = 2000

// comparedMetric is a measure of skew, in a report and in a simulation.
type comparedMetric struct {
	name      string
	of        func(*Stream) float64
	simulated func(skew.Metrics) float64
	more      bool // more is better
}

func comparedMetrics() []comparedMetric {
	return []comparedMetric{
		{"maxOverMean", func(s *Stream) float64 { return s.Skew.MaxOverMean }, func(m skew.Metrics) float64 { return m.MaxOverMean }, false},
		{"cv", func(s *Stream) float64 { return s.Skew.CV }, func(m skew.Metrics) float64 { return m.CV }, false},
		{"gini", func(s *Stream) float64 { return s.Skew.Gini }, func(m skew.Metrics) float64 { return m.Gini }, false},
		{"jain", func(s *Stream) float64 { return s.Skew.Jain }, func(m skew.Metrics) float64 { return m.Jain }, true},
		{"effectiveBackends", func(s *Stream) float64 { return s.Skew.EffectiveBackends }, func(m skew.Metrics) float64 { return m.Effective }, true},
		{"idleBackends", func(s *Stream) float64 { return float64(s.Skew.IdleBackends) }, func(m skew.Metrics) float64 { return float64(m.Idle) }, false},
	}
}

// judge says what an interval of differences shows.
func (m comparedMetric) judge(interval Range) Change {
	const rounding = 1e-9
	switch {
	case interval[0] > rounding && m.more, interval[1] < -rounding && !m.more:
		return Better
	case interval[0] > rounding, interval[1] < -rounding:
		return Worse
	default:
		return NoDifference
	}
}

func meanOf(runs []*Stream, of func(*Stream) float64) float64 {
	sum := 0.0
	for _, s := range runs {
		sum += of(s)
	}
	return sum / float64(len(runs))
}

// repetition is one run and what repetitions of it would show.
type repetition struct {
	stream   *Stream
	metrics  []skew.Metrics
	observed bool // by what was seen in this run, not by its settings
}

// repeats simulates every run. Where settings and chance explain both sides, they are what is repeated. Where they do not, it is
// what was seen: on that side or, if units fell the same way on both, on both sides together, so that chance in one run is not
// taken for a difference.
func (p *streamPair) repeats(placement PlacementTest) [2][]repetition {
	explained := [2]bool{everyExplained(p.runs[0]), everyExplained(p.runs[1])}
	same := placement.Method != string(skew.None) && !placement.Changed
	pooled := p.pooledShares()
	var out [2][]repetition
	for side, runs := range p.runs {
		for i, s := range runs {
			r := repetition{stream: s}
			shares := s.expectedOf()
			switch {
			case explained[0] && explained[1]:
			case same:
				shares = pooled
			case !explained[side]:
				shares, r.observed = s.observedOf(), true
			}
			r.metrics = s.law(shares).Repeats(skew.NewSeed(p.key, p.name, "repeat", fmt.Sprint(side, i)), repeatDraws)
			out[side] = append(out[side], r)
		}
	}
	return out
}

func everyExplained(runs []*Stream) bool {
	return !slices.ContainsFunc(runs, func(s *Stream) bool { return !s.explained() })
}

// values are a metric of each repetition, averaged over the runs of a side. A repetition of what was seen has the chance of the run that was seen
// in it as well as its own, so its mean is moved back to what was seen.
func (m comparedMetric) values(side []repetition) []float64 {
	out := make([]float64, repeatDraws)
	for _, r := range side {
		mean := 0.0
		for i := range r.metrics {
			mean += m.simulated(r.metrics[i]) / repeatDraws
		}
		shift := 0.0
		if r.observed {
			shift = m.of(r.stream) - mean
		}
		for i := range r.metrics {
			out[i] += (m.simulated(r.metrics[i]) + shift) / float64(len(side))
		}
	}
	return out
}

// intervalOf is the central 95 % of the differences between repetitions of the two sides.
func intervalOf(repeats [2][]repetition, m comparedMetric) Range {
	differences, before := m.values(repeats[1]), m.values(repeats[0])
	for i := range differences {
		differences[i] -= before[i]
	}
	slices.Sort(differences)
	return Range{differences[repeatDraws/40-1], differences[repeatDraws-repeatDraws/40]}
}

// pooledSide sums up a stream over the runs of a side.
func pooledSide(runs []*Stream) Side {
	side := Side{Runs: len(runs), Unit: runs[0].Test.Unit, Backends: eligibleOf(runs[0]), Explained: everyExplained(runs)}
	for _, s := range runs {
		side.Requests += s.Requests
		side.Connections += s.Connections
		side.Units += s.Test.Units
		for _, n := range s.Errors {
			side.Failed += n
		}
	}
	side.RequestsPerSecond = meanOf(runs, func(s *Stream) float64 { return s.RequestsPerSecond })
	side.P50 = meanOf(runs, func(s *Stream) float64 { return s.Latency.P50 })
	side.P99 = meanOf(runs, func(s *Stream) float64 { return s.Latency.P99 })
	return side
}

// rankedShares are the shares of the busiest pod, the second and so on, before and after; of several runs their means.
func rankedShares(runs [2][]*Stream) [][2]float64 {
	const most = 40
	var out [][2]float64
	for side, list := range runs {
		for _, s := range list {
			shares := make([]float64, 0, len(s.Backends))
			for _, b := range s.Backends {
				shares = append(shares, b.Share)
			}
			slices.SortFunc(shares, func(a, b float64) int { return cmp.Compare(b, a) })
			for k, share := range shares[:min(len(shares), most)] {
				if k == len(out) {
					out = append(out, [2]float64{})
				}
				out[k][side] += share / float64(len(list))
			}
		}
	}
	return out
}
