package analyze

import (
	"fmt"
	"slices"

	"github.com/podskew/podskew/record"
)

// missing is a pod that is ready and yet no ready endpoint of a Service that selects its like.
type missing struct {
	service, pod, node string
	atStart, atEnd     bool
}

// missingEndpoints finds pods that nothing is sent to although they are ready by their own status: a label that a selector does not match, an
// EndpointSlice that somebody else wrote, or a controller that does not keep up. What an event of the run did on purpose is none.
func (j *judge) missingEndpoints() {
	var all []*missing
	for _, service := range j.servicesOfEcho() {
		all = append(all, j.missingAt(service)...)
	}
	if len(all) == 0 {
		return
	}
	var names []string
	rows := []map[string]any{}
	for _, m := range all {
		when := "all the time"
		switch {
		case !m.atStart:
			when = "at the end of the run"
		case !m.atEnd && j.rec.FactsAfter != nil:
			when = "when the load began"
		}
		names = append(names, fmt.Sprintf("%s (of %s, %s)", placed(m.pod, m.node), m.service, when))
		rows = append(rows, map[string]any{"pod": m.pod, "node": m.node, "service": m.service, "atStart": m.atStart, "atEnd": m.atEnd})
	}
	verb := "is"
	if len(all) > 1 {
		verb = "are"
	}
	j.add(Finding{
		Code: MissingEndpoint, Severity: Warning,
		Summary:  fmt.Sprintf("%s %s ready and yet no endpoint of the Service: %s", plural(len(all), "pod", "pods"), verb, listed(names)),
		Evidence: map[string]any{"pods": rows, "count": len(all)},
		Remedies: []Remedy{
			{What: "compare the pod's labels with the Service's selector: a pod that lost a label runs on, and gets nothing"},
			{What: "look at the EndpointSlices and at who wrote them last (metadata.managedFields): what is not written by endpointslice-controller.k8s.io is somebody else's"},
			{What: "see whether the controller manager keeps up: it writes the slices from the pods' status"},
		},
	})
}

// servicesOfEcho lists the dialled Services that have echo pods as endpoints.
func (j *judge) servicesOfEcho() []string {
	var names []string
	for _, s := range j.subjects {
		if s.plan.Service == "" || slices.Contains(names, s.plan.Service) {
			continue
		}
		ready := readyEndpoints(&j.rec.Facts, s.plan.Service)
		if slices.ContainsFunc(j.rec.Facts.Pods, func(p record.Pod) bool { return p.Role == "echo" && ready[p.Name] }) {
			names = append(names, s.plan.Service)
		}
	}
	return names
}

// missingAt looks at both ends of the run, at the second only as far as no event explains it.
func (j *judge) missingAt(service string) []*missing {
	var all []*missing
	find := func(p record.Pod) *missing {
		at := slices.IndexFunc(all, func(m *missing) bool { return m.pod == p.Name })
		if at < 0 {
			all = append(all, &missing{service: service, pod: p.Name, node: p.Node})
			at = len(all) - 1
		}
		return all[at]
	}
	for _, p := range unlisted(&j.rec.Facts, service) {
		find(p).atStart = true
	}
	if j.rec.FactsAfter != nil {
		for _, p := range unlisted(j.rec.FactsAfter, service) {
			if !j.meddled(p.Name) {
				find(p).atEnd = true
			}
		}
	}
	return all
}

// unlisted returns the echo pods that are ready and no ready endpoints of a Service.
func unlisted(facts *record.Facts, service string) []record.Pod {
	ready := readyEndpoints(facts, service)
	var out []record.Pod
	for _, p := range facts.Pods {
		if p.Role == "echo" && p.Ready && !p.Standby && !ready[p.Name] {
			out = append(out, p)
		}
	}
	return out
}

// meddled reports whether an event of the run may be why a pod is no endpoint at its end.
func (j *judge) meddled(pod string) bool {
	return slices.ContainsFunc(doneTo(j.rec), func(e *record.Event) bool {
		switch e.Kind {
		case record.EventSlow, record.EventPolicy, record.EventProxy:
			return false
		case record.EventProbe, record.EventLabel:
			return e.Target == pod || e.Target == ""
		default:
			return true
		}
	})
}
