package report

import (
	"fmt"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// costWords says what the skew costs in pods.
func costWords(c *analyze.Cost) string {
	if c == nil || c.HottestRequests == 0 || c.Capacity > 0.8 {
		return ""
	}
	text := fmt.Sprintf("The hottest pod, %s, had %s, the mean is %s: when it is at its limit, the pods together serve %s of what they could.",
		c.HottestPod, count(c.HottestRequests, "request"), decimal(c.MeanRequests), percent(c.Capacity))
	switch {
	case c.Indivisible:
		text += " One connection alone carries more than the mean: no number of pods divides it."
	case c.ExtraReplicas > 0:
		text += fmt.Sprintf(" %s would bring it down to today's mean.", count(c.ExtraReplicas, "more pod"))
	}
	return text
}

// openLoopWords says whether requests were sent when they were due.
func openLoopWords(o *analyze.OpenLoop) string {
	if o == nil {
		return ""
	}
	text := fmt.Sprintf("Open loop: requests left late by %s (p50), %s (p99), at most %s; latencies count from when they were due.",
		seconds(o.LateP50), seconds(o.LateP99), seconds(o.LateMax))
	if o.Dropped > 0 {
		text += fmt.Sprintf(" %s of %s were never sent.", integer(o.Dropped), integer(o.Intended))
	}
	return text
}

// tailWords says which pod is slow and what the hottest does to the tail.
func tailWords(t *analyze.Tail, alpha float64) string {
	if t == nil || t.HottestPod == "" {
		return ""
	}
	text := fmt.Sprintf("Of the slowest hundredth (above %s), %s with %s of the requests has %s", seconds(t.Threshold), t.HottestPod, percent(t.HotShare), percent(t.HotSlowShare))
	if x := t.HotExcess; x != nil {
		text += fmt.Sprintf(" (a difference of %s to %s percentage points, by resampling connections)", points(x[0]), points(x[1]))
	}
	if t.P99WithoutHot > 0 {
		text += fmt.Sprintf("; without it p99 is %s", seconds(t.P99WithoutHot))
	}
	text += "."
	if t.SlowestPod != "" && t.Method != "none" && t.Method != "" && t.AdjustedP <= alpha {
		text += fmt.Sprintf(" %s is slow: %s of its requests are among them, 1 %% is usual (%s).", t.SlowestPod, percent(t.SlowestRate), probability(t.AdjustedP))
	}
	return text
}

// points is a difference of shares in hundredths.
func points(x float64) string { return fmt.Sprintf("%+.1f", 100*x) }

// orderWords says whether the order of choices shows a rule.
func orderWords(o *analyze.Order) string {
	if o == nil {
		return ""
	}
	return fmt.Sprintf("In order of opening, %s of %s went to the pod of the one a whole turn before (independent choices: %s), %s of %s to the pod of the one just before (%s): %s.",
		integer(o.Matches), integer(o.Of), decimal(o.Expected), integer(o.Repeats), integer(o.RepeatsOf), decimal(o.RepeatsExpected), probability(max(o.P, o.AdjustedP)))
}

// followsWords says that the pod decides how much a connection carries.
func followsWords(d *analyze.Decomposition) string {
	if d == nil || !d.LoadFollowsBackend {
		return ""
	}
	return fmt.Sprintf("How much a connection carries depends on the pod it is on (%s).", probability(d.LoadAdjustedP))
}

// bothEndsWords compares what clients and pods counted.
func bothEndsWords(b *analyze.BothEnds) string {
	if b == nil {
		return ""
	}
	text := fmt.Sprintf("Both ends: clients counted %s, %s counted %s", count(b.Requests, "answer"), count(b.Pods, "pod"), count(b.PodRequests, "request"))
	if b.ByConnection {
		text += fmt.Sprintf("; %s found at both ends, %s with as many requests at either", count(b.Connections, "connection"), integer(b.Agreeing))
	} else if b.WhyNot != "" {
		text += "; single connections could not be compared: " + b.WhyNot
	}
	text += "."
	if b.Missing > 0 {
		text += fmt.Sprintf(" Clients know nothing of %s that pods counted.", count(b.Missing, "request"))
	}
	if b.Surplus > 0 {
		text += fmt.Sprintf(" Clients counted %s more than their pods did.", count(b.Surplus, "answer"))
	}
	return text
}

// limitWords lists what the sources of load were short of.
func limitWords(generators []analyze.GeneratorLoad) string {
	var parts []string
	for _, g := range generators {
		if len(g.Limits) > 0 {
			parts = append(parts, g.Agent+": "+strings.Join(g.Limits, ", "))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	const most = 5
	if left := len(parts) - most; left > 0 {
		parts = append(parts[:most], fmt.Sprintf("and %d more", left))
	}
	return "The load was limited by its source: " + strings.Join(parts, "; ") + "."
}

// more are the sentences about a stream that not every run has. All of them where wide is set; else those that say something
// out of the ordinary.
func more(r *analyze.Report, s *analyze.Stream, wide bool) []string {
	alpha := alphaOf(r)
	sentences := []string{followsWords(s.Decomposition), costWords(s.Cost), openLoopWords(s.OpenLoop)}
	if wide || s.Latency.Tail != nil && s.Latency.Tail.AdjustedP <= alpha && s.Latency.Tail.SlowestPod != "" {
		sentences = append(sentences, tailWords(s.Latency.Tail, alpha))
	}
	if wide || s.Order != nil && max(s.Order.P, s.Order.AdjustedP) <= alpha {
		sentences = append(sentences, orderWords(s.Order))
	}
	sentences = append(sentences, limitWords(s.Generators))
	var out []string
	for _, sentence := range sentences {
		if sentence != "" {
			out = append(out, sentence)
		}
	}
	return out
}

// eventWords says what happened and what each stream met: how many requests failed after it.
func eventWords(e analyze.EventReport) string {
	text := e.What
	var met []string
	if e.Effective > e.At {
		text += fmt.Sprintf("; every node knew %s later", seconds(e.Effective-e.At))
	}
	for _, effect := range e.Effects {
		met = append(met, balanceWords(effect))
		lost := 0
		for _, n := range effect.Errors[1] {
			lost += n
		}
		if lost > 0 {
			met = append(met, fmt.Sprintf("; %s: %s in the %s after it", effect.Stream, count(lost, "error"), seconds(effect.Seconds[1])))
		}
	}
	return text + strings.Join(met, "")
}

// part is a number of connections as a share of all.
func part(n float64, of int) string {
	if of == 0 {
		return none
	}
	return percent(n / float64(of))
}

// balanceWords says how long a stream took to follow an event.
func balanceWords(effect analyze.EventEffect) string {
	b := effect.Balance
	if b == nil || b.Reached == "" {
		return ""
	}
	text := "; " + effect.Stream + ": in balance " + b.Reached
	switch {
	case b.Seconds > 0:
		text = "; " + effect.Stream + ": in balance after " + seconds(b.Seconds)
	case b.Reached == "not within the run":
		text = "; " + effect.Stream + ": not in balance by the end"
	case b.Reached == "not before the next event":
		text = "; " + effect.Stream + ": not in balance before the next event"
	}
	if some := b.NewOpenExpected < float64(b.Open); len(b.NewPods) > 0 && some {
		text += fmt.Sprintf(", %s hold %s of the open connections (%s expected)", count(len(b.NewPods), "new pod"), part(float64(b.NewOpen), b.Open), part(b.NewOpenExpected, b.Open))
	}
	if b.Left > 0 {
		text += fmt.Sprintf(", %s still open to pods that are no endpoints any more", count(b.Left, "connection"))
	}
	return text
}
