package analyze

import (
	"fmt"

	"github.com/podskew/podskew/analyze/skew"
)

// nodeFault is the one node whose choices are off, where those of all others together are not.
type nodeFault struct{ name, text string }

// nodeOff is the level, over all nodes, at which the choices of a node are off. The choices of the others together are held against the
// same level: with one of its own each, a few nodes that only chance has put a little off would hide the one that is far off.
const nodeOff = 0.001

// nodeAtFault looks whether the choices of one node alone are off; nil if they are of several, or it cannot be told.
func (j *judge) nodeAtFault(t *trial) *nodeFault {
	byNode := t.byDecider()
	if len(byNode) < 2 {
		return nil
	}
	off := ""
	for _, name := range sortedKeys(byNode) {
		n := byNode[name]
		n.ofNodes(t, func(decider string) bool { return decider == name })
		if n.law == nil || !n.law.Free() {
			continue
		}
		n.result = n.law.Test(n.counts, t.seed.For("node "+name), 0)
		if n.result.P > nodeOff/float64(len(byNode)) || n.result.Direction == skew.Under {
			continue
		}
		if off != "" {
			return nil
		}
		off = name
	}
	if off == "" {
		return nil
	}
	rest := &trial{pods: t.pods}
	rest.ofNodes(t, func(decider string) bool { return decider != off })
	if rest.law == nil || !rest.law.Free() {
		return nil
	}
	if rest.result = rest.law.Test(rest.counts, t.seed.For("nodes but "+off), 0); rest.result.P <= nodeOff {
		return nil
	}
	n := byNode[off]
	return &nodeFault{off, fmt.Sprintf("%s (p = %s); elsewhere the choices are as foreseen (p = %s)", n.deviation(), tiny(n.result.P), tiny(rest.result.P))}
}

// ofNodes fills in the law and the counts of the choices of some nodes.
func (t *trial) ofNodes(all *trial, of func(decider string) bool) {
	index := map[string]int{}
	for i, pod := range all.pods {
		index[pod] = i
	}
	t.counts = make([]int, len(all.pods))
	var groups []skew.Group
	for _, s := range all.streams {
		sizes := map[*stratum]int{}
		for _, one := range s.list {
			at, known := index[one.pod]
			if !known || !of(one.stratum.at.Decider) {
				continue
			}
			t.counts[at] += max(one.n, 1)
			sizes[one.stratum] += max(one.n, 1)
		}
		for _, x := range s.strata {
			if sizes[x] == 0 {
				continue
			}
			g := skew.Group{Units: sizes[x], P: make([]float64, len(all.pods))}
			for _, b := range x.at.Backends {
				if at, known := index[b.Pod]; known {
					g.P[at] += b.P
				}
			}
			groups = append(groups, g)
		}
	}
	t.law, _ = skew.NewLaw(len(all.pods), groups) // the groups are valid by construction
}

// byDecider starts a trial for each node that chose; none where clients choose without chance.
func (t *trial) byDecider() map[string]*trial {
	byNode := map[string]*trial{}
	for _, s := range t.streams {
		if s.choice != "" {
			return nil
		}
		for _, x := range s.strata {
			if x.at.Decider != "" && x.at.Outcome == Answer && byNode[x.at.Decider] == nil {
				byNode[x.at.Decider] = &trial{pods: t.pods}
			}
		}
	}
	return byNode
}
