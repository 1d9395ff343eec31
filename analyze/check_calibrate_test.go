package analyze_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/internal/simulate"
)

// held is an expectation whose bound is the truth of a scene, and one beside it that a run of the scene has to contradict.
type held struct {
	name         string
	true, untrue analyze.Expectation
}

// heldScene is a scene with what is true of it.
type heldScene struct {
	name  string
	scene simulate.Scene
	held  []held
}

func heldScenes() []heldScene {
	third := 1.0 / 3
	thirds := map[string]float64{"worker": third, "worker2": third, "worker3": third}
	shares := func(m map[string]float64) analyze.Expectation { return analyze.Expectation{Shares: m} }
	like := func(d string) analyze.Expectation { return analyze.Expectation{Distribution: d} }
	equals := func(metric string, x float64) analyze.Expectation {
		return analyze.Expectation{Metric: metric, Equals: new(x)}
	}
	above := func(metric string, x float64) analyze.Expectation {
		return analyze.Expectation{Metric: metric, Above: new(x)}
	}
	below := func(metric string, x float64) analyze.Expectation {
		return analyze.Expectation{Metric: metric, Below: new(x)}
	}
	const oneHot = 1.5 / 3
	hotCV := 0.35355339059327373 // of shares 1/2, 1/4, 1/4
	return []heldScene{
		{"fresh connections over three pods", simulate.Scene{Placement: []int{1, 1, 1}, Streams: []simulate.Stream{{Name: "web", Connections: 300}}}, []held{
			{"every node gets a third", shares(thirds), shares(map[string]float64{"worker": 0.5})},
			{"one node gets a third", shares(map[string]float64{"worker2": third}), shares(map[string]float64{"worker2": 0.12})},
			{"the settings foresee it", like("expected"), equals("affinity.held", 0.5)},
			{"it is even", like("even"), below("affinity.held", 0.15)},
			{"successive connections meet the same pod by luck", equals("affinity.held", third), above("affinity.held", 0.55)},
			{"in a part of the run", analyze.Expectation{Shares: thirds, From: 1, To: 4}, analyze.Expectation{Shares: map[string]float64{"worker": 0.6}, From: 1, To: 4}},
		}},
		{"a node with one pod and a node with three under Local", simulate.Scene{Placement: []int{1, 3}, ExternalLocal: true,
			Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Connections: 200}}}, []held{
			{"both nodes get a half", shares(map[string]float64{"worker": 0.5, "worker2": 0.5}), shares(map[string]float64{"worker": 0.25, "worker2": 0.75})},
			{"the settings foresee it", like("expected"), like("even")},
		}},
		{"client addresses under affinity", simulate.Scene{Placement: []int{1, 1, 1}, AffinitySeconds: 600, Streams: []simulate.Stream{{Name: "web", Clients: 90, Connections: 3}}}, []held{
			{"every node gets a third", shares(thirds), shares(map[string]float64{"worker": 0.05})},
			{"the settings foresee it", like("expected"), equals("affinity.held", 0.9)},
			{"every client keeps its pod", equals("affinity.held", 1), below("affinity.held", 0.9)},
		}},
		{"a pod with half of the choices", simulate.Scene{Placement: []int{1, 1, 1}, Hot: 1.5, Streams: []simulate.Stream{{Name: "web", Connections: 400, Requests: 20, Spread: 0.2}}}, []held{
			{"its node gets a half", shares(map[string]float64{"worker": oneHot}), shares(thirds)},
			{"max over mean is not above", below("maxOverMean", 1.5), below("maxOverMean", 1.02)},
			{"max over mean is not below", above("maxOverMean", 1.5), above("maxOverMean", 2.2)},
			{"the variation is not above", below("cv", hotCV), below("cv", 0.02)},
			{"the variation is not below", above("cv", hotCV), above("cv", 0.9)},
			{"Jain is not above", below("jain", 1/(1+hotCV*hotCV)), below("jain", 0.6)},
		}},
		{"twice the pods from two seconds on", simulate.Scene{Placement: []int{1, 1, 1}, Events: []simulate.Event{{At: 2, Placement: []int{2, 2, 2}}},
			Streams: []simulate.Stream{{Name: "web", Connections: 600}}}, []held{
			{"new pods get a half", equals("newPodShare", 0.5), below("newPodShare", 0.3)},
			{"and so say the shares", shares(map[string]float64{"newPods": 0.5}), shares(map[string]float64{"newPods": 0.2})},
			{"the settings foresee it", like("expected"), like("even")},
			{"the balance is there at once", below("timeToBalance", 0.01), like("even")},
		}},
		{"a node's port from outside", simulate.Scene{Placement: []int{1, 1, 1},
			Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", TargetNodes: []int{0}, Connections: 300}}}, []held{
			{"a third is answered on the node", equals("sources.pod-gateway", third), below("sources.receiving-node", 0.5)},
			{"nothing is unexpected", equals("sources.unexpected", 0), above("sources.client", 0.05)},
		}},
	}
}

// An expectation whose bound is exactly the truth fails by chance no more often than its confidence says, at each of two confidences; one that is
// untrue fails in every run, or nearly.
func TestExpectationsAreCalibrated(t *testing.T) {
	runs := 80
	switch {
	case *fullSize:
		runs = 1_000
	case testing.Short() || slowdown > 1:
		runs = 12
	}
	for _, c := range heldScenes() {
		t.Run(c.name, func(t *testing.T) {
			runs := runs
			if c.scene.Hot > 1 {
				runs /= 4 // bounds of the long run are simulated
			}
			for _, confidence := range []float64{0.9, 0.999} {
				var expect []analyze.Expectation
				for _, h := range c.held {
					h.true.Confidence, h.untrue.Confidence = confidence, confidence
					expect = append(expect, h.true, h.untrue)
				}
				failed := make([][]bool, runs)
				details := make([]string, len(expect))
				onAllProcessors(runs, func(i int) {
					scene := c.scene
					scene.Seed = skew.NewSeed(c.name, fmt.Sprint(confidence), strconv.Itoa(i))[0]
					r := report(t, scene.Record(), expect...)
					for k, x := range r.Expectations {
						failed[i] = append(failed[i], !x.Passed)
						if i == 0 {
							details[k] = x.Detail
						}
					}
				})
				for k := range expect {
					n := 0
					for i := range failed {
						if failed[i][k] {
							n++
						}
					}
					switch h := c.held[k/2]; {
					case k%2 == 0 && skew.UpperTail(n, runs, 1-confidence) < 1e-4:
						t.Errorf("%s, at %g: failed in %d of %d runs; for example %s", h.name, confidence, n, runs, details[k])
					case k%2 == 0:
						t.Logf("%s, at %g: failed in %d of %d runs", h.name, confidence, n, runs)
					case n < runs-max(1, runs/50):
						t.Errorf("what is not true instead of %q, at %g: failed in %d of %d runs only; for example %s", h.name, confidence, n, runs, details[k])
					}
				}
			}
		})
	}
}
