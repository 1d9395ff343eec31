package analyze

import (
	"fmt"
	"slices"
)

// gatewaySources says what becomes of clients' addresses behind a gateway: it ends their connections, so that the pods see the
// gateway, unless PROXY protocol tells them more. What it puts into X-Forwarded-For is the client as the gateway saw it.
func (j *judge) gatewaySources(s *subject, others []Source, lost, all int) {
	g := s.now.facts.Gateway
	forwarded := s.report.Forwarded
	severity, design := Info, !slices.ContainsFunc(others, func(src Source) bool { return !src.Expected })
	if forwarded == nil || forwarded.Client < forwarded.Connections || !design {
		severity = Warning
	}
	names, table := hops(others)
	text := fmt.Sprintf("the pods did not see the clients' addresses in %d of %d answered requests but %s; %s ends the clients' connections and opens its own%s",
		lost, all, byClass(others), g.Proxy, forwarded.clause())
	if !design {
		text += "; what they saw is not the gateway's either: look at " + listed(names)
	}
	remedies := []Remedy{}
	if forwarded != nil && forwarded.Other > 0 && s.plan.Vantage == "external" {
		text += fmt.Sprintf(", and in the other %d a node: under externalTrafficPolicy Cluster the gateway itself sees no client", forwarded.Other)
		remedies = append(remedies, Remedy{What: "externalTrafficPolicy: Local on the gateway's Service, so that it sees its clients", Predicted: map[string]any{"forwardedFor": "client"}})
	}
	if forwarded != nil {
		remedies = append(remedies, Remedy{What: "read X-Forwarded-For, and believe it from the gateway's pods only: anybody can send it", Predicted: map[string]any{"sourceIP": "in a header"}})
	}
	if !g.SendProxyProtocol {
		remedies = append(remedies, Remedy{What: "PROXY protocol from the gateway to the pods, for programs that look at the connection and not at headers; without kept-alive connections that clients share", Predicted: map[string]any{"sourceIP": "client"}})
	}
	j.add(Finding{
		Code: SourceIPLost, Severity: severity, Stream: s.name, ByDesign: design, Summary: text,
		Evidence: map[string]any{"requests": all, "lost": lost, "sources": sourceTable(s.report.Sources), "hop": g.Proxy, "hops": table, "forwarded": forwarded, "proxied": s.proxied()},
		Remedies: remedies,
	})
}

// proxied counts the connections whose pod was told their client by PROXY protocol.
func (t *traffic) proxied() int {
	n := 0
	for _, c := range t.rows {
		if c.Proxied != "" {
			n++
		}
	}
	return n
}

// gatewayTurns says of a gateway that takes the pods in turn whether the counts are as even as turns make them.
func (j *judge) gatewayTurns(s *subject) {
	requests := s.law.Units()
	if len(s.backends) < 2 || requests < len(s.backends) || s.changed {
		return
	}
	least, most := slices.Min(s.counts), slices.Max(s.counts)
	if spread := most - least; spread > 1+s.unknown {
		j.note("%s: the gateway takes the pods in turn, which gives every pod the same number of requests, or one more; they got %d to %d. "+
			"No law of chance says how much that is: look for pods it took for dead for a while, and for other clients of the gateway.", s.name, least, most)
		return
	}
	j.add(Finding{
		Code: RoundRobin, Severity: Info, Stream: s.name, ByDesign: true,
		Summary: fmt.Sprintf("the gateway (%s) takes %d pods in turn: %s, %d to %d on each pod, as even as turns make them",
			s.now.facts.Gateway.Proxy, len(s.backends), unitCount(requests, s.unit), least, most),
		Evidence: map[string]any{"units": requests, "unit": s.unit, "backends": len(s.backends), "fewest": least, "most": most, "byDesign": true},
		Remedies: []Remedy{{What: "mind clients that make requests in pairs: over an even number of pods each kind of request then meets only half of them"}},
	})
}
