package analyze

import (
	"math"
	"slices"

	"github.com/podskew/podskew/record"
)

// absence is a time in which a pod was no ready endpoint of a Service.
type absence struct {
	since   float64 // seconds since the start of the run, the nodes' time to learn of it included; +Inf: before the facts of the end were read
	until   float64 // when it was one again; +Inf: not within the run
	certain bool    // every node in use is known to have learned of it by then
}

// absencesOf finds when a pod that had been a ready endpoint of a Service, or became one, was none.
func absencesOf(rec *record.Record, service, pod string) []absence {
	if service == "" || rec.FactsAfter == nil {
		return nil
	}
	ready := readyEndpoint(&rec.Facts, service, pod)
	var out []absence
	for i := range rec.Events {
		e := &rec.Events[i]
		if e.Target != pod {
			continue
		}
		switch e.Kind {
		case record.EventUnready, record.EventRemoved:
			if ready { // an endpoint that has not been ready yet has not stopped to be
				since, certain := learned(rec, e)
				out = append(out, absence{since: since, until: math.Inf(1), certain: certain})
			}
			ready = false
		case record.EventReady:
			if n := len(out); n > 0 && !ready {
				out[n-1].until = e.At
			}
			ready = true
		default:
		}
	}
	if ready && !readyEndpoint(rec.FactsAfter, service, pod) {
		out = append(out, absence{since: math.Inf(1), until: math.Inf(1)})
	}
	return slices.DeleteFunc(out, func(a absence) bool { return a.until <= a.since && !math.IsInf(a.until, 1) })
}

// learned is when every node had learned that a pod is no ready endpoint any more, or a moment in which that should have
// happened. It is known of what an event did to the pod, for the effect of the event is not there before.
func learned(rec *record.Record, gone *record.Event) (since float64, certain bool) {
	if gone.Effective > 0 {
		return gone.Effective, true
	}
	since = gone.At + staleGrace
	for _, e := range doneTo(rec) {
		if e.Effective < gone.At || e.At > gone.At || !takesAway(e, gone.Target) {
			continue
		}
		if !certain || e.Effective < since {
			since, certain = e.Effective, true
		}
	}
	return since, certain
}

// takesAway reports whether an event may be what took a pod out of the endpoints.
func takesAway(e *record.Event, pod string) bool {
	switch e.Kind {
	case record.EventProbe, record.EventLabel, record.EventDelete:
		return e.Target == pod
	case record.EventScale, record.EventRestart, record.EventSwap, record.EventDrain, record.EventKill:
		return true
	default:
		return false
	}
}

// leavesShares reports whether an event changes neither which pods are chosen nor how.
func leavesShares(kind record.EventKind) bool {
	switch kind {
	case record.EventSlow, record.EventCordon, record.EventProxy:
		return true
	default:
		return false
	}
}

// readyBy is when the last of these pods became a ready endpoint; ok: of all it is known.
func readyBy(rec *record.Record, pods []string) (at float64, ok bool) {
	for _, pod := range pods {
		found := false
		for i := range rec.Events {
			if e := &rec.Events[i]; e.Kind == record.EventReady && e.Target == pod {
				at, found = max(at, e.At), true
			}
		}
		if !found {
			return 0, false
		}
	}
	return at, len(pods) > 0
}

// replacesPods reports whether an event ends pods that others take the place of, so that who was connected to them connects
// again.
func replacesPods(kind record.EventKind) bool {
	switch kind {
	case record.EventRestart, record.EventDelete, record.EventDrain:
		return true
	default:
		return false
	}
}

// changesChoices reports whether an event is known to change which pods are chosen, or how.
func changesChoices(kind record.EventKind) bool { return kind != "" && !leavesShares(kind) }
