package analyze

import (
	"fmt"

	"github.com/podskew/podskew/analyze/skew"
)

// nodeFault is the one node whose choices are off, where those of all others are not.
type nodeFault struct{ name, text string }

// Levels by which a skew is put down to one node: its choices are off at the stricter one, all others within the wider one.
const (
	nodeOff  = 0.001 // over all nodes
	nodeFine = 0.01
)

// nodeAtFault looks whether the choices of one node alone are off; nil if they are of several, or it cannot be told.
func (j *judge) nodeAtFault(t *trial) *nodeFault {
	byNode := t.byDecider()
	if len(byNode) < 2 {
		return nil
	}
	var off *nodeFault
	fine := 0
	for _, name := range sortedKeys(byNode) {
		n := byNode[name]
		n.ofNode(t, name)
		if n.law == nil || !n.law.Free() {
			continue
		}
		n.result = n.law.Test(n.counts, t.seed.For("node "+name), 0)
		switch {
		case n.result.P <= nodeOff/float64(len(byNode)) && n.result.Direction != skew.Under:
			if off != nil {
				return nil
			}
			off = &nodeFault{name, fmt.Sprintf("%s (p = %s)", n.deviation(), tiny(n.result.P))}
		case n.result.P > nodeFine:
			fine++
		default:
			return nil
		}
	}
	if fine == 0 {
		return nil
	}
	return off
}

// ofNode fills in the law and the counts of the choices of one node.
func (t *trial) ofNode(all *trial, node string) {
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
			if !known || one.stratum.at.Decider != node {
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
