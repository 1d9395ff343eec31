package analyze

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
)

// Settling is what a comparison of runs in which pods came or went is about: not the whole runs, the part before the event being the
// same on both sides, but the connections that were open once it was over.
type Settling struct {
	Event    [2]string  `json:"event"`    // the last one: before the change, after it
	Window   [2]float64 `json:"window"`   // seconds at the end of the run that are compared
	Reached  [2]string  `json:"reached"`  // balance: at once, later, or not within the run; of several runs the last of these
	Seconds  [2]float64 `json:"seconds"`  // later: how long it took, at most
	NewPods  [2]int     `json:"newPods"`  // pods that were no backends when the load started
	Expected [2]float64 `json:"expected"` // share of the open connections that the settings give to new pods
}

// settlings returns what each run of a stream was like once its last event was over; nil unless pods came or went in every run.
func (p *streamPair) settlings(reports [2][]*Report) *Settling {
	out := &Settling{}
	for side, runs := range p.runs {
		for i, s := range runs {
			e, b := lastBalance(reports[side][i], s.Client)
			if b == nil || len(b.OpenByPod) == 0 || !changesChoices(e.Kind) {
				return nil
			}
			out.add(side, i, e, b)
		}
	}
	for side, runs := range p.runs {
		for i, s := range runs {
			_, b := lastBalance(reports[side][i], s.Client)
			runs[i] = s.settled(b)
		}
	}
	return out
}

func (x *Settling) add(side, run int, e *EventReport, b *Balance) {
	if run == 0 {
		x.Event[side], x.Window[side], x.NewPods[side] = e.What, b.Window, len(b.NewPods)
		x.Expected[side] = b.NewOpenExpected / float64(max(b.Open, 1))
	}
	order := []string{atOnce, inTime, notInTime}
	if run == 0 || slices.Index(order, b.Reached) > slices.Index(order, x.Reached[side]) {
		x.Reached[side] = b.Reached
	}
	x.Seconds[side] = max(x.Seconds[side], b.Seconds)
}

// lastBalance returns the last event of a run with what a stream was like after it; nil without one.
func lastBalance(r *Report, client string) (*EventReport, *Balance) {
	if len(r.Events) == 0 {
		return nil, nil
	}
	e := &r.Events[len(r.Events)-1]
	at := slices.IndexFunc(e.Effects, func(x EventEffect) bool { return x.Stream == client })
	if at < 0 {
		return e, nil
	}
	return e, e.Effects[at].Balance
}

// settled is the stream as it was at the end: its units are the connections that were open, each of the same weight.
func (s *Stream) settled(b *Balance) *Stream {
	out := *s
	out.Backends, out.UnitLoads = nil, nil
	counts := make([]float64, 0, len(b.OpenByPod))
	for _, one := range b.OpenByPod {
		share := float64(one.Open) / float64(max(b.Open, 1))
		out.Backends = append(out.Backends, Backend{
			Pod: one.Pod, Eligible: true, Requests: one.Open, Connections: one.Open, Share: share, ExpectedShare: one.Expected / float64(max(b.Open, 1)),
		})
		counts = append(counts, float64(one.Open))
		if one.Open > 0 {
			out.UnitLoads = append(out.UnitLoads, UnitLoad{Backend: one.Pod, Load: 1, Units: one.Open})
		}
	}
	m := skew.Measure(counts)
	out.Skew.MaxOverMean, out.Skew.CV, out.Skew.Gini = m.MaxOverMean, m.CV, m.Gini
	out.Skew.Jain, out.Skew.EffectiveBackends, out.Skew.IdleBackends = m.Jain, m.Effective, m.Idle
	out.Test.Units, out.Test.P, out.Test.AdjustedP = b.Open, b.P, b.AdjustedP
	out.Test.Method = string(skew.MonteCarlo)
	if b.Direction == string(skew.Under) { // clients that deal by themselves: nothing to explain
		out.Test.P, out.Test.AdjustedP = 1, 1
	}
	out.settling = b
	return &out
}

// newShare compares what new pods hold: a share that comes nearer to what the settings say is better.
func (p *streamPair) newShare(about *Settling) (MetricComparison, bool) {
	row := MetricComparison{Name: "newShare", Verdict: NoDifference}
	var has, of [2]int
	for side, runs := range p.runs {
		for _, s := range runs {
			has[side] += s.settling.NewOpen
			of[side] += s.settling.Open
		}
	}
	if min(about.NewPods[0], about.NewPods[1]) == 0 || min(of[0], of[1]) == 0 || about.Expected[0] >= 1 && about.Expected[1] >= 1 {
		return row, false // all pods are new: their part is everything
	}
	row.Before, row.After = float64(has[0])/float64(of[0]), float64(has[1])/float64(of[1])
	row.Difference = row.After - row.Before
	low, high := skew.ProportionDifference(has[0], of[0], has[1], of[1])
	row.Interval = Range{low, high}
	nearer := cmp.Compare(distance(row.Before, about.Expected[0]), distance(row.After, about.Expected[1]))
	switch excludes := low > 0 || high < 0; {
	case excludes && nearer > 0:
		row.Verdict = Better
	case excludes && nearer < 0:
		row.Verdict = Worse
	}
	return row, true
}

func distance(a, b float64) float64 { return max(a-b, b-a) }

// note says which part of the runs is compared.
func (x *Settling) note(stream string) string {
	what := fmt.Sprintf("the last event (%s)", x.Event[0])
	if x.Event[0] != x.Event[1] {
		what = fmt.Sprintf("the last event (%s; %s)", x.Event[0], x.Event[1])
	}
	return fmt.Sprintf("%s: pods changed during the runs. Compared are the connections that were open at the end, after %s; requests, failures and latencies are those of the whole runs.", stream, what)
}
