package analyze

import (
	"math"

	"github.com/podskew/podskew/analyze/skew"
)

// Cost is what the skew of a stream costs.
type Cost struct {
	HottestPod      string  `json:"hottestPod"`
	HottestRequests int     `json:"hottestRequests"`
	MeanRequests    float64 `json:"meanRequests"` // per eligible pod
	// Capacity is the part of what all pods could serve that is served when the hottest is at its limit: mean over maximum, 0 to 1.
	Capacity float64 `json:"capacity"`
	// ExtraReplicas is how many more pods bring the hottest one, on average, down to today's mean, if the same connections fall on them by
	// the same rules; 0 if none are needed, or if no number can do it: see Indivisible.
	ExtraReplicas int `json:"extraReplicas"`
	// AtLeast says that ExtraReplicas takes the shares to stay as uneven as they are: with so few connections, more pods make them more so.
	AtLeast bool `json:"atLeast,omitempty"`
	// Indivisible says that one connection alone carries more than the mean: no number of pods divides it.
	Indivisible bool `json:"indivisible,omitempty"`
}

// Bounds of the search for a number of replicas.
const (
	mostReplicas = 64  // times as many as there are
	mostModelled = 200 // pods up to which replicas are simulated
	costDraws    = 200
)

// cost says what the skew costs, by the model the chance ranges come from.
func (s *subject) cost(seed skew.Seed) *Cost {
	requests, n := s.answeredRequests(), len(s.backends)
	if requests == 0 || n == 0 {
		return nil
	}
	hottest, largest := 0, 0
	for i, b := range s.backends {
		if b.requests > s.backends[hottest].requests {
			hottest = i
		}
	}
	for _, one := range s.list {
		largest = max(largest, one.load)
	}
	mean := float64(requests) / float64(n)
	c := &Cost{
		HottestPod: s.backends[hottest].pod, HottestRequests: s.backends[hottest].requests, MeanRequests: mean,
		Capacity: mean / float64(s.backends[hottest].requests), Indivisible: s.unit == unitConnection && float64(largest) > mean*(1+1e-9),
	}
	if c.Indivisible || s.backends[hottest].requests <= int(math.Ceil(mean)) {
		return c
	}
	c.ExtraReplicas, c.AtLeast = s.extraReplicas(float64(s.backends[hottest].requests)/mean, seed)
	return c
}

// extraReplicas scales the skew that was seen: a hottest pod at f times the mean of n pods is at that mean again when it is at m/n times the
// mean of m. Where the skew is by chance it grows with m, as fewer connections fall on each pod; Chance tells how much.
func (s *subject) extraReplicas(factor float64, seed skew.Seed) (extra int, atLeast bool) {
	n, units := len(s.backends), s.law.Units()
	simple := int(math.Ceil(float64(n)*factor-1e-9)) - n
	if units == 0 || s.untested != "" || n > mostModelled || !s.law.Free() || s.designed() >= unevenFrom {
		return simple, false
	}
	excess := factor / s.chanceFactor(n, units, seed) // luck counts as well
	enough := func(m int) bool {
		return s.chanceFactor(m, units, seed)*excess*float64(n) <= float64(m)*(1+1e-9)
	}
	high := min(units/fewPerPod, n*mostReplicas)
	if high <= n || !enough(high) {
		return simple, true
	}
	low := n
	for low+1 < high {
		if mid := (low + high) / 2; enough(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high - n, false
}

// chanceFactor is the mean max/mean of equal units on m equal pods.
func (s *subject) chanceFactor(m, units int, seed skew.Seed) float64 {
	p := make([]float64, m)
	for i := range p {
		p[i] = 1 / float64(m)
	}
	law, err := skew.NewLaw(m, []skew.Group{{Units: units, P: p}})
	if err != nil {
		return 1
	}
	r := law.Chance(seed, costDraws).MaxOverMean
	return (r[0] + r[1]) / 2
}
