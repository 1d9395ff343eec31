package analyze_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/analyze"
)

func forecast(t *testing.T, m analyze.Model) *analyze.Forecast {
	t.Helper()
	f, err := m.Forecast()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func metric(f *analyze.Forecast, name string) analyze.Measure {
	for _, m := range f.Metrics {
		if m.Name == name {
			return m
		}
	}
	return analyze.Measure{}
}

// Occupancy of pods by long-lived connections: P(some pod idle), mean share of the busiest pod, mean CV. Known to two digits.
func TestForecastOfOccupancy(t *testing.T) {
	for _, c := range []struct {
		pods, connections int
		idle, most, cv    float64
	}{
		{3, 1, 1, 1, 1.41}, {3, 3, .78, .63, .70}, {3, 5, .38, .56, .57}, {3, 10, .05, .49, .40}, {3, 30, 0, .42, .23}, {3, 100, 0, .38, .13},
		{5, 5, .96, .46, .85}, {5, 10, .48, .38, .60}, {5, 25, .02, .31, .38},
		{10, 10, 1, .28, .93}, {10, 50, .05, .17, .41}, {10, 200, 0, .14, .21},
	} {
		f := forecast(t, analyze.Model{Backends: c.pods, Connections: c.connections})
		for name, pair := range map[string][2]float64{
			"P(some idle)": {f.SomeIdle, c.idle}, "busiest share": {f.MaxShare, c.most}, "CV": {metric(f, "cv").Mean, c.cv},
		} {
			if math.Abs(pair[0]-pair[1]) > 0.0101 {
				t.Errorf("%d connections on %d pods: %s %.4f, want %.2f", c.connections, c.pods, name, pair[0], pair[1])
			}
		}
	}
}

// Fresh connections: CV is about √((n-1)/N).
func TestForecastOfFreshConnections(t *testing.T) {
	for _, c := range []struct {
		pods, connections int
		cv                float64
	}{{3, 300, .082}, {3, 1000, .045}, {3, 3000, .026}, {10, 1000, .095}, {10, 10000, .030}} {
		f := forecast(t, analyze.Model{Backends: c.pods, Connections: c.connections})
		m := metric(f, "cv")
		rms := math.Sqrt(float64(c.pods-1) / float64(c.connections))
		if math.Abs(rms-c.cv) > 0.001 || m.Mean > rms || m.Mean < 0.85*rms || m.Chance[0] > rms || m.Chance[1] < rms {
			t.Errorf("%d connections on %d pods: CV %.4f %.4f, want a little below %.3f", c.connections, c.pods, m.Mean, m.Chance, c.cv)
		}
	}
}

// Means and ranges were measured with other code, 60,000 draws each; counts are whole numbers, so an end may be one step off.
func TestForecastOfChanceRanges(t *testing.T) {
	for _, c := range []struct {
		pods, connections int
		want              map[string]analyze.Measure
	}{
		{3, 4, map[string]analyze.Measure{"maxOverMean": {Mean: 1.78, Chance: analyze.Range{1.5, 3}}, "cv": {Mean: .645, Chance: analyze.Range{.354, 1.414}}, "gini": {Mean: .322, Chance: analyze.Range{.167, .667}}, "idleBackends": {Mean: .60, Chance: analyze.Range{0, 2}}}},
		{3, 10, map[string]analyze.Measure{"maxOverMean": {Mean: 1.48, Chance: analyze.Range{1.2, 2.1}}, "cv": {Mean: .399, Chance: analyze.Range{.141, .787}}, "gini": {Mean: .204, Chance: analyze.Range{.067, .4}}, "effectiveBackends": {Mean: 2.71, Chance: analyze.Range{1.96, 2.97}}}},
		{3, 100, map[string]analyze.Measure{"maxOverMean": {Mean: 1.15, Chance: analyze.Range{1.02, 1.35}}, "cv": {Mean: .126, Chance: analyze.Range{.028, .271}}, "gini": {Mean: .065, Chance: analyze.Range{.013, .14}}, "dispersion": {Mean: 1, Chance: analyze.Range{.04, 3.7}}}},
		{3, 3000, map[string]analyze.Measure{"maxOverMean": {Mean: 1.03, Chance: analyze.Range{1, 1.06}}, "cv": {Mean: .023, Chance: analyze.Range{.004, .05}}}},
		{6, 8, map[string]analyze.Measure{"maxOverMean": {Mean: 2.19, Chance: analyze.Range{1.5, 3.75}}, "cv": {Mean: .758, Chance: analyze.Range{.354, 1.275}}, "idleBackends": {Mean: 1.4, Chance: analyze.Range{0, 3}}}},
		{10, 100, map[string]analyze.Measure{"maxOverMean": {Mean: 1.51, Chance: analyze.Range{1.2, 1.9}}, "cv": {Mean: .292, Chance: analyze.Range{.167, .436}}, "gini": {Mean: .16, Chance: analyze.Range{.09, .238}}, "effectiveBackends": {Mean: 9.55, Chance: analyze.Range{9.07, 9.86}}}},
		{10, 1000, map[string]analyze.Measure{"maxOverMean": {Mean: 1.16, Chance: analyze.Range{1.07, 1.28}}, "cv": {Mean: .092, Chance: analyze.Range{.052, .139}}, "gini": {Mean: .051, Chance: analyze.Range{.028, .076}}}},
		{50, 100, map[string]analyze.Measure{"maxOverMean": {Mean: 2.89, Chance: analyze.Range{2, 4}}, "cv": {Mean: .696, Chance: analyze.Range{.566, .843}}, "effectiveBackends": {Mean: 37.9, Chance: analyze.Range{33.9, 41.6}}, "idleBackends": {Mean: 6.6, Chance: analyze.Range{3, 11}}}},
		{50, 10000, map[string]analyze.Measure{"maxOverMean": {Mean: 1.16, Chance: analyze.Range{1.11, 1.24}}, "cv": {Mean: .07, Chance: analyze.Range{.056, .084}}, "dispersion": {Mean: 1, Chance: analyze.Range{.64, 1.43}}}},
	} {
		f := forecast(t, analyze.Model{Backends: c.pods, Connections: c.connections})
		for name, want := range c.want {
			got := metric(f, name)
			for what, pair := range map[string][2]float64{"mean": {got.Mean, want.Mean}, "low": {got.Chance[0], want.Chance[0]}, "high": {got.Chance[1], want.Chance[1]}} {
				if math.Abs(pair[0]-pair[1]) > 0.012+0.025*pair[1] {
					t.Errorf("%d connections on %d pods: %s %s %.4f, want %.3f", c.connections, c.pods, name, what, pair[0], pair[1])
				}
			}
		}
	}
}

func TestForecastOfDetectionAndEvenness(t *testing.T) {
	f := forecast(t, analyze.Model{Backends: 3, Connections: 300, Hot: 1.25})
	if d := f.Detection; math.Abs(d.SmallestFactor-1.34) > 0.01 || math.Abs(d.HotPower-0.43) > 0.01 || math.Abs(float64(d.HotUnits)-536) > 25 {
		t.Errorf("300 connections on 3 pods: %+v, want 1.34, 0.43 for 1.25x, 536 connections", d)
	}
	if f.Even.Units != 233 {
		t.Errorf("max/mean ≤ 1.2 from %d connections, want 233", f.Even.Units)
	}
}

func TestForecastOfPolicies(t *testing.T) {
	local := forecast(t, analyze.Model{Placement: []int{1, 0, 3}, Policy: "Local", Connections: 400})
	want := []analyze.ForecastShare{{Pods: 1, Node: "node 1", Expected: 0.5, Chance: analyze.Range{0.5, 0.5}}, {Pods: 3, Node: "node 3", Expected: 1. / 6, Chance: analyze.Range{0.135, 0.1975}}}
	if diff := cmp.Diff(want, local.Shares, cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 0.006 })); diff != "" {
		t.Errorf("Local, 1+0+3 pods (-want +got):\n%s", diff)
	}
	if got := metric(local, "maxOverMean").Mean; got != 2 {
		t.Errorf("Local, 1+0+3 pods: max/mean %v, want 2", got)
	}
	if !strings.Contains(strings.Join(local.Notes, " "), "without a pod") {
		t.Errorf("nothing on the empty node: %q", local.Notes)
	}
	cluster := forecast(t, analyze.Model{Placement: []int{1, 0, 3}, Connections: 400})
	if len(cluster.Shares) != 1 || cluster.Shares[0].Expected != 0.25 {
		t.Errorf("Cluster, 1+0+3 pods: %+v, want a quarter each", cluster.Shares)
	}
	clients := forecast(t, analyze.Model{Backends: 3, Connections: 1000, Clients: 10})
	if clients.Unit != "clientIP" || clients.Units != 10 || math.Abs(clients.SomeIdle-0.052) > 0.001 {
		t.Errorf("10 client addresses: %d units of %s, P(idle) %v", clients.Units, clients.Unit, clients.SomeIdle)
	}
	if f := forecast(t, analyze.Model{Placement: []int{1, 1}, Policy: "Local", Connections: 7}); f.Free || f.SomeIdle != 0 {
		t.Errorf("one pod on each node: %+v, want no choice and none idle", f)
	}
}

func TestForecastIsRepeatable(t *testing.T) {
	m := analyze.Model{Placement: []int{2, 3}, Policy: "Local", Connections: 77, Seed: 4}
	if diff := cmp.Diff(forecast(t, m), forecast(t, m)); diff != "" {
		t.Errorf("(-first +second):\n%s", diff)
	}
}

func TestForecastRefuses(t *testing.T) {
	for want, m := range map[string]analyze.Model{
		"at least 1 backend":       {Connections: 1},
		"at least 1 connection":    {Backends: 1},
		"at most 100000":           {Backends: 100_001, Connections: 1},
		"at most 1000000000":       {Backends: 1, Connections: 1_000_000_001},
		"the nodes hold 4 pods":    {Backends: 3, Placement: []int{1, 3}, Connections: 1},
		"-1 pods on a node":        {Placement: []int{-1}, Connections: 1},
		"it is Cluster or Local":   {Backends: 1, Connections: 1, Policy: "Zone"},
		"which nodes":              {Backends: 1, Connections: 1, Policy: "Local"},
		"leave 2 connections":      {Backends: 1, Connections: 5, Requests: 3},
		"6 client addresses for 5": {Backends: 1, Connections: 5, Clients: 6},
		"not 0.5 times":            {Backends: 1, Connections: 5, Hot: 0.5},
	} {
		if _, err := m.Forecast(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", m, err, want)
		}
	}
}

// The largest Services take seconds.
func TestForecastOfManyPodsAndConnections(t *testing.T) {
	if testing.Short() || slowdown > 1 {
		t.Skip("some seconds of simulation")
	}
	start := time.Now()
	f := forecast(t, analyze.Model{Backends: 10_000, Connections: 10_000_000})
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	m := metric(f, "maxOverMean")
	if math.Abs(m.Mean-1.123) > 0.002 || m.Chance != (analyze.Range{1.108, 1.148}) {
		t.Errorf("max/mean %.4f %v, want 1.123 and 1.108 to 1.148", m.Mean, m.Chance)
	}
}

func BenchmarkForecast(b *testing.B) {
	for b.Loop() {
		if _, err := (analyze.Model{Backends: 10_000, Connections: 10_000_000}).Forecast(); err != nil {
			b.Fatal(err)
		}
	}
}
