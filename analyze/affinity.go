package analyze

import (
	"cmp"
	"math"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// AffinityDetails says where and for how long session affinity held.
type AffinityDetails struct {
	Broken    int              `json:"broken"`             // pairs that lost their pod although the memory had to hold
	Expired   int              `json:"expired"`            // pairs that moved only after a pause longer than the timeout
	Raced     int              `json:"raced"`              // pairs that opened connections at once, before there was a pod to remember
	Sources   int              `json:"sources"`            // client addresses as the deciding nodes see them
	Addresses int              `json:"addresses"`          // client addresses as the clients know them
	ByNode    []AffinityNode   `json:"byNode,omitempty"`   // by node and port
	ByClient  []AffinityClient `json:"byClient,omitempty"` // those that moved first; at most 200
	Estimate  *TimeoutEstimate `json:"estimate,omitempty"` // nil: no client came back
	Remap     *AffinityRemap   `json:"remap,omitempty"`    // nil: the backends did not change on purpose
}

// AffinityNode is what one node remembered for one port.
type AffinityNode struct {
	Node         string `json:"node"`
	Port         string `json:"port"`
	Clients      int    `json:"clients"` // addresses with at least two connections
	Held         int    `json:"held"`
	Broken       int    `json:"broken"`
	Interval     Range  `json:"interval"` // Clopper–Pearson 95 % of the held fraction
	BackendsUsed int    `json:"backendsUsed"`
}

// AffinityClient is one client address at one port of one node.
type AffinityClient struct {
	Source      string   `json:"source"`
	Node        string   `json:"node"`
	Port        string   `json:"port"`
	Connections int      `json:"connections"` // answered ones
	Backends    []string `json:"backends"`
	Result      string   `json:"result"` // held, broken, expired, raced, or moved: its pod was not eligible any more, or the deciding node is not known
}

// TimeoutEstimate is the affinity timeout as the pauses between connections tell: above Low and, if any pause was too long, at
// most High (95 %).
type TimeoutEstimate struct {
	Low    float64 `json:"low"`            // seconds
	High   float64 `json:"high,omitempty"` // seconds; 0: no pause was too long
	Gaps   int     `json:"gaps"`
	ByLuck int     `json:"byLuck"` // longest pauses that may have been survived by luck and do not count for Low
	beyond int     // pauses at least as long as the timeout that is set
	stayed int     // of these, with the same pod after them
}

// AffinityRemap is how many clients got another pod when the pods changed.
type AffinityRemap struct {
	Before     int     `json:"before"` // eligible backends
	After      int     `json:"after"`
	Clients    int     `json:"clients"` // with connections before and after the change
	Moved      int     `json:"moved"`
	Gone       int     `json:"gone"`       // of these, whose pod was there no more
	Interval   Range   `json:"interval"`   // Clopper–Pearson 95 % of the moved fraction
	Consistent float64 `json:"consistent"` // fraction that consistent hashing would move
	Modulo     float64 `json:"modulo"`     // hash modulo the number of backends
	Memoryless float64 `json:"memoryless"` // a new choice for each
}

// mostClientsListed bounds AffinityDetails.ByClient.
const mostClientsListed = 200

// affinity judges every client address at every node and sums up.
func (s *subject) affinity() *Affinity {
	timeout := s.affinitySeconds()
	a := &Affinity{TimeoutSeconds: int(timeout)}
	used := map[string]bool{}
	for _, p := range s.pairs {
		v := p.judge(s.traffic, timeout)
		s.judged = append(s.judged, v)
		for _, pod := range v.backends {
			used[pod] = true
		}
		if v.connections < 2 {
			continue
		}
		a.Clients++
		switch {
		case v.held():
			a.Held++
		case v.broken != nil:
			a.Broken++
		case v.expired:
			a.Expired++
		case v.raced:
			a.Raced++
		}
		a.ByChance += s.luck(p, v.connections)
	}
	a.BackendsUsed = len(used)
	a.Interval = Range(skew.ClopperPearson(a.Held, a.Clients, 0.95))
	a.Sources, a.Addresses = s.addressCounts()
	a.ByNode, a.ByClient = s.affinityNodes(), s.affinityClients()
	a.Estimate = s.estimateTimeout(timeout)
	a.Remap = s.remap()
	return a
}

// luck is the probability that connections independent choices of a pair all agree.
func (s *subject) luck(p *pair, connections int) float64 {
	at := s.byKey[stratumKey{p.rows[0].Agent, p.rows[0].Address}].at
	var sum float64
	for _, b := range at.Backends {
		sum += math.Pow(b.P, float64(connections))
	}
	return sum
}

// addressCounts counts client addresses as the deciding nodes see them, and as the clients know them.
func (s *subject) addressCounts() (seen, own int) {
	sources, addresses := map[string]bool{}, map[string]bool{}
	for _, p := range s.pairs {
		sources[p.source] = true
		for _, c := range p.rows {
			at := s.byKey[stratumKey{c.Agent, c.Address}]
			address := ownAddress(at, c)
			if hostOf(address).IsLoopback() {
				address = c.Agent + " " + address
			}
			addresses[address] = true
		}
	}
	return len(sources), len(addresses)
}

func (s *subject) affinityNodes() []AffinityNode {
	byKey := map[[2]string]*AffinityNode{}
	used := map[[2]string]map[string]bool{}
	for i, p := range s.pairs {
		key := [2]string{p.node, p.port}
		n := byKey[key]
		if n == nil {
			n = &AffinityNode{Node: p.node, Port: p.port}
			byKey[key], used[key] = n, map[string]bool{}
		}
		v := s.judged[i]
		for _, pod := range v.backends {
			used[key][pod] = true
		}
		if v.connections < 2 {
			continue
		}
		n.Clients++
		if v.held() {
			n.Held++
		}
		if v.broken != nil {
			n.Broken++
		}
	}
	var list []AffinityNode
	for key, n := range byKey {
		n.BackendsUsed = len(used[key])
		n.Interval = Range(skew.ClopperPearson(n.Held, n.Clients, 0.95))
		list = append(list, *n)
	}
	slices.SortFunc(list, func(a, b AffinityNode) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Port, b.Port)) })
	return list
}

func (s *subject) affinityClients() []AffinityClient {
	var list []AffinityClient
	for i, p := range s.pairs {
		v := s.judged[i]
		c := AffinityClient{Source: p.source, Node: p.node, Port: p.port, Connections: v.connections, Backends: slices.Clone(v.backends), Result: v.result()}
		if v.connections > 0 {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b AffinityClient) int { return cmp.Compare(gravity(a.Result), gravity(b.Result)) })
	return list[:min(len(list), mostClientsListed)]
}

func (v verdict) result() string {
	switch {
	case v.held():
		return "held"
	case v.broken != nil:
		return "broken"
	case v.expired:
		return "expired"
	case v.raced:
		return "raced"
	}
	return "moved"
}

func gravity(result string) int {
	return slices.Index([]string{"broken", "moved", "raced", "expired", "held"}, result)
}

// estimateTimeout looks at every pause between two openings of a pair whose pod stayed eligible; the memory slides, so that it is
// the pause that counts. Connections that were opened before the one before was established may have found no memory.
func (s *subject) estimateTimeout(timeout float64) *TimeoutEstimate {
	var gaps []skew.Gap
	e := &TimeoutEstimate{}
	for _, p := range s.pairs {
		var last *record.Connection
		for _, c := range p.rows {
			if c.Backend == "" {
				continue
			}
			if last != nil && last.Connected != 0 && last.Connected <= c.Opened && s.byKey[stratumKey{last.Agent, last.Address}].stays[last.Backend] {
				g := skew.Gap{Seconds: c.Opened - last.Opened, Held: c.Backend == last.Backend}
				gaps = append(gaps, g)
				if g.Seconds >= timeout {
					e.beyond++
					if g.Held {
						e.stayed++
					}
				}
			}
			last = c
		}
	}
	if len(gaps) == 0 {
		return nil
	}
	t := skew.AffinityTimeout(gaps, s.samePodByLuck())
	e.Low, e.High, e.Gaps, e.ByLuck = t.Low, t.High, t.Gaps, t.ByLuck
	return e
}

// samePodByLuck is the probability that a new choice falls on the pod of the one before, for the stratum where it is largest.
func (s *subject) samePodByLuck() float64 {
	most := 0.0
	for _, x := range s.strata {
		sum := 0.0
		for _, b := range x.at.Backends {
			sum += b.P * b.P
		}
		most = max(most, sum)
	}
	return most
}

// around returns the last pod before an instant, and the last one after it: a change takes its time to arrive. "" where there is none.
func (p *pair) around(at float64) (before, after string) {
	for _, c := range p.rows {
		switch {
		case c.Backend == "":
		case c.Opened < at:
			before = c.Backend
		default:
			after = c.Backend
		}
	}
	return before, after
}

// remap compares the pods before and after the first change that was made on purpose; nil without one.
func (s *subject) remap() *AffinityRemap {
	if !s.changed || len(s.events) == 0 || s.later == nil {
		return nil
	}
	at := slices.MinFunc(s.events, func(a, b record.Event) int { return cmp.Compare(a.At, b.At) }).At
	before, after := map[string]bool{}, map[string]bool{}
	for _, x := range s.strata {
		for _, b := range x.at.Backends {
			before[b.Pod] = true
		}
		for _, b := range s.later.predict(s.plan, x.agent, x.addr).Backends {
			after[b.Pod] = true
		}
	}
	r := &AffinityRemap{Before: len(before), After: len(after)}
	for _, p := range s.pairs {
		old, now := p.around(at)
		if old == "" || now == "" {
			continue
		}
		r.Clients++
		if old != now {
			r.Moved++
			if !after[old] {
				r.Gone++
			}
		}
	}
	if r.Clients == 0 || r.Before == 0 || r.After == 0 {
		return nil
	}
	moved := skew.Remapped(r.Before, r.After)
	r.Consistent, r.Modulo, r.Memoryless = moved.Consistent, moved.Modulo, moved.Memoryless
	r.Interval = Range(skew.ClopperPearson(r.Moved, r.Clients, 0.95))
	return r
}
