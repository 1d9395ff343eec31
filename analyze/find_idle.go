package analyze

import (
	"fmt"
	"slices"

	"github.com/podskew/podskew/record"
)

// idleUnderAffinity says that pods that were added got nothing because every client that came is held to a pod it had before.
func (j *judge) idleUnderAffinity(s *subject, clue *eventClue) {
	added := s.added()
	if s.unit != unitClientIP || len(added) == 0 || !addsPods(clue.event.Kind) {
		return
	}
	since := lastMoment(s.rows) - clue.event.At
	idle := slices.DeleteFunc(slices.Clone(added), func(pod string) bool {
		b := s.backends[s.byPod[pod]]
		return b.requests+b.connections > 0
	})
	held, opened := s.heldSince(max(clue.event.At, clue.event.Effective))
	if len(idle) == 0 || held == 0 || since < idleFrom {
		return
	}
	timeout := s.affinitySeconds()
	j.add(Finding{
		Code: IdleAfterScaleOut, Severity: Warning, Stream: s.name, ByDesign: true,
		Summary: fmt.Sprintf("%d of %d pods that are new since %q at %s s got nothing in %s s: %s came back with %s, and ClientIP affinity holds each to the pod it had, for %s s after its last connection",
			len(idle), len(added), clue.event.What, figure(clue.event.At), figure(since), plural(held, "client", "clients"), plural(opened, "connection", "connections"), figure(timeout)),
		Evidence: map[string]any{"event": clue.event.What, "at": clue.event.At, "newPods": added, "idlePods": idle, "secondsSince": since,
			"clientsHeld": held, "connectionsOpenedSince": opened, "affinitySeconds": timeout},
		Remedies: []Remedy{
			{What: "a shorter timeoutSeconds: clients that stay away for longer than that are dealt a pod anew; those that come more often never are"},
			{What: "no affinity, and what clients have in common kept outside of the pods: new pods get their part at once", Predicted: map[string]any{
				"newShare": s.fairOf(added), "secondsToBalance": 0,
			}},
		},
	})
}

// added lists the pods that are backends at the end and were none at the start, by name.
func (s *subject) added() []string {
	var out []string
	for _, x := range s.strata {
		for pod := range x.eligible {
			was := slices.ContainsFunc(x.at.Backends, func(b PredictedBackend) bool { return b.Pod == pod })
			if !was && !slices.Contains(out, pod) {
				out = append(out, pod)
			}
		}
	}
	slices.Sort(out)
	return out
}

// heldSince counts the clients that were known and connected again from some time on, and those connections.
func (s *subject) heldSince(at float64) (clients, opened int) {
	for _, p := range s.pairs {
		before, after := false, 0
		for _, c := range p.rows {
			switch {
			case c.Backend == "":
			case c.Opened < at:
				before = true
			default:
				after++
			}
		}
		if before && after > 0 {
			clients++
			opened += after
		}
	}
	return clients, opened
}

// fairOf is the share that the settings at the end give to some pods, of the mean stratum.
func (s *subject) fairOf(pods []string) float64 {
	if s.later == nil || len(s.strata) == 0 {
		return 0
	}
	sum := 0.0
	for _, x := range s.strata {
		for _, b := range s.later.predict(s.plan, x.agent, x.addr).Backends {
			if slices.Contains(pods, b.Pod) {
				sum += b.P
			}
		}
	}
	return sum / float64(len(s.strata))
}

// addsPods reports whether an event is one that new pods come of.
func addsPods(kind record.EventKind) bool {
	return changesChoices(kind) && kind != record.EventPolicy && kind != record.EventCordon
}
