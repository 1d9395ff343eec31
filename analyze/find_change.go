package analyze

import (
	"fmt"
	"math"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// Thresholds of the findings about change.
const (
	slowFrom    = 10.0 // seconds to balance from which it is called slow
	idleFrom    = 1.0  // seconds after an event before which nothing is said of new pods
	staleGrace  = 2.0  // seconds that the nodes may take to learn of a change, unless the record says when they had
	stopWithin  = 0.5  // seconds before the end of the load in which what closes was open at the end: agents do not stop in one instant
	lifetimeFor = 30.0 // seconds of connection lifetime that remedies propose
)

// changes draws conclusions from the last thing that was done to the cluster.
func (j *judge) changes(s *subject) {
	clue := s.lastEvent(j.family)
	if clue == nil {
		return
	}
	if clue.balance == nil {
		j.idleUnderAffinity(s, clue)
		return
	}
	if j.idleAfterScaleOut(s, clue) {
		return
	}
	j.outOfBalance(s, clue)
}

// lastEvent is what was done to the cluster last of what changes which pods are chosen; nil: nothing was.
func (s *subject) lastEvent(f *family) *eventClue {
	for _, clue := range slices.Backward(f.about[s.traffic].events) {
		if !leavesShares(clue.event.Kind) {
			return clue
		}
	}
	return nil
}

// idleAfterScaleOut says that pods that were added got nothing, and whether they could have. It reports whether all of them did.
func (j *judge) idleAfterScaleOut(s *subject, clue *eventClue) bool {
	b, since := clue.balance, lastMoment(s.rows)-clue.event.At
	var idle []string
	expected := 0.0
	for _, pod := range b.NewPods {
		if at := s.byPod[pod]; s.backends[at].requests == 0 && s.backends[at].connections == 0 {
			idle = append(idle, pod)
		}
	}
	if len(idle) == 0 || since < idleFrom {
		return false
	}
	from, known := clue.knownBy(j.rec, idle)
	opened := s.openedFrom(from)
	if len(b.NewPods) > 0 {
		expected = b.NewExpected * float64(len(idle)) / float64(len(b.NewPods))
	}
	luck := math.Pow(1-expected, float64(opened))
	f := Finding{
		Code: IdleAfterScaleOut, Severity: Warning, Stream: s.name, ByDesign: opened == 0,
		Evidence: map[string]any{"event": clue.event.What, "at": clue.event.At, "newPods": b.NewPods, "idlePods": idle, "secondsSince": since,
			"connectionsOpenedSince": opened, "expectedShare": expected, "probabilityByChance": luck},
		Remedies: s.lifetimeRemedies(b),
	}
	head := fmt.Sprintf("%d of %d pods that are new since %q at %s s got nothing in %s s: ", len(idle), len(b.NewPods), clue.event.What, figure(clue.event.At), figure(since))
	switch {
	case opened == 0:
		f.Summary = head + "no connection was opened since, and those that are open stay with the pod they were opened to"
		if s.plan.Target == "headless" {
			f.Summary += "; clients resolve the name when they open one"
		}
	case luck > j.family.alpha:
		f.Severity = Info
		f.Summary = head + fmt.Sprintf("only %s opened since, of which chance leaves none to them in %s of such runs", plural(opened, "connection was", "connections were"), percent(luck))
	case known:
		f.Severity = Error
		f.Summary = head + fmt.Sprintf("%s opened after all nodes had learned of them, and chance would leave none to them with p = %s", plural(opened, "connection was", "connections were"), figure(luck))
	default:
		f.Summary = head + fmt.Sprintf("%s opened since; when they became ready is not known", plural(opened, "connection was", "connections were"))
	}
	j.add(f)
	return len(idle) == len(b.NewPods)
}

// knownBy is when every node knew of these pods, as the record says, or a moment in which it should have after the last of
// them became ready. known: either is known; it is when the event was asked for otherwise.
func (c *eventClue) knownBy(rec *record.Record, pods []string) (at float64, known bool) {
	if c.event.Effective > 0 {
		return max(c.event.At, c.event.Effective), true
	}
	if ready, ok := readyBy(rec, pods); ok {
		return max(c.event.At, ready+staleGrace), true
	}
	return c.event.At, false
}

// openedFrom counts the connections opened from then on that somebody answered.
func (s *subject) openedFrom(from float64) int {
	n := 0
	for _, c := range s.rows {
		if c.Opened >= from && c.Backend != "" {
			n++
		}
	}
	return n
}

// lifetimeRemedies predict what a bounded lifetime of connections gives to new pods.
func (s *subject) lifetimeRemedies(b *balance) []Remedy {
	fair := float64(len(b.NewPods)) / float64(max(len(b.NewPods)+s.oldPods(b), 1))
	age := Remedy{
		What: fmt.Sprintf("close every connection after %s s (a pool's maximum lifetime, gRPC MAX_CONNECTION_AGE): the new pods' part grows to %s within that time",
			figure(lifetimeFor), percent(fair)),
		Predicted: map[string]any{"lifetimeSeconds": lifetimeFor, "newShareAfterHalf": fair / 2, "newShare": fair, "secondsToBalance": lifetimeFor},
	}
	list := Remedy{
		What:      fmt.Sprintf("choose a pod for each request, with a list of pods that is kept up to date: an L7 proxy, or a headless Service with client-side round robin: the new pods' part is %s at once", percent(fair)),
		Predicted: map[string]any{"newShare": fair, "secondsToBalance": 0},
	}
	if s.plan.Target == "headless" {
		age.What = fmt.Sprintf("bound the age of connections to %s s (gRPC MAX_CONNECTION_AGE, a pool's maximum lifetime) and resolve the name for each new one: the new pods' part grows to %s within that time, and the time that DNS keeps an answer",
			figure(lifetimeFor), percent(fair))
		list.What = fmt.Sprintf("have clients told of new pods, instead of asking a name server when a connection is lost: a resolver that watches the EndpointSlices, xDS, or an L7 proxy: the new pods' part is %s at once", percent(fair))
	}
	if len(b.NewPods) == 0 {
		age.What = fmt.Sprintf("close every connection after %s s (a pool's maximum lifetime, gRPC MAX_CONNECTION_AGE): all fall as the settings say within that time", figure(lifetimeFor))
		age.Predicted = map[string]any{"lifetimeSeconds": lifetimeFor, "secondsToBalance": lifetimeFor}
		list.What, list.Predicted = "choose a pod for each request: an L7 proxy, or a headless Service with client-side round robin", map[string]any{"secondsToBalance": 0}
	}
	return []Remedy{age, list}
}

// oldPods counts the backends at the end that were there at the start.
func (s *subject) oldPods(b *balance) int { return len(s.backends) - len(b.gone) - len(b.NewPods) }

// outOfBalance says that the connections did not come to spread as the settings say, or slowly.
func (j *judge) outOfBalance(s *subject, clue *eventClue) {
	b := clue.balance
	skewed := j.family.upholds(b.claim) && b.Reached == notInTime
	if replacesPods(clue.event.Kind) {
		if skewed {
			j.skewAfterRestart(s, clue)
		}
		return
	}
	if !skewed && !(b.Reached == inTime && b.Seconds >= slowFrom) || clue.event.Kind == record.EventKill {
		return // a node that is dead: what is open is on the others, and not for lack of time
	}
	f := Finding{
		Code: SlowToBalance, Severity: Warning, Stream: s.name,
		Evidence: map[string]any{"event": clue.event.What, "at": clue.event.At, "reached": b.Reached, "window": b.Window, "windows": b.Windows,
			"visibleFactor": b.VisibleFactor, "adjustedP": b.claimP(), "newPods": b.NewPods, "newOpen": b.NewOpen, "open": b.Open},
		Remedies: s.lifetimeRemedies(b),
	}
	if skewed {
		f.Summary = fmt.Sprintf("%s s after %q the open connections still do not fall as the settings say (%s; p = %s adjusted)",
			figure(lastMoment(s.rows)-clue.event.At), clue.event.What, b.where(s), figure(b.claimP()))
	} else {
		f.Evidence["seconds"] = b.Seconds
		f.Summary = fmt.Sprintf("it took %s s after %q until the open connections fell as the settings say, as far as %s can show: a pod at %s times its share",
			figure(b.Seconds), clue.event.What, plural(b.Open, "connection", "connections"), figure(b.VisibleFactor))
	}
	j.add(f)
}

func (b *balance) claimP() float64 {
	if b.claim == nil {
		return 1
	}
	return b.claim.adjusted
}

// where names the pods that hold the most and the fewest open connections, against what is expected.
func (b *balance) where(s *subject) string {
	if b.law == nil {
		return "none is open"
	}
	hot, cold, expected := -1, -1, b.law.Expected()
	over := func(i int) float64 { return float64(b.counts[i]) - expected[i] }
	for i, e := range expected {
		if e == 0 {
			continue
		}
		if hot < 0 || over(i) > over(hot) {
			hot = i
		}
		if cold < 0 || over(i) < over(cold) {
			cold = i
		}
	}
	return fmt.Sprintf("%s holds %d instead of %s, %s %d instead of %s",
		s.backends[hot].pod, b.counts[hot], figure(expected[hot]), s.backends[cold].pod, b.counts[cold], figure(expected[cold]))
}

// skewAfterRestart: clients that reconnect at once meet only the pods that are up by then.
func (j *judge) skewAfterRestart(s *subject, clue *eventClue) {
	b := clue.balance
	j.add(Finding{
		Code: SkewAfterRestart, Severity: Warning, Stream: s.name,
		Summary: fmt.Sprintf("%s s after %q the open connections do not fall as the settings say (%s; p = %s adjusted): clients that reconnect at once meet only the pods that are up by then",
			figure(lastMoment(s.rows)-clue.event.At), clue.event.What, b.where(s), figure(b.claimP())),
		Evidence: map[string]any{"event": clue.event.What, "at": clue.event.At, "open": b.Open, "openByPod": b.table(s), "adjustedP": b.claimP(), "newPods": b.NewPods},
		Remedies: j.reconnectRemedies(s, b),
	})
}

// reconnectRemedies predict what a second choice gives, once all pods are up.
func (j *judge) reconnectRemedies(s *subject, b *balance) []Remedy {
	even := b.eligibleLaw().Chance(j.seed(s, "reconnected"), remedyDraws).MaxOverMean
	return []Remedy{
		{
			What:      "let clients wait a random time before they reconnect, longer than a restart takes: max/mean → " + span2(even),
			Predicted: map[string]any{"maxOverMean": even},
		},
		{
			What: fmt.Sprintf("close every connection after %s s (a pool's maximum lifetime, gRPC MAX_CONNECTION_AGE): max/mean → %s within that time",
				figure(lifetimeFor), span2(even)),
			Predicted: map[string]any{"lifetimeSeconds": lifetimeFor, "maxOverMean": even, "secondsToBalance": lifetimeFor},
		},
		{What: "choose a pod for each request: an L7 proxy", Predicted: map[string]any{"secondsToBalance": 0}},
	}
}

// eligibleLaw is the law of the last window over the pods that it can choose: others would count as idle ones.
func (b *balance) eligibleLaw() *skew.Law {
	var groups []skew.Group
	expected := b.law.Expected()
	for _, g := range b.groups {
		one := skew.Group{Units: g.Units}
		for i, p := range g.P {
			if expected[i] > 0 {
				one.P = append(one.P, p)
			}
		}
		groups = append(groups, one)
	}
	law, err := skew.NewLaw(chosen(b.law), groups)
	if err != nil {
		return b.law // cannot be: it is the same with fewer zeros
	}
	return law
}

func (b *balance) table(s *subject) []map[string]any {
	rows := []map[string]any{}
	if b.law == nil {
		return rows
	}
	for i, e := range b.law.Expected() {
		if e > 0 {
			rows = append(rows, map[string]any{"pod": s.backends[i].pod, "open": b.counts[i], "expected": e})
		}
	}
	slices.SortStableFunc(rows, func(a, b map[string]any) int { return b["open"].(int) - a["open"].(int) })
	return rows
}

// stale is what a backend did after it had stopped being one.
type stale struct {
	pod      string
	since    float64 // seconds since the start of the run; +Inf: before the facts of the end were read
	certain  bool    // every node in use is known to have learned of it by then
	held     int     // connections from before that were still in use
	opened   int     // connections opened after
	requests int     // answered on both
}

// staleEndpoints looks for connections at pods that were not ready, or not there, any more.
func (j *judge) staleEndpoints(s *subject) {
	if !s.changed && len(j.rec.Events) == 0 {
		return
	}
	var all []stale
	end := lastMoment(s.rows)
	for _, b := range slices.Concat(s.backends, s.foreign) {
		for _, gone := range absencesOf(j.rec, s.plan.Service, b.pod) {
			if one := s.staleOf(b.pod, gone, end); one.held+one.opened > 0 && !j.flowsMovedOn(s, b.pod, gone.since) {
				all = append(all, one)
			}
		}
	}
	if len(all) == 0 {
		return
	}
	held, opened, certain := 0, 0, false
	rows := []map[string]any{}
	var names []string
	for _, one := range all {
		held += one.held
		opened += one.opened
		certain = certain || one.certain && one.opened > 0
		if !slices.Contains(names, one.pod) {
			names = append(names, one.pod)
		}
		rows = append(rows, map[string]any{"pod": one.pod, "since": finite(one.since), "held": one.held, "opened": one.opened, "requests": one.requests})
	}
	f := Finding{
		Code: StaleEndpoint, Severity: Info, Stream: s.name, ByDesign: opened == 0,
		Summary: fmt.Sprintf("%s kept in use at pods that are no ready endpoints any more (%s): kube-proxy leaves open connections where they are",
			plural(held, "connection was", "connections were"), listed(names)),
		Evidence: map[string]any{"held": held, "opened": opened, "pods": rows},
		Remedies: []Remedy{
			{What: "let the server close its connections when it is told to stop (a graceful shutdown sends Connection: close or GOAWAY), or bound their lifetime"},
		},
	}
	if opened > 0 {
		f.Severity = Warning
		if certain {
			f.Severity = Error
		}
		f.Summary = fmt.Sprintf("%s opened to pods that had stopped being ready endpoints (%s), and %d were kept in use there",
			plural(opened, "connection was", "connections were"), listed(names), held)
		f.Remedies = append([]Remedy{{What: "compare the rules of kube-proxy on the clients' nodes with the EndpointSlices, and how long it takes to sync"}}, f.Remedies...)
	}
	j.add(f)
}

// flowsMovedOn reports whether a pod that held flows answered nothing in the seconds after an instant: they have gone on to
// others. The row of a flow names the pod that answered first, and does not say until when.
func (j *judge) flowsMovedOn(s *subject, pod string, since float64) bool {
	return s.unit == unitFlow && !slices.ContainsFunc(j.rec.Tallies, func(t record.Tally) bool {
		failed := 0
		for kind, n := range t.Errors {
			if kind != record.ErrStatus {
				failed += n
			}
		}
		return t.Stream == s.plan.ID && t.Backend == pod && float64(t.Second) >= since && t.Requests > failed
	})
}

func finite(x float64) float64 {
	if math.IsInf(x, 0) {
		return 0
	}
	return x
}

// staleOf counts what one pod did while it was gone.
func (s *subject) staleOf(pod string, gone absence, end float64) stale {
	since := gone.since
	one := stale{pod: pod, since: since, certain: gone.certain}
	for _, c := range s.rows {
		if c.Backend != pod {
			continue
		}
		stillOpen := c.Closed == 0 || c.Closed >= end-stopWithin
		switch {
		case c.Opened >= gone.until:
			continue
		case c.Opened > since:
			one.opened++
		case math.IsInf(since, 1) && stillOpen, c.Closed == 0, c.Closed > since && !math.IsInf(since, 1):
			one.held++
		default:
			continue
		}
		one.requests += c.Requests
	}
	return one
}

func readyEndpoint(facts *record.Facts, service, pod string) bool {
	return slices.ContainsFunc(facts.Endpoints, func(e record.Endpoint) bool {
		return e.Service == service && e.Ready && (e.Pod == pod || e.Address == pod)
	})
}
