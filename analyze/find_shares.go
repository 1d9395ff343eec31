package analyze

import (
	"fmt"

	"github.com/podskew/podskew/analyze/skew"
)

// Thresholds of the findings about shares.
const (
	reuseFrom   = 5    // requests per connection from which connections count as reused
	notably     = 1.25 // times the expected share from which a busiest pod is worth a warning
	unevenFrom  = 1.1  // times the mean from which expected shares are called uneven
	fewPerPod   = 5    // expected units per pod below which they cannot spread, and counts say little
	visibleSkew = 2.0  // what a run must have been able to see to call a stream balanced
	unknownMost = 0.01 // part of the connections that may go unanswered before verdicts are held back
	freshLevel  = 0.975
	looseFactor = 1.5 // max/mean from which on connections are enough
	tightFactor = 1.2 // max/mean that remedies aim for where they can
	sureLevel   = 0.95
)

// answeredRequests sums over the reference set.
func (s *subject) answeredRequests() int {
	n := 0
	for _, b := range s.backends {
		n += b.requests
	}
	return n
}

// perUnit is the mean number of answered requests on a unit.
func (s *subject) perUnit() float64 {
	return float64(s.answeredRequests()) / float64(max(s.law.Units(), 1))
}

// reused reports whether connections carry several requests each, so that requests are no independent choices.
func (s *subject) reused() bool {
	return (ofConnections(s.unit) || s.unit == unitUpstream) && s.perUnit() >= reuseFrom
}

// hottest returns the largest ratio of a request share to its expected share, and the pod's index.
func (s *subject) hottest() (ratio float64, at int) {
	total := float64(max(s.answeredRequests(), 1))
	at = -1
	for i, expected := range s.expectedShares() {
		if expected == 0 {
			continue
		}
		if r := float64(s.backends[i].requests) / total / expected; r > ratio {
			ratio, at = r, i
		}
	}
	return ratio, at
}

// pinning says that requests come in whole connections: their spread over the pods is further from the expected shares
// than that of as many requests on connections of their own would be. It is how kube-proxy works and no fault, so there
// is no test in it; a warning where some pod carries notably more than its share.
func (j *judge) pinning(s *subject) {
	requests := s.answeredRequests()
	if !s.reused() || len(s.backends) < 2 || !s.law.Free() || s.changed || s.untested != "" {
		return // of pods that come and go, the findings about change speak; where no law is known, there is nothing to compare with
	}
	loads := make([]float64, len(s.backends))
	for i, b := range s.backends {
		loads[i] = float64(b.requests)
	}
	fresh := s.law.Resized(requests)
	if fresh.Distance(loads) <= fresh.DistanceLimit(freshLevel) {
		return
	}
	singly := fresh.Chance(j.seed(s, "fresh"), 1_000)
	ratio, at := s.hottest()
	severity := Info
	if ratio >= notably {
		severity = Warning
	}
	units, now := s.law.Units(), s.report.Skew.MaxOverMean
	j.add(Finding{
		Code: ConnectionPinning, Severity: severity, Stream: s.name, ByDesign: true,
		Summary: fmt.Sprintf("%s carried %d requests, %s on average, and each stays with the pod it was opened to: "+
			"of %d pods %s got %s times its share%s; as many requests on fresh connections would have a max/mean of %s%s",
			carriers(units, s.unit), requests, figure(s.perUnit()), len(s.backends), s.backends[at].pod, figure(ratio),
			idleClause(s.report.Skew.IdleBackends), span2(singly.MaxOverMean), j.chanceClause(s)),
		Evidence: map[string]any{
			"connections": units, "requests": requests, "requestsPerConnection": s.perUnit(),
			"backends": len(s.backends), "backendsReached": len(s.backends) - s.report.Skew.IdleBackends,
			"byBackend": s.loadTable(), "maxOverMean": now, "timesExpectedShare": ratio,
			"freshMaxOverMean": singly.MaxOverMean, "chanceMaxOverMean": s.chance.MaxOverMean,
		},
		Remedies: j.pinningRemedies(s, requests, singly),
	})
}

func idleClause(idle int) string {
	if idle == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d nothing", idle)
}

// chanceClause adds what the test says about where the connections fell, if there was one.
func (j *judge) chanceClause(s *subject) string {
	switch {
	case !s.trial.tested:
		return ""
	case j.family.rejects(s.trial) && s.trial.p > j.family.alpha*errorShare:
		return fmt.Sprintf("; where the connections fell is hardly chance (%s)", j.family.pText(s.trial))
	case j.family.rejects(s.trial):
		return fmt.Sprintf("; where the connections fell is more than chance (%s)", j.family.pText(s.trial))
	}
	return fmt.Sprintf("; where the connections fell is chance (%s)", j.family.pText(s.trial))
}

// loadTable lists connections and requests per connection of each pod.
func (s *subject) loadTable() []map[string]any {
	rows := []map[string]any{}
	for _, b := range s.report.Backends {
		row := map[string]any{"pod": b.Pod, "connections": b.Connections, "requests": b.Requests}
		if b.Connections > 0 {
			row["requestsPerConnection"] = float64(b.Requests) / float64(b.Connections)
		}
		rows = append(rows, row)
	}
	return rows
}

// tooFewConnections says that reused connections are too few to spread over the pods, whatever luck they have.
func (j *judge) tooFewConnections(s *subject) {
	n, units := len(s.backends), s.law.Units()
	if !s.reused() || n < 2 || !s.law.Free() || s.law.MinExpected() >= fewPerPod || s.untested != "" || s.changed {
		return
	}
	severity, what := Info, fmt.Sprintf("%s to %d pods are %s per pod, too few to spread evenly", carriers(units, s.unit),
		n, figure(float64(units)/float64(n)))
	if units < n {
		severity, what = Warning, fmt.Sprintf("%s cannot reach %d pods: at least %d stay idle", carriers(units, s.unit), n, n-units)
	}
	needed := skew.UnitsForMax(n, looseFactor, sureLevel)
	chance := s.chance.MaxOverMean
	j.add(Finding{
		Code: TooFewConnections, Severity: severity, Stream: s.name, ByDesign: true,
		Summary: fmt.Sprintf("%s: chance alone makes a max/mean of %s%s; it takes %d for at most %s",
			what, span2(chance), j.chanceClause(s), needed, figure(looseFactor)),
		Evidence: map[string]any{"connections": units, "backends": n, "chanceMaxOverMean": chance, "connectionsNeeded": needed,
			"forMaxOverMean": looseFactor, "p": s.trial.result.P},
		Remedies: []Remedy{{
			What:      fmt.Sprintf("at least %d connections", needed),
			Predicted: map[string]any{"connections": needed, "maxOverMean": s.law.Resized(needed).Chance(j.seed(s, "enough connections"), 2_000).MaxOverMean},
		}},
	})
}

// idle names the pods that got no unit at all, and how often chance does that.
func (j *judge) idle(s *subject) {
	var pods []string
	for i, b := range s.backends {
		if s.counts[i] == 0 && b.requests == 0 && s.expectedShares()[i] > 0 {
			pods = append(pods, b.pod)
		}
	}
	units := s.law.Units()
	if len(pods) == 0 || units == 0 || s.changed || s.choice == oneChoice {
		return
	}
	if s.untested != "" {
		j.add(Finding{
			Code: IdleBackends, Severity: Info, Stream: s.name,
			Summary:  fmt.Sprintf("%d of %d pods got nothing from %s (%s)", len(pods), len(s.backends), unitCount(units, s.unit), listed(pods)),
			Evidence: map[string]any{"pods": pods, "idle": len(pods), "backends": len(s.backends), "units": units, "unit": s.unit},
		})
		return
	}
	probability := s.chance.IdleAtLeast(len(pods))
	severity := Info
	if j.family.rejects(s.trial) {
		severity = Warning
	}
	j.add(Finding{
		Code: IdleBackends, Severity: severity, Stream: s.name,
		Summary: fmt.Sprintf("%d of %d pods got nothing from %s (%s); chance leaves as many idle in %s of such runs",
			len(pods), len(s.backends), unitCount(units, s.unit), listed(pods), percent(probability)),
		Evidence: map[string]any{"pods": pods, "idle": len(pods), "backends": len(s.backends), "units": units, "unit": s.unit, "probabilityByChance": probability},
	})
}

// unitCount says so many units: "1 connection", "24 client addresses".
func unitCount(n int, unit string) string {
	switch unit {
	case unitClientIP:
		return plural(n, "client address", "client addresses")
	case unitFlow:
		return plural(n, "flow", "flows")
	case unitRequest:
		return plural(n, "request", "requests")
	case unitSession:
		return plural(n, "session", "sessions")
	case unitUpstream:
		return plural(n, "connection of the gateway", "connections of the gateway")
	}
	return plural(n, "connection", "connections")
}

func unitWords(unit string) string {
	switch unit {
	case unitClientIP:
		return "client addresses"
	case unitFlow, unitRequest, unitSession:
		return unit + "s"
	case unitUpstream:
		return "connections of the gateway"
	}
	return "connections"
}

// tooFewUnits says that no outcome of this run could have been significant.
func (j *judge) tooFewUnits(s *subject) {
	n, units := len(s.backends), s.law.Units()
	if !s.testable() || !s.law.Free() || s.trial.tested {
		return
	}
	needed := unitsFor(s.need(j.family), visibleSkew)
	evidence := map[string]any{"units": units, "unit": s.unit, "backends": n}
	tail := ""
	if needed > 0 {
		evidence["unitsNeeded"] = needed
		tail = fmt.Sprintf("; it takes %d to see a pod at twice its share", needed)
	}
	j.add(Finding{
		Code: TooFewUnits, Severity: Info, Stream: s.name,
		Summary:  fmt.Sprintf("%s cannot show any skew on %d pods%s", unitCount(units, s.unit), n, tail),
		Evidence: evidence,
	})
}

// balanced is the all-clear: tested, with enough units to have seen a skew worth mentioning, and nothing found.
func (j *judge) balanced(s *subject) {
	factor := s.report.Test.SmallestFactor
	if !s.trial.tested || j.family.rejects(s.trial) || factor == 0 || factor > visibleSkew || s.trial.unknown > unknownMost || len(s.foreign) > 0 {
		return
	}
	if s.designed() >= unevenFrom || j.worse(s.name, UnexplainedSkew, ConnectionPinning, TooFewConnections, IdleBackends, ForeignBackend) {
		return
	}
	how := "as chance would have it"
	if s.trial.p <= j.family.alpha {
		how = "more evenly than independent choices would"
	}
	j.add(Finding{
		Code: Balanced, Severity: Info, Stream: s.name,
		Summary: fmt.Sprintf("%d %s spread over %d pods %s (%s); a pod at %s times its share would have been seen",
			s.law.Units(), unitWords(s.unit), len(s.backends), how, j.family.pText(s.trial), figure(factor)),
		Evidence: map[string]any{"units": s.law.Units(), "unit": s.unit, "backends": len(s.backends), "p": s.trial.result.P, "adjustedP": s.trial.p,
			"smallestFactor": factor, "maxOverMean": s.report.Skew.MaxOverMean, "chanceMaxOverMean": s.chance.MaxOverMean},
	})
}

// designed is the max/mean of the expected shares.
func (s *subject) designed() float64 {
	largest := 0.0
	shares := s.expectedShares()
	for _, share := range shares {
		largest = max(largest, share)
	}
	return largest * float64(len(shares))
}
