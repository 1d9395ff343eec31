package loadgen

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

// inBubble runs a plan on a fake in fake time.
func inBubble(t *testing.T, f *fake, with func(p *Plan)) (got *results) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { got = f.execute(t.Context(), t, planOf(with)) })
	return got
}

// slow answers everything after d.
func slow(d time.Duration) *fake {
	return &fake{answer: func(c, _ int) answer { return answer{after: d, raw: by(fmt.Sprintf("echo-%d", c))} }}
}

// lives are when connections were opened and closed, in milliseconds.
func (r *results) lives() [][2]int {
	var out [][2]int
	for _, row := range r.byID() {
		out = append(out, [2]int{int(math.Round(row.Opened * 1000)), int(math.Round(row.Closed * 1000))})
	}
	return out
}

func TestAnOpenLoopSendsWhenItIsDue(t *testing.T) {
	for name, with := range map[string]func(p *Plan){
		"on connections that stay": func(p *Plan) { p.Connections = 3 },
		"on fresh connections":     func(p *Plan) { p.Connections, p.RequestsPerConnection = 3, 1 },
		"with a number of requests": func(p *Plan) {
			p.Connections, p.Requests, p.Duration = 3, 40, 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := inBubble(t, slow(30*time.Millisecond), func(p *Plan) { p.Rate, p.Duration = 20, 2*time.Second; with(p) })
			for i, s := range got.samples {
				if want := float64(i) / 20; math.Abs(s.Sent-want) > 1e-9 || s.Late != 0 || math.Abs(s.Latency-0.03) > 1e-9 {
					t.Errorf("sample %d: %+v, want it at %g", i, s, want)
				}
			}
			g := got.done.Generator
			if len(got.samples) != 40 || g.Intended != 40 || g.Dropped != 0 || g.Lateness.Count() != 40 {
				t.Errorf("%d requests, generator %+v", len(got.samples), g)
			}
		})
	}
}

func TestPoissonArrivalsAreSentWhenTheyAreDue(t *testing.T) {
	with := func(p *Plan) { p.Rate, p.Arrivals, p.Seed, p.Connections = 50, ArrivalsPoisson, 9, 20 }
	got := inBubble(t, slow(time.Millisecond), with)
	want := times(newSchedule(planOf(with)), 1000)
	if len(got.samples) != len(want) {
		t.Fatalf("%d requests, want %d", len(got.samples), len(want))
	}
	for i, s := range got.samples {
		if math.Abs(s.Sent-want[i].Seconds()) > 1e-9 {
			t.Errorf("request %d at %g, want %v", i, s.Sent, want[i])
		}
	}
}

// A server that stops for a second makes a hundred requests wait that were due meanwhile. A closed loop would have sent
// one per connection, and its p99 would not know.
func TestAStallShowsInAnOpenLoop(t *testing.T) {
	stall := func() *fake {
		begun := sync.OnceValue(time.Now)
		return &fake{answer: func(c, _ int) answer {
			wait := time.Millisecond
			if at := time.Since(begun()); at >= 2*time.Second && at < 3*time.Second {
				wait = 3*time.Second - at
			}
			return answer{after: wait, raw: by(fmt.Sprintf("echo-%d", c))}
		}}
	}
	quantile := func(got *results, q float64) float64 {
		var all record.Histogram
		for _, tally := range got.tallies {
			all.Merge(tally.Latency)
		}
		return all.Quantile(q)
	}
	got := inBubble(t, stall(), func(p *Plan) { p.Connections, p.Rate, p.Duration = 5, 100, 5*time.Second })
	if p99, p85 := quantile(got, .99), quantile(got, .85); got.requests() != 500 || p99 < .94 || p99 > 1 || p85 < .2 || p85 > .3 {
		t.Errorf("%d requests, p99 %.3f s, p85 %.3f s", got.requests(), p99, p85)
	}
	if late := got.done.Generator.Lateness.Quantile(1); late < .9 {
		t.Errorf("latest send %.3f s", late)
	}
	got = inBubble(t, stall(), func(p *Plan) { p.Connections, p.Duration = 5, 5*time.Second })
	if p99 := quantile(got, .99); p99 > .01 {
		t.Errorf("a closed loop's p99 is %.3f s: this test shows nothing", p99)
	}
}

func TestWhatIsNeverSentIsCounted(t *testing.T) {
	got := inBubble(t, slow(100*time.Millisecond), func(p *Plan) { p.Rate = 20 })
	g := got.done.Generator
	if got.requests() != 10 || g.Intended != 20 || g.Dropped != 10 {
		t.Errorf("%d requests, %d intended, %d dropped", got.requests(), g.Intended, g.Dropped)
	}
	if last := got.samples[9]; math.Abs(last.Late-.45) > 1e-9 || math.Abs(last.Latency-.55) > 1e-9 {
		t.Errorf("the last request %+v", last) // due at 450 ms, sent at 900
	}
}

func TestANumberOfRequestsIsSentHoweverLate(t *testing.T) {
	got := inBubble(t, slow(100*time.Millisecond), func(p *Plan) { p.Rate, p.Requests, p.Duration = 20, 15, 0 })
	if g := got.done.Generator; got.requests() != 15 || g.Intended != 15 || g.Dropped != 0 || got.done.Seconds != 1.5 {
		t.Errorf("%d requests in %v s, %d intended, %d dropped", got.requests(), got.done.Seconds, g.Intended, g.Dropped)
	}
}

func TestAnInterruptedOpenLoopCountsWhatWasDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1050*time.Millisecond)
		defer cancel()
		got := slow(time.Millisecond).execute(ctx, t, planOf(func(p *Plan) { p.Rate, p.Duration = 10, time.Hour }))
		if g := got.done.Generator; !got.done.Interrupted || got.requests() != 11 || g.Intended != 11 || g.Dropped != 0 {
			t.Errorf("interrupted %v, %d requests, generator %+v", got.done.Interrupted, got.requests(), g)
		}
	})
}

// With a target that refuses, every request has its outcome; the dials ahead of requests are rows and no requests.
func TestAnOpenLoopToADeadTarget(t *testing.T) {
	f := &fake{dialing: func(context.Context, int) error { return syscall.ECONNREFUSED }}
	got := inBubble(t, f, func(p *Plan) { p.Rate, p.Connections = 10, 4 })
	if got.errors()[record.ErrRefused] != 10 || got.requests() != 10 || len(got.rows) != 14 {
		t.Errorf("%d requests, errors %v, %d rows", got.requests(), got.errors(), len(got.rows))
	}
	if g := got.done.Generator; g.Intended != 10 || g.Dropped != 0 {
		t.Errorf("generator %+v", g)
	}
}

func TestAPoolToADeadTargetEnds(t *testing.T) {
	f := &fake{dialing: func(context.Context, int) error { return syscall.ECONNREFUSED }}
	with := func(p *Plan) {
		p.Requests, p.Duration, p.Connections, p.Concurrency, p.PoolPolicy = 50, 0, 4, 2, PoolLRU
	}
	got := inBubble(t, f, with)
	if got.errors()[record.ErrRefused] != 50 || got.requests() != 50 || len(got.rows) != 54 {
		t.Errorf("%d requests, errors %v, %d rows", got.requests(), got.errors(), len(got.rows))
	}
}

func TestPoolPoliciesDecideWhichConnectionsWork(t *testing.T) {
	for policy, want := range map[string][]int{
		PoolRoundRobin: {20, 20, 20, 20, 20},
		PoolLRU:        {20, 20, 20, 20, 20},
		PoolMRU:        {0, 0, 0, 50, 50},
		PoolFirstFree:  {50, 50, 0, 0, 0},
	} {
		t.Run(policy, func(t *testing.T) {
			with := func(p *Plan) {
				p.Connections, p.Concurrency, p.PoolPolicy, p.Requests, p.Duration = 5, 2, policy, 100, 0
			}
			// The first answer of all takes longer, so that no two come at the same instant, in an order that is the
			// scheduler's.
			var asked atomic.Bool
			f := &fake{answer: func(int, int) answer {
				if asked.CompareAndSwap(false, true) {
					return answer{after: 15 * time.Millisecond, raw: by("a")}
				}
				return answer{after: 10 * time.Millisecond, raw: by("a")}
			}}
			got := inBubble(t, f, with)
			bySlot := make([]int, 5)
			for _, row := range got.rows {
				bySlot[row.Slot] += row.Requests
			}
			slices.Sort(want)
			slices.Sort(bySlot)
			// Which slots connect first is the scheduler's choice, so that the first two requests may be anybody's.
			near := cmp.Comparer(func(a, b int) bool { return max(a, b)-min(a, b) <= 2 })
			if diff := cmp.Diff(want, bySlot, near); diff != "" || len(got.rows) != 5 || got.requests() != 100 || got.done.Seconds != .505 {
				t.Errorf("%d connections, %v s, requests (-want +got):\n%s", len(got.rows), got.done.Seconds, diff)
			}
		})
	}
}

func TestAPoolOfAnOpenLoopUsesAsFewAsItsPolicyLets(t *testing.T) {
	for policy, used := range map[string]int{"": 8, PoolMRU: 2, PoolFirstFree: 2} {
		with := func(p *Plan) { p.Connections, p.Rate, p.PoolPolicy, p.Duration = 8, 100, policy, 2*time.Second }
		got := inBubble(t, slow(15*time.Millisecond), with)
		n := 0
		for _, row := range got.rows {
			if row.Requests > 2 {
				n++
			}
		}
		if n != used || len(got.rows) != 8 || got.requests() != 200 {
			t.Errorf("policy %q: %d of %d connections had %d requests, want %d", policy, n, len(got.rows), got.requests(), used)
		}
	}
}

func TestAPoolByDurationEndsInTime(t *testing.T) {
	with := func(p *Plan) { p.Connections, p.Concurrency, p.PoolPolicy = 4, 2, PoolRoundRobin }
	got := inBubble(t, slow(300*time.Millisecond), with)
	if got.requests() != 8 || got.done.Seconds != 1.2 { // at 0, 300, 600 and 900 ms, two at a time
		t.Errorf("%d requests in %v s", got.requests(), got.done.Seconds)
	}
}

func TestLifetimesEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		with func(p *Plan)
		want [][2]int
	}{
		"with the request that comes next": {
			func(p *Plan) { p.ConnectionLifetime = 300 * time.Millisecond },
			[][2]int{{0, 400}, {400, 800}, {800, 1000}}, // sent at 300, the last one; answered 100 ms later
		},
		"while thinking": {
			func(p *Plan) { p.ConnectionLifetime, p.ThinkTime = 250*time.Millisecond, 400*time.Millisecond },
			[][2]int{{0, 250}, {250, 500}, {500, 750}, {750, 1000}},
		},
		"while idle in a pool": {
			func(p *Plan) { p.ConnectionLifetime, p.Rate = 250*time.Millisecond, 2.5 },
			[][2]int{{0, 250}, {250, 500}, {500, 750}, {750, 1000}},
		},
		"while idle after a request": {
			func(p *Plan) { p.ConnectionLifetime, p.Rate = 160*time.Millisecond, 2 },
			[][2]int{{0, 160}, {160, 320}, {320, 480}, {480, 640}, {640, 800}, {800, 960}, {960, 1000}},
		},
		"with a request that outlasts them": {
			func(p *Plan) { p.ConnectionLifetime, p.Rate = 60*time.Millisecond, 2 },
			[][2]int{
				{0, 100}, {100, 160}, {160, 220}, {220, 280}, {280, 340}, {340, 400}, {400, 460}, {460, 600},
				{600, 660}, {660, 720}, {720, 780}, {780, 840}, {840, 900}, {900, 960}, {960, 1000},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := inBubble(t, slow(100*time.Millisecond), tc.with)
			if diff := cmp.Diff(tc.want, got.lives()); diff != "" {
				t.Errorf("opened and closed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLifetimesVaryAsThePlanSays(t *testing.T) {
	plan := planOf(func(p *Plan) {
		p.Connections, p.ConnectionLifetime, p.LifetimeJitter, p.ThinkTime, p.Duration = 4, time.Second, .3, 5*time.Second, 10*time.Second
	})
	synctest.Test(t, func(t *testing.T) {
		plan.Start = time.Now()
		got := slow(time.Millisecond).execute(t.Context(), t, plan)
		nth := map[int]int{}
		for _, row := range got.byID() {
			nth[row.Slot]++
			want := plan.lifetime(row.Slot, nth[row.Slot]).Seconds()
			if row.Closed < 10 && math.Abs(row.Closed-row.Opened-want) > 1e-6 {
				t.Errorf("connection %d of slot %d lasted %.6f s, want %.6f", nth[row.Slot], row.Slot, row.Closed-row.Opened, want)
			}
		}
		if len(got.rows) < 4*8 {
			t.Errorf("%d connections", len(got.rows))
		}
	})
}

func TestChurnReplacesTheOldest(t *testing.T) {
	for name, with := range map[string]func(p *Plan){
		"of connections that are busy": func(*Plan) {},
		"of connections that think":    func(p *Plan) { p.ThinkTime = time.Hour },
		"of connections that are idle": func(p *Plan) { p.Rate = 0.1 },
	} {
		t.Run(name, func(t *testing.T) {
			got := inBubble(t, slow(time.Millisecond), func(p *Plan) { p.Connections, p.ConnectionsPerSecond = 3, 10; with(p) })
			for i, row := range got.byID() {
				opened, closed := 0.0, 1.0
				if i >= 3 {
					opened = float64(i-2) / 10
				}
				if i < 9 {
					closed = float64(i+1) / 10
				}
				if math.Abs(row.Opened-opened) > .0021 || math.Abs(row.Closed-closed) > .0021 {
					t.Errorf("connection %d from %.4f to %.4f s, want %g to %g", i+1, row.Opened, row.Closed, opened, closed)
				}
			}
			if len(got.rows) != 12 || len(got.errors()) > 0 {
				t.Errorf("%d connections, errors %v", len(got.rows), got.errors())
			}
		})
	}
}

func TestThinkTimeIsBetweenAnAnswerAndTheNextRequest(t *testing.T) {
	with := func(p *Plan) { p.ThinkTime = 200 * time.Millisecond }
	got := inBubble(t, slow(100*time.Millisecond), with)
	var sent []float64
	for _, s := range got.samples {
		sent = append(sent, math.Round(s.Sent*1000))
	}
	if diff := cmp.Diff([]float64{0, 300, 600, 900}, sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if got.done.Seconds != 1 || len(got.rows) != 1 {
		t.Errorf("ended at %v with %d connections", got.done.Seconds, len(got.rows))
	}
}

func TestThinkingEndsWithAnInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got := slow(0).execute(ctx, t, planOf(func(p *Plan) { p.ThinkTime, p.Duration = time.Hour, 2*time.Hour }))
		if !got.done.Interrupted || got.done.Seconds != 1 {
			t.Errorf("interrupted %v after %v s", got.done.Interrupted, got.done.Seconds)
		}
	})
}

func TestReconnectsFollowTheirPolicy(t *testing.T) {
	for policy, want := range map[string]int{ReconnectImmediate: 100, ReconnectBackoff: 17} {
		f := &fake{answer: func(int, int) answer { return answer{after: 10 * time.Millisecond, end: true} }}
		got := inBubble(t, f, func(p *Plan) { p.Reconnect = policy })
		// With back-off at 0, 11, 23, 37, 55, 81, 123, 197 and 307 ms, and then every 110 ms.
		if len(got.rows) != want && policy == ReconnectImmediate || len(got.rows) > 20 && policy == ReconnectBackoff {
			t.Errorf("%s: %d connections, want %d", policy, len(got.rows), want)
		}
	}
}

// named is a plan whose address is a name, and a world that resolves it.
func named(t *testing.T, f *fake, answers [][]string, with func(p *Plan)) *results {
	t.Helper()
	var got *results
	synctest.Test(t, func(t *testing.T) {
		w := f.world()
		asked := 0
		w.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			if host != "echo.ns.svc" {
				t.Errorf("asked about %q", host)
			}
			time.Sleep(time.Millisecond)
			answer := answers[min(asked, len(answers)-1)]
			asked++
			if answer == nil {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			var out []netip.Addr
			for _, a := range answer {
				out = append(out, netip.MustParseAddr(a))
			}
			return out, nil
		}
		plan := planOf(func(p *Plan) {
			p.Addresses, p.Requests, p.Duration, p.RequestsPerConnection = []record.Address{{HostPort: "echo.ns.svc:8080"}}, 6, 0, 1
			with(p)
		})
		got = &results{}
		if err := execute(t.Context(), plan, got.sink(t), w); err != nil {
			t.Fatal(err)
		}
		checkConsistent(t, plan, got)
	})
	return got
}

func (r *results) dialled() []string {
	var out []string
	for _, row := range r.byID() {
		out = append(out, row.Dialled)
	}
	return out
}

func TestNamesAreResolvedAsThePlanSays(t *testing.T) {
	a, b, c := "10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"
	shuffled := [][]string{{"10.0.0.2", "10.0.0.1"}, {"10.0.0.1", "10.0.0.2"}, {"10.0.0.2", "10.0.0.3"}}
	for name, tc := range map[string]struct {
		answers [][]string
		with    func(p *Plan)
		want    []string
	}{
		"once, in turn":                    {shuffled, func(*Plan) {}, []string{a, b, a, b, a, b}},
		"in turn from the agent's own":     {shuffled, func(p *Plan) { p.AddressOffset = 3 }, []string{b, a, b, a, b, a}},
		"once, the first":                  {shuffled, func(p *Plan) { p.ResolveOrder = OrderFirst }, []string{b, b, b, b, b, b}},
		"for each dial, in turn":           {shuffled, func(p *Plan) { p.Resolve = ResolvePerConnection }, []string{a, b, b, c, b, c}},
		"for each dial, the first":         {shuffled, func(p *Plan) { p.Resolve, p.ResolveOrder = ResolvePerConnection, OrderFirst }, []string{b, a, b, b, b, b}},
		"IPv4 where there is both":         {[][]string{{"fd00::1", "10.0.0.2", "fd00::2", "10.0.0.1"}}, func(*Plan) {}, []string{a, b, a, b, a, b}},
		"IPv6 where there is nothing else": {[][]string{{"fd00::1"}}, func(p *Plan) { p.Requests = 1 }, []string{"[fd00::1]:8080"}},
		"in the family of the source": {
			[][]string{{"10.0.0.2", "fd00::1"}}, func(p *Plan) { p.Sources, p.Requests = []string{"fd00::9"}, 2 }, []string{"[fd00::1]:8080", "[fd00::1]:8080"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := named(t, &fake{}, tc.answers, tc.with)
			if diff := cmp.Diff(tc.want, got.dialled()); diff != "" {
				t.Errorf("dialled (-want +got):\n%s", diff)
			}
			if row := got.rows[0]; row.Address != "echo.ns.svc:8080" || len(got.errors()) > 0 {
				t.Errorf("row %+v, errors %v", row, got.errors())
			}
		})
	}
}

func TestARandomOrderIsOneAndRepeats(t *testing.T) {
	answers := [][]string{{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}}
	draw := func(seed uint64) []string {
		return named(t, &fake{}, answers, func(p *Plan) { p.ResolveOrder, p.Seed, p.Requests = OrderRandom, seed, 400 }).dialled()
	}
	first := draw(1)
	if diff := cmp.Diff(first, draw(1)); diff != "" {
		t.Errorf("the same seed gives another order:\n%s", diff)
	}
	if cmp.Equal(first, draw(2)) {
		t.Error("another seed gives the same order")
	}
	n := map[string]int{}
	for _, d := range first {
		n[d]++
	}
	for d, times := range n {
		if times < 48 || times > 152 { // 100 ± 6 σ
			t.Errorf("%s was dialled %d times of 400", d, times)
		}
	}
}

func TestANameThatCannotBeResolvedIsAskedAboutAgain(t *testing.T) {
	got := named(t, &fake{}, [][]string{nil, nil, {"10.0.0.1"}}, func(*Plan) {}) // the first time ahead of the load
	if got.errors()[record.ErrDNS] != 1 || got.requests() != 6 || got.byID()[1].Dialled != "10.0.0.1:8080" {
		t.Errorf("errors %v, rows %+v", got.errors(), got.rows)
	}
}

func TestSlotsLeaveFromTheSourcesInTurn(t *testing.T) {
	var from []string
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		w := f.world()
		w.dial = func(ctx context.Context, to target) (net.Conn, error) {
			f.mu.Lock()
			from = append(from, to.source.String())
			f.mu.Unlock()
			return f.dial(ctx, to)
		}
		plan := planOf(func(p *Plan) {
			p.Connections, p.Requests, p.Duration, p.Sources = 4, 4, 0, []string{"10.0.0.1", "10.0.0.2"}
		})
		if err := execute(t.Context(), plan, (&results{}).sink(t), w); err != nil {
			t.Fatal(err)
		}
	})
	slices.Sort(from)
	if diff := cmp.Diff([]string{"10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2"}, from); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}
