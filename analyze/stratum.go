package analyze

import (
	"fmt"

	"github.com/podskew/podskew/record"
)

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

	rowed    map[string]int         // connections that have rows, by pod of the first answer, "" nobody's
	tallied  map[string]int         // connections by the tallies; empty where those do not count them
	expected map[string]SourceClass // made when first asked for: by pod, the class of the address it should see

	byTally bool // there are more connections than rows: the tallies count
}

type stratumKey struct{ agent, address string }

// answers are the answered requests of one stratum by one pod.
type answers struct {
	requests int
	latency  record.Histogram
}

type sourceKey struct{ pod, observed string }

// at returns the stratum of an agent and an address, making it when it is first met.
func (t *traffic) at(agent, address string) *stratum {
	key := stratumKey{agent, address}
	if s := t.byKey[key]; s != nil {
		return s
	}
	s := &stratum{
		agent: record.AgentRef{Name: agent}, addr: record.Address{HostPort: address}, eligible: map[string]bool{}, stays: map[string]bool{},
		dials: map[record.ErrorKind]int{}, errors: map[record.ErrorKind]int{}, answered: map[string]*answers{}, sources: map[sourceKey]int{},
		rowed: map[string]int{}, tallied: map[string]int{},
	}
	if p := t.now.pods[agent]; p != nil {
		s.agent.Node, s.agent.IPs = p.Node, p.IPs
	}
	if a, ok := t.agents[agent]; ok {
		s.agent = a
	}
	if a, ok := t.targets[address]; ok {
		s.addr = a
	}
	t.byKey[key] = s
	t.strata = append(t.strata, s)
	return s
}

// mostCounted is the largest count that a record may hold in one place, so that sums of them stay numbers.
const mostCounted = 1_000_000_000_000

func countable(n int) bool { return n >= 0 && n <= mostCounted }

func (t *traffic) addConnection(c *record.Connection) error {
	if !countable(c.Requests) {
		return fmt.Errorf("reading the record: connection %d of agent %q has %d requests", c.ID, c.Agent, c.Requests)
	}
	s := t.at(c.Agent, c.Address)
	s.rowed[c.Backend]++
	if failedDial(c) {
		s.dials[c.Error]++
	}
	t.rows = append(t.rows, c)
	return nil
}

// failedDial reports whether a connection was never established.
func failedDial(c *record.Connection) bool {
	return c.Error != "" && c.Connected == 0 && c.Backend == ""
}

func (t *traffic) addTally(tally *record.Tally) error {
	unanswered := 0
	for kind, n := range tally.Errors {
		if !countable(n) {
			return fmt.Errorf("reading the record: a tally of agent %q has %d errors", tally.Agent, n)
		}
		if kind != record.ErrStatus {
			unanswered += n
		}
	}
	if !countable(tally.Requests) || !countable(tally.Connections) {
		return fmt.Errorf("reading the record: a tally of agent %q has %d requests on %d connections", tally.Agent, tally.Requests, tally.Connections)
	}
	s := t.at(tally.Agent, tally.Address)
	s.sent += tally.Requests
	for kind, n := range tally.Errors {
		s.errors[kind] += n
	}
	if tally.Connections > 0 {
		s.tallied[tally.Backend] += tally.Connections
	}
	t.span(float64(tally.Second))
	if got := tally.Requests - unanswered; tally.Backend != "" && got >= 0 {
		a := s.answered[tally.Backend]
		if a == nil {
			a = &answers{}
			s.answered[tally.Backend] = a
		}
		a.requests += got
		a.latency.Merge(tally.Latency)
		s.sources[sourceKey{tally.Backend, tally.Observed}] += got
	}
	return nil
}

// span widens the time the tallies are of.
func (t *traffic) span(second float64) {
	if t.tallySpan == [2]float64{} {
		t.tallySpan = [2]float64{second, second + 1}
		return
	}
	t.tallySpan = [2]float64{min(t.tallySpan[0], second), max(t.tallySpan[1], second+1)}
}

// choose decides, once everything is read, where connections are counted: in the rows, which say more, or in the tallies where
// rows are missing.
func (s *stratum) choose(dropped bool) {
	s.byTally = len(s.tallied) > 0 && (dropped || len(s.rowed) == 0)
	for pod, n := range s.connections() {
		s.opened += n
		if pod != "" {
			s.known += n
		}
	}
}

// connections counts them by the pod of their first answer, "" where nobody answered.
func (s *stratum) connections() map[string]int {
	if s.byTally {
		return s.tallied
	}
	return s.rowed
}

// opened counts all connections of the stream, rows or not.
func (t *traffic) opened() int {
	n := 0
	for _, s := range t.strata {
		n += s.opened
	}
	return n
}

// addTo adds what the stratum may reach and what it reached to the backends that add finds or makes.
func (s *stratum) addTo(add func(pod string, eligible bool) *backend, eligible bool) {
	for pod := range s.eligible {
		add(pod, true)
	}
	for pod, a := range s.answered {
		b := add(pod, eligible)
		b.requests += a.requests
		b.latency.Merge(a.latency)
	}
	for pod, n := range s.connections() {
		if pod != "" {
			add(pod, eligible).connections += n
		}
	}
}
