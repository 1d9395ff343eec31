package loadgen

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/podskew/podskew/record"
)

// schedule gives the intended times of an open loop's requests, in order. Request k, from 0, is due when the integral of
// the rate reaches k; with Poisson arrivals when it reaches the sum of k+1 exponential numbers of mean 1, which makes
// an inhomogeneous Poisson process of that rate (the time-rescaling theorem). Times are computed from the start of the
// segment and never from the time before, so that they do not drift. It is not safe for concurrent use.
type schedule struct {
	segments []segment
	rng      *rand.Rand    // nil: constant arrivals
	end      time.Duration // nothing is due from then on
	limit    int           // requests; negative: no limit

	warm  *schedule // of the requests before time 0, which limit does not count; nil: there are none, or none any more
	from  time.Duration
	given int     // requests so far
	sum   float64 // of the exponential numbers so far
	at    int     // segment that the last time was in
}

// segment is a stretch of time in which the rate is constant or changes evenly. The last one has no end.
type segment struct {
	start, length float64 // seconds; the last one's length is infinite
	from, to      float64 // requests per second at its two ends
	before        float64 // integral of the rate up to its start
	within        float64 // integral of the rate over it
}

// Streams of random numbers that one seed gives, so that arrivals, jitter and orders do not repeat one another.
const (
	arrivalStream = iota + 1
	jitterStream
	orderStream
	warmStream
)

// boundary is how much of a request two integrals may differ by and still count as equal: a request that is due exactly
// when the rate changes belongs to the new rate, however its sum was rounded.
const boundary = 1e-6

// newSchedule returns the schedule of a valid plan with a rate. Whatever the warm-up, requests from time 0 on are due when they
// are without one.
func newSchedule(plan Plan) *schedule {
	s := &schedule{segments: segmentsOf(plan.Rate, plan.Rates), end: never, limit: -1}
	if plan.WarmUp > 0 {
		s.warm = &schedule{segments: segmentsOf(plan.Rate, nil), end: plan.WarmUp, limit: -1, from: -plan.WarmUp}
	}
	if plan.Arrivals == ArrivalsPoisson {
		s.rng = rand.New(rand.NewPCG(plan.Seed, arrivalStream)) //nolint:gosec // load, not secrets
		if s.warm != nil {
			s.warm.rng = rand.New(rand.NewPCG(plan.Seed, warmStream)) //nolint:gosec // load, not secrets
		}
	}
	if plan.Duration > 0 {
		s.end = plan.Duration
	}
	if plan.Requests > 0 {
		s.limit = plan.Requests
	}
	return s
}

// segmentsOf turns steps into segments.
func segmentsOf(rate float64, steps []record.RateStep) []segment {
	var segments []segment
	start, before := 0.0, 0.0
	add := func(length, from, to float64) {
		if length <= 0 {
			return
		}
		within := (from + to) / 2 * length
		if from == 0 && to == 0 {
			within = 0 // and not 0 times infinity
		}
		segments = append(segments, segment{start: start, length: length, from: from, to: to, before: before, within: within})
		start, before = start+length, before+within
	}
	for _, step := range steps {
		to := rate
		if step.Ramp {
			to = step.Rate
		}
		add(step.At-start, rate, to)
		rate = step.Rate
	}
	add(math.Inf(1), rate, rate)
	return segments
}

// next returns the intended time of the next request, since the start. It is false when there is none: the plan's
// duration is over, all its requests were given, or the rate is 0 from now on.
func (s *schedule) next() (at time.Duration, ok bool) {
	if s.warm != nil {
		if at, ok = s.warm.next(); ok {
			return at, true
		}
		s.warm = nil
	}
	if s.limit >= 0 && s.given >= s.limit {
		return 0, false
	}
	due := float64(s.given)
	if s.rng != nil {
		s.sum += s.rng.ExpFloat64()
		due = s.sum
	}
	seconds := s.when(due)
	if seconds > float64(math.MaxInt64/int64(time.Second)) {
		return 0, false
	}
	at = time.Duration(math.Round(seconds * float64(time.Second)))
	if at >= s.end {
		return 0, false
	}
	s.given++
	return s.from + at, true
}

// complete reports whether all the requests that the plan asks for were given.
func (s *schedule) complete() bool { return s.given == s.limit }

// when is the time at which the integral of the rate reaches due, which never falls from call to call.
func (s *schedule) when(due float64) float64 {
	for ; s.at < len(s.segments)-1; s.at++ {
		if g := s.segments[s.at]; due < g.before+g.within-boundary {
			break
		}
	}
	return s.segments[s.at].when(due)
}

func (g segment) when(due float64) float64 {
	n := max(0, due-g.before)
	switch {
	case g.from+g.to == 0:
		return math.Inf(1)
	case n == 0:
		return g.start
	case g.from == g.to:
		return g.start + min(n/g.from, g.length)
	}
	// The root of slope/2 x² + from x = n, in the form that does not lose digits to cancellation.
	slope := (g.to - g.from) / g.length
	x := 2 * n / (g.from + math.Sqrt(max(0, g.from*g.from+2*slope*n)))
	return g.start + min(x, g.length)
}

// due draws what is left of the schedule up to now and returns how many requests that were, the warm-up's apart.
func (s *schedule) due(now time.Duration) int {
	n := 0
	for n < maxRequests {
		at, ok := s.next()
		if !ok || at > now {
			break
		}
		if !warm(at) {
			n++
		}
	}
	return n
}
