package scenarios

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// NewPods is the key of Expect.Shares that stands for all pods that were no backends when the load began.
const NewPods = "newPods"

// The values of Expect.Distribution.
const (
	DistributionExpected = "expected"
	DistributionEven     = "even"
)

// Bounds of Expect.Confidence. Above the upper one a simulation could not tell.
const (
	minConfidence = 0.5
	maxConfidence = 0.999999
)

func validateExpectations(s *Scenario, p *problems) {
	if n := len(s.Spec.Expect); n > maxExpectations {
		p.add("spec.expect", "%d expectations: at most %d", n, maxExpectations)
		return
	}
	streams := make([]string, 0, len(s.Spec.Clients))
	for i := range s.Spec.Clients {
		streams = append(streams, s.Spec.Clients[i].Name)
	}
	for i := range s.Spec.Expect {
		e := &s.Spec.Expect[i]
		path := fmt.Sprintf("spec.expect[%d]", i)
		if e.Stream != "" && !slices.Contains(streams, e.Stream) {
			p.add(path+".stream", "there is no client %q: %s", e.Stream, instead(e.Stream, streams))
		}
		validateExpect(e, path, p)
		proxyModes().check(p, path+".proxyMode", e.ProxyMode)
		validateEventNeeded(s, e, path, p)
	}
	validateContradictions(s.Spec.Expect, p)
}

func validateExpect(e *Expect, path string, p *problems) {
	given := 0
	for _, field := range []string{"finding", "noFinding", "metric", "shares", "distribution"} {
		if p.src.has(path + "." + field) {
			given++
		}
	}
	if given != 1 {
		p.add(path, "write exactly one of finding, noFinding, metric, shares and distribution")
		return
	}
	for _, name := range []struct {
		field, what, value string
		known              []string
	}{
		{"finding", "finding", e.Finding, FindingCodes()}, {"noFinding", "finding", e.NoFinding, FindingCodes()},
		{"metric", "metric", e.Metric, Metrics()}, {"distribution", "distribution", e.Distribution, distributions()},
	} {
		if at := path + "." + name.field; p.src.has(at) {
			checkKnown(p, at, name.what, name.value, name.known)
		}
	}
	validateShares(e, path, p)
	validateBounds(e, path, p)
	validateWindow(e, path, p)
	validateConfidence(e, path, p)
}

func distributions() []string { return []string{DistributionExpected, DistributionEven} }

// checkKnown notes a name that is not in the list.
func checkKnown(p *problems, path, what, name string, known []string) {
	switch {
	case slices.Contains(known, name):
	case name == "":
		p.add(path, "empty: write the name of a %s, such as %s", what, known[0])
	default:
		p.add(path, "there is no %s %q: %s", what, name, instead(name, known))
	}
}

// validateShares checks that shares are shares, and that those of nodes add up to no more than all.
func validateShares(e *Expect, path string, p *problems) {
	at := path + ".shares"
	if !p.src.has(at) {
		return
	}
	if len(e.Shares) == 0 {
		p.add(at, "empty: write nodes and the share of the choices that falls on their pods, such as {worker: 0.25, worker2: 0.75}")
	}
	total := 0.0
	for _, node := range slices.Sorted(maps.Keys(e.Shares)) {
		share, key := e.Shares[node], fieldPath(at, node)
		if node != NewPods {
			checkNodeName(p, key, node)
			total += share
		}
		if !(share >= 0 && share <= 1) { // not a number is none
			p.add(key, "%g is no share: write a number from 0 to 1, such as 0.25 for a quarter", share)
			return
		}
	}
	if total > 1+1e-9 {
		p.add(at, "the shares of the nodes add up to %.4g: at most 1", total)
	}
}

// validateBounds checks above, below and equals: a metric needs one, nothing else has any.
func validateBounds(e *Expect, path string, p *problems) {
	bounds := 0
	for _, bound := range []struct {
		field string
		value *float64
	}{{"above", e.Above}, {"below", e.Below}, {"equals", e.Equals}} {
		if bound.value == nil {
			continue
		}
		bounds++
		switch {
		case e.Metric == "":
			p.add(path+"."+bound.field, "only a metric has bounds: remove it, or write a metric")
		case math.IsNaN(*bound.value) || math.IsInf(*bound.value, 0):
			p.add(path+"."+bound.field, "write a plain number")
		}
	}
	switch {
	case e.Metric == "":
	case bounds == 0:
		p.add(path, "a metric needs a bound: write above, below (or both) or equals")
	case e.Equals != nil && bounds > 1:
		p.add(path+".equals", "equals excludes above and below: keep one")
	case e.Above != nil && e.Below != nil && *e.Above >= *e.Below:
		p.add(path+".above", "nothing is above %g and below %g", *e.Above, *e.Below)
	}
}

// validateWindow checks from and to.
func validateWindow(e *Expect, path string, p *problems) {
	effective := time.Duration(0)
	if e.FromEffective != nil {
		effective = *e.FromEffective
	}
	for _, end := range []struct {
		field string
		at    time.Duration
	}{{"from", e.From}, {"to", e.To}, {"fromEffective", effective}} {
		at := path + "." + end.field
		switch {
		case !p.src.has(at):
		case e.Finding != "" || e.NoFinding != "":
			p.add(at, "a finding is about the whole run: remove it, or write a metric, shares or a distribution")
		case slices.Contains([]string{"timeToBalance", "late", "dropped"}, e.Metric):
			p.add(at, "%s is about the whole run: remove it", e.Metric)
		case end.at < 0 || end.at > maxDuration:
			p.add(at, "%s is out of range: %s to %s", end.at, shortDuration(0), shortDuration(maxDuration))
		}
	}
	if p.src.has(path+".to") && e.To <= e.From {
		p.add(path+".to", "%s is not after from, %s: nothing lies between", e.To, e.From)
	}
	if at := path + ".fromEffective"; e.FromEffective != nil {
		switch {
		case p.src.has(path + ".from"):
			p.add(at, "a time counts from the start or from the last event: remove from, or it")
		case p.src.has(path + ".to"):
			p.add(at, "nobody knows beforehand whether that is before to: remove to, or it")
		}
	}
}

// validateConfidence checks that what is asked of a test is asked of what is random.
func validateConfidence(e *Expect, path string, p *problems) {
	at := path + ".confidence"
	switch {
	case !p.src.has(at):
	case e.Finding != "" || e.NoFinding != "":
		p.add(at, "findings have a confidence of their own: remove it")
	case e.Metric != "" && !drawn(e.Metric):
		p.add(at, "%s is counted, not drawn: it is compared as it is; remove it", e.Metric)
	case !(e.Confidence >= minConfidence && e.Confidence <= maxConfidence):
		p.add(at, "%g is out of range: %g to %g", e.Confidence, minConfidence, maxConfidence)
	}
}

// drawn reports whether a metric is, or with a confidence can be taken as, a statement about choices and not about one run.
func drawn(metric string) bool {
	for _, prefix := range []string{"sources.", "affinity.", "sessions."} {
		if strings.HasPrefix(metric, prefix) {
			return true
		}
	}
	return slices.Contains([]string{"maxOverMean", "cv", "gini", "jain", "effectiveBackends", "timeToBalance", "newPodShare"}, metric)
}

// validateEventNeeded notes expectations about what follows an event where there is none.
func validateEventNeeded(s *Scenario, e *Expect, path string, p *problems) {
	if len(s.Spec.Events) > 0 {
		return
	}
	if e.Metric == "timeToBalance" || e.Metric == "newPodShare" {
		p.add(path+".metric", "%s counts from the last event, and there is none: add an event under spec.events", e.Metric)
	}
	if e.FromEffective != nil {
		p.add(path+".fromEffective", "it counts from the last event, and there is none: write from, or add an event under spec.events")
	}
	if _, ok := e.Shares[NewPods]; ok {
		p.add(fieldPath(path+".shares", NewPods), "there are no new pods without an event: add one under spec.events")
	}
}

// validateContradictions notes pairs that cannot both hold: a finding that must be there and must not.
func validateContradictions(expect []Expect, p *problems) {
	wanted := map[string][]int{}
	for i, e := range expect {
		if e.Finding != "" {
			wanted[e.Finding+"/"+e.Stream] = append(wanted[e.Finding+"/"+e.Stream], i)
		}
	}
	for i, e := range expect {
		if e.NoFinding == "" {
			continue
		}
		for _, first := range wanted[e.NoFinding+"/"+e.Stream] {
			if mode := expect[first].ProxyMode; mode == "" || e.ProxyMode == "" || mode == e.ProxyMode {
				p.add(fmt.Sprintf("spec.expect[%d].noFinding", i), "spec.expect[%d] wants this finding: remove one", first)
				break
			}
		}
	}
}
