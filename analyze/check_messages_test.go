package analyze_test

import (
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// Messages say what was observed, wanted and expected, with counts and what chance makes of it, and what explains a failure.
func TestExpectationsSayWhatTheySaw(t *testing.T) {
	fresh := simulate.Scene{Seed: 4, Placement: []int{1, 1, 1}, Streams: []simulate.Stream{{Name: "web", Connections: 300}}}
	grown := simulate.Scene{Seed: 4, Placement: []int{1, 1, 1}, Events: []simulate.Event{{At: 2, Placement: []int{2, 2, 2}}}, Streams: []simulate.Stream{{Name: "web", Connections: 600}}}
	short := simulate.Scene{Seed: 4, Placement: []int{1, 1, 1}, Streams: []simulate.Stream{{Name: "web", Connections: 5}}}
	broken := func() *record.Record { return refusing(fresh.Record(), "echo-b0") }
	for name, c := range map[string]struct {
		rec    func() *record.Record
		expect analyze.Expectation
		passed bool
		words  []string
		by     analyze.Code
	}{
		"a share that is as wanted": {fresh.Record, analyze.Expectation{Shares: map[string]float64{"worker": 1.0 / 3}}, true,
			[]string{"of 300 connections fell on worker", "wanted 33.3 %", "(chance range ", "fell on other nodes"}, ""},
		"a share that is not": {fresh.Record, analyze.Expectation{Shares: map[string]float64{"worker": 0.1}}, false,
			[]string{"of 300 connections fell on worker", "wanted 10 %, by the settings 33.3 %"}, ""},
		"a share of too few": {short.Record, analyze.Expectation{Shares: map[string]float64{"worker": 0.5}}, true,
			[]string{"5 cannot tell other shares from these: it takes at least 11"}, ""},
		"a node by the end of its name": {func() *record.Record {
			rec := fresh.Record()
			rec.Facts.Cluster.Nodes[2].Name = "kind-worker3"
			return rec
		}, analyze.Expectation{Shares: map[string]float64{"worker3": 1}}, false, []string{"fell on worker3 (0 %)"}, ""},
		"an even distribution": {fresh.Record, analyze.Expectation{Distribution: "even"}, true,
			[]string{"300 connections fell evenly on 3 pods (p = ", "expected 100 (chance range ", "times its share would have been seen"}, ""},
		"a distribution with a pod that refuses": {broken, analyze.Expectation{Distribution: "expected"}, true,
			[]string{"that nobody answered are taken to have been meant for the pods that got too little"}, ""},
		"errors of a pod that refuses": {broken, analyze.Expectation{Metric: "errors.total", Equals: new(0.0)}, false,
			[]string{" of 300 requests for web, wanted equal to 0. FailingBackend: echo-b0 on worker2 is behind all failures"}, analyze.FailingBackend},
		"backends that answered": {broken, analyze.Expectation{Metric: "backends", Equals: new(3.0)}, false, []string{"backends is 2 of 3"}, analyze.FailingBackend},
		"the share that failed":  {broken, analyze.Expectation{Metric: "failedShare", Below: new(0.1)}, false, []string{"failedShare is 0.3", "of 300)"}, analyze.FailingBackend},
		"a share that too few connections tell": {short.Record, analyze.Expectation{Metric: "affinity.held", Above: new(0.7)}, true,
			[]string{"of 4 pairs of a client's successive connections", "cannot tell the two apart: it takes about "}, ""},
		"new pods":    {grown.Record, analyze.Expectation{Metric: "newPodShare", Above: new(0.8)}, false, []string{"connections since the last event), wanted above 80 %, expected 50 %"}, analyze.FactsChanged},
		"the balance": {grown.Record, analyze.Expectation{Metric: "timeToBalance", Below: new(1.0)}, true, []string{`timeToBalance for web is 0 s after "scaled echo to 6", wanted below 1 s`}, ""},
		"latency":     {fresh.Record, analyze.Expectation{Metric: "p99", Below: new(0.1)}, true, []string{"p99 is 0.000", " s for web, wanted below 0.1"}, ""},
		"requests in a part of the run": {fresh.Record, analyze.Expectation{Metric: "requests", Equals: new(60.0), From: 1, To: 2}, true,
			[]string{"requests is 60 for web from 1 s to 2 s"}, ""},
		"the schedule of a closed loop": {fresh.Record, analyze.Expectation{Metric: "late", Below: new(1.0)}, false, []string{"a closed loop has no schedule to keep"}, ""},
		"sources":                       {fresh.Record, analyze.Expectation{Metric: "sources.client", Equals: new(1.0)}, true, []string{"sources.client for web is 100 % (300 of 300 connections), wanted equal to 100 %, expected 100 %"}, ""},
		"sessions where there are none": {fresh.Record, analyze.Expectation{Metric: "sessions.held", Equals: new(1.0)}, false, []string{"there were no pairs of a session's successive choices"}, ""},
		"a part in which nothing was sent": {fresh.Record, analyze.Expectation{Distribution: "even", From: 8}, false,
			[]string{"web from 8 s on: nothing was opened that could be answered"}, ""},
		"a finding that is not there": {broken, analyze.Expectation{Finding: analyze.Balanced}, false, []string{"no Balanced; found: FailingBackend", "is behind all failures"}, analyze.FailingBackend},
	} {
		t.Run(name, func(t *testing.T) {
			x := report(t, c.rec(), c.expect).Expectations[0]
			if x.Passed != c.passed {
				t.Errorf("passed %v, want %v", x.Passed, c.passed)
			}
			for _, word := range c.words {
				if !strings.Contains(x.Detail, word) {
					t.Errorf("%s\nlacks %q", x.Detail, word)
				}
			}
			if c.by != "" && (len(x.ExplainedBy) == 0 || x.ExplainedBy[0] != c.by) {
				t.Errorf("explained by %v, want %s", x.ExplainedBy, c.by)
			}
		})
	}
}
