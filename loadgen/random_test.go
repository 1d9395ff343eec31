package loadgen

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

// randomPlan draws a valid plan of a few milliseconds against live, where a server is, and dead, where none is.
func randomPlan(rng *rand.Rand, live, dead string) Plan {
	for {
		p := planOf(nil)
		p.Addresses = [][]record.Address{{{HostPort: live}}, {{HostPort: live}}, {{HostPort: live}, {HostPort: dead}}, {{HostPort: dead}}}[rng.IntN(4)]
		p.Connections, p.Seed, p.SampleCap = 1+rng.IntN(6), rng.Uint64(), rng.IntN(3)*10
		p.Timeout = 300 * time.Millisecond
		p.Start = p.Start.Add(upTo(rng, 5*time.Millisecond))
		if p.Requests, p.Duration = 1+rng.IntN(12), 0; rng.IntN(2) == 0 {
			p.Requests, p.Duration = 0, time.Microsecond+upTo(rng, 30*time.Millisecond)
		}
		some := func(set func()) {
			if rng.IntN(3) == 0 {
				set()
			}
		}
		some(func() { p.RequestsPerConnection = 1 + rng.IntN(3) })
		some(func() { p.MaxRate = 200 + 2000*rng.Float64() })
		some(func() { p.Rate = 200 + 2000*rng.Float64() })
		some(func() { p.Rate = 0.01 }) // nothing after the first is due
		some(func() { p.Arrivals = ArrivalsPoisson })
		some(func() {
			p.Rates = []record.RateStep{{At: 0.005 * rng.Float64(), Rate: 0}, {At: 0.01, Rate: 200 + 800*rng.Float64(), Ramp: rng.IntN(2) == 0}}
		})
		some(func() { p.Precise = true })
		some(func() { p.Concurrency = 1 + rng.IntN(p.Connections) })
		some(func() { p.PoolPolicy = []string{PoolRoundRobin, PoolLRU, PoolMRU, PoolFirstFree}[rng.IntN(4)] })
		some(func() {
			p.ConnectionLifetime, p.LifetimeJitter = time.Millisecond+upTo(rng, 10*time.Millisecond), rng.Float64()
		})
		some(func() { p.ConnectionsPerSecond = 1 + 1000*rng.Float64() })
		some(func() { p.ThinkTime = upTo(rng, 5*time.Millisecond) })
		some(func() { p.Reconnect = ReconnectImmediate })
		some(func() { p.AddressOffset = rng.IntN(5) })
		some(func() { p.MaxTuples = 1000 })
		some(func() { p.WarmUp = upTo(rng, 15*time.Millisecond) })
		some(func() { p.ZipfExponent = 3 * rng.Float64() })
		if runtime.GOOS == "linux" {
			some(func() { p.Sources = []string{"127.0.1.1", "127.0.1.2"} })
		}
		slow := p.Requests > 0 && p.Rate > 0 && p.Rate < 1 && len(p.Rates) == 0 // it would take minutes
		if p.Validate() == nil && !slow {
			return p
		}
	}
}

// moody is a server that mostly answers.
func moody(c, n int) string {
	switch {
	case (c+n)%7 == 6:
		return by("a") + "!"
	case (c+n)%11 == 10:
		return "#"
	case (c+n)%5 == 4:
		return strings.Replace(by("b"), "200 OK", "503 No", 1)
	}
	return by("a")
}

// TestRandomPlansRunAndAddUp runs plans of every kind there is with either driver, some of which are interrupted.
func TestRandomPlansRunAndAddUp(t *testing.T) {
	t.Parallel()
	plans := 25
	if testing.Short() {
		plans = 5
	}
	for part := range 8 {
		t.Run(fmt.Sprintf("part %d", part), func(t *testing.T) {
			t.Parallel()
			live, stop := serveScript(t, "127.0.0.1:0", answers(moody))
			defer stop()
			dead, gone := serveScript(t, "127.0.0.1:0", nil)
			gone()
			rng := rand.New(rand.NewPCG(uint64(part), 77))
			for range plans {
				plan, driver := randomPlan(rng, live, dead), []string{DriverConn, DriverEpoll}
				interrupt := never
				if rng.IntN(5) == 0 {
					interrupt = upTo(rng, 15*time.Millisecond)
				}
				for i := range driver {
					if runtime.GOOS == "linux" {
						plan.Driver = driver[i]
					}
					plan.Start = time.Now().Add(upTo(rng, 5*time.Millisecond))
					runRandom(t, plan, interrupt)
				}
			}
		})
	}
}

func runRandom(t *testing.T, plan Plan, interrupt time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), min(interrupt, time.Minute))
	defer cancel()
	got := &results{}
	if err := Run(ctx, plan, got.sink(t)); err != nil {
		t.Fatalf("%v: %+v", err, plan)
	}
	checkConsistent(t, plan, got)
	checkSums(t, plan, got)
	if t.Failed() {
		t.Fatalf("interrupted after %s, plan %+v\ndone %+v\ngenerator %+v\nrows %+v", interrupt, plan, got.done, got.done.Generator, got.rows)
	}
}

// checkSums checks that rows, tallies and what the generator says of itself add up to the same.
func checkSums(t *testing.T, plan Plan, got *results) {
	t.Helper()
	type sums struct{ Units, Answers map[string]int }
	rows, tallies := sums{map[string]int{}, map[string]int{}}, sums{map[string]int{}, map[string]int{}}
	for _, row := range got.rows {
		rows.Units[row.Backend]++
		others := 0
		for pod, n := range row.Others {
			rows.Answers[pod] += n
			others += n
		}
		if row.Requests > others { // the backend may be that of an answer in the warm-up only
			rows.Answers[row.Backend] += row.Requests - others
		}
		switch {
		case row.Slot < 0 || row.Slot >= plan.Connections, row.Closed < row.Opened, row.Connected != 0 && (row.Connected < row.Opened || row.Closed < row.Connected):
			t.Errorf("row %+v", row)
		case plan.RequestsPerConnection > 0 && row.Requests > plan.RequestsPerConnection:
			t.Errorf("%d requests on one connection: %+v", row.Requests, row)
		}
	}
	unanswered := 0
	for _, tally := range got.tallies {
		if tally.Connections > 0 {
			tallies.Units[tally.Backend] += tally.Connections
		}
		if n := int(tally.Latency.Count()); n > 0 {
			tallies.Answers[tally.Backend] += n
		}
		for kind, n := range tally.Errors {
			if kind != record.ErrStatus {
				unanswered += n
			}
		}
	}
	if diff := cmp.Diff(rows, tallies); diff != "" {
		t.Errorf("by backend (-rows +tallies):\n%s", diff)
	}
	answered := 0
	for _, n := range tallies.Answers {
		answered += n
	}
	if got.requests() != answered+unanswered {
		t.Errorf("%d requests, %d answered, %d not", got.requests(), answered, unanswered)
	}
	g := got.done.Generator
	if plan.openLoop() && (g.Intended != got.requests()+g.Dropped || g.Lateness.Count() != uint64(got.requests())) {
		t.Errorf("%d intended, %d sent, %d dropped, lateness of %d", g.Intended, got.requests(), g.Dropped, g.Lateness.Count())
	}
	if got.done.Interrupted {
		return
	}
	if plan.Requests > 0 && got.requests() != plan.Requests {
		t.Errorf("%d requests, want %d", got.requests(), plan.Requests)
	}
	if plan.Duration > 0 && got.done.Seconds < plan.Duration.Seconds() {
		t.Errorf("it ended after %.6f s, want %s", got.done.Seconds, plan.Duration)
	}
	if plan.Driver != "" && g.Driver != plan.Driver {
		t.Errorf("driver %s, want %s", g.Driver, plan.Driver)
	}
}

// upTo draws a time below d.
func upTo(rng *rand.Rand, d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }
