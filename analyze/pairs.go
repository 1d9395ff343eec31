package analyze

import (
	"cmp"
	"slices"

	"github.com/podskew/podskew/record"
)

// pair is one client address at one node: what ClientIP affinity remembers a pod for.
type pair struct {
	source, node string
	rows         []*record.Connection // by opening, those that were answered or should have been
	spans        []span
}

// span is a stretch of a pair's connections without a pause as long as the affinity timeout: one choice.
type span struct {
	first *stratum
	rows  []*record.Connection
}

// affinitySeconds returns how long the Service's affinity outlasts the last new connection.
func (t *traffic) affinitySeconds() float64 {
	if s := findService(t.facts, t.plan.Service); s != nil && s.AffinitySeconds > 0 {
		return float64(s.AffinitySeconds)
	}
	return defaultAffinity
}

// clientPairs sorts the connections by who they come from, as the deciding node sees it, and where that is.
func (t *traffic) clientPairs() []*pair {
	byKey := map[[2]string]*pair{}
	var all []*pair
	for _, c := range t.rows {
		s := t.byKey[stratumKey{c.Agent, c.Address}]
		key := [2]string{sourceOf(s, c), s.at.Decider}
		p := byKey[key]
		if p == nil {
			p = &pair{source: key[0], node: key[1]}
			byKey[key] = p
			all = append(all, p)
		}
		p.rows = append(p.rows, c)
	}
	slices.SortFunc(all, func(a, b *pair) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.node, b.node))
	})
	timeout := t.affinitySeconds()
	for _, p := range all {
		p.cut(t, timeout)
	}
	return all
}

// sourceOf names the address the deciding node sees on a connection.
func sourceOf(s *stratum, c *record.Connection) string {
	if s.at.KeyedOn == ClientNode {
		return "node " + s.agent.Node
	}
	if ip := hostOf(c.Local); ip.IsValid() {
		return ip.String()
	}
	// A dial that never left has no address; with one agent address there is no doubt.
	if len(s.agent.IPs) > 0 {
		return s.agent.IPs[0]
	}
	return s.agent.Name
}

// cut splits a pair's connections into choices. Every new connection renews the memory, so it is the pause that counts.
func (p *pair) cut(t *traffic, timeout float64) {
	for i, c := range p.rows {
		if i == 0 || c.Opened-p.rows[i-1].Opened >= timeout {
			p.spans = append(p.spans, span{first: t.byKey[stratumKey{c.Agent, c.Address}]})
		}
		last := &p.spans[len(p.spans)-1]
		last.rows = append(last.rows, c)
	}
}

// verdict is what became of one pair.
type verdict struct {
	connections int // answered ones
	backends    []string
	broken      *breach
	raced       bool // more than one pod, but only because connections were opened at the same time
	expired     bool // more than one pod, but only after pauses longer than the timeout
}

func (v verdict) held() bool { return len(v.backends) == 1 }

// breach is a connection that went to another pod although the memory had to hold.
type breach struct {
	source, node, from, to string
	gap                    float64 // seconds since the connection that should have been followed
}

// judge follows one pair through the run. A connection breaks affinity if it goes to a pod that none of the connections
// within the timeout before it went to, although one of those pods stayed eligible. Only connections that were
// established before it was opened count: two that are opened at once may each find no memory yet.
func (p *pair) judge(t *traffic, timeout float64) verdict {
	var v verdict
	var before []*record.Connection
	last := map[string]float64{} // opening of the last connection to each pod
	for _, c := range p.rows {
		if c.Backend == "" {
			continue
		}
		v.connections++
		opened, met := last[c.Backend]
		if len(before) > 0 && !(met && c.Opened-opened < timeout) {
			p.judgeChange(t, c, before, timeout, &v)
		}
		if !met {
			v.backends = append(v.backends, c.Backend)
		}
		last[c.Backend] = c.Opened
		before = append(before, c)
	}
	slices.Sort(v.backends)
	return v
}

// judgeChange looks at a connection to a pod that no connection within the timeout went to.
func (p *pair) judgeChange(t *traffic, c *record.Connection, before []*record.Connection, timeout float64, v *verdict) {
	recent, settled := false, false
	for _, earlier := range slices.Backward(before) {
		gap := c.Opened - earlier.Opened
		if gap >= timeout {
			break
		}
		recent = true
		if earlier.Connected == 0 || earlier.Connected > c.Opened {
			continue
		}
		settled = true
		s := t.byKey[stratumKey{earlier.Agent, earlier.Address}]
		if v.broken == nil && s.stays[earlier.Backend] {
			v.broken = &breach{source: p.source, node: p.node, from: earlier.Backend, to: c.Backend, gap: gap}
		}
		break
	}
	v.raced = v.raced || (recent && !settled)
	v.expired = v.expired || (!recent && before[len(before)-1].Backend != c.Backend)
}
