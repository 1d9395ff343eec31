package analyze_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
)

// played analyzes a simulated run: so many clients with so many connections of so many requests each to so many pods.
func played(t *testing.T, seed uint64, pods, connections, requests int, hot float64) *analyze.Report {
	t.Helper()
	rec := simulate.Scene{
		Seed: seed, Placement: []int{pods / 2, pods - pods/2}, Hot: hot,
		Streams: []simulate.Stream{{Name: "web", Vantage: "pod", Target: "clusterIP", Clients: 2, Connections: connections / 2, Requests: requests}},
	}.Record()
	r, err := analyze.Analyze(rec, nil, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func compared(t *testing.T, before, after []*analyze.Report) *analyze.Comparison {
	t.Helper()
	c, err := analyze.Compare(before, after)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func metricOf(t *testing.T, c *analyze.Comparison, name string) analyze.MetricComparison {
	t.Helper()
	for _, m := range c.Streams[0].Metrics {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no metric %s", name)
	return analyze.MetricComparison{}
}

func TestCompareCallsFreshConnectionsBetterThanKeepAlive(t *testing.T) {
	c := compared(t, []*analyze.Report{played(t, 1, 6, 8, 400, 0)}, []*analyze.Report{played(t, 2, 6, 3200, 1, 0)})
	m := metricOf(t, c, "maxOverMean")
	if c.Verdict != analyze.Better || m.Verdict != analyze.Better {
		t.Errorf("the verdict is %s, on max/mean %s, want better", c.Verdict, m.Verdict)
	}
	if !(m.Interval[1] < 0 && m.Interval[0] < m.Interval[1] && m.Interval[0] <= m.Difference && m.Difference <= m.Interval[1]) {
		t.Errorf("max/mean %g to %g, difference %g in %v: want an interval below zero that holds the difference", m.Before, m.After, m.Difference, m.Interval)
	}
	if c.Streams[0].Placement.Changed {
		t.Error("both placed connections evenly: the process did not change")
	}
	back := compared(t, []*analyze.Report{played(t, 2, 6, 3200, 1, 0)}, []*analyze.Report{played(t, 1, 6, 8, 400, 0)})
	if back.Verdict != analyze.Worse {
		t.Errorf("the other way round it is %s, want worse", back.Verdict)
	}
}

func TestCompareSeesAHotPod(t *testing.T) {
	even, hot := played(t, 3, 6, 2000, 1, 0), played(t, 4, 6, 2000, 1, 1.5)
	c := compared(t, []*analyze.Report{even}, []*analyze.Report{hot})
	if c.Verdict != analyze.Worse || !c.Streams[0].Placement.Changed || c.Streams[0].Sides[1].Explained {
		t.Errorf("verdict %s, placement %+v, want worse and changed", c.Verdict, c.Streams[0].Placement)
	}
	if again := compared(t, []*analyze.Report{played(t, 5, 6, 2000, 1, 1.5)}, []*analyze.Report{hot}); again.Verdict != analyze.NoDifference {
		t.Errorf("two runs with the same hot pod: %s, want no difference shown", again.Verdict)
	}
}

// TestCompareShowsNoDifferenceBetweenRunsOfOneScenario asks 200 pairs of each kind: at least 95 % must show none.
func TestCompareShowsNoDifferenceBetweenRunsOfOneScenario(t *testing.T) {
	pairs := 200
	if testing.Short() || slowdown > 1 {
		pairs = 60
	}
	type scenario struct {
		name                  string
		pods, connections, of int
		hot                   float64
		runs                  int // of each side
	}
	rows := []scenario{
		{"keep-alive", 6, 8, 200, 0, 1},
	}
	if *fullSize {
		rows = append(rows, []scenario{
			{"fresh connections", 6, 120, 1, 0, 1},
			{"a pool of connections", 6, 60, 20, 0, 1},
			{"two runs on each side", 6, 24, 20, 0, 2},
			{"the same pod is hot", 4, 200, 1, 1.8, 1},
		}...)
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			different := 0
			for i := range uint64(pairs) {
				var sides [2][]*analyze.Report
				for side := range sides {
					for k := range row.runs {
						r := played(t, 1000*i+uint64(10*side+k), row.pods, row.connections, row.of, row.hot)
						for b := range r.Streams[0].Backends { // another run has other pods
							pod := r.Streams[0].Backends[b].Pod
							r.Streams[0].Backends[b].Pod = fmt.Sprint(pod, side, k)
						}
						for u := range r.Streams[0].UnitLoads {
							r.Streams[0].UnitLoads[u].Backend = fmt.Sprint(r.Streams[0].UnitLoads[u].Backend, side, k)
						}
						sides[side] = append(sides[side], r)
					}
				}
				if compared(t, sides[0], sides[1]).Verdict != analyze.NoDifference {
					different++
				}
			}
			t.Logf("%d of %d pairs differ", different, pairs)
			if different > pairs/20 {
				t.Errorf("%d of %d pairs differ, want at most %d", different, pairs, pairs/20)
			}
		})
	}
}

func TestCompareIsTheSameFromJSON(t *testing.T) {
	a, b := played(t, 1, 6, 60, 20, 0), played(t, 2, 6, 60, 20, 0)
	want := compared(t, []*analyze.Report{a}, []*analyze.Report{b})
	var back [2]analyze.Report
	for i, r := range []*analyze.Report{a, b} {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &back[i]); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, compared(t, []*analyze.Report{&back[0]}, []*analyze.Report{&back[1]})); diff != "" {
		t.Error(diff)
	}
}

func TestComparePairsStreams(t *testing.T) {
	rename := func(r *analyze.Report, name string) *analyze.Report {
		r.Streams[0].Client = name
		return r
	}
	c := compared(t, []*analyze.Report{rename(played(t, 1, 6, 8, 9, 0), "web")}, []*analyze.Report{rename(played(t, 2, 6, 8, 9, 0), "fresh")})
	if len(c.Streams) != 1 || len(c.Notes) != 0 {
		t.Errorf("the only streams are not compared: %+v", c.Notes)
	}
	two := rename(played(t, 3, 6, 8, 9, 0), "web")
	two.Streams = append(two.Streams, played(t, 4, 6, 8, 9, 0).Streams...)
	two.Streams[1].Client = "other"
	c = compared(t, []*analyze.Report{two}, []*analyze.Report{rename(played(t, 2, 6, 8, 9, 0), "web")})
	if diff := cmp.Diff([]string{"other is in no run after the change."}, c.Notes); diff != "" {
		t.Error(diff)
	}
	fewer := compared(t, []*analyze.Report{played(t, 1, 6, 60, 9, 0)}, []*analyze.Report{played(t, 1, 4, 60, 9, 0)})
	if fewer.Streams[0].Placement.Method != "none" || len(fewer.Notes) != 1 {
		t.Errorf("other numbers of pods: %+v, %q", fewer.Streams[0].Placement, fewer.Notes)
	}
	if _, err := analyze.Compare(nil, []*analyze.Report{two}); err == nil {
		t.Error("no error without a run before")
	}
	if _, err := analyze.Compare([]*analyze.Report{{}}, []*analyze.Report{two}); err == nil {
		t.Error("no error without a stream")
	}
}
