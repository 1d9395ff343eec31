package analyze

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// defaultConfidence is that of an expectation about what is drawn: it fails by chance in one run of a thousand at most.
const defaultConfidence = 0.999

// checker decides expectations about one report.
type checker struct {
	*judge
	report *Report
}

// verdictOn is what came of an expectation for one stream.
type outcome struct {
	passed bool
	text   string // observed, wanted, expected and chance range
}

// check decides every expectation.
func (j *judge) check(r *Report, expect []Expectation) {
	c := &checker{judge: j, report: r}
	r.Expectations = []ExpectationResult{}
	r.Passed = true
	for _, e := range expect {
		result := c.decide(e)
		r.Expectations = append(r.Expectations, result)
		r.Passed = r.Passed && result.Passed
	}
}

func (c *checker) decide(e Expectation) ExpectationResult {
	result := ExpectationResult{Name: e.Name}
	if mode := c.rec.Facts.Cluster.ProxyMode; e.ProxyMode != "" && e.ProxyMode != mode {
		result.Passed, result.NotApplicable = true, true
		result.Detail = fmt.Sprintf("it is about %s mode, and kube-proxy runs in %s mode here", e.ProxyMode, cmp.Or(mode, "an unknown"))
		return result
	}
	if e.FromEffective != nil {
		why := ""
		if e.From, why = c.sinceEffective(*e.FromEffective); why != "" {
			result.Detail = why
			return result
		}
	}
	switch {
	case e.Finding != "":
		result.Passed, result.Detail = c.present(e)
	case e.NoFinding != "":
		result.Passed, result.Detail = c.absent(e)
		if !result.Passed {
			result.ExplainedBy = []Code{e.NoFinding}
		}
		return result
	default:
		result.Passed, result.Detail = c.ofStreams(e)
	}
	if !result.Passed {
		c.explain(e, &result)
	}
	return result
}

// present decides whether a finding is there.
func (c *checker) present(e Expectation) (passed bool, detail string) {
	found := c.matching(e.Finding, e.Stream)
	if len(found) == 0 {
		return false, fmt.Sprintf("no %s%s; found: %s", e.Finding, onStream(e.Stream), c.codesOf(e.Stream))
	}
	return true, found[0].Summary
}

// absent decides whether a finding is not there.
func (c *checker) absent(e Expectation) (passed bool, detail string) {
	found := c.matching(e.NoFinding, e.Stream)
	if len(found) == 0 {
		return true, fmt.Sprintf("no %s%s", e.NoFinding, onStream(e.Stream))
	}
	return false, fmt.Sprintf("%s: %s", e.NoFinding, found[0].Summary)
}

// ofStreams decides an expectation that every stream meant has to meet.
func (c *checker) ofStreams(e Expectation) (passed bool, detail string) {
	passed = true
	var details, failing []string
	for _, s := range c.subjects {
		if e.Stream != "" && s.name != e.Stream {
			continue
		}
		var o outcome
		switch {
		case e.Metric != "":
			o = c.metric(s, e)
		case e.Distribution != "":
			o = c.distribution(s, e)
		default:
			o = c.shares(s, e)
		}
		passed = passed && o.passed
		details = append(details, o.text)
		if !o.passed {
			failing = append(failing, o.text)
		}
	}
	switch {
	case len(details) == 0:
		return false, fmt.Sprintf("there is no stream %q", e.Stream)
	case len(details) <= fewStreams:
	case !passed:
		details = failing // of many streams those that failed are what matters
	default:
		return true, fmt.Sprintf("%s; and so for %d more streams", details[0], len(details)-1)
	}
	return passed, strings.Join(details, "; ")
}

// fewStreams is how many streams an expectation about all of them speaks of one by one.
const fewStreams = 4

func onStream(stream string) string {
	if stream == "" {
		return ""
	}
	return " for " + stream
}

func (c *checker) matching(code Code, stream string) []Finding {
	var found []Finding
	for _, f := range c.report.Findings {
		if f.Code == code && (stream == "" || f.Stream == stream) {
			found = append(found, f)
		}
	}
	return found
}

func (c *checker) codesOf(stream string) string {
	var codes []string
	for _, f := range c.report.Findings {
		if stream == "" || f.Stream == stream {
			codes = append(codes, string(f.Code))
		}
	}
	if len(codes) == 0 {
		return "nothing"
	}
	return strings.Join(codes, ", ")
}

// mostExplaining is how many findings explain one failure at most.
const mostExplaining = 2

// explain points at the findings in whose area the cause of a failure lies: those of the stream, then those of the whole run. What the
// settings ask for comes last.
func (c *checker) explain(e Expectation, result *ExpectationResult) {
	areas := causes(e)
	var found []Finding
	for _, f := range c.report.Findings {
		if slices.Contains(areas, f.Code) && (e.Stream == "" || f.Stream == "" || f.Stream == e.Stream) {
			found = append(found, f)
		}
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(truth(a.ByDesign)-truth(b.ByDesign), cmp.Compare(slices.Index(areas, a.Code), slices.Index(areas, b.Code)))
	})
	for _, f := range found[:min(len(found), mostExplaining)] {
		if !slices.Contains(result.ExplainedBy, f.Code) {
			result.ExplainedBy = append(result.ExplainedBy, f.Code)
		}
		result.Detail += fmt.Sprintf(". %s: %s", f.Code, f.Summary)
	}
}

func truth(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// causes lists the findings that can explain why an expectation is not met, the more telling first.
func causes(e Expectation) []Code {
	failing := []Code{FailingBackend, SNATPortPressure, NoEndpoints, NoLocalEndpoint, StaleEndpoint, MissingEndpoint, MeasurementArtefact, FactsChanged}
	choices := []Code{
		FailingBackend, MissingEndpoint, ForeignBackend, UnexplainedSkew, NoEndpoints, NoLocalEndpoint, StaleEndpoint, FactsChanged,
		AffinityCollapse, AffinityPerNode, RoundRobin, IdleAfterScaleOut, SkewAfterRestart, SlowToBalance, MeasurementArtefact,
	}
	load := []Code{ConnectionPinning, TooFewConnections, UnevenConnectionLoad, IdleBackends, LocalPolicyImbalance, TopologyImbalance}
	sources := []Code{SourceIPLost, HairpinSNAT, ForeignBackend, SourceIPPreserved, FactsChanged, MeasurementArtefact}
	affinity := []Code{AffinityBroken, AffinityCapacity, AffinityCollapse, AffinityPerNode, AffinityExpired, FactsChanged, MissingEndpoint, StaleEndpoint}
	change := []Code{IdleAfterScaleOut, SkewAfterRestart, SlowToBalance, StaleEndpoint, MissingEndpoint, FactsChanged, UnexplainedSkew}
	name, _, _ := strings.Cut(e.Metric, ".")
	switch {
	case e.Finding != "":
		return slices.Concat(affinity[:2], choices, load, sources[:1], failing)
	case e.Metric == "":
		return slices.Concat(choices, load)
	}
	switch name {
	case "errors", "failedShare":
		return failing
	case "sources":
		return sources
	case "affinity":
		return affinity
	case "sessions":
		return slices.Concat([]Code{StickyToWrongPod}, affinity)
	case "timeToBalance", "newPodShare":
		return change
	case "p50", "p99":
		return []Code{GeneratorLimited, MeasurementArtefact, UnevenConnectionLoad, CrossNodeHops, FailingBackend}
	case "late", "dropped", "requestsPerSecond", "requests", "connections":
		return slices.Concat([]Code{GeneratorLimited}, failing)
	}
	return slices.Concat(choices, load)
}

// confidence is what an expectation asks for, or the default.
func (e Expectation) confidence() float64 { return cmp.Or(e.Confidence, defaultConfidence) }

func within(value float64, e Expectation) bool {
	if e.Above != nil && !(value > *e.Above) {
		return false
	}
	if e.Below != nil && !(value < *e.Below) {
		return false
	}
	return e.Equals == nil || math.Abs(value-*e.Equals) <= 1e-9*math.Max(1, math.Abs(*e.Equals))
}

func wanted(e Expectation) string { return wantedAs(e, figure) }

// wantedAs says what is wanted, with numbers in the way given.
func wantedAs(e Expectation, number func(float64) string) string {
	var parts []string
	for _, bound := range []struct {
		word  string
		value *float64
	}{{"above", e.Above}, {"below", e.Below}, {"equal to", e.Equals}} {
		if bound.value != nil {
			parts = append(parts, bound.word+" "+number(*bound.value))
		}
	}
	if len(parts) == 0 {
		return "nothing in particular"
	}
	return strings.Join(parts, " and ")
}
