package analyze

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// suspects are backends that all failures of a stream may have been meant for: one pod, or all pods of a node.
type suspects struct {
	name string // "echo-x on worker2", or "the pods on worker2"
	pods []string
	at   []int // their backends
	p    float64
}

// failingLeast is the p below which failures were not meant for the suspects alone.
const failingLeast = 0.001

// failing says whose failures they are: the choices that were answered are off beyond chance, and all is well if those that were not had
// been meant for one pod, or for the pods of one node, and for no other. It reports whether it did.
func (j *judge) failing(s *subject) bool {
	t := s.trial
	unanswered := s.unansweredBy(j.rec)
	total := 0
	for _, n := range unanswered {
		total += n
	}
	if total < fewPerPod || !j.family.rejects(t) || t.p > j.family.alpha*errorShare {
		return false
	}
	found := j.suspectsOf(s, unanswered)
	if found == nil {
		return false
	}
	answered, expected, verb, it := 0, 0.0, "is", "it"
	if len(found.at) > 1 {
		verb, it = "are", "they"
	}
	full := s.lawWith(unanswered)
	for _, b := range found.at {
		answered += s.counts[b]
		expected += full.Expected()[b]
	}
	j.add(Finding{
		Code: FailingBackend, Severity: Error, Stream: s.name,
		Summary: fmt.Sprintf("%s %s behind all failures (%s): %s answered %d of %s instead of %s, the others their shares (p = %s; had the failures hit all pods alike, p = %s)",
			found.name, verb, kindsOf(s.report.Errors), it, answered, unitCount(full.Units(), s.unit), figure(expected), figure(found.p), tiny(t.result.P)),
		Evidence: map[string]any{"pods": found.pods, "unanswered": total, "answered": answered, "expected": expected, "units": full.Units(), "unit": s.unit,
			"errors": s.report.Errors, "p": found.p, "pAllAlike": t.result.P},
		Remedies: []Remedy{
			{What: "look at the pod: whether it listens on the target port, on its address and not on 127.0.0.1 alone, and what its log says"},
			{What: "give it a readiness probe that asks what clients ask: kube-proxy goes on sending to an endpoint that is ready, whatever becomes of the connections"},
			{What: "look for what rejects or drops on the way to it: a NetworkPolicy, a firewall of its node, a route"},
		},
	})
	return true
}

// kindsOf lists how many failed in which way, the most frequent first.
func kindsOf(errors map[record.ErrorKind]int) string {
	kinds := sortedKeys(asStrings(errors))
	slices.SortStableFunc(kinds, func(a, b string) int {
		return cmp.Compare(errors[record.ErrorKind(b)], errors[record.ErrorKind(a)])
	})
	var words []string
	for _, kind := range kinds {
		if n := errors[record.ErrorKind(kind)]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, kind))
		}
	}
	return strings.Join(words, ", ")
}

func asStrings(errors map[record.ErrorKind]int) map[string]int {
	out := make(map[string]int, len(errors))
	for kind, n := range errors {
		out[string(kind)] = n
	}
	return out
}

// unansweredBy counts the choices nobody answered, by stratum, where an answer was foreseen.
func (t *traffic) unansweredBy(rec *record.Record) map[*stratum]int {
	out := map[*stratum]int{}
	for _, f := range t.fell(rec, window{math.Inf(-1), math.Inf(1)}) {
		if f.pod == "" && f.stratum.at.Outcome == Answer && f.n > 0 {
			out[f.stratum] += f.n
		}
	}
	return out
}

// lawWith is the law of all choices, those nobody answered included.
func (t *traffic) lawWith(unanswered map[*stratum]int) *skew.Law {
	answered := map[*stratum]int{}
	for _, one := range t.list {
		answered[one.stratum] += max(one.n, 1)
	}
	var groups []skew.Group
	for _, s := range t.strata {
		if n := answered[s] + unanswered[s]; n > 0 && s.at.Outcome == Answer {
			groups = append(groups, skew.Group{Units: n, P: t.probabilities(s)})
		}
	}
	law, _ := skew.NewLaw(len(t.backends), groups) // the groups are valid by construction
	return law
}

// suspectsOf returns the only ones that the failures can have been meant for; nil if there are none, or several.
func (j *judge) suspectsOf(s *subject, unanswered map[*stratum]int) *suspects {
	law := s.lawWith(unanswered)
	single, byNode := []*suspects{}, map[string]*suspects{}
	for i, b := range s.backends {
		single = append(single, &suspects{name: placed(b.pod, b.node), pods: []string{b.pod}, at: []int{i}})
		n := byNode[b.node]
		if n == nil {
			n = &suspects{name: "the pods on " + b.node}
			byNode[b.node] = n
		}
		n.pods, n.at = append(n.pods, b.pod), append(n.at, i)
	}
	if found := j.only(s, law, unanswered, single); found != nil {
		return found
	}
	var nodes []*suspects
	for _, name := range sortedKeys(byNode) {
		if n := byNode[name]; name != "" && len(n.at) > 1 && len(n.at) < len(s.backends) {
			nodes = append(nodes, n)
		}
	}
	return j.only(s, law, unanswered, nodes)
}

func placed(pod, node string) string {
	if node == "" {
		return pod
	}
	return pod + " on " + node
}

// only returns the one of several suspects with whose counts all is well; nil if it is not just one.
func (j *judge) only(s *subject, law *skew.Law, unanswered map[*stratum]int, all []*suspects) *suspects {
	var found *suspects
	for _, one := range all {
		counts := s.meantFor(one, law, unanswered)
		if counts == nil || law.FurthestTail(counts) < failingLeast { // which spares a simulation
			continue
		}
		r := law.Test(counts, j.seed(s, "failing "+one.name), 0)
		if one.p = r.P; r.P < failingLeast && r.Direction != skew.Under {
			continue
		}
		if found != nil {
			return nil
		}
		found = one
	}
	return found
}

// meantFor returns the counts as they are if what failed was meant for the suspects, for each of them as much as it lacks; nil where
// some of it cannot have been.
func (s *subject) meantFor(one *suspects, law *skew.Law, unanswered map[*stratum]int) []int {
	counts, left := slices.Clone(s.counts), 0
	for x, n := range unanswered {
		if p := s.probabilities(x); !slices.ContainsFunc(one.at, func(b int) bool { return p[b] > 0 }) {
			return nil
		}
		left += n
	}
	expected := law.Expected()
	for left > 0 {
		at, missing := one.at[0], math.Inf(-1)
		for _, b := range one.at {
			if d := expected[b] - float64(counts[b]); d > missing {
				at, missing = b, d
			}
		}
		step := left
		if len(one.at) > 1 {
			step = min(left, max(1, int(missing/2)))
		}
		counts[at] += step
		left -= step
	}
	return counts
}
