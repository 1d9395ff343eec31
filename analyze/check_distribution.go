package analyze

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
)

// evenly is the Expectation.Distribution that wants the same on every backend; the other one wants what the settings foresee.
const evenly = "even"

// casts are the choices of a window, by where they could fall.
type casts struct {
	groups  []*cast
	stray   int // choices that fell where, by the facts of their time, they could not
	between int // choices made while the facts changed
}

// cast is choices with the same probabilities.
type cast struct {
	p       []float64
	counts  []int
	unknown int // choices that nobody answered
}

// distribution decides whether choices fell as the settings foresee, or evenly, by the test that UnexplainedSkew uses: too even is not
// uneven. Choices nobody answered are taken to have been meant for the backends that got too little.
func (c *checker) distribution(s *subject, e Expectation) outcome {
	where := fmt.Sprintf("%s%s", s.name, e.window().words())
	if s.untested != "" && s.choice != inTurns && e.Distribution != evenly {
		return outcome{true, fmt.Sprintf("%s: its choices cannot be held against a law of chance: %s", where, s.untested)}
	}
	if why := s.untimed(e.window()); why != "" {
		return outcome{true, where + ": " + why}
	}
	names, of := c.castsOf(s, e)
	counts, known, unknown := of.filled(len(names))
	switch {
	case known+unknown+of.stray == 0 && of.between > 0:
		return outcome{true, fmt.Sprintf("%s: %s made while the cluster changed: nobody knows by which facts", where, unitCount(of.between, s.unit))}
	case known+unknown+of.stray == 0:
		return outcome{false, where + ": nothing was opened that could be answered, so nothing fell anywhere"}
	case known == 0 && of.stray == 0:
		return outcome{false, fmt.Sprintf("%s: of %s not one was answered", where, unitCount(unknown, s.unit))}
	case of.stray > 0 && len(doneTo(c.rec)) == 0:
		return outcome{false, fmt.Sprintf("%s: %s fell on pods where the settings let none fall", where, unitCount(of.stray, s.unit))}
	}
	groups := make([]skew.Group, len(of.groups))
	for i, g := range of.groups {
		groups[i] = skew.Group{Units: sum(g.counts) + g.unknown, P: g.p}
	}
	law, err := skew.NewLaw(len(names), groups)
	if err != nil || law.Units() == 0 {
		return outcome{true, where + ": no shares are foreseen, so none can be missed"}
	}
	t := &trial{streams: []*traffic{s.traffic}, pods: names, law: law, counts: counts}
	alpha := 1 - e.confidence()
	t.run(c.seed(s, "expected distribution"+e.window().words()+e.Distribution), alpha)
	return outcome{!t.falls(alpha), where + ": " + c.distributionText(s, e, t, of, unknown, alpha)}
}

func sum(list []int) int {
	n := 0
	for _, x := range list {
		n += x
	}
	return n
}

// run tests, with more draws where the p-value is near the level. Below what draws can show, exact tails take their place.
func (t *trial) run(seed skew.Seed, alpha float64) {
	t.result = t.law.Test(t.counts, seed, 0)
	if t.result.Method != skew.MonteCarlo {
		return
	}
	if alpha*float64(t.result.Draws) < 50 && t.result.P <= 50/float64(t.result.Draws) {
		t.result = t.law.Test(t.counts, seed.For("again"), skew.MoreDraws)
	}
	if alpha*float64(skew.MoreDraws) < 10 {
		if t.result.P = t.law.FurthestTail(t.counts); t.result.Direction == skew.Under || t.result.Direction == skew.Over {
			t.result.Direction = skew.Hot
		}
	}
}

// falls reports whether a law is ruled out, other than by counts that are too even.
func (t *trial) falls(alpha float64) bool {
	return t.result.Method != skew.None && t.result.P <= alpha && t.result.Direction != skew.Under
}

func (c *checker) distributionText(s *subject, e Expectation, t *trial, of *casts, unknown int, alpha float64) string {
	law, fall := "as the settings foresee", "fell"
	if e.Distribution == evenly {
		law = fmt.Sprintf("evenly on %s", plural(chosen(t.law), "pod", "pods"))
	}
	units := unitCount(t.law.Units()-unknown, s.unit)
	expected := t.law.Expected()
	at, far := -1, -1.0
	for b, want := range expected {
		if d := math.Abs(float64(t.counts[b])-want) / math.Sqrt(max(want, 1)); d > far {
			at, far = b, d
		}
	}
	low, high := skew.BinomialRange(t.law.Units(), expected[at]/float64(t.law.Units()), 1-alpha)
	text := fmt.Sprintf("%s %s %s", units, fall, law)
	if t.falls(alpha) {
		text = fmt.Sprintf("%s did not fall %s", units, law)
	}
	text += fmt.Sprintf(" (p = %s, wanted above %s): %s got %d, expected %s (chance range %d to %d)",
		tiny(t.result.P), figure(alpha), t.pods[at], t.counts[at], figure(expected[at]), low, high)
	if unknown > 0 {
		text += fmt.Sprintf("; %d that nobody answered are taken to have been meant for the pods that got too little", unknown)
	}
	if of.stray > 0 {
		text += fmt.Sprintf("; %d that fell elsewhere, and", of.stray)
	}
	if of.between > 0 {
		text += fmt.Sprintf("; %d that were opened while the cluster changed are left out", of.between)
	}
	if !t.falls(alpha) {
		text += "; " + t.couldShow(alpha)
	}
	return text
}

// couldShow says how large a skew would have been seen.
func (t *trial) couldShow(alpha float64) string {
	smallest := 1.0
	for _, e := range t.law.Expected() {
		if e > 0 {
			smallest = min(smallest, e/float64(t.law.Units()))
		}
	}
	need := skew.Need{Backends: chosen(t.law), Share: smallest, Alpha: alpha, Power: usualPower}
	if factor := need.SmallestFactor(t.law.Units()); factor > 0 {
		return fmt.Sprintf("a pod at %s times its share would have been seen", figure(factor))
	}
	text := "they cannot tell any skew"
	if needed := need.Units(min(visibleSkew, 1/smallest)); needed > 0 {
		text += fmt.Sprintf(": it takes about %s to see a pod at twice its share", roundUp(needed))
	}
	return text
}

// castsOf sorts the choices of a window by the probabilities they had: by stratum and by the facts of their time.
func (c *checker) castsOf(s *subject, e Expectation) (names []string, of *casts) {
	w := e.window()
	eras := erasOf(c.rec, s.now, s.later)
	names, index := c.reference(s, eras, w)
	of = &casts{}
	type key struct {
		stratum *stratum
		era     int
	}
	groups := map[key]*cast{}
	for _, f := range s.fell(c.rec, w) {
		k := key{f.stratum, slices.IndexFunc(eras, func(x era) bool { return f.at >= x.from && f.at < x.to })}
		if e.Distribution == evenly {
			k = key{}
		}
		if k.era < 0 {
			of.between += f.n
			continue
		}
		g, made := groups[k]
		if !made {
			g = c.castOf(s, e, k.stratum, eras[k.era], index)
			groups[k] = g
			if g != nil {
				of.groups = append(of.groups, g)
			}
		}
		of.put(g, f, index)
	}
	slices.SortStableFunc(of.groups, func(a, b *cast) int { return cmp.Compare(len(a.p), len(b.p)) })
	return names, of
}

// put counts one choice. What nobody answered counts where an answer was to be expected.
func (of *casts) put(g *cast, f fallen, index map[string]int) {
	at, known := index[f.pod]
	switch {
	case f.pod == "" && g != nil:
		g.unknown += f.n
	case f.pod == "":
	case g == nil || !known || g.p[at] == 0:
		of.stray += f.n
	default:
		g.counts[at] += f.n
	}
}

// castOf returns the probabilities of a stratum in an era, or even ones; nil where no answer is to be expected.
func (c *checker) castOf(s *subject, e Expectation, x *stratum, in era, index map[string]int) *cast {
	g := &cast{p: make([]float64, len(index)), counts: make([]int, len(index))}
	if e.Distribution == evenly {
		for i := range g.p {
			g.p[i] = 1 / float64(len(g.p))
		}
		return g
	}
	prediction := x.at
	if in.atlas != s.now {
		prediction = in.atlas.predict(s.plan, x.agent, x.addr)
	}
	if prediction.Outcome != Answer {
		return nil
	}
	for _, b := range prediction.Backends {
		if at, ok := index[b.Pod]; ok {
			g.p[at] += b.P
		}
	}
	return g
}

// reference returns the backends that a stream may reach at some time of a window; those that answered where that is not known.
func (c *checker) reference(s *subject, eras []era, w window) (names []string, index map[string]int) {
	index = map[string]int{}
	add := func(pod string) {
		if _, have := index[pod]; !have {
			index[pod] = len(names)
			names = append(names, pod)
		}
	}
	for _, x := range s.strata {
		for _, in := range eras {
			if !w.meets(in.from, in.to) {
				continue
			}
			prediction := x.at
			if in.atlas != s.now {
				prediction = in.atlas.predict(s.plan, x.agent, x.addr)
			}
			for _, b := range prediction.Backends {
				add(b.Pod)
			}
		}
	}
	if len(names) == 0 {
		for _, b := range s.backends {
			add(b.pod)
		}
	}
	slices.Sort(names)
	for i, pod := range names {
		index[pod] = i
	}
	return names, index
}

// filled adds up the counts by backend, with the choices nobody answered put where most are missing.
func (of *casts) filled(n int) (counts []int, known, unknown int) {
	counts = make([]int, n)
	expected := make([]float64, n)
	for _, g := range of.groups {
		units := sum(g.counts) + g.unknown
		known += sum(g.counts)
		unknown += g.unknown
		for b := range counts {
			counts[b] += g.counts[b]
			expected[b] += float64(units) * g.p[b]
		}
	}
	for left := unknown; left > 0; {
		at, missing := 0, math.Inf(-1)
		for b := range counts {
			if d := expected[b] - float64(counts[b]); expected[b] > 0 && d > missing {
				at, missing = b, d
			}
		}
		step := min(left, max(1, int(missing/2)))
		counts[at] += step
		left -= step
	}
	return counts, known, unknown
}
