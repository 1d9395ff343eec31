package analyze

import (
	"cmp"
	"math"
	"slices"

	"github.com/podskew/podskew/record"
)

// era is a stretch of a run in which the facts are known and stay the same. Between two eras nodes may still go by the old
// facts, or the facts are not known: choices made then are judged by neither.
type era struct {
	from, to float64 // seconds since the start of the run, to not included
	atlas    *atlas
}

// settleGrace is how long nodes may take to learn of a change, in seconds, where the record does not say when they had.
const settleGrace = 1.0

// erasOf returns the eras of a run, by time. Without an event it is one, of the facts at the start: who changes something behind a
// run's back does not change what it is held against. With events, what the cluster said of its endpoints tells how they
// changed; if it said nothing, or not all, only the facts before the first and after the last event are known.
func erasOf(rec *record.Record, now, later *atlas) []era {
	done, said := doneTo(rec), endpointEvents(rec)
	if len(done) == 0 && len(said) == 0 || later == nil && len(done) == 0 {
		return []era{{math.Inf(-1), math.Inf(1), now}}
	}
	if list := erasSaid(rec, done, said, now, later); list != nil {
		return list
	}
	if len(done) == 0 {
		return []era{{math.Inf(-1), math.Inf(1), now}}
	}
	first, last := done[0].At, math.Inf(-1)
	for _, e := range done {
		last = max(last, effective(e, settleGrace))
	}
	list := []era{{math.Inf(-1), first, now}}
	if later != nil {
		list = append(list, era{last, math.Inf(1), later})
	}
	return list
}

// effective is when every node in use went by what came of an event: grace after it unless the record says.
func effective(e *record.Event, grace float64) float64 {
	if e.Effective > 0 {
		return max(e.At, e.Effective)
	}
	return e.At + grace
}

// endpointEvents returns what the cluster said of its endpoints, by time.
func endpointEvents(rec *record.Record) []*record.Event {
	var out []*record.Event
	for i := range rec.Events {
		switch e := &rec.Events[i]; e.Kind {
		case record.EventReady, record.EventUnready, record.EventRemoved:
			if e.Target != "" {
				out = append(out, e)
			}
		default:
		}
	}
	slices.SortStableFunc(out, func(a, b *record.Event) int { return cmp.Compare(a.At, b.At) })
	return out
}

// erasSaid follows the endpoints from event to event; nil if that does not lead to the facts at the end.
func erasSaid(rec *record.Record, done, said []*record.Event, now, later *atlas) []era {
	if later == nil || len(said) == 0 {
		return nil
	}
	settings := policySpan(done)
	ready := readyPods(&rec.Facts)
	list := []era{{math.Inf(-1), math.Inf(1), now}}
	for _, e := range said {
		last := &list[len(list)-1]
		last.to = min(last.to, e.At)
		ready[e.Target] = e.Kind == record.EventReady
		list = append(list, era{effective(e, settleGrace), math.Inf(1), factsWith(rec, ready)})
	}
	if !sameReady(ready, readyPods(rec.FactsAfter)) {
		return nil
	}
	list[len(list)-1].atlas = later
	return settings.cut(list, later)
}

// span of time in which settings were changed.
type settingsSpan struct{ from, to float64 }

// policySpan is the time from the first to the last change of a Service's settings; empty without any.
func policySpan(done []*record.Event) settingsSpan {
	s := settingsSpan{math.Inf(1), math.Inf(-1)}
	for _, e := range done {
		if e.Kind == record.EventPolicy {
			s.from, s.to = min(s.from, e.At), max(s.to, effective(e, settleGrace))
		}
	}
	return s
}

// cut takes the time in which settings changed out of eras, and gives those after it the settings of the end. Eras that others have
// cut to nothing go.
func (s settingsSpan) cut(list []era, later *atlas) []era {
	var out []era
	for _, e := range list {
		if s.to < s.from { // no change
			out = append(out, e)
			continue
		}
		before, after := e, e
		before.to, after.from = min(e.to, s.from), max(e.from, s.to)
		if after.atlas != later {
			facts := *after.atlas.facts
			facts.Services = later.facts.Services
			after.atlas = newAtlas(&facts)
		}
		out = append(out, before, after)
	}
	return slices.DeleteFunc(out, func(e era) bool { return !(e.from < e.to) })
}

// readyPods returns the pods that are ready endpoints of some Service.
func readyPods(facts *record.Facts) map[string]bool {
	ready := map[string]bool{}
	for _, e := range facts.Endpoints {
		if e.Ready {
			ready[podOf(facts, e)] = true
		}
	}
	return ready
}

func sameReady(a, b map[string]bool) bool {
	for _, pair := range [][2]map[string]bool{{a, b}, {b, a}} {
		for pod, is := range pair[0] {
			if is && !pair[1][pod] {
				return false
			}
		}
	}
	return true
}

// factsWith returns the facts of the start with other endpoints ready. What is known of an endpoint comes from the facts at either end.
func factsWith(rec *record.Record, ready map[string]bool) *atlas {
	facts := rec.Facts
	facts.Endpoints = nil
	type key struct{ service, pod string }
	listed := map[key]bool{}
	for _, from := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
		for _, e := range from.Endpoints {
			k := key{e.Service, podOf(from, e)}
			if listed[k] {
				continue
			}
			listed[k] = true
			e.Pod, e.Ready, e.Terminating = k.pod, ready[k.pod], false
			facts.Endpoints = append(facts.Endpoints, e)
		}
		for _, p := range from.Pods {
			if !slices.ContainsFunc(facts.Pods, func(have record.Pod) bool { return have.Name == p.Name }) {
				facts.Pods = append(slices.Clip(facts.Pods), p)
			}
		}
	}
	for _, pod := range sortedKeys(ready) { // those that came and went in between
		for i := range facts.Services {
			if k := (key{facts.Services[i].Name, pod}); ready[pod] && !listed[k] && !listedAnywhere(rec, pod) {
				facts.Endpoints = append(facts.Endpoints, record.Endpoint{Service: k.service, Address: pod, Pod: pod, Ready: true, Serving: true})
			}
		}
	}
	return newAtlas(&facts)
}

func listedAnywhere(rec *record.Record, pod string) bool {
	for _, facts := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
		if slices.ContainsFunc(facts.Endpoints, func(e record.Endpoint) bool { return podOf(facts, e) == pod }) {
			return true
		}
	}
	return false
}
