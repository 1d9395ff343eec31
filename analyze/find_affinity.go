package analyze

import (
	"fmt"
	"math"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
)

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
		if v.held() {
			a.Held++
		}
		a.ByChance += s.luck(p, v.connections)
	}
	a.BackendsUsed = len(used)
	a.Interval = Range(skew.ClopperPearson(a.Held, a.Clients, 0.95))
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

// luckMost is the chance of looking held without any affinity that is passed over in silence.
const luckMost = 0.01

func (j *judge) affinityHeld(s *subject) {
	a := s.report.Affinity
	if a == nil || a.Clients == 0 || len(s.breaches()) > 0 {
		return
	}
	connections, expired, raced := 0, 0, 0
	for _, v := range s.judged {
		connections += v.connections
		if v.expired && !v.held() {
			expired++
		}
		if v.raced && !v.held() {
			raced++
		}
	}
	if a.Held == 0 && expired == 0 {
		return
	}
	summary := fmt.Sprintf("%d of %d clients (address and node) kept their pod over %d connections (95 %% range %s to %s)",
		a.Held, a.Clients, connections, figure(a.Interval[0]), figure(a.Interval[1]))
	if expired > 0 {
		summary += fmt.Sprintf("; %s moved after a pause longer than the %d s timeout", plural(expired, "client", "clients"), a.TimeoutSeconds)
	}
	if raced > 0 {
		summary += fmt.Sprintf("; %s opened connections at the same time, before there was a pod to remember", plural(raced, "client", "clients"))
	}
	if a.ByChance > luckMost*float64(a.Clients) {
		summary += fmt.Sprintf("; %s would be expected without any affinity, as there are few connections per client or few pods", figure(a.ByChance))
	}
	sources := map[string]bool{}
	for _, p := range s.pairs {
		sources[p.source] = true
	}
	n := float64(len(s.backends))
	j.add(Finding{
		Code: AffinityHeld, Severity: Info, Stream: s.name, ByDesign: true, Summary: summary,
		Evidence: map[string]any{"clients": a.Clients, "held": a.Held, "interval": a.Interval, "connections": connections, "heldByChance": a.ByChance,
			"sources": len(sources), "backends": len(s.backends), "backendsUsed": a.BackendsUsed, "backendsUsedByChance": n * (1 - math.Pow(1-1/n, float64(len(s.pairs)))),
			"timeoutSeconds": a.TimeoutSeconds, "expired": expired, "openedAtOnce": raced},
	})
}

// breaches are the pairs that lost their pod though the memory had to hold.
func (s *subject) breaches() []*breach {
	var all []*breach
	for _, v := range s.judged {
		if v.broken != nil {
			all = append(all, v.broken)
		}
	}
	return all
}

func (j *judge) affinityBroken(s *subject) {
	all := s.breaches()
	if len(all) == 0 {
		return
	}
	const most = 10
	rows := []map[string]any{}
	for _, b := range all[:min(most, len(all))] {
		rows = append(rows, map[string]any{"client": b.source, "node": b.node, "from": b.from, "to": b.to, "gapSeconds": b.gap})
	}
	shortest := slices.MinFunc(all, func(a, b *breach) int { return compareGap(a, b) })
	a := s.report.Affinity
	j.add(Finding{
		Code: AffinityBroken, Severity: Error, Stream: s.name,
		Summary: fmt.Sprintf("%d of %d clients were moved to another pod although theirs was still eligible and the %d s timeout had not passed: %s went from %s to %s after %s s",
			len(all), a.Clients, a.TimeoutSeconds, shortest.source, shortest.from, shortest.to, figure(shortest.gap)),
		Evidence: map[string]any{"clients": a.Clients, "held": a.Held, "broken": len(all), "interval": a.Interval, "timeoutSeconds": a.TimeoutSeconds, "examples": rows},
		Remedies: []Remedy{
			{What: "see whether more than 100 client addresses per pod pass one node in iptables mode: xt_recent keeps that many and forgets the oldest; nftables mode does not"},
			{What: "see whether something in front changes the client's address or the node between connections: affinity is per address and per node"},
		},
	})
}

func compareGap(a, b *breach) int {
	switch {
	case a.gap < b.gap:
		return -1
	case a.gap > b.gap:
		return 1
	}
	return 0
}
