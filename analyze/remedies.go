package analyze

import (
	"fmt"
	"math"

	"github.com/podskew/podskew/analyze/skew"
)

// worthMore is how many times as many connections there have to be for a remedy to ask for them.
const worthMore = 1.25

// shortestLifetime is how many seconds a connection lives at least for a remedy to speak of its time.
const shortestLifetime = 0.1

func spanOrOne(low, high float64) string {
	if figure(low) == figure(high) {
		return figure(low)
	}
	return span2(skew.Range{low, high})
}

// remedyDraws is the number of simulated runs behind a predicted range.
const remedyDraws = 1_000

// pinningRemedies say what would spread requests that stick to connections, each with what the model of this stream predicts of it.
// What would not help is left out.
func (j *judge) pinningRemedies(s *subject, requests int, singly *skew.Chance) []Remedy {
	if s.unit == unitUpstream {
		return j.funnelRemedies(s, singly)
	}
	now := s.report.Skew.MaxOverMean
	needed := s.connectionsNeeded()
	var remedies []Remedy
	if float64(needed) > worthMore*float64(s.law.Units()) {
		remedies = append(remedies, j.moreConnections(s, needed, now))
	}
	if r, ok := j.shorterConnections(s, requests, needed, now); ok {
		remedies = append(remedies, r)
	}
	if r, ok := s.clientSide(now); ok {
		remedies = append(remedies, r)
	}
	return append(remedies, Remedy{
		What: fmt.Sprintf("choose a pod for each request, in an L7 proxy or gateway, at the price of a hop: max/mean %s → at most %s, 1 if it takes turns",
			figure(now), figure(singly.MaxOverMean[1])),
		Predicted: map[string]any{"maxOverMeanNow": now, "maxOverMean": skew.Range{1, singly.MaxOverMean[1]}, "extraHops": 1},
	})
}

// connectionsNeeded is how many connections keep max/mean at 1.2 or below in 95 % of runs: more of those that carry unequally much,
// by the number of equal ones that they are worth (Kish).
func (s *subject) connectionsNeeded() int {
	equal := skew.UnitsForMax(len(s.backends), tightFactor, sureLevel)
	var sum, squares, units float64
	for _, one := range s.list {
		w, n := float64(one.load), float64(max(one.n, 1))
		sum += n * w
		squares += n * w * w
		units += n
	}
	if sum == 0 {
		return equal
	}
	return int(math.Ceil(float64(equal) * units * squares / (sum * sum)))
}

func (j *judge) moreConnections(s *subject, needed int, now float64) Remedy {
	spread := s.law.Resized(needed).Chance(j.seed(s, "more connections"), remedyDraws)
	return Remedy{
		What: fmt.Sprintf("%d connections instead of %d: max/mean %s → %s (chance makes %s of as many as now)",
			needed, s.law.Units(), figure(now), span2(spread.MaxOverMean), span2(s.chance.MaxOverMean)),
		Predicted: map[string]any{"connections": needed, "maxOverMeanNow": now, "maxOverMean": spread.MaxOverMean, "chanceNow": s.chance.MaxOverMean,
			"forMaxOverMean": tightFactor, "probability": sureLevel},
	}
}

// shorterConnections spreads the same requests over more connections, one after the other.
func (j *judge) shorterConnections(s *subject, requests, needed int, now float64) (Remedy, bool) {
	after := max(1, requests/max(1, needed))
	if float64(2*after) > s.perUnit() {
		return Remedy{}, false
	}
	shorter := s.law.Resized(requests/after).Chance(j.seed(s, "shorter connections"), remedyDraws)
	what := "close a connection after " + plural(after, "request", "requests")
	predicted := map[string]any{"requestsPerConnection": after, "maxOverMeanNow": now, "maxOverMean": shorter.MaxOverMean, "handshakesPerRequest": 1 / float64(after)}
	if lifetime := s.openTime() * float64(after) / s.perUnit(); lifetime >= shortestLifetime {
		what += fmt.Sprintf(", or %s s", figure(lifetime))
		predicted["secondsPerConnection"] = lifetime
	}
	return Remedy{What: fmt.Sprintf("%s: max/mean %s → %s over as many requests", what, figure(now), span2(shorter.MaxOverMean)), Predicted: predicted}, true
}

// openTime is how long connections were open, on average, in seconds; of those still open, until the last sign of life.
func (s *subject) openTime() float64 {
	end, sum := lastMoment(s.rows), 0.0
	for _, c := range s.rows {
		if c.Closed > 0 {
			sum += c.Closed - c.Opened
		} else {
			sum += end - c.Opened
		}
	}
	return sum / float64(max(len(s.rows), 1))
}

// clientSide is a list of pods in each client that deals its connections out in turn, from a pod of its own choice.
func (s *subject) clientSide(now float64) (Remedy, bool) {
	n, units, clients := len(s.backends), s.law.Units(), max(len(s.plan.Agents), 1)
	if units == 0 || s.plan.Target == "headless" {
		return Remedy{}, false
	}
	each := int(math.Ceil(float64(units) / float64(clients)))
	mean := float64(units) / float64(n)
	best := math.Ceil(mean) / mean
	worst := min(float64(clients)*math.Ceil(float64(each)/float64(n)), float64(units)) / mean
	if worst > 0.9*now {
		return Remedy{}, false
	}
	return Remedy{
		What: fmt.Sprintf("a headless Service, and clients that deal their connections out over the pods in turn: max/mean %s → %s with as many connections; "+
			"they have to look the name up again to learn of new pods", figure(now), spanOrOne(best, worst)),
		Predicted: map[string]any{"connections": units, "maxOverMeanNow": now, "maxOverMean": skew.Range{best, worst}},
	}, true
}
