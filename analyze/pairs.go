package analyze

import (
	"cmp"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// pair is one client address at one port of one node: what ClientIP affinity remembers a pod for.
type pair struct {
	source, node, port string
	rows               []*record.Connection // by opening, those that were answered or should have been
	spans              []span
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
	if t.keyed != nil {
		return t.keyed
	}
	type pairKey struct{ source, node, port string }
	byKey := map[pairKey]*pair{}
	all := []*pair{}
	seen := t.seenSources()
	for _, c := range t.rows {
		s := t.byKey[stratumKey{c.Agent, c.Address}]
		key := pairKey{seen.of(t, s, c), s.at.Decider, portOf(c.Address)}
		p := byKey[key]
		if p == nil {
			p = &pair{source: key.source, node: key.node, port: key.port}
			byKey[key] = p
			all = append(all, p)
		}
		p.rows = append(p.rows, c)
	}
	slices.SortFunc(all, func(a, b *pair) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.node, b.node), cmp.Compare(a.port, b.port))
	})
	timeout := t.affinitySeconds()
	for _, p := range all {
		p.cut(t, timeout)
	}
	t.keyed = all
	return all
}

// portOf returns the port of host:port, "" without one.
func portOf(hostPort string) string {
	at := strings.LastIndexByte(hostPort, ':')
	if at < 0 || strings.Contains(hostPort[at:], "]") {
		return ""
	}
	return hostPort[at+1:]
}

// seenSources are the addresses under which deciding nodes saw clients' own addresses, where answers tell.
type seenSources map[[2]string]string // by agent and own address

// seenSources learns from the connections that kube-proxy leaves as they come: what the pod saw is then what the node saw, and a
// NAT on the way shows.
func (t *traffic) seenSources() seenSources {
	learned := seenSources{}
	for _, c := range t.rows {
		s := t.byKey[stratumKey{c.Agent, c.Address}]
		if ip, ok := s.untouched(c); ok && s.at.KeyedOn == Client {
			learned[[2]string{c.Agent, ownAddress(s, c)}] = ip
		}
	}
	return learned
}

// untouched returns the address the pod saw if the settings leave it as the deciding node saw it.
func (s *stratum) untouched(c *record.Connection) (string, bool) {
	ip := hostOf(c.Observed)
	if c.Backend == "" || !ip.IsValid() {
		return "", false
	}
	if class := s.sourceClass(c.Backend); class == Client || class == ClientNode || class == DockerGateway || class == ProxyPod {
		return ip.String(), true
	}
	return "", false
}

// sourceClass is the class of the address that a pod should see; "" if it is not eligible.
func (s *stratum) sourceClass(pod string) SourceClass {
	if s.expected == nil {
		s.expected = make(map[string]SourceClass, len(s.at.Backends))
		for _, b := range s.at.Backends {
			s.expected[b.Pod] = b.Source
		}
	}
	return s.expected[pod]
}

// of names the address the deciding node sees on a connection.
func (known seenSources) of(t *traffic, s *stratum, c *record.Connection) string {
	if s.at.KeyedOn == ClientNode {
		ip, ok := s.untouched(c)
		if node := nodeWithAddress(t.facts, hostOf(ip)); ok && node != s.agent.Node {
			return ip // something else than the node hides it
		}
		return "node " + s.agent.Node
	}
	if ip, ok := s.untouched(c); ok {
		return ip
	}
	own := ownAddress(s, c)
	if ip, ok := known[[2]string{c.Agent, own}]; ok {
		return ip
	}
	return own
}

// ownAddress is the client's address as the client knows it.
func ownAddress(s *stratum, c *record.Connection) string {
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
		// Where the deciding node is not known, another may have chosen this time.
		if v.broken == nil && s.stays[earlier.Backend] && p.node != "" {
			v.broken = &breach{source: p.source, node: p.node, from: earlier.Backend, to: c.Backend, gap: gap}
		}
		break
	}
	v.raced = v.raced || (recent && !settled)
	v.expired = v.expired || (!recent && before[len(before)-1].Backend != c.Backend)
}
