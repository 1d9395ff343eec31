package scenarios

import (
	"fmt"
	"math"
	"slices"
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
	}
	validateContradictions(s.Spec.Expect, p)
}

func validateExpect(e *Expect, path string, p *problems) {
	given := 0
	for _, field := range []string{e.Finding, e.NoFinding, e.Metric} {
		if field != "" {
			given++
		}
	}
	if given != 1 {
		p.add(path, "write exactly one of finding, noFinding and metric")
		return
	}
	checkKnown(p, path+".finding", "finding", e.Finding, FindingCodes())
	checkKnown(p, path+".noFinding", "finding", e.NoFinding, FindingCodes())
	checkKnown(p, path+".metric", "metric", e.Metric, Metrics())
	validateBounds(e, path, p)
}

// checkKnown notes a name that is not in the list.
func checkKnown(p *problems, path, what, name string, known []string) {
	if name == "" || slices.Contains(known, name) {
		return
	}
	p.add(path, "there is no %s %q: %s", what, name, instead(name, known))
}

// validateBounds checks above, below and equals: a metric needs one, a finding has none.
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
			p.add(path+"."+bound.field, "only a metric has bounds: remove it, or write metric instead of finding")
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

// validateContradictions notes pairs that cannot both hold: a finding that must be there and must not.
func validateContradictions(expect []Expect, p *problems) {
	wanted := map[string]int{}
	for i, e := range expect {
		if e.Finding != "" {
			wanted[e.Finding+"/"+e.Stream] = i
		}
	}
	for i, e := range expect {
		if first, ok := wanted[e.NoFinding+"/"+e.Stream]; ok && e.NoFinding != "" {
			p.add(fmt.Sprintf("spec.expect[%d].noFinding", i), "spec.expect[%d] wants this finding: remove one", first)
		}
	}
}
