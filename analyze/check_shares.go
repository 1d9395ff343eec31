package analyze

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// newPods is the key of Expectation.Shares that stands for all pods that were no backends when the load began.
const newPods = "newPods"

// part is the choices that fell on one of the things shares are wanted of.
type part struct {
	name    string
	got, of int
	unknown int // of more, nobody knows where they fell
	want    float64
}

// shares decides whether the choices of a stream fell on nodes, or on new pods, in the shares wanted. Every share has two exact binomial
// tails; together they fail by chance at the level asked for at most (Bonferroni).
func (c *checker) shares(s *subject, e Expectation) outcome {
	if why := s.untimed(e.window()); why != "" {
		return outcome{true, fmt.Sprintf("%s%s: %s", s.name, e.window().words(), why)}
	}
	parts := c.partsOf(s, e)
	if len(parts) == 0 || parts[0].of+parts[0].unknown == 0 {
		return outcome{false, fmt.Sprintf("%s%s: nothing was opened, so there are no shares", s.name, e.window().words())}
	}
	if parts[0].of == 0 {
		return outcome{false, fmt.Sprintf("%s%s: of %s not one was answered, so there are no shares", s.name, e.window().words(), unitCount(parts[0].unknown, s.unit))}
	}
	tails := 2 * len(parts)
	if len(parts) == 2 && parts[0].want+parts[1].want > 1-1e-9 && e.Shares[newPods] == 0 {
		tails = 2 // one is what the other is not
	}
	level := (1 - e.confidence()) / float64(tails)
	passed, blind := true, 0
	var words []string
	slices.SortStableFunc(parts, func(a, b part) int { return truth(b.contradicted(level)) - truth(a.contradicted(level)) })
	for _, p := range parts {
		passed = passed && !p.contradicted(level)
		blind = max(blind, p.fewest(level))
		words = append(words, p.words(s, level))
	}
	const most = 6
	if len(words) > most {
		words = append(words[:most], fmt.Sprintf("and %d more", len(words)-most))
	}
	text := fmt.Sprintf("%s%s: %s", s.name, e.window().words(), strings.Join(words, ", "))
	if parts[0].unknown > 0 {
		text += fmt.Sprintf("; %d more were never answered, and may have been meant for any", parts[0].unknown)
	}
	if passed && blind > parts[0].of {
		text += fmt.Sprintf("; %d cannot tell other shares from these: it takes at least %d", parts[0].of, blind)
	}
	return outcome{passed, text}
}

// partsOf counts the choices by what shares are wanted of, in the order of the names.
func (c *checker) partsOf(s *subject, e Expectation) []part {
	w := e.window()
	byNode, all, unknown := map[string]int{}, 0, 0
	for _, f := range s.fell(c.rec, w) {
		if f.pod == "" {
			unknown += f.n
			continue
		}
		all += f.n
		byNode[nodeOfPod(c.rec, f.pod)] += f.n
	}
	var parts []part
	rest := part{name: "other nodes", got: all, of: all, unknown: unknown, want: 1}
	for _, name := range sortedKeys(e.Shares) {
		want := e.Shares[name]
		if name == newPods {
			got, of, unanswered := c.newPodChoices(s, w)
			parts = append(parts, part{"new pods", got, of, unanswered, want})
			continue
		}
		got := byNode[c.resolve(name)]
		parts = append(parts, part{name, got, all, unknown, want})
		rest.got -= got
		rest.want -= want
	}
	_, alone := e.Shares[newPods]
	if rest.want = max(0, rest.want); rest.want < 1e-9 {
		rest.want = 0
	}
	if (rest.want > 0 || rest.got > 0) && (!alone || len(e.Shares) > 1) {
		parts = append(parts, rest)
	}
	return parts
}

// resolve returns the node that a scenario's name means: the end of a name after a dash is enough where it fits one node only, as for
// placement.
func (c *checker) resolve(name string) string {
	var fits []string
	for _, n := range c.rec.Facts.Cluster.Nodes {
		if n.Name == name {
			return name
		}
		if strings.HasSuffix(n.Name, "-"+name) {
			fits = append(fits, n.Name)
		}
	}
	if len(fits) == 1 {
		return fits[0]
	}
	return name
}

// contradicted reports whether the counts rule out the share wanted, wherever the choices fell that nobody answered.
func (p part) contradicted(level float64) bool {
	n := p.of + p.unknown
	return skew.LowerTail(p.got+p.unknown, n, p.want) <= level || skew.UpperTail(p.got, n, p.want) <= level
}

// fewest is the number of choices below which none of their outcomes would rule out the share wanted; 0 where one does.
func (p part) fewest(level float64) int {
	if p.want <= 0 || p.want >= 1 {
		return 0
	}
	return int(math.Ceil(math.Log(level) / math.Log(min(p.want, 1-p.want))))
}

// words says what was got and wanted, and what chance makes of the latter.
func (p part) words(s *subject, level float64) string {
	low, high := skew.BinomialRange(p.of, p.want, max(0, 1-2*level))
	n := float64(max(p.of, 1))
	text := fmt.Sprintf("%d of %s fell on %s (%s), wanted %s", p.got, unitCount(p.of, s.unit), p.name, percent(float64(p.got)/n), percent(p.want))
	if expected, ok := s.expectedOn(p.name); ok && math.Abs(expected-p.want) > 1e-6 {
		text += ", by the settings " + percent(expected)
	}
	return text + fmt.Sprintf(" (chance range %s to %s)", percent(float64(low)/n), percent(float64(high)/n))
}

// expectedOn is the share that the settings foresee for the pods of a node.
func (s *subject) expectedOn(node string) (share float64, known bool) {
	if !s.modelled || s.changed || len(s.events) > 0 {
		return 0, false
	}
	expected := s.expectedShares()
	for i, b := range s.backends {
		if b.node == node {
			share += expected[i]
			known = true
		}
	}
	return share, known
}

// newPodChoices counts the choices made since the last event, in a window that begins no later, and those that fell on pods which were no
// backends when the load began.
func (c *checker) newPodChoices(s *subject, w window) (got, of, unknown int) {
	w.from = max(w.from, c.sinceLast(w))
	was := readyEndpoints(&c.rec.Facts, s.plan.Service)
	for _, f := range s.fell(c.rec, w) {
		switch {
		case f.pod == "":
			unknown += f.n
			continue
		case !was[f.pod]:
			got += f.n
		}
		of += f.n
	}
	return got, of, unknown
}

// sinceEffective is the time so many seconds after every node in use had learned of the last event; why: nothing can be told
// of the time after it.
func (c *checker) sinceEffective(seconds float64) (at float64, why string) {
	events := doneTo(c.rec)
	switch {
	case len(events) == 0:
		return 0, "nothing happened during the run, so there is no time after it"
	case events[len(events)-1].Effective == 0:
		return 0, fmt.Sprintf("not every node had learned of %q when the load ended, so that nothing can be told of the time after it: the cluster is slow, or the load too short",
			events[len(events)-1].What)
	}
	for _, e := range events {
		at = max(at, e.At, e.Effective)
	}
	if at += seconds; c.rec.End != nil && at >= c.rec.End.Seconds { // nil: the record was cut
		return 0, fmt.Sprintf("the load ended at %s s, before %s s: longer load, or spec.settle, is needed", figure(c.rec.End.Seconds), figure(at))
	}
	return at, ""
}

// sinceLast is when the last event had taken effect; a window that says from when on is taken at its word.
func (c *checker) sinceLast(w window) float64 {
	events := doneTo(c.rec)
	if len(events) == 0 || !math.IsInf(w.from, -1) {
		return w.from
	}
	last := events[len(events)-1]
	return max(last.At, last.Effective)
}

func readyEndpoints(facts *record.Facts, service string) map[string]bool {
	ready := map[string]bool{}
	for _, e := range facts.Endpoints {
		if e.Service == service && e.Ready {
			ready[podOf(facts, e)] = true
		}
	}
	return ready
}
