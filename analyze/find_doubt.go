package analyze

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// artefacts are signs that something other than the Service was measured.
func (j *judge) artefacts(s *subject) {
	j.generatorLimited(s)
	j.starved(s)
	j.split(s)
	j.pastSidecars(s)
}

// split says that single requests were dealt out where only connections can be.
func (j *judge) split(s *subject) {
	split := 0
	for _, c := range s.rows {
		// A flow whose pod stops being an endpoint is dealt another one: kube-proxy clears its entry in the connection tracking.
		moved := s.unit == unitFlow && len(absencesOf(j.rec, s.plan.Service, c.Backend)) > 0
		if len(c.Others) > 0 && !moved {
			split++
		}
	}
	if split == 0 || s.mesh() != nil || !slices.Contains([]string{"clusterIP", "nodePort", "podIP"}, s.plan.Target) {
		return
	}
	j.add(Finding{
		Code: MeasurementArtefact, Severity: Warning, Stream: s.name,
		Summary: fmt.Sprintf("%s answered by more than one pod: kube-proxy cannot do that, so something in between deals out single requests",
			plural(split, "connection was", "connections were")),
		Evidence: map[string]any{"connections": split},
		Remedies: []Remedy{{What: "look for a mesh sidecar, an HTTP proxy in the environment or an ingress on the way; shares are then its choice, not the Service's"}},
	})
}

// doubts notes what the stream cannot tell.
func (j *judge) doubts(s *subject) {
	j.doubtConnects(s)
	if !s.modelled {
		for _, x := range s.strata {
			if x.at.Outcome == Unknown {
				j.note("%s: no expected shares, so no test: %s.", s.name, x.at.Reason)
				break
			}
		}
		return
	}
	if s.changed {
		j.note("%s: the pods it may reach changed during the run, so its shares were not tested.", s.name)
	}
	if s.untested != "" {
		j.note("%s: its shares were not tested: %s.", s.name, s.untested)
		j.designEffect(s)
	}
	if reason := s.reason(func(p Prediction) bool { return p.Unserved }); reason != "" {
		j.note("%s: %s.", s.name, reason)
	}
	if slices.ContainsFunc(s.strata, func(x *stratum) bool { return x.at.Policy != "" && s.now.nodes[x.at.Decider].Proxy.Mode == modeIPVS }) {
		j.note("%s: kube-proxy in ipvs mode deals connections in turn unless it is told otherwise, which spreads them more evenly than chance: its test finds less than it says.", s.name)
	}
	if s.plan.Target == "url" {
		j.note("%s: no facts are known of this target: %s.", s.name, s.strata[0].at.Reason)
	}
	if s.plain && ofConnections(s.unit) {
		j.note("%s: not every connection has a row, so each is taken to have carried as much as any other.", s.name)
	}
	if s.unit == unitClientIP && len(s.dropped) > 0 {
		j.note("%s: affinity is judged by the %d connections that have rows, of %d.", s.name, len(s.rows), s.opened())
	}
	if s.unknown > 0 && len(s.backends) > 1 { // else it is the one that all are meant for
		part := float64(s.unknown) / float64(s.unknown+s.size())
		text := fmt.Sprintf("%s: %d of the %s that should have been answered were not (%s), and which pods they were meant for is not known", s.name, s.unknown, answerable(s.unit), percent(part))
		if part > unknownMost {
			text += "; that is too many for a verdict above warning"
		}
		j.note("%s.", text)
	}
	j.doubtTest(s)
}

// answerable names what goes unanswered: requests where each is a choice, else connections.
func answerable(unit string) string {
	if unit == unitRequest {
		return "requests"
	}
	return "connections"
}

// designEffect says of requests that shared connections nobody knows how many would have had to, on average, for chance to make such shares.
func (j *judge) designEffect(s *subject) {
	n, units := len(s.backends), s.law.Units()
	if s.plan.Unit != record.UnitUnknown || n < 2 || units == 0 {
		return
	}
	loads := make([]float64, n)
	for i, count := range s.counts {
		loads[i] = float64(count)
	}
	if each := skew.DesignEffect(s.law.Distance(loads), float64(n-1)); each > 1 {
		j.note("%s: chance explains its shares if a connection carried %s requests or more on average; if connections carried fewer, one backend is favoured.", s.name, figure(each))
	} else {
		j.note("%s: chance explains its shares even if each of the %d requests had a connection of its own.", s.name, units)
	}
}

func (j *judge) doubtTest(s *subject) {
	if !s.trial.tested {
		return
	}
	row := s.report.Test
	switch {
	case row.SmallestFactor == 0:
		j.note("%s: %s could not have shown one pod at any multiple of its share%s.", s.name, unitCount(row.Units, s.unit), j.settle(s))
	case row.SmallestFactor > visibleSkew:
		j.note("%s: %s would have shown one pod at %s times its share, not less%s.", s.name, unitCount(row.Units, s.unit), figure(row.SmallestFactor), j.settle(s))
	}
	if s.trial.p <= j.family.alpha && s.trial.result.Direction == skew.Under {
		j.note("%s: the %s are spread more evenly than independent choices would be (%s), as by a rotation.", s.name, unitWords(s.unit), j.family.pText(s.trial))
	}
}

// settle says what it would take to see a pod at twice its share.
func (j *judge) settle(s *subject) string {
	if needed := unitsFor(s.need(j.family), visibleSkew); needed > 0 {
		return fmt.Sprintf("; it takes %d for twice", needed)
	}
	return ""
}

// factsChanged compares what the cluster said before and after the load.
func (j *judge) factsChanged() {
	after := j.rec.FactsAfter
	if after == nil {
		return
	}
	changes := diffFacts(&j.rec.Facts, after)
	if len(changes) == 0 {
		return
	}
	reach := slices.ContainsFunc(j.subjects, func(s *subject) bool { return s.changed })
	severity := Info
	if reach && len(j.rec.Events) == 0 {
		severity = Warning // nobody asked for it
	}
	const most = 20
	j.add(Finding{
		Code: FactsChanged, Severity: severity, ByDesign: len(j.rec.Events) > 0,
		Summary:  fmt.Sprintf("the cluster was not the same after the run as before it: %s", listed(changes)),
		Evidence: map[string]any{"changes": changes[:min(most, len(changes))], "count": len(changes), "eligibleBackendsChanged": reach},
	})
}

// diffFacts lists what differs in a way that can matter to where traffic goes or what it meets.
func diffFacts(before, after *record.Facts) []string {
	var changes []string
	if before.Cluster.ProxyMode != after.Cluster.ProxyMode {
		changes = append(changes, fmt.Sprintf("kube-proxy mode %s is %s", before.Cluster.ProxyMode, after.Cluster.ProxyMode))
	}
	changes = append(changes, diff(before.Cluster.Nodes, after.Cluster.Nodes, "node",
		func(n record.Node) string { return n.Name },
		func(n record.Node) string { return fmt.Sprint(n.Ready, n.Zone, n.IPs, n.PodCIDRs, n.Proxy.Mode) })...)
	changes = append(changes, diff(before.Services, after.Services, "Service",
		func(s record.Service) string { return s.Name },
		func(s record.Service) string { return fmt.Sprintf("%+v", s) })...)
	changes = append(changes, diff(before.Endpoints, after.Endpoints, "endpoint",
		func(e record.Endpoint) string { return e.Service + " " + e.Address },
		func(e record.Endpoint) string { return fmt.Sprintf("%+v", e) })...)
	return append(changes, diff(before.Pods, after.Pods, "pod",
		func(p record.Pod) string { return p.Name },
		func(p record.Pod) string { return fmt.Sprintf("%+v", p) })...)
}

// diff lists, by name, what was added, removed or changed.
func diff[T any](before, after []T, kind string, name, state func(T) string) []string {
	old, now := map[string]T{}, map[string]T{}
	var names []string
	for _, x := range before {
		old[name(x)] = x
		names = append(names, name(x))
	}
	for _, x := range after {
		now[name(x)] = x
		names = append(names, name(x))
	}
	slices.Sort(names)
	var changes []string
	for _, n := range slices.Compact(names) {
		was, had := old[n]
		is, has := now[n]
		switch {
		case !has:
			changes = append(changes, fmt.Sprintf("%s %s is gone", kind, n))
		case !had:
			changes = append(changes, fmt.Sprintf("%s %s is new", kind, n))
		case state(was) != state(is):
			changes = append(changes, fmt.Sprintf("%s %s changed%s", kind, n, fieldsChanged(was, is)))
		}
	}
	return changes
}

// fieldsChanged lists the plain fields of a fact that changed, by their names in the record: "sessionAffinity ClientIP → None".
func fieldsChanged(was, is any) string {
	old, now := reflect.ValueOf(was), reflect.ValueOf(is)
	var words []string
	for i := range old.NumField() {
		field := old.Type().Field(i)
		switch field.Type.Kind() {
		case reflect.String, reflect.Bool, reflect.Int:
		default:
			continue
		}
		if a, b := fmt.Sprint(old.Field(i)), fmt.Sprint(now.Field(i)); a != b {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			words = append(words, fmt.Sprintf("%s %s → %s", name, cmp.Or(a, "none"), cmp.Or(b, "none")))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, ", ") + ")"
}

// runNotes notes what holds for the run as a whole.
func (j *judge) runNotes() {
	j.compareEnds()
	j.saturation()
	end := j.rec.End
	switch {
	case end == nil:
		j.note("The record was cut before the run ended: what follows holds for the part that is there.")
	case end.Interrupted:
		j.note("The run was interrupted: what follows holds for its first %s s.", figure(end.Seconds))
	}
	if end != nil {
		j.notes = append(j.notes, end.Problems...)
	}
	if end != nil && j.rec.FactsAfter == nil && len(j.rec.Facts.Services) > 0 {
		j.note("The facts after the load could not be read: whether anything changed during the run is not known.")
	}
}
