package skew

import (
	"math"
	"testing"
)

func TestAffinityTimeout(t *testing.T) {
	gaps := func(held []float64, broken ...float64) []Gap {
		var out []Gap
		for _, g := range held {
			out = append(out, Gap{g, true})
		}
		for _, g := range broken {
			out = append(out, Gap{g, false})
		}
		return out
	}
	for _, c := range []struct {
		name      string
		gaps      []Gap
		luck      float64
		low, high float64
		broken    bool
	}{
		{"two of three", gaps([]float64{1, 2, 3, 4, 5, 12}, 6, 7, 8), 1. / 3, 3, 6, true},
		{"of two, the longest four may be luck", gaps([]float64{1, 2, 3, 4, 5}, 6), 0.5, 1, 6, true},
		{"of twenty, one may be", gaps([]float64{1, 2, 3}, 6), 0.05, 2, 6, true},
		{"nothing broke", gaps([]float64{1, 2, 3, 9}), 1. / 3, 2, 0, false},
		{"everything broke", gaps(nil, 5, 3), 0.5, 0, 3, true},
		{"too few to exclude luck", gaps([]float64{1, 2}, 3), 0.5, 0, 3, true},
		{"one backend shows nothing", gaps([]float64{1, 2, 3}), 1, 0, 0, false},
		{"no gaps", nil, 0.5, 0, 0, false},
	} {
		got := AffinityTimeout(c.gaps, c.luck)
		if got.Low != c.low || got.High != c.high || got.Broken != c.broken || got.Gaps != len(c.gaps) {
			t.Errorf("%s: %+v, want %v to %v", c.name, got, c.low, c.high)
		}
	}
}

// The held fractions were simulated with other code; the counts in brackets were measured on clusters.
func TestCapacity(t *testing.T) {
	for _, c := range []struct {
		clients, endpoints int
		same, shuffled     float64 // held
		measured           int     // clients held in a real run, 0: none known
	}{
		{150, 2, 1, 1, 0}, {190, 2, .991, .991, 180}, {200, 2, .971, .974, 0}, {220, 2, .511, .847, 0}, {250, 2, .503, .741, 122},
		{400, 2, .501, .578, 211}, {600, 2, .502, .532, 318}, {300, 3, .947, -1, 0}, {360, 3, .340, -1, 0}, {1000, 10, .863, -1, 0}, {1200, 10, .107, -1, 0},
	} {
		r := Capacity{Clients: c.clients, Endpoints: c.endpoints}.Simulate(NewSeed("capacity"), 0)
		if math.Abs(r.Mean-c.same) > 0.012 {
			t.Errorf("%d clients on %d endpoints: %.3f held, want %.3f", c.clients, c.endpoints, r.Mean, c.same)
		}
		if held := float64(c.measured) / float64(c.clients); c.measured > 0 && (held < r.Held[0]-0.01 || held > r.Held[1]+0.01) {
			t.Errorf("%d clients on %d endpoints: measured %.3f is not in %.3f", c.clients, c.endpoints, held, r.Held)
		}
		if c.shuffled < 0 {
			continue
		}
		if r := (Capacity{Clients: c.clients, Endpoints: c.endpoints, Shuffled: true}).Simulate(NewSeed("shuffled"), 0); math.Abs(r.Mean-c.shuffled) > 0.012 {
			t.Errorf("%d clients on %d endpoints in another order: %.3f held, want %.3f", c.clients, c.endpoints, r.Mean, c.shuffled)
		}
	}
	if r := (Capacity{Clients: 600, Endpoints: 2, Limit: 1000}).Simulate(Seed{}, 0); r.Mean != 1 || r.Exceeded != 0 {
		t.Errorf("a list that is long enough: %+v", r)
	}
	if r := (Capacity{}).Simulate(Seed{}, 0); r != (CapacityResult{}) {
		t.Errorf("nobody: %+v", r)
	}
}

func TestRemapped(t *testing.T) {
	for _, c := range []struct {
		before, after                  int
		consistent, modulo, memoryless float64
	}{
		{3, 4, 0.25, 0.75, 0.75}, {3, 2, 1. / 3, 2. / 3, 2. / 3}, {10, 11, 1. / 11, 10. / 11, 10. / 11}, {10, 9, .1, .9, .9},
		{3, 6, .5, .5, 5. / 6}, {4, 4, 0, 0, .75}, {4, 6, 1. / 3, 2. / 3, 5. / 6},
	} {
		got := Remapped(c.before, c.after)
		if !near(got.Consistent, c.consistent, 1e-12) || !near(got.Modulo, c.modulo, 1e-12) || !near(got.Memoryless, c.memoryless, 1e-12) {
			t.Errorf("%d to %d: %+v", c.before, c.after, got)
		}
	}
	// By trying it: hash mod n of many keys.
	moved, rng := 0, generator("mod")
	const keys = 20_000
	for range keys {
		h := rng.Uint64()
		moved += one(h%4 != h%6)
	}
	if got := float64(moved) / keys; math.Abs(got-Remapped(4, 6).Modulo) > 0.015 {
		t.Errorf("4 to 6 by hash mod n moves %.3f of the keys", got)
	}
}

func TestExpectations(t *testing.T) {
	for _, c := range []struct {
		n, units int
		want     float64
	}{{3, 10, 0.0520}, {10, 50, 0.0509}, {3, 1, 1}, {3, 3, 7. / 9}, {1, 5, 0}, {0, 5, 0}, {2, 3, 0.25}, {3, 100, 7.4e-18}} {
		if got := SomeIdle(c.n, c.units); math.Abs(got-c.want) > 1e-3*c.want+1e-13 {
			t.Errorf("P(some of %d idle with %d units) = %v, want %v", c.n, c.units, got, c.want)
		}
	}
	if a, b := SomeIdle(30, 200), SomeIdle(31, 200); math.Abs(a-b) > 0.02 {
		t.Errorf("the exact and the limiting formula do not meet: %v and %v", a, b)
	}
	if got := equal(t, 3, 10).ExpectedIdle(); !near(got, 3*math.Pow(2./3, 10), 1e-12) {
		t.Errorf("%v backends idle on average", got)
	}
	if got := law(t, 3, Group{Units: 4, P: []float64{1, 0, 0}}).ExpectedIdle(); got != 2 {
		t.Errorf("%v idle of two that cannot be chosen", got)
	}
	if got := BackendsUsed(3, 2); !near(got, 3-3*4./9, 1e-12) {
		t.Errorf("two units use %v of three backends on average", got)
	}
	if got := DesignEffect(173.7, 6); math.Abs(got-10.3) > 0.05 {
		t.Errorf("design effect %v, want 10.3", got)
	}
	for _, c := range []struct{ n, units, low, high int }{{3, 10, 4, 7}, {10, 1000, 107, 128}, {10_000, 10_000_000, 1108, 1148}, {1, 5, 5, 5}} {
		low, high := MaxRange(c.n, c.units, 0.95)
		if math.Abs(float64(low-c.low)) > 1 || math.Abs(float64(high-c.high)) > 1 {
			t.Errorf("largest of %d units on %d: %d to %d, want %d to %d", c.units, c.n, low, high, c.low, c.high)
		}
	}
	if got := equal(t, 7, 100).HotBound([]int{60, 10, 7, 3, 6, 4, 10}); !near(got, 4.5e-25, 0.02) {
		t.Errorf("60 of 100 on one of seven: at most %v, want 4.5e-25", got)
	}
	if got := equal(t, 1, 5).HotBound([]int{5}); got != 1 {
		t.Errorf("a single backend: %v", got)
	}
	need := Need{Backends: 3}
	if got := need.PowerAt(300, 1.25); math.Abs(got-0.43) > 0.005 {
		t.Errorf("300 units show 1.25x with power %v, want 0.43", got)
	}
}

// Levin's law against simulation, where a formula and code written from it could both be wrong.
func TestLevinAgreesWithSimulation(t *testing.T) {
	for _, c := range []struct{ n, units, most int }{{3, 100, 44}, {10, 1000, 125}, {50, 500, 21}, {100, 10_000, 134}, {2, 60, 36}, {3, 1_000_000, 334_400}} {
		d := newDrawer(equal(t, c.n, c.units), NewSeed("levin"))
		const draws = 20_000 / slowdown
		hits := 0
		for range draws {
			most := 0
			for _, x := range d.draw() {
				most = max(most, x)
			}
			hits += one(most <= c.most)
		}
		want := float64(hits) / draws
		got := MaxAtMost(c.n, c.units, c.most)
		if limit := 4*math.Sqrt(want*(1-want)/draws) + 0.001; math.Abs(got-want) > limit {
			t.Errorf("P(max of %d on %d ≤ %d) = %.4f, simulated %.4f ± %.4f", c.units, c.n, c.most, got, want, limit)
		}
	}
}
