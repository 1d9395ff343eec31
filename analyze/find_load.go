package analyze

import (
	"fmt"
	"slices"

	"github.com/podskew/podskew/record"
)

// Thresholds of the findings about what connections carry, and in which order they come.
const (
	loadSquared = 0.02 // CV² that uneven loads must make to be worth a line: a CV of 0.14
	loadPart    = 0.25 // and their part of the whole
	loadSpread  = 1.1  // times as much per connection on one pod as on another, from which on following the pod is worth a line
	turnsFrom   = 0.5  // part of the connections that must come in turn to be called a rotation
)

// unevenLoad says that some connections carry more requests than others, by luck of the clients or because of the pod they are on.
func (j *judge) unevenLoad(s *subject) {
	d := s.report.Decomposition
	if d == nil || len(s.backends) < 2 || s.plain {
		return
	}
	if d.LoadFollowsBackend {
		j.loadFollows(s, d)
		return
	}
	if d.LoadPerUnit < loadSquared || d.LoadPerUnit < loadPart*d.Total {
		return
	}
	most, sum := 0, 0
	for _, one := range s.list {
		most = max(most, one.load)
		sum += one.load
	}
	j.add(Finding{
		Code: UnevenConnectionLoad, Severity: Info, Stream: s.name,
		Summary: fmt.Sprintf("%s carry unequally many requests: %s of the skew comes from that; the busiest carried %d, %s times the mean. Which pods they are on is chance%s",
			unitCount(s.law.Units(), s.unit), percent(min(1, d.LoadPerUnit/d.Total)), most, figure(float64(most)*float64(s.law.Units())/float64(max(sum, 1))), j.loadText(s)),
		Evidence: map[string]any{"loadPerUnit": d.LoadPerUnit, "total": d.Total, "largest": most, "units": s.law.Units(), "adjustedP": d.LoadAdjustedP},
		Remedies: []Remedy{evenLoad(s.unit)},
	})
}

// evenLoad is how choices come to carry the same.
func evenLoad(unit string) Remedy {
	if unit == unitClientIP {
		return Remedy{What: "no affinity, or one by a cookie or header: by address all that one client sends, and all clients behind it, stay on one pod"}
	}
	return Remedy{What: "give every connection as many requests: a pool that takes the connection used longest ago, or one that closes it after so many requests"}
}

func (j *judge) loadText(s *subject) string {
	c := j.family.about[s.traffic].loadClaim
	if c == nil {
		return ""
	}
	return fmt.Sprintf(" (p = %s adjusted)", figure(c.adjusted))
}

// loadFollows: connections on some pods carry more than those on others, as in a closed loop where a slow pod answers less.
func (j *judge) loadFollows(s *subject, d *Decomposition) {
	high, low := "", ""
	for _, pod := range sortedKeys(d.LoadPerUnitOf) {
		if v := d.LoadPerUnitOf[pod]; high == "" || v > d.LoadPerUnitOf[high] {
			high = pod
		}
		if v := d.LoadPerUnitOf[pod]; low == "" || v < d.LoadPerUnitOf[low] {
			low = pod
		}
	}
	if high == "" || d.LoadPerUnitOf[low] <= 0 || d.LoadPerUnitOf[high] < loadSpread*d.LoadPerUnitOf[low] {
		return
	}
	severity := Info
	if d.LoadPerUnitOf[high] >= notably*d.LoadPerUnitOf[low] {
		severity = Warning
	}
	f := Finding{
		Code: UnevenConnectionLoad, Severity: severity, Stream: s.name,
		Summary: fmt.Sprintf("what a connection carries follows the pod it is on: %s times the usual on %s, %s times on %s%s",
			figure(d.LoadPerUnitOf[high]), high, figure(d.LoadPerUnitOf[low]), low, j.loadText(s)),
		Evidence: map[string]any{"timesUsualByPod": d.LoadPerUnitOf, "loadPerUnit": d.LoadPerUnit, "total": d.Total, "adjustedP": d.LoadAdjustedP},
	}
	if part, ok := s.loadByLatency(); ok {
		f.Evidence["byLatency"] = part
		f.Summary += fmt.Sprintf("; of that part of CV², %s, the pods' latencies explain %s: in a closed loop a slow pod is asked less often", figure(d.LoadPerUnit), figure(part))
		f.Remedies = append(f.Remedies, Remedy{What: "look at why " + low + " answers slower; drive the load at a fixed rate to see what that costs its clients"})
	}
	f.Remedies = append(f.Remedies, Remedy{What: "choose a pod for each request by how busy it is: an L7 proxy with least-request balancing"})
	j.add(f)
}

// loadByLatency is the load part of CV² that mean latencies predict: in a closed loop a connection carries requests in proportion to
// 1/latency (interactive response time law, Lazowska et al. 1984). False in an open loop.
func (s *subject) loadByLatency() (part float64, ok bool) {
	units, requests := float64(s.law.Units()), float64(s.answeredRequests())
	if s.plan.Rate > 0 || len(s.plan.Rates) > 0 || units == 0 || requests == 0 {
		return 0, false
	}
	predicted, sum := make([]float64, len(s.backends)), 0.0
	for i, b := range s.backends {
		if mean := b.latency.Mean(); mean > 0 {
			predicted[i] = float64(s.counts[i]) / mean
			sum += predicted[i]
		}
	}
	if sum == 0 {
		return 0, false
	}
	n := float64(len(s.backends))
	for i, b := range s.backends {
		part += n * (predicted[i]/sum - float64(s.counts[i])/units) * (float64(b.requests)/requests - 1/n)
	}
	return part, true
}

// inTurn says that connections are dealt out in an order, which no independent choice does.
func (j *judge) inTurn(s *subject) {
	c := j.family.about[s.traffic]
	if !j.family.upholds(c.orderClaim) || slices.ContainsFunc(doneTo(j.rec), func(e *record.Event) bool { return !leavesShares(e.Kind) }) {
		return // what changes under way is alike before and alike after, which is no order
	}
	o := c.order
	turns := float64(o.Matches) >= turnsFrom*float64(o.Trials) && o.Turns <= min(o.Runs, o.Alternation)
	if !turns {
		if o.Runs < min(o.Turns, o.Alternation) {
			j.note("%s: connections come in runs: %d of %d went to the pod of the one before, where independent choices make %s (p = %s adjusted). Something keeps to a pod for a while: a pool, a hash, reused source ports.",
				s.name, o.Repeats, o.RepeatTrials, figure(o.ExpectedRepeats), figure(c.orderClaim.adjusted))
		}
		return
	}
	j.add(Finding{
		Code: RoundRobin, Severity: Info, Stream: s.name, ByDesign: s.rotates(),
		Summary: fmt.Sprintf("connections are dealt out in turn: %d of %d went to the pod of the one %d before, where independent choices make %s (p = %s adjusted)",
			o.Matches, o.Trials, len(s.backends), figure(o.ExpectedMatches), figure(c.orderClaim.adjusted)),
		Evidence: map[string]any{"matches": o.Matches, "of": o.Trials, "expected": o.ExpectedMatches, "adjustedP": c.orderClaim.adjusted, "byDesign": s.rotates()},
		Remedies: []Remedy{{What: "mind clients that make requests in pairs: over an even number of pods each kind of request then meets only half of them"}},
	})
}

// rotates reports whether the plan or the mode of kube-proxy asks for a rotation.
func (s *subject) rotates() bool {
	return s.plan.ResolveOrder == "roundRobin" || s.plan.GRPCPolicy == "round_robin" ||
		slices.ContainsFunc(s.facts.Cluster.Nodes, func(n record.Node) bool { return n.Proxy.Mode == "ipvs" })
}
