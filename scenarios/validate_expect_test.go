package scenarios

import (
	"strings"
	"testing"
)

// expecting is a scenario that expects what the lines say.
func expecting(lines string, more ...string) string {
	return strings.Join(append([]string{
		"apiVersion: podskew.dev/v1alpha1", "kind: Scenario", "metadata: {name: x, description: x}", "spec:", "  echo: {replicas: 3}",
		"  service: {type: ClusterIP}", "  clients: [{name: web, connections: 1, duration: 5s}]",
	}, append(more, "  expect:", "    - "+lines, "")...), "\n")
}

func TestExpectationsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ line, want string }{
		"nothing is expected":                    {"{stream: web}", "write exactly one of finding, noFinding, metric, shares and distribution"},
		"two things are expected":                {"{finding: Balanced, distribution: even}", "write exactly one of"},
		"shares that are more than all":          {"{shares: {worker: 0.7, worker2: 0.6}}", "the shares of the nodes add up to 1.3: at most 1"},
		"a share in per cent":                    {"{shares: {worker: 25}}", "25 is no share: write a number from 0 to 1"},
		"shares of no node":                      {"{shares: {}}", "empty: write nodes and the share"},
		"new pods without an event":              {"{shares: {newPods: 0.5}}", "there are no new pods without an event"},
		"a time to balance without an event":     {"{metric: timeToBalance, below: 5}", "timeToBalance counts from the last event, and there is none"},
		"a distribution nobody knows":            {"{distribution: fair}", `there is no distribution "fair"`},
		"shares with a bound":                    {"{shares: {worker: 0.5}, above: 0.4}", "only a metric has bounds"},
		"a finding in a part of the run":         {"{finding: Balanced, from: 2s}", "a finding is about the whole run"},
		"a window that ends before it begins":    {"{metric: requests, above: 1, from: 3s, to: 2s}", "2s is not after from, 3s"},
		"a window after no event":                {"{metric: requests, above: 1, fromEffective: 0s}", "it counts from the last event, and there is none"},
		"a window before the run":                {"{metric: requests, above: 1, from: -1s}", "-1s is out of range"},
		"lateness in a part of the run":          {"{metric: late, below: 1, from: 1s}", "late is about the whole run"},
		"a confidence about what is counted":     {"{metric: errors.total, equals: 0, confidence: 0.99}", "errors.total is counted, not drawn"},
		"a confidence about a finding":           {"{finding: Balanced, confidence: 0.99}", "findings have a confidence of their own"},
		"a confidence of one":                    {"{distribution: even, confidence: 1}", "1 is out of range"},
		"a confidence in per cent":               {"{distribution: even, confidence: 99.9}", "99.9 is out of range"},
		"a metric without a bound":               {"{metric: sources.client}", "a metric needs a bound"},
		"a class of sources nobody knows":        {"{metric: sources.nobody, above: 0}", `there is no metric "sources.nobody"`},
		"an empty finding":                       {`{finding: ""}`, "empty: write the name of a finding, such as Balanced"},
		"shares of what cannot be a node's name": {"{shares: {Worker_1: 0.5}}", "cannot be the name of a node"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load("x.yaml", []byte(expecting(c.line)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

func TestExpectationsThatAreTaken(t *testing.T) {
	events := "  events: [{at: 2s, scale: 6}]"
	for name, line := range map[string]string{
		"shares of two nodes":                   "{shares: {worker: 0.25, worker2: 0.75}, stream: web}",
		"shares of new pods":                    "{shares: {newPods: 0.5}, confidence: 0.99}",
		"a share of new pods besides all nodes": "{shares: {newPods: 0.5, worker: 1}}",
		"a distribution in a part of the run":   "{distribution: expected, from: 2s, to: 4s}",
		"the balance after an event":            "{metric: timeToBalance, below: 5, confidence: 0.9}",
		"the long run":                          "{metric: maxOverMean, below: 1.2, confidence: 0.999}",
		"sources":                               "{metric: sources.unexpected, equals: 0}",
		"sessions":                              "{metric: sessions.rightPod, above: 0.9}",
		"latency in a second":                   "{metric: p99, below: 0.1, from: 1s, to: 2s}",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Load("x.yaml", []byte(expecting(line, events)))
			if err != nil {
				t.Fatal(err)
			}
			if err := ValidateNodes(s, []string{"kind-worker", "kind-worker2"}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSharesNameNodesThatExist(t *testing.T) {
	s, err := Load("x.yaml", []byte(expecting("{shares: {worker9: 0.5}}")))
	if err != nil {
		t.Fatal(err)
	}
	if err := ValidateNodes(s, []string{"worker", "worker2"}); err == nil || !strings.Contains(err.Error(), `there is no node "worker9"`) {
		t.Errorf("%v", err)
	}
}
