package analyze

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// defaultAlpha is the false-alarm budget of a report; errorAlpha is how improbable a skew has to be, adjusted, to be called an error.
const (
	defaultAlpha = 0.01
	errorShare   = 0.1 // of the budget
)

// trial is one test of one law: of a stream, or of all streams that dial the same target together.
type trial struct {
	streams []*traffic
	name    string
	seed    skew.Seed
	law     *skew.Law
	counts  []int
	pods    []string // of counts
	result  skew.Result
	tested  bool    // it is in the family; otherwise nothing it could have shown would have been significant
	p       float64 // adjusted for all tests of the report
	alpha   float64 // level that is in force for it alone
	unknown float64 // part of the connections whose backend is unknown
}

// family is all tests of a report. They share one false-alarm budget (Holm 1979).
type family struct {
	alpha  float64
	trials []*trial
	claims []*claim
	of     map[*traffic]*trial
	about  map[*traffic]*clues
}

func runSeed(rec *record.Record, stream, purpose string) skew.Seed {
	return skew.NewSeed(rec.Run.ID, strconv.FormatUint(rec.Run.Seed, 10), stream, purpose)
}

// runTests tests every stream, and streams that share a target once more together: a pod that is a little hot for each of
// them is seen sooner that way.
func runTests(rec *record.Record, streams []*traffic, alpha float64) *family {
	f := &family{alpha: cmp.Or(alpha, defaultAlpha), of: map[*traffic]*trial{}, about: map[*traffic]*clues{}}
	targets := map[[2]string][]*traffic{}
	var order [][2]string
	for _, t := range streams {
		trial := &trial{streams: []*traffic{t}, name: t.name, seed: runSeed(rec, t.plan.ID, "test"), law: t.law, counts: t.counts, pods: podNames(t.backends)}
		f.add(trial)
		f.of[t] = trial
		key := [2]string{t.plan.Service, t.plan.Target}
		if targets[key] == nil {
			order = append(order, key)
		}
		targets[key] = append(targets[key], t)
	}
	for _, key := range order {
		if together := targets[key]; len(together) > 1 {
			f.add(pooled(rec, together, key[0]+"/"+key[1]))
		}
	}
	for _, t := range streams {
		f.about[t] = f.examine(rec, t)
	}
	f.adjust()
	f.sharpen()
	return f
}

func podNames(backends []*backend) []string {
	names := make([]string, len(backends))
	for i, b := range backends {
		names[i] = b.pod
	}
	return names
}

// add runs a trial's test, unless its law alone already says that it cannot find anything.
func (f *family) add(t *trial) {
	f.trials = append(f.trials, t)
	t.p = 1
	t.result = skew.Result{Method: skew.None, P: 1, Hot: -1, Cold: -1}
	opened, unknown := 0, 0
	for _, s := range t.streams {
		opened += s.size() + s.unknown
		unknown += s.unknown
		if !s.testable() {
			return
		}
	}
	t.unknown = float64(unknown) / float64(max(opened, 1))
	if t.law == nil || t.law.Units() == 0 {
		return
	}
	t.result = t.law.Test(t.counts, t.seed, 0)
	t.tested = t.result.Method != skew.None && t.law.SmallestP() <= f.alpha
	if !t.tested {
		t.result.Method, t.result.P, t.result.Direction = skew.None, 1, ""
	}
}

// pooled is the trial of several streams at once, over all backends any of them may reach.
func pooled(rec *record.Record, streams []*traffic, name string) *trial {
	t := &trial{streams: streams, name: name, seed: runSeed(rec, name, "pooled test")}
	index := map[string]int{}
	for _, s := range streams {
		for _, b := range s.backends {
			if _, ok := index[b.pod]; !ok {
				index[b.pod] = len(t.pods)
				t.pods = append(t.pods, b.pod)
			}
		}
	}
	var groups []skew.Group
	counts, requests := make([]int, len(t.pods)), make([]float64, len(t.pods))
	for _, s := range streams {
		for _, g := range s.groups {
			wide := skew.Group{Units: g.Units, P: make([]float64, len(t.pods))}
			for b, p := range g.P {
				wide.P[index[s.backends[b].pod]] = p
			}
			groups = append(groups, wide)
		}
		for b, x := range s.counts {
			counts[index[s.backends[b].pod]] += x
			requests[index[s.backends[b].pod]] += float64(s.backends[b].requests)
		}
	}
	t.reorder(groups, counts, requests)
	return t
}

// reorder puts the pooled backends into canonical order.
func (t *trial) reorder(groups []skew.Group, counts []int, requests []float64) {
	order := skew.Order(groups, counts, requests)
	pods := t.pods
	t.pods, t.counts = make([]string, len(order)), make([]int, len(order))
	for i := range groups {
		p := make([]float64, len(order))
		for to, from := range order {
			p[to] = groups[i].P[from]
		}
		groups[i].P = p
	}
	for to, from := range order {
		t.pods[to], t.counts[to] = pods[from], counts[from]
	}
	t.law, _ = skew.NewLaw(len(order), groups) // the groups are valid by construction
}

// adjust sets the adjusted p-value of every trial and claim, and the level in force for it.
func (f *family) adjust() {
	tested := f.tested()
	var p []float64
	for _, t := range tested {
		p = append(p, t.result.P)
	}
	for _, c := range f.claims {
		p = append(p, c.p)
	}
	adjusted, levels := skew.Holm(p), skew.HolmThresholds(p, f.alpha)
	for i, t := range tested {
		t.p, t.alpha = adjusted[i], levels[i]
	}
	for i, c := range f.claims {
		c.adjusted = adjusted[len(tested)+i]
	}
}

// size is the number of p-values that share the budget.
func (f *family) size() int { return len(f.tested()) + len(f.claims) }

func (f *family) tested() []*trial {
	return slices.DeleteFunc(slices.Clone(f.trials), func(t *trial) bool { return !t.tested })
}

// sharpen repeats, with fresh and more draws, each simulation whose p-value is too near a level in force to call; only the
// new one counts then.
func (f *family) sharpen() {
	again := false
	for _, t := range f.tested() {
		if t.result.Method != skew.MonteCarlo || !t.close(t.alpha) && !t.close(t.alpha*errorShare) {
			continue
		}
		if t.result.Direction == skew.Under { // which rejects nothing
			continue
		}
		t.result = t.law.Test(t.counts, t.seed.For("again"), skew.MoreDraws)
		again = true
	}
	if again {
		f.adjust()
	}
}

// close reports whether the p-value is within four standard errors of a level.
func (t *trial) close(level float64) bool {
	return math.Abs(t.result.P-level) < 4*math.Sqrt(level*(1-level)/float64(t.result.Draws))
}

// rejects reports whether the units differ from what the settings foresee by more than chance allows, in a way that is a
// skew. Counts that are more even than independent choices would be differ as well, but are none.
func (f *family) rejects(t *trial) bool {
	return t.tested && t.p <= f.alpha && t.result.Direction != skew.Under
}
