package loadgen

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

// times draws up to limit times of a schedule.
func times(s *schedule, limit int) []time.Duration {
	var out []time.Duration
	for len(out) < limit {
		at, ok := s.next()
		if !ok {
			break
		}
		out = append(out, at)
	}
	return out
}

func TestConstantArrivalsAreExactAndDoNotDrift(t *testing.T) {
	for _, rate := range []float64{0.5, 3, 7, 1000, 20_000, 33_333} {
		s := newSchedule(Plan{Rate: rate, Duration: 24 * time.Hour})
		for i := range 500_000 {
			at, ok := s.next()
			if !ok {
				if want := int(rate * 86400); i != want {
					t.Errorf("rate %g: %d requests in a day, want %d", rate, i, want)
				}
				break
			}
			if want := time.Duration(math.Round(float64(i) * 1e9 / rate)); at != want {
				t.Fatalf("rate %g: request %d at %d ns, want %d", rate, i, at, want)
			}
		}
	}
}

func TestASchedule(t *testing.T) {
	ms := func(list ...float64) []time.Duration {
		out := make([]time.Duration, len(list))
		for i, x := range list {
			out[i] = time.Duration(math.Round(x * float64(time.Millisecond)))
		}
		return out
	}
	for name, tc := range map[string]struct {
		plan Plan
		want []time.Duration
	}{
		"ends before its duration is over": {Plan{Rate: 4, Duration: time.Second}, ms(0, 250, 500, 750)},
		"ends after its requests":          {Plan{Rate: 10, Requests: 3}, ms(0, 100, 200)},
		"ends with what comes first":       {Plan{Rate: 10, Requests: 30, Duration: 250 * time.Millisecond}, ms(0, 100, 200)},
		"steps up": {
			Plan{Rate: 2, Duration: 2 * time.Second, Rates: []record.RateStep{{At: 1, Rate: 4}}},
			ms(0, 500, 1000, 1250, 1500, 1750),
		},
		"carries half a request over a step": {
			Plan{Rate: 2, Duration: 2 * time.Second, Rates: []record.RateStep{{At: 0.75, Rate: 1}}},
			ms(0, 500, 1250), // 1.5 requests are due by 0.75 s, the other half of the second takes half a second more
		},
		"pauses at a rate of 0": {
			Plan{Rate: 10, Duration: 3 * time.Second, Rates: []record.RateStep{{At: 0.2, Rate: 0}, {At: 2, Rate: 2}}},
			ms(0, 100, 2000, 2500),
		},
		"stops for good at a rate of 0": {
			Plan{Rate: 10, Duration: time.Hour, Rates: []record.RateStep{{At: 0.2, Rate: 0}}},
			ms(0, 100),
		},
		"changes at once": {
			Plan{Rate: 10, Requests: 3, Rates: []record.RateStep{{At: 0, Rate: 1}}},
			ms(0, 1000, 2000),
		},
		"climbs a ramp": {
			// 2 t² requests are due by t, as far as t = 2: request k at √(k/2).
			Plan{Rate: 4, Requests: 6, Rates: []record.RateStep{{At: 0, Rate: 0}, {At: 2, Rate: 8, Ramp: true}}},
			ms(0, 1000*math.Sqrt(.5), 1000, 1000*math.Sqrt(1.5), 1000*math.Sqrt(2), 1000*math.Sqrt(2.5)),
		},
		"comes down a ramp to the end": {
			// 2 t - t²/2 requests are due by t, as far as t = 2.
			Plan{Rate: 2, Duration: time.Hour, Rates: []record.RateStep{{At: 2, Rate: 0, Ramp: true}}},
			ms(0, 1000*(2-math.Sqrt(2))),
		},
		"goes on at the rate that a ramp ended with": {
			Plan{Rate: 1, Requests: 5, Rates: []record.RateStep{{At: 2, Rate: 3, Ramp: true}}},
			// t + t²/2 by t: 1 at √3-1, 2 at √5-1, 3 at √7-1, and 4 at the end of the ramp, at 2 s.
			ms(0, 1000*(math.Sqrt(3)-1), 1000*(math.Sqrt(5)-1), 1000*(math.Sqrt(7)-1), 2000),
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := times(newSchedule(tc.plan), 100)
			if diff := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() <= 1 })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The number of requests in a stretch of time is the integral of the rate over it, whatever the steps.
func TestRequestsAreTheIntegralOfTheRate(t *testing.T) {
	plan := Plan{Rate: 1000, Duration: 10 * time.Second, Rates: []record.RateStep{
		{At: 1, Rate: 5000, Ramp: true}, {At: 3, Rate: 200}, {At: 4, Rate: 0}, {At: 6, Rate: 3000, Ramp: true}, {At: 8, Rate: 3000}, {At: 9, Rate: 1000, Ramp: true},
	}}
	want := map[int]int{0: 3000, 1: 5000, 2: 5000, 3: 200, 4: 750, 5: 2250, 6: 3000, 7: 3000, 8: 2000, 9: 1000}
	got := map[int]int{}
	last := time.Duration(-1)
	for _, at := range times(newSchedule(plan), 100_000) {
		if at < last {
			t.Fatalf("%v after %v", at, last)
		}
		last = at
		got[int(at/time.Second)]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests by second (-want +got):\n%s", diff)
	}
}

// Bounds are six standard errors, so that the fixed seeds are not what makes it pass.
func TestPoissonArrivalsAreAPoissonProcess(t *testing.T) {
	for name, plan := range map[string]Plan{
		"at a constant rate": {Rate: 1000, Requests: 100_000, Arrivals: ArrivalsPoisson, Seed: 1},
		"on a ramp":          {Rate: 100, Requests: 100_000, Arrivals: ArrivalsPoisson, Seed: 2, Rates: []record.RateStep{{At: 100, Rate: 1900, Ramp: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			segments := segmentsOf(plan.Rate, plan.Rates)
			integral := func(at time.Duration) float64 {
				g := segments[0]
				x := at.Seconds()
				if x > g.length {
					g = segments[1]
				}
				x -= g.start
				slope := 0.0
				if g.from != g.to {
					slope = (g.to - g.from) / g.length
				}
				return g.before + g.from*x + slope*x*x/2
			}
			// Gaps in the integral are exponential with mean 1 and variance 1, and say nothing of the gap before.
			n, last, before := 0.0, 0.0, 0.0
			sum, squares, products, small := 0.0, 0.0, 0.0, 0.0
			for _, at := range times(newSchedule(plan), 100_000) {
				now := integral(at)
				gap := now - last
				last = now
				n++
				sum += gap
				squares += gap * gap
				products += (gap - 1) * (before - 1)
				before = gap
				if gap < math.Ln2 { // the median
					small++
				}
			}
			for _, c := range []struct {
				what            string
				got, want, unit float64 // unit: the standard deviation of one term
			}{
				{"mean gap", sum / n, 1, 1}, {"mean square", squares / n, 2, math.Sqrt(20)},
				{"covariance", products / n, 0, 1}, {"share below the median", small / n, .5, .5},
			} {
				if math.Abs(c.got-c.want) > 6*c.unit/math.Sqrt(n) {
					t.Errorf("%s %.4f, want %g", c.what, c.got, c.want)
				}
			}
		})
	}
}

func TestASeedFixesThePoissonArrivals(t *testing.T) {
	draw := func(seed uint64) []time.Duration {
		return times(newSchedule(Plan{Rate: 100, Requests: 50, Arrivals: ArrivalsPoisson, Seed: seed}), 50)
	}
	if diff := cmp.Diff(draw(3), draw(3)); diff != "" {
		t.Error(diff)
	}
	if cmp.Equal(draw(3), draw(4)) {
		t.Error("two seeds give the same times")
	}
}

func TestWhatIsDueByATime(t *testing.T) {
	s := newSchedule(Plan{Rate: 10, Duration: 10 * time.Second})
	times(s, 5)
	if n := s.due(time.Second); n != 6 { // those at 500, 600, … 1000 ms
		t.Errorf("%d are due, want 6", n)
	}
}

func BenchmarkSchedule(b *testing.B) {
	for name, plan := range map[string]Plan{
		"constant": {Rate: 1000, Duration: maxDuration},
		"poisson":  {Rate: 1000, Duration: maxDuration, Arrivals: ArrivalsPoisson},
	} {
		b.Run(name, func(b *testing.B) {
			s := newSchedule(plan)
			for b.Loop() {
				s.next()
			}
		})
	}
}
