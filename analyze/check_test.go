package analyze_test

import (
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
)

func TestExpectations(t *testing.T) {
	f := func(x float64) *float64 { return &x }
	cases := []struct {
		name   string
		expect analyze.Expectation
		passed bool
		detail string // part of it
	}{
		{"a finding that is there", analyze.Expectation{Finding: analyze.ConnectionPinning}, true, "8 connections carried"},
		{"a finding that is there, of that stream", analyze.Expectation{Finding: analyze.ConnectionPinning, Stream: "web"}, true, "8 connections carried"},
		{"a finding of another stream", analyze.Expectation{Finding: analyze.ConnectionPinning, Stream: "other"}, false, "no ConnectionPinning for other; found: nothing"},
		{"a finding that is not there", analyze.Expectation{Finding: analyze.Balanced}, false, "no Balanced; found: ConnectionPinning"},
		{"the absence of one that is not there", analyze.Expectation{NoFinding: analyze.UnexplainedSkew}, true, "no UnexplainedSkew"},
		{"the absence of one that is there", analyze.Expectation{NoFinding: analyze.ConnectionPinning}, false, "ConnectionPinning: 8 connections"},
		{"a metric above", analyze.Expectation{Metric: "maxOverMean", Stream: "web", Above: f(1.1)}, true, "maxOverMean is 1.55 for web, wanted above 1.1 (expected 2.23, chance range 1.5 to"},
		{"a metric not above", analyze.Expectation{Metric: "maxOverMean", Above: f(5)}, false, "wanted above 5"},
		{"a metric between", analyze.Expectation{Metric: "cv", Above: f(0), Below: f(3)}, true, "wanted above 0 and below 3"},
		{"a metric at its bound is not below it", analyze.Expectation{Metric: "connections", Below: f(8)}, false, "connections is 8"},
		{"a metric that equals", analyze.Expectation{Metric: "connections", Equals: f(8)}, true, "equal to 8"},
		{"a metric that does not equal", analyze.Expectation{Metric: "connections", Equals: f(7)}, false, "connections is 8 for web, wanted equal to 7"},
		{"errors of a kind that did not happen", analyze.Expectation{Metric: "errors.reset", Equals: f(0)}, true, "errors.reset is 0"},
		{"idle backends", analyze.Expectation{Metric: "idleBackends", Above: f(0)}, true, "idleBackends is 1"},
		{"requests", analyze.Expectation{Metric: "requests", Above: f(40_000)}, true, "requests is 48823"},
		{"the rate", analyze.Expectation{Metric: "requestsPerSecond", Above: f(0)}, true, "requestsPerSecond is"},
		{"Gini", analyze.Expectation{Metric: "gini", Below: f(1)}, true, "gini is"},
		{"Jain", analyze.Expectation{Metric: "jain", Below: f(1)}, true, "jain is"},
		{"effective backends", analyze.Expectation{Metric: "effectiveBackends", Below: f(6)}, true, "effectiveBackends is"},
		{"dispersion", analyze.Expectation{Metric: "dispersion", Above: f(0)}, true, "dispersion is"},
		{"a metric nobody knows", analyze.Expectation{Metric: "beauty", Above: f(0)}, false, `there is no metric "beauty"`},
		{"a stream nobody knows", analyze.Expectation{Metric: "cv", Stream: "other", Above: f(0)}, false, `there is no stream "other"`},
	}
	var all []analyze.Expectation
	for i := range cases {
		cases[i].expect.Name = cases[i].name
		all = append(all, cases[i].expect)
	}
	r := report(t, keepalive().Record(), all...)
	if r.Passed {
		t.Error("the report passed although some expectations did not")
	}
	for i, c := range cases {
		got := r.Expectations[i]
		if got.Passed != c.passed || got.Name != c.name {
			t.Errorf("%s: %+v, want passed %v", c.name, got, c.passed)
		}
		if !strings.Contains(got.Detail, c.detail) {
			t.Errorf("%s: detail %q lacks %q", c.name, got.Detail, c.detail)
		}
	}
	if r := report(t, keepalive().Record()); !r.Passed || r.Expectations == nil {
		t.Error("a run nobody expects anything of has to pass, with an empty list")
	}
}
