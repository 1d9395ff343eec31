package analyze

import (
	"fmt"
	"math"
	"strings"

	"github.com/podskew/podskew/record"
)

// check decides every expectation.
func check(r *Report, expect []Expectation) {
	r.Expectations = []ExpectationResult{}
	r.Passed = true
	for _, e := range expect {
		passed, detail := r.decide(e)
		r.Expectations = append(r.Expectations, ExpectationResult{Name: e.Name, Passed: passed, Detail: detail})
		r.Passed = r.Passed && passed
	}
}

func (r *Report) decide(e Expectation) (passed bool, detail string) {
	switch {
	case e.Finding != "":
		found := r.matching(e.Finding, e.Stream)
		if len(found) == 0 {
			return false, fmt.Sprintf("no %s%s; found: %s", e.Finding, onStream(e.Stream), r.codesOf(e.Stream))
		}
		return true, found[0].Summary
	case e.NoFinding != "":
		found := r.matching(e.NoFinding, e.Stream)
		if len(found) == 0 {
			return true, fmt.Sprintf("no %s%s", e.NoFinding, onStream(e.Stream))
		}
		return false, fmt.Sprintf("%s: %s", e.NoFinding, found[0].Summary)
	}
	return r.decideMetric(e)
}

func onStream(stream string) string {
	if stream == "" {
		return ""
	}
	return " for " + stream
}

func (r *Report) matching(code Code, stream string) []Finding {
	var found []Finding
	for _, f := range r.Findings {
		if f.Code == code && (stream == "" || f.Stream == stream) {
			found = append(found, f)
		}
	}
	return found
}

func (r *Report) codesOf(stream string) string {
	var codes []string
	for _, f := range r.Findings {
		if stream == "" || f.Stream == stream {
			codes = append(codes, string(f.Code))
		}
	}
	if len(codes) == 0 {
		return "nothing"
	}
	return strings.Join(codes, ", ")
}

// decideMetric holds the metric of every stream meant against the bounds; all have to be within them.
func (r *Report) decideMetric(e Expectation) (passed bool, detail string) {
	passed = true
	var details []string
	for i := range r.Streams {
		s := &r.Streams[i]
		if e.Stream != "" && s.Client != e.Stream {
			continue
		}
		m, ok := s.metric(e.Metric)
		if !ok {
			return false, fmt.Sprintf("there is no metric %q", e.Metric)
		}
		if !within(m.value, e) {
			passed = false
		}
		text := fmt.Sprintf("%s is %s for %s, wanted %s", e.Metric, figure(m.value), s.Client, wanted(e))
		if m.chance != nil && s.Chance.MaxOverMean != (Range{}) { // else no law is known of the choices
			text += fmt.Sprintf(" (chance range %s to %s)", figure(m.chance[0]), figure(m.chance[1]))
		}
		details = append(details, text)
	}
	if len(details) == 0 {
		return false, fmt.Sprintf("there is no stream %q", e.Stream)
	}
	return passed, strings.Join(details, "; ")
}

func within(value float64, e Expectation) bool {
	if e.Above != nil && !(value > *e.Above) {
		return false
	}
	if e.Below != nil && !(value < *e.Below) {
		return false
	}
	return e.Equals == nil || math.Abs(value-*e.Equals) <= 1e-9*math.Max(1, math.Abs(*e.Equals))
}

func wanted(e Expectation) string {
	var parts []string
	for _, bound := range []struct {
		word  string
		value *float64
	}{{"above", e.Above}, {"below", e.Below}, {"equal to", e.Equals}} {
		if bound.value != nil {
			parts = append(parts, bound.word+" "+figure(*bound.value))
		}
	}
	if len(parts) == 0 {
		return "nothing in particular"
	}
	return strings.Join(parts, " and ")
}

// measurement is a metric of a stream with its chance range, if it has one.
type measurement struct {
	value  float64
	chance *Range
}

// metric returns a metric by the name that scenarios use.
func (s *Stream) metric(name string) (measurement, bool) {
	if kind, ok := strings.CutPrefix(name, "errors."); ok {
		return measurement{value: float64(s.Errors[record.ErrorKind(kind)])}, true
	}
	switch name {
	case "maxOverMean":
		return measurement{s.Skew.MaxOverMean, &s.Chance.MaxOverMean}, true
	case "cv":
		return measurement{s.Skew.CV, &s.Chance.CV}, true
	case "gini":
		return measurement{s.Skew.Gini, &s.Chance.Gini}, true
	case "jain":
		return measurement{s.Skew.Jain, &s.Chance.Jain}, true
	case "effectiveBackends":
		return measurement{s.Skew.EffectiveBackends, &s.Chance.EffectiveBackends}, true
	case "idleBackends":
		return measurement{float64(s.Skew.IdleBackends), &s.Chance.IdleBackends}, true
	case "dispersion":
		return measurement{s.Skew.Dispersion, &s.Chance.Dispersion}, true
	case "requests":
		return measurement{value: float64(s.Requests)}, true
	case "connections":
		return measurement{value: float64(s.Connections)}, true
	case "requestsPerSecond":
		return measurement{value: s.RequestsPerSecond}, true
	}
	return measurement{}, false
}
