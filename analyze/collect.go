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
	plan     *record.Stream
	name     string
	facts    *record.Facts
	strata   []*stratum // those that carried anything, else all that were planned
	byKey    map[stratumKey]*stratum
	rows     []*record.Connection
	modelled bool // the outcome of every stratum is predicted
	changed  bool // the eligible backends at the end are others than at the start

	backends []*backend // the reference set, in canonical order
	byPod    map[string]int
	foreign  []*backend // answered, but outside the reference set

	units
}

// stratum is the part of a stream that one agent sends to one address. Each has its own probabilities.
type stratum struct {
	agent    record.AgentRef
	addr     record.Address
	at       Prediction
	eligible map[string]bool // at the start or at the end
	stays    map[string]bool // at the start and at the end

	opened   int                      // connections
	known    int                      // of these, somebody answered
	dials    map[record.ErrorKind]int // connections that were never established, by reason
	sent     int                      // requests
	errors   map[record.ErrorKind]int // requests that failed, by reason
	answered map[string]*answers      // by pod
	sources  map[sourceKey]int        // answered requests
}

type stratumKey struct{ agent, address string }

// answers are the answered requests of one stratum by one pod.
type answers struct {
	requests int
	latency  record.Histogram
}

type sourceKey struct{ pod, observed string }

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
	for i := range rec.Streams {
		t := newTraffic(rec, &rec.Streams[i])
		if byID[t.plan.ID] != nil {
			return nil, fmt.Errorf("reading the record: stream %q is there twice", t.plan.ID)
		}
		byID[t.plan.ID] = t
		all = append(all, t)
	}
	for i := range rec.Connections {
		c := &rec.Connections[i]
		t := byID[c.Stream]
		if t == nil {
			return nil, fmt.Errorf("reading the record: connection %d of agent %q belongs to no stream, %q", c.ID, c.Agent, c.Stream)
		}
		t.addConnection(c)
	}
	for i := range rec.Tallies {
		t := byID[rec.Tallies[i].Stream]
		if t == nil {
			return nil, fmt.Errorf("reading the record: a tally of agent %q belongs to no stream, %q", rec.Tallies[i].Agent, rec.Tallies[i].Stream)
		}
		t.addTally(&rec.Tallies[i])
	}
	for _, t := range all {
		t.settle(rec)
	}
	return all, nil
}

func newTraffic(rec *record.Record, plan *record.Stream) *traffic {
	t := &traffic{plan: plan, name: cmp.Or(plan.Client, plan.ID), facts: &rec.Facts, byKey: map[stratumKey]*stratum{}, byPod: map[string]int{}}
	return t
}

// at returns the stratum of an agent and an address, making it when it is first met.
func (t *traffic) at(agent, address string) *stratum {
	key := stratumKey{agent, address}
	if s := t.byKey[key]; s != nil {
		return s
	}
	s := &stratum{
		agent: record.AgentRef{Name: agent}, addr: record.Address{HostPort: address}, eligible: map[string]bool{}, stays: map[string]bool{},
		dials: map[record.ErrorKind]int{}, errors: map[record.ErrorKind]int{}, answered: map[string]*answers{}, sources: map[sourceKey]int{},
	}
	for _, p := range t.facts.Pods {
		if p.Name == agent {
			s.agent.Node, s.agent.IPs = p.Node, p.IPs
		}
	}
	for _, a := range t.plan.Agents {
		if a.Name == agent {
			s.agent = a
		}
	}
	for _, a := range t.plan.Addresses {
		if a.HostPort == address {
			s.addr = a
		}
	}
	t.byKey[key] = s
	t.strata = append(t.strata, s)
	return s
}

func (t *traffic) addConnection(c *record.Connection) {
	s := t.at(c.Agent, c.Address)
	s.opened++
	if c.Backend != "" {
		s.known++
	}
	if failedDial(c) {
		s.dials[c.Error]++
	}
	t.rows = append(t.rows, c)
}

// failedDial reports whether a connection was never established.
func failedDial(c *record.Connection) bool {
	return c.Error != "" && c.Connected == 0 && c.Backend == ""
}

func (t *traffic) addTally(tally *record.Tally) {
	s := t.at(tally.Agent, tally.Address)
	s.sent += tally.Requests
	unanswered := 0
	for kind, n := range tally.Errors {
		s.errors[kind] += n
		if kind != record.ErrStatus {
			unanswered += n
		}
	}
	if tally.Backend == "" {
		return
	}
	got := tally.Requests - unanswered
	a := s.answered[tally.Backend]
	if a == nil {
		a = &answers{}
		s.answered[tally.Backend] = a
	}
	a.requests += got
	a.latency.Merge(tally.Latency)
	s.sources[sourceKey{tally.Backend, tally.Observed}] += got
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
		t.predict(rec, s)
	}
	t.backendsOf(rec)
	t.units = t.countUnits()
}

func (t *traffic) predict(rec *record.Record, s *stratum) {
	s.at = Predict(&rec.Facts, t.plan, s.agent, s.addr)
	if s.at.Outcome == Unknown {
		t.modelled = false
	}
	for _, b := range s.at.Backends {
		s.eligible[b.Pod] = true
		s.stays[b.Pod] = true
	}
	if rec.FactsAfter == nil {
		return
	}
	after := Predict(rec.FactsAfter, t.plan, s.agent, s.addr)
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
		for pod := range s.eligible {
			add(pod, true)
		}
		for pod, a := range s.answered {
			b := add(pod, !t.modelled)
			b.requests += a.requests
			b.latency.Merge(a.latency)
		}
	}
	for _, c := range t.rows {
		if c.Backend != "" {
			add(c.Backend, !t.modelled).connections++
		}
	}
	if !t.modelled {
		for _, e := range keep(rec.Facts.Endpoints, func(e record.Endpoint) bool { return e.Service == t.plan.Service && e.Ready }) {
			add(podOf(&rec.Facts, e), true)
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
