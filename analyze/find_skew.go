package analyze

import (
	"fmt"
	"math"

	"github.com/podskew/podskew/analyze/skew"
)

// unexplained is what is neither by design nor chance.
func (j *judge) unexplained(s *subject) {
	if j.failing(s) {
		return
	}
	j.skewOf(s.trial, s.name, s.unit, s.reused())
}

// pooledSkew looks at streams of one target together, where none of them alone was out of line.
func (j *judge) pooledSkew() {
	for _, t := range j.family.trials {
		if len(t.streams) > 1 && !j.anyRejected(t.streams) {
			j.skewOf(t, "", t.streams[0].unit, true)
		}
	}
}

func (j *judge) anyRejected(streams []*traffic) bool {
	for _, t := range streams {
		if j.family.rejects(j.family.of[t]) {
			return true
		}
	}
	return false
}

// skewOf reports a trial whose law is rejected by the stricter level, with enough units for every pod. What is rejected otherwise is no
// finding of its own: a handful of reused connections have theirs, with p in it, and of the rest a note says how far it goes.
func (j *judge) skewOf(t *trial, stream, unit string, reused bool) {
	if !j.family.rejects(t) {
		return
	}
	few := t.result.MinExpected < fewPerPod
	if few || t.p > j.family.alpha*errorShare {
		if !few || !reused {
			j.noteUnsettled(t, unit)
		}
		return
	}
	severity := Error
	shares := "the shares the settings foresee"
	if t.streams[0].plan.Target == "url" {
		shares = "equal shares" // no settings are known
	}
	summary := fmt.Sprintf("%s do not follow %s: %s (%s)", unitCount(t.law.Units(), unit), shares, t.deviation(), j.family.pText(t))
	if t.unknown > unknownMost {
		severity = Warning
		summary += fmt.Sprintf("; %s of the %s were never answered, so the pods they were meant for are not known", percent(t.unknown), answerable(unit))
	}
	evidence := t.evidence()
	if node := j.nodeAtFault(t); node != nil {
		who := "kube-proxy"
		if t.streams[0].mesh() != nil {
			who = "a sidecar"
		}
		summary += fmt.Sprintf("; only where %s on %s chose: %s", who, node.name, node.text)
		evidence["node"] = node.name
	}
	j.add(Finding{
		Code: UnexplainedSkew, Severity: severity, Stream: stream, Summary: summary,
		Evidence: evidence,
		Remedies: skewRemedies(t.streams[0].plan.Target, unit),
	})
}

// skewRemedies say where to look for who chooses otherwise than foreseen.
func skewRemedies(target, unit string) []Remedy {
	switch {
	case unit == unitRequest:
		return []Remedy{
			{What: "look at the balancing method of the proxy that chooses, and at its weights: least connections, a hash of the client or the path, and weights that differ are no equal choice"},
			{What: "look at how it reaches its backends: few kept-alive connections to them, or several workers that each take turns on their own, favour some"},
			{What: "look for backends that are slow, new (slow start), or marked down for a part of the time"},
		}
	case target == "url":
		return []Remedy{
			{What: "look at who chooses behind the address: a balancer's method and weights, consistent hashing, several addresses of one name"},
			{What: "look for backends that are slow, new, or marked down for a part of the time"},
		}
	}
	return []Remedy{
		{What: "compare the rules of kube-proxy on the client's node with the EndpointSlices: an endpoint listed twice or missing shows as a share of 2/n or 0"},
		{What: "look for what else chooses: a proxy or mesh, a CNI that replaces kube-proxy, consistent hashing, a client-side pool"},
	}
}

// noteUnsettled says of shares that chance hardly explains, why that is not enough to call it a skew, and what would be.
func (j *judge) noteUnsettled(t *trial, unit string) {
	strict := j.family.alpha * errorShare
	text := fmt.Sprintf("%s: the shares differ by more than one run in %s would by chance", t.name, figure(1/j.family.alpha))
	switch {
	case t.p > strict:
		text += fmt.Sprintf(", and by less than one in %s would", figure(1/strict))
	case t.result.MinExpected < fewPerPod:
		text += fmt.Sprintf(", but there are only %s per pod to tell", unitCount(max(1, int(t.result.MinExpected)), unit))
	}
	text += fmt.Sprintf(" (%s): %s", j.family.pText(t), t.deviation())
	if needed := j.unitsToSettle(t); needed > t.law.Units() {
		text += fmt.Sprintf("; %s would settle whether a pod is that far from its share", unitCount(needed, unit))
	}
	j.note("%s.", text)
}

// leastFar is how far from its share a pod has to be for a number of units to be worked out.
const leastFar = 0.01

// unitsToSettle is how many units show a pod as far from its share as the farthest one is, with power 0.8 at the stricter level and
// with at least 5 units for every pod; 0 if no number can.
func (j *judge) unitsToSettle(t *trial) int {
	far, smallest := 0.0, math.Inf(1)
	expected := t.law.Expected()
	for b, e := range expected {
		if e > 0 {
			far = max(far, math.Abs(float64(t.counts[b])/e-1))
			smallest = min(smallest, e)
		}
	}
	share := smallest / float64(t.law.Units())
	need := skew.Need{
		Backends: chosen(t.law), Share: share, Alpha: j.family.alpha * errorShare / float64(max(j.family.size(), 1)), Power: usualPower,
	}
	if far < leastFar {
		return 0
	}
	needed := need.Units(min(1+far, 1/share))
	if needed == 0 {
		return 0
	}
	return max(needed, int(math.Ceil(fewPerPod/share)))
}

// deviation says in which way the counts are off.
func (t *trial) deviation() string {
	r := t.result
	expected := t.law.Expected()
	of := func(b int) string {
		return fmt.Sprintf("%s got %d instead of %s", t.pods[b], t.counts[b], figure(expected[b]))
	}
	switch {
	case r.Direction == skew.Hot && r.Hot >= 0:
		return of(r.Hot)
	case r.Direction == skew.Cold && r.Cold >= 0:
		return of(r.Cold)
	case r.Hot >= 0 && r.Cold >= 0:
		return of(r.Hot) + ", " + of(r.Cold)
	}
	return fmt.Sprintf("X² is %s instead of %s", figure(r.X2), figure(r.MeanX2))
}

func (t *trial) evidence() map[string]any {
	rows := []map[string]any{}
	for b, pod := range t.pods {
		rows = append(rows, map[string]any{"pod": pod, "units": t.counts[b], "expected": t.law.Expected()[b]})
	}
	e := map[string]any{
		"p": t.result.P, "adjustedP": t.p, "method": string(t.result.Method), "direction": string(t.result.Direction), "x2": t.result.X2,
		"df": int(math.Round(t.result.MeanX2)), "effectSize": t.result.EffectSize, "units": t.law.Units(), "byBackend": rows, "unanswered": t.unknown,
	}
	for name, b := range map[string]int{"hot": t.result.Hot, "cold": t.result.Cold} {
		if b >= 0 {
			e[name+"Backend"] = t.pods[b]
			e[name+"TimesExpected"] = float64(t.counts[b]) / t.law.Expected()[b]
		}
	}
	return e
}
