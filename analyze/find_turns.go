package analyze

import (
	"fmt"
	"slices"
)

// oneAddress says that each client looked the name up once and kept to the address it was told first: however many connections it opens, they
// are one choice. What the records show otherwise is no such thing.
func (j *judge) oneAddress(s *subject) {
	units := s.law.Units()
	if s.choice != oneChoice || len(s.backends) < 2 || units == 0 || s.changed {
		return
	}
	clients := 0
	byClient := s.podCounts()
	for _, x := range s.strata {
		counts := byClient[x]
		if len(counts) > 1 {
			j.note("%s: a client that keeps to one address reached %d pods: its name was looked up again, or more than one process dialled.", s.name, len(counts))
			return
		}
		clients += min(len(counts), 1)
	}
	ratio, at := s.hottest()
	if at < 0 {
		return
	}
	severity := Info
	if ratio >= notably {
		severity = Warning
	}
	reached := len(s.backends) - s.report.Skew.IdleBackends
	j.add(Finding{
		Code: ConnectionPinning, Severity: severity, Stream: s.name, ByDesign: true,
		Summary: fmt.Sprintf("each client looks the name up once and keeps to the first address: all its connections are one choice; %s of %s reached %d of %d pods, and %s got %s times its share",
			unitCount(units, s.unit), plural(clients, "client", "clients"), reached, len(s.backends), s.backends[at].pod, figure(ratio)),
		Evidence: map[string]any{
			"connections": units, "clients": clients, "backends": len(s.backends), "backendsReached": reached, "byBackend": s.loadTable(),
			"maxOverMean": s.report.Skew.MaxOverMean, "timesExpectedShare": ratio,
		},
		Remedies: []Remedy{
			{What: "look the name up for each connection: every one is a choice of its own then, as far as the DNS server shuffles its answers", Predicted: map[string]any{"choices": units}},
			{What: "take the addresses in turn instead of the first one", Predicted: map[string]any{"maxOverMean": s.evenest()}},
		},
	})
}

// turns says of clients that take the addresses in turn whether the counts are as even as turns make them. If they are not, there is no law
// by which to judge how much.
func (j *judge) turns(s *subject) {
	units := s.law.Units()
	if s.choice == inTurns && s.plan.Target == "gateway" {
		j.gatewayTurns(s)
		return
	}
	if s.choice != inTurns || len(s.backends) < 2 || units < len(s.backends) || s.changed {
		return
	}
	clients := s.podCounts()
	for _, x := range s.strata {
		least, most := units, 0
		for _, b := range x.at.Backends {
			least, most = min(least, clients[x][b.Pod]), max(most, clients[x][b.Pod])
		}
		if unanswered := x.opened - x.known; most-least > 1+unanswered {
			j.note("%s: clients take the addresses in turn, which gives every pod the same number of connections, or one more; a client opened %d to %d. "+
				"No law of chance says how much that is: look for answers of the DNS server that list a part of the pods, and for connections that were lost and opened again.",
				s.name, least, most)
			return
		}
	}
	least, most := slices.Min(s.counts), slices.Max(s.counts)
	j.add(Finding{
		Code: RoundRobin, Severity: Info, Stream: s.name, ByDesign: true,
		Summary: fmt.Sprintf("%s %d addresses in turn: %s, %d to %d on each pod, as even as turns make them",
			plural(len(clients), "client takes", "clients take"), len(s.backends), unitCount(units, s.unit), least, most),
		Evidence: map[string]any{"clients": len(clients), "units": units, "backends": len(s.backends), "fewest": least, "most": most, "byDesign": true},
		Remedies: []Remedy{{What: "mind clients that make requests in pairs: over an even number of pods each kind of request then meets only half of them"}},
	})
}

// podCounts counts the units of each client at each address, by pod.
func (t *traffic) podCounts() map[*stratum]map[string]int {
	out := map[*stratum]map[string]int{}
	for _, one := range t.list {
		if out[one.stratum] == nil {
			out[one.stratum] = map[string]int{}
		}
		out[one.stratum][one.pod] += one.n
	}
	return out
}

// evenest is the max/mean of as many units dealt out evenly.
func (s *subject) evenest() float64 {
	units, n := s.law.Units(), len(s.backends)
	return float64((units+n-1)/n) * float64(n) / float64(units)
}
