package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/podskew/podskew/record"
)

// traffic is one stream as it was predicted and as it came out.
type traffic struct {
	plan    *record.Stream
	name    string
	facts   *record.Facts
	events  []record.Event
	ended   *record.End // nil: the record was cut
	now     *atlas      // of the facts when the load started
	later   *atlas      // when it ended; nil if that is not known
	agents  map[string]record.AgentRef
	targets map[string]record.Address
	dropped map[string]bool // agents that opened more connections than have rows

	strata    []*stratum // those that carried anything, else all that were planned
	byKey     map[stratumKey]*stratum
	servers   []*record.Server     // what pods counted, of streams through a gateway
	rows      []*record.Connection // of dropped agents the first ones only
	modelled  bool                 // the outcome of every stratum is predicted
	changed   bool                 // the eligible backends at the end are others than at the start
	untested  string               // one clause: why its units are no independent choices; "" they are
	choice    choice               // how clients choose without chance; "" they do not, or it is not known
	tallySpan [2]float64           // seconds since the start of the run that the tallies are of; both 0 without

	backends []*backend // the reference set, in canonical order
	byPod    map[string]int
	foreign  []*backend // answered, but outside the reference set
	keyed    []*pair    // under ClientIP affinity; made when first asked for

	units
}

// testable reports whether chance alone should bound how far the units are from what is predicted.
func (t *traffic) testable() bool { return t.modelled && !t.changed && t.untested == "" }

// backend is one pod of a stream.
type backend struct {
	pod, node   string
	eligible    bool
	requests    int // answered
	connections int
	latency     record.Histogram
}

// collect sorts the record by stream and predicts every stratum.
func collect(rec *record.Record) ([]*traffic, error) {
	byID := map[string]*traffic{}
	var all []*traffic
	now, later := newAtlas(&rec.Facts), (*atlas)(nil)
	if rec.FactsAfter != nil {
		later = newAtlas(rec.FactsAfter)
	}
	for i := range rec.Streams {
		t := newTraffic(now, later, &rec.Streams[i])
		if byID[t.plan.ID] != nil {
			return nil, fmt.Errorf("reading the record: stream %q is there twice", t.plan.ID)
		}
		byID[t.plan.ID] = t
		all = append(all, t)
	}
	for _, t := range all {
		t.events, t.ended = rec.Events, rec.End
	}
	for i := range rec.Generators {
		if g := &rec.Generators[i]; g.DroppedRows > 0 && byID[g.Stream] != nil {
			byID[g.Stream].dropped[g.Agent] = true
		}
	}
	for i := range rec.Connections {
		c := &rec.Connections[i]
		t := byID[c.Stream]
		if t == nil {
			return nil, fmt.Errorf("reading the record: connection %d of agent %q belongs to no stream, %q", c.ID, c.Agent, c.Stream)
		}
		if err := t.addConnection(c); err != nil {
			return nil, err
		}
	}
	for i := range rec.Tallies {
		t := byID[rec.Tallies[i].Stream]
		if t == nil {
			return nil, fmt.Errorf("reading the record: a tally of agent %q belongs to no stream, %q", rec.Tallies[i].Agent, rec.Tallies[i].Stream)
		}
		if err := t.addTally(&rec.Tallies[i]); err != nil {
			return nil, err
		}
	}
	for _, t := range all {
		t.settle(rec)
	}
	return all, nil
}

func newTraffic(now, later *atlas, plan *record.Stream) *traffic {
	t := &traffic{
		plan: plan, name: cmp.Or(plan.Client, plan.ID), facts: now.facts, now: now, later: later, agents: map[string]record.AgentRef{},
		targets: map[string]record.Address{}, dropped: map[string]bool{}, byKey: map[stratumKey]*stratum{}, byPod: map[string]int{},
	}
	for _, a := range plan.Agents {
		t.agents[a.Name] = a
	}
	for _, a := range plan.Addresses {
		t.targets[a.HostPort] = a
	}
	return t
}

// settle predicts what is known of by now and brings everything into an order that does not depend on the record's.
func (t *traffic) settle(rec *record.Record) {
	if len(t.strata) == 0 {
		for _, agent := range t.plan.Agents {
			for _, addr := range t.plan.Addresses {
				t.at(agent.Name, addr.HostPort)
			}
		}
	}
	slices.SortFunc(t.strata, func(a, b *stratum) int {
		return cmp.Or(cmp.Compare(a.agent.Name, b.agent.Name), cmp.Compare(a.addr.HostPort, b.addr.HostPort))
	})
	slices.SortFunc(t.rows, func(a, b *record.Connection) int {
		return cmp.Or(cmp.Compare(a.Opened, b.Opened), cmp.Compare(a.Agent, b.Agent), cmp.Compare(a.ID, b.ID))
	})
	t.modelled = len(t.strata) > 0
	for _, s := range t.strata {
		s.choose(t.dropped[s.agent.Name])
		t.predict(s)
	}
	if t.plan.Target == "url" {
		t.assume()
	}
	t.modelled = t.modelled && !slices.ContainsFunc(t.strata, func(s *stratum) bool { return s.at.Outcome == Unknown })
	t.backendsOf(rec)
	t.throughGateway(rec)
	t.units = t.countUnits()
}

func (t *traffic) predict(s *stratum) {
	s.at = t.now.predict(t.plan, s.agent, s.addr)
	t.untested = cmp.Or(t.untested, s.at.Untested)
	t.choice = cmp.Or(t.choice, s.at.choice)
	for _, b := range s.at.Backends {
		s.eligible[b.Pod] = true
		s.stays[b.Pod] = true
	}
	if t.later == nil {
		return
	}
	after := t.later.predict(t.plan, s.agent, s.addr)
	clear(s.stays)
	for _, b := range after.Backends {
		if s.eligible[b.Pod] {
			s.stays[b.Pod] = true
		}
		s.eligible[b.Pod] = true
	}
	if after.Outcome != s.at.Outcome || len(s.stays) != len(s.eligible) {
		t.changed = true
	}
}

// backendsOf fills the reference set: what any stratum may reach or, without a model, what is ready; and whoever else answered.
func (t *traffic) backendsOf(rec *record.Record) {
	found := map[string]*backend{}
	add := func(pod string, eligible bool) *backend {
		b := found[pod]
		if b == nil {
			b = &backend{pod: pod, node: nodeOfPod(rec, pod)}
			found[pod] = b
		}
		b.eligible = b.eligible || eligible
		return b
	}
	for _, s := range t.strata {
		s.addTo(add, !t.modelled)
	}
	if !t.modelled {
		for _, e := range keep(rec.Facts.Endpoints, func(e record.Endpoint) bool { return e.Service == t.plan.Service && e.Ready }) {
			add(t.now.podOf(e), true)
		}
	}
	for _, b := range slices.SortedFunc(maps.Values(found), func(a, b *backend) int { return cmp.Compare(a.pod, b.pod) }) {
		if b.eligible {
			t.backends = append(t.backends, b)
		} else {
			t.foreign = append(t.foreign, b)
		}
	}
}

// nodeOfPod looks a pod up in the facts of the start, then of the end.
func nodeOfPod(rec *record.Record, pod string) string {
	for _, facts := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
		if facts == nil {
			continue
		}
		for _, p := range facts.Pods {
			if p.Name == pod {
				return p.Node
			}
		}
		for _, e := range facts.Endpoints {
			if e.Pod == pod || e.Address == pod {
				return e.Node
			}
		}
	}
	return ""
}
