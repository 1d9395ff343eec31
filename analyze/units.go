package analyze

import (
	"cmp"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// units are what kube-proxy decided once for, and where they went.
type units struct {
	unit    string // connection, flow, clientIP or request
	list    []unit // with a known, eligible backend
	unknown int    // connections that should have been answered and were not
	stray   int    // connections answered by a pod that was not eligible
	cut     bool   // the run did not end by itself: requests may have been under way
	plain   bool   // what each unit carried is not known of all: they are taken to carry the same

	groups []skew.Group // one per stratum that should answer, over the backends of the reference set
	parts  []skew.Part  // the same, as it came out
	law    *skew.Law
	counts []int // units of each backend of the reference set
}

// unit is one independent choice, or several that are known by their number only.
type unit struct {
	stratum *stratum
	pod     string
	load    int // answered requests it carried, each of them on average
	n       int // how many it stands for, at least 1
}

// size returns the number of units.
func (u *units) size() int {
	n := 0
	for _, one := range u.list {
		n += one.n
	}
	return n
}

// defaultAffinity is how long ClientIP affinity lasts unless the Service says otherwise, in seconds.
const defaultAffinity = 10_800

func (t *traffic) countUnits() units {
	u := units{unit: unitConnection, cut: t.ended == nil || t.ended.Interrupted}
	for _, s := range t.strata {
		if s.at.Unit != unitConnection {
			u.unit = s.at.Unit
		}
	}
	switch u.unit {
	case unitClientIP:
		for _, p := range t.clientPairs() {
			for _, span := range p.spans {
				u.add(span.first, span.rows)
			}
		}
	case unitUpstream:
		u.addUpstream(t)
	case unitSession:
		u.addSessions(t)
	case unitRequest:
		for _, s := range t.strata {
			u.addRequests(s)
		}
	default:
		for i, c := range t.rows {
			if s := t.byKey[stratumKey{c.Agent, c.Address}]; !s.byTally {
				u.add(s, t.rows[i:i+1])
			}
		}
		for _, s := range t.strata {
			u.addTallied(s)
		}
	}
	t.order(&u)
	return u
}

// addRequests counts every answered request as a choice of its own.
func (u *units) addRequests(s *stratum) {
	u.plain = true
	if s.at.Outcome != Answer {
		return
	}
	for _, pod := range sortedKeys(s.answered) {
		if n := s.answered[pod].requests; n > 0 {
			u.list = append(u.list, unit{stratum: s, pod: pod, load: 1, n: n})
		}
	}
	u.unknown += s.tallied[""]
	if !s.byTally {
		u.unknown += s.rowed[""]
	}
}

// addTallied counts the connections of a stratum with more of them than rows.
func (u *units) addTallied(s *stratum) {
	if !s.byTally {
		return
	}
	u.plain = true
	for _, pod := range sortedKeys(s.tallied) {
		n := s.tallied[pod]
		switch {
		case s.at.Outcome == Answer && pod == "":
			u.unknown += n
		case pod != "" && s.at.Outcome != Unknown && !s.eligible[pod]:
			u.stray += n
		case s.at.Outcome == Answer:
			load := 0
			if a := s.answered[pod]; a != nil {
				load = a.requests / n
			}
			u.list = append(u.list, unit{stratum: s, pod: pod, load: load, n: n})
		}
	}
}

// add counts the connections that belong to one choice. A choice nobody answered is no unit: those that could never be are
// not missed, those that should have been are unknown.
func (u *units) add(s *stratum, rows []*record.Connection) {
	if s.at.Outcome != Answer {
		for _, c := range rows {
			if c.Backend != "" && s.at.Outcome != Unknown && !s.eligible[c.Backend] {
				u.stray++
			}
		}
		return
	}
	one := unit{stratum: s, n: 1}
	for _, c := range rows {
		switch {
		case !u.cut && unasked(c):
			continue
		case c.Backend == "":
			u.unknown++
			continue
		case !s.eligible[c.Backend]:
			u.stray++
			continue
		case one.pod == "":
			one.pod = c.Backend
		}
		one.load += c.Requests // whoever answered
	}
	if one.pod != "" {
		u.list = append(u.list, one)
	}
}

// unasked reports whether a connection was opened and never used: a client that takes the connection it used last leaves others idle.
// Which pod such a one went to is not known, and has nothing to do with which pod that is.
func unasked(c *record.Connection) bool {
	return c.Backend == "" && c.Error == "" && c.Connected != 0 && c.Requests == 0
}

// order brings backends and strata into canonical order and makes the law of the units: strata by size and the shape of their
// probabilities, backends by their probabilities, units and requests. Names settle only what nothing else tells apart.
func (t *traffic) order(u *units) {
	var strata []*stratum
	sizes := map[*stratum]int{}
	for _, one := range u.list {
		sizes[one.stratum] += one.n
	}
	for _, s := range t.strata {
		if s.at.Outcome == Answer {
			strata = append(strata, s)
		}
	}
	slices.SortStableFunc(strata, func(a, b *stratum) int {
		return cmp.Or(cmp.Compare(len(a.at.Backends), len(b.at.Backends)), cmp.Compare(sizes[a], sizes[b]))
	})
	position := map[string]int{}
	for i, b := range t.backends {
		position[b.pod] = i
	}
	u.tabulate(strata, t.backends, position)
	requests := make([]float64, len(t.backends))
	for i, b := range t.backends {
		requests[i] = float64(b.requests)
	}
	order := skew.Order(u.groups, u.counts, requests)
	sorted := make([]*backend, len(order))
	for i, from := range order {
		sorted[i] = t.backends[from]
		t.byPod[sorted[i].pod] = i
	}
	t.backends = sorted
	u.tabulate(strata, t.backends, t.byPod)
	u.law, _ = skew.NewLaw(len(t.backends), u.groups) // the groups are valid by construction
}

// tabulate fills groups, parts and counts for the backends as they are ordered now.
func (u *units) tabulate(strata []*stratum, backends []*backend, position map[string]int) {
	n := len(backends)
	u.groups, u.parts, u.counts = nil, nil, make([]int, n)
	index := map[*stratum]int{}
	for i, s := range strata {
		g := skew.Group{P: make([]float64, n)}
		if !u.plain {
			g.Loads = []float64{}
		}
		part := skew.Part{Units: make([]int, n), Requests: make([]float64, n)}
		for _, b := range s.at.Backends {
			g.P[position[b.Pod]] += b.P
		}
		for pod, a := range s.answered {
			if at, ok := position[pod]; ok && s.eligible[pod] {
				part.Requests[at] = float64(a.requests)
			}
		}
		part.P = g.P
		index[s] = i
		u.groups = append(u.groups, g)
		u.parts = append(u.parts, part)
	}
	for _, one := range u.list {
		at, ok := position[one.pod]
		i, known := index[one.stratum]
		if !ok || !known {
			continue
		}
		u.counts[at] += one.n
		u.parts[i].Units[at] += one.n
		u.groups[i].Units += one.n
		if !u.plain {
			u.groups[i].Loads = append(u.groups[i].Loads, float64(one.load))
		}
	}
	u.parts = merged(u.parts)
}

// merged joins parts with the same probabilities, as the law does with groups.
func merged(parts []skew.Part) []skew.Part {
	var out []skew.Part
	for _, p := range parts {
		at := slices.IndexFunc(out, func(have skew.Part) bool { return slices.Equal(have.P, p.P) })
		if at < 0 {
			out = append(out, p)
			continue
		}
		for b := range p.P {
			out[at].Units[b] += p.Units[b]
			out[at].Requests[b] += p.Requests[b]
		}
	}
	return out
}
