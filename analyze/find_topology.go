package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// topology says that hints keep clients to the pods near them, and that the pods near some are fewer than those near others.
func (j *judge) topology(s *subject) {
	service := findService(s.facts, s.plan.Service)
	if service == nil || !s.modelled || slices.ContainsFunc(s.strata, func(x *stratum) bool { return x.at.Policy == LocalPolicy }) {
		return
	}
	ready, hinted := map[string]string{}, false
	for _, e := range s.facts.Endpoints {
		if e.Service == s.plan.Service && e.Ready {
			ready[podOf(s.facts, e)] = e.Zone
			hinted = hinted || len(e.HintZones) > 0 || len(e.HintNodes) > 0
		}
	}
	if !hinted {
		j.hintsMissing(s, service, ready)
	}
	if !hinted || len(ready) < 2 {
		return
	}
	largest, rows := 0.0, []map[string]any{}
	expected := s.expectedShares()
	unreached := []string{}
	for pod := range ready {
		if at, known := s.byPod[pod]; !known || expected[at] == 0 {
			unreached = append(unreached, pod)
		}
	}
	slices.Sort(unreached)
	for i, b := range s.backends {
		largest = max(largest, expected[i])
		rows = append(rows, map[string]any{"pod": b.pod, "node": b.node, "zone": ready[b.pod], "expectedShare": expected[i], "share": s.shareOf(i)})
	}
	uneven := largest * float64(len(ready))
	if uneven < unevenFrom {
		return
	}
	severity := Info
	if uneven >= notably {
		severity = Warning
	}
	what := "topology hints"
	if strings.EqualFold(service.TopologyMode, "auto") {
		what = "topology-mode " + service.TopologyMode
	}
	if service.TrafficDistribution != "" {
		what = "trafficDistribution " + service.TrafficDistribution
	}
	summary := fmt.Sprintf("under %s connections go to near pods only: over all %d ready pods the settings make a max/mean of %s", what, len(ready), figure(uneven))
	if len(unreached) > 0 {
		summary += fmt.Sprintf(", and %d are near no client of this stream (%s)", len(unreached), listed(unreached))
	}
	j.add(Finding{
		Code: TopologyImbalance, Severity: severity, Stream: s.name, ByDesign: true, Summary: summary,
		Evidence: map[string]any{"setting": what, "byBackend": rows, "readyPods": len(ready), "unreached": unreached, "expectedMaxOverMean": uneven},
		Remedies: []Remedy{
			{What: "spread the pods over the zones as the clients are spread: topologySpreadConstraints on topology.kubernetes.io/zone", Predicted: map[string]any{"maxOverMean": 1.0}},
			{What: "no trafficDistribution, at the price of more hops between nodes and zones", Predicted: map[string]any{"maxOverMean": 1.0, "crossZone": "more"}},
		},
	})
}

// hintsMissing notes that hints were asked for and there are none.
func (j *judge) hintsMissing(s *subject, service *record.Service, zoneOf map[string]string) {
	if len(zoneOf) == 0 || !strings.EqualFold(service.TopologyMode, "auto") {
		return
	}
	j.note("%s: the annotation topology-mode: %s asks for hints, and no endpoint has any (pods by zone: %s%s): the controller gives none where a zone would get a fifth more than its part by CPU, or a node has no zone. Connections go to all pods.",
		s.name, service.TopologyMode, zoneCounts(zoneOf), withoutZone(s.facts))
}

// zoneCounts says how many pods each zone has.
func zoneCounts(zoneOf map[string]string) string {
	counts := map[string]int{}
	for _, zone := range zoneOf {
		counts[cmp.Or(zone, "none")]++
	}
	var words []string
	for _, zone := range sortedKeys(counts) {
		words = append(words, fmt.Sprintf("%s %d", zone, counts[zone]))
	}
	return strings.Join(words, ", ")
}

// withoutZone names the nodes that have no zone.
func withoutZone(facts *record.Facts) string {
	var names []string
	for _, n := range facts.Cluster.Nodes {
		if n.Zone == "" {
			names = append(names, n.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; nodes without a zone: " + listed(names)
}
