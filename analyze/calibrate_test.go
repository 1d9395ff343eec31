package analyze_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/internal/simulate"
)

// balancedScenes are runs in which everything follows the settings, of every kind of test a report can hold.
func balancedScenes() map[string]simulate.Scene {
	three := []int{1, 1, 1}
	return map[string]simulate.Scene{
		"fresh connections, enumerated": {Placement: three, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 100}}},
		"fresh connections, simulated":  {Placement: []int{2, 2, 2}, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 75}}},
		"client addresses":              {Placement: three, AffinitySeconds: 600, Streams: []simulate.Stream{{Name: "web", Clients: 40, Connections: 3}}},
		"a Local policy": {Placement: []int{1, 3}, ExternalLocal: true,
			Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Connections: 100}}},
		"three streams and their sum": {Placement: three, Streams: []simulate.Stream{
			{Name: "a", Connections: 40}, {Name: "b", Connections: 60}, {Name: "c", Connections: 30, Requests: 20, Spread: 0.5},
		}},
		"keep-alive connections": {Placement: three, Streams: []simulate.Stream{{Name: "web", Connections: 20, Requests: 50, Spread: 0.3}}},
	}
}

// The stated false-alarm rate is one report in a hundred: more than chance allows must not have a finding above info,
// other than those that the settings ask for.
func TestFalseAlarms(t *testing.T) {
	const alpha = 0.01
	runs := 1_000
	if testing.Short() || slowdown > 1 {
		runs = 200
	}
	scenes := balancedScenes()
	runs /= len(scenes)
	alarms, all := 0, 0
	for name, scene := range scenes {
		t.Run(name, func(t *testing.T) {
			hits := 0
			for i := range runs {
				scene.Seed = skew.NewSeed(name, strconv.Itoa(i))[0]
				if f := alarm(report(t, scene.Record())); f != nil {
					t.Logf("seed %d: %s %s: %s", scene.Seed, f.Severity, f.Code, f.Summary)
					hits++
				}
			}
			if skew.UpperTail(hits, runs, alpha) < 1e-4 {
				t.Errorf("%d false alarms in %d reports", hits, runs)
			}
			alarms += hits
			all += runs
		})
	}
	if skew.UpperTail(alarms, all, alpha) < 1e-4 {
		t.Errorf("%d false alarms in %d reports of all kinds", alarms, all)
	}
}

// alarm returns a finding above info that the settings do not explain.
func alarm(r *analyze.Report) *analyze.Finding {
	for i, f := range r.Findings {
		if f.Severity != analyze.Info && !f.ByDesign {
			return &r.Findings[i]
		}
	}
	return nil
}

func TestSkewsThatAreFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		scene simulate.Scene
		least float64 // of the runs
	}{
		{"1.5x on one of six pods in 3,000 connections", simulate.Scene{Hot: 1.5, Placement: []int{2, 2, 2}, Streams: []simulate.Stream{{Name: "web", Connections: 3000}}}, 1},
		{"2x on one of three pods in 200 client addresses", simulate.Scene{Hot: 2, Placement: []int{1, 1, 1}, AffinitySeconds: 600, Streams: []simulate.Stream{{Name: "web", Clients: 200, Connections: 1}}}, 1},
		{"2x among the three pods of a node under Local", simulate.Scene{Hot: 2, Placement: []int{3, 1}, ExternalLocal: true,
			Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Connections: 400}}}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			const runs = 5 / slowdown
			seen := 0
			for seed := range uint64(runs) {
				c.scene.Seed = seed
				if has(report(t, c.scene.Record()), analyze.UnexplainedSkew) {
					seen++
				}
			}
			if got := float64(seen) / runs; got < c.least {
				t.Errorf("found in %.2f of the runs, want %.2f", got, c.least)
			}
		})
	}
}

// What a report says it would have seen it does see, about as often as it says.
func TestSmallestFactorIsSeen(t *testing.T) {
	scene := simulate.Scene{Placement: []int{1, 1, 1}, Streams: []simulate.Stream{{Name: "web", Connections: 300}}}
	scene.Hot = report(t, scene.Record()).Streams[0].Test.SmallestFactor
	if scene.Hot < 1.3 || scene.Hot > 1.4 {
		t.Fatalf("smallest factor %v, want 1.34", scene.Hot)
	}
	const runs = 150 / slowdown
	seen := 0
	for seed := range uint64(runs) {
		scene.Seed = seed
		if has(report(t, scene.Record()), analyze.UnexplainedSkew) {
			seen++
		}
	}
	if skew.LowerTail(seen, runs, 0.8) < 1e-3 {
		t.Errorf("seen in %d of %d runs, want 80 %% of them", seen, runs)
	}
}

func BenchmarkAnalyze(b *testing.B) {
	for _, connections := range []int{3_000, 100_000} {
		b.Run(fmt.Sprintf("%d connections", connections), func(b *testing.B) {
			scene := simulate.Scene{Seed: 1, Placement: []int{4, 4, 4}, Streams: []simulate.Stream{{Name: "web", Clients: 10, Connections: connections / 10}}}
			rec := scene.Record()
			for b.Loop() {
				report(b, rec)
			}
		})
	}
}
