package loadgen

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

// TestAWarmUpIsNotCounted has a client that gets an answer every 100 ms, in fake time.
func TestAWarmUpIsNotCounted(t *testing.T) {
	slowly := func(c, _ int) answer {
		return answer{after: 100 * time.Millisecond, raw: by(fmt.Sprintf("echo-%d", c))}
	}
	for name, tc := range map[string]struct {
		with     func(p *Plan)
		requests int // that are counted
		served   int // that the servers got
		opened   []float64
		warmed   []int // answers of the warm-up on the connections that have rows
		passed   int
		seconds  float64
	}{
		"connections that stay": {
			with:     func(p *Plan) { p.Connections, p.Duration, p.WarmUp = 2, time.Second, 500*time.Millisecond },
			requests: 20, served: 30, opened: []float64{-0.5, -0.5}, warmed: []int{5, 5}, seconds: 1,
		},
		"a number of requests": {
			with:     func(p *Plan) { p.Connections, p.Requests, p.Duration, p.WarmUp = 2, 9, 0, 500*time.Millisecond },
			requests: 9, served: 19, opened: []float64{-0.5, -0.5}, warmed: []int{5, 5}, seconds: 0.5,
		},
		"fresh connections": {
			with: func(p *Plan) {
				p.Requests, p.Duration, p.RequestsPerConnection, p.WarmUp = 3, 0, 1, 450*time.Millisecond
			},
			// The fifth one was asked before time 0 and answered after it.
			requests: 3, served: 8, opened: []float64{-0.05, 0.05, 0.15, 0.25}, warmed: []int{1, 0, 0, 0}, passed: 4, seconds: 0.35,
		},
		"an open loop": {
			with: func(p *Plan) {
				p.Connections, p.Rate, p.Requests, p.Duration, p.WarmUp = 4, 20, 10, 0, time.Second
			},
			requests: 10, served: 30, opened: []float64{-1, -1, -1, -1}, warmed: []int{5, 5, 5, 5}, seconds: 0.55,
		},
		"a pool": {
			with: func(p *Plan) {
				p.Connections, p.PoolPolicy, p.Concurrency, p.Requests, p.Duration, p.WarmUp = 1, PoolFirstFree, 1, 5, 0, 300*time.Millisecond
			},
			requests: 5, served: 8, opened: []float64{-0.3}, warmed: []int{3}, seconds: 0.5,
		},
		"a rate that it is held to": {
			with:     func(p *Plan) { p.MaxRate, p.Duration, p.WarmUp = 5, time.Second, time.Second },
			requests: 5, served: 10, opened: []float64{-1}, warmed: []int{5}, seconds: 1,
		},
		"lifetimes that go on": {
			with: func(p *Plan) {
				p.Duration, p.WarmUp, p.ConnectionLifetime = time.Second, time.Second, 250*time.Millisecond
			},
			requests: 10, served: 20, opened: []float64{-0.2, 0.2, 0.6}, warmed: []int{2, 0, 0}, passed: 2, seconds: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{answer: slowly}
				got := f.execute(t.Context(), t, planOf(func(p *Plan) {
					tc.with(p)
					p.Start = time.Now().Add(p.WarmUp)
				}))
				rows := got.byID()
				var opened []float64
				var warmed []int
				for _, row := range rows {
					opened = append(opened, math.Round(row.Opened*1e6)/1e6)
					warmed = append(warmed, row.WarmUp)
				}
				if got.requests() != tc.requests || len(f.requests()) != tc.served || got.done.Seconds != tc.seconds {
					t.Errorf("%d requests counted, %d served, in %v s, want %d, %d and %v", got.requests(), len(f.requests()), got.done.Seconds,
						tc.requests, tc.served, tc.seconds)
				}
				if diff := cmp.Diff(tc.opened, opened); diff != "" {
					t.Errorf("openings (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tc.warmed, warmed); diff != "" {
					t.Errorf("answers of the warm-up (-want +got):\n%s", diff)
				}
				checkWarmUp(t, got, tc.passed, tc.served-tc.requests)
			})
		})
	}
}

// checkWarmUp checks what holds for every run with a warm-up.
func checkWarmUp(t *testing.T, got *results, passed, warm int) {
	t.Helper()
	w := got.done.Generator.WarmUp
	if w == nil {
		t.Fatal("the generator says nothing of a warm-up")
	}
	sum := 0
	for _, n := range w.Answered {
		sum += n
	}
	if w.Connections != passed || sum != warm || w.Unanswered != 0 {
		t.Errorf("warm-up %+v, want %d connections and %d answers", w, passed, warm)
	}
	connections := 0
	for _, tally := range got.tallies {
		connections += tally.Connections
		if tally.Second < 0 || tally.Requests > 0 && tally.Observed == "" {
			t.Errorf("tally %+v", tally)
		}
	}
	if connections != len(got.rows) {
		t.Errorf("tallies have %d connections, rows %d", connections, len(got.rows))
	}
	for _, s := range got.samples {
		if s.Sent < 0 {
			t.Errorf("sample %+v", s)
		}
	}
}

// TestAWarmUpDoesNotMoveTheSchedule compares the intended times after time 0.
func TestAWarmUpDoesNotMoveTheSchedule(t *testing.T) {
	for _, arrivals := range []string{ArrivalsConstant, ArrivalsPoisson} {
		plan := planOf(func(p *Plan) {
			p.Rate, p.Arrivals, p.Seed, p.Requests, p.Duration = 100, arrivals, 7, 50, 0
			p.Rates = []record.RateStep{{At: 0.2, Rate: 400, Ramp: true}}
		})
		want := times(newSchedule(plan), 1000)
		plan.WarmUp = time.Second
		got := times(newSchedule(plan), 1000)
		first := slices.IndexFunc(got, func(at time.Duration) bool { return at >= 0 })
		if first < 60 || first > 140 || got[0] < -time.Second {
			t.Errorf("%s: %d requests in a second at 100 per second, from %s on", arrivals, first, got[0])
		}
		if diff := cmp.Diff(want, got[first:]); diff != "" {
			t.Errorf("%s (-without +with):\n%s", arrivals, diff)
		}
	}
}

// TestEveryDriverWarmsUp runs real servers, on which the two ends must agree in the end.
func TestEveryDriverWarmsUp(t *testing.T) {
	t.Parallel()
	p := startPod(t, "a", "127.0.0.1")
	for name, with := range map[string]func(*Plan){
		"conn":      func(p *Plan) { p.Driver = DriverConn },
		"epoll":     func(p *Plan) { p.Driver = "" },
		"http2":     func(p *Plan) { p.Protocol, p.StreamsPerConnection = ProtocolHTTP2, 2 },
		"grpc":      func(p *Plan) { p.Protocol = ProtocolGRPC },
		"websocket": func(p *Plan) { p.Protocol = ProtocolWebSocket },
		"tcp":       func(p *Plan) { p.Protocol = ProtocolTCP },
		"udp":       func(p *Plan) { p.Protocol = ProtocolUDP },
	} {
		for kind, load := range map[string]func(*Plan){
			"keep-alive": func(p *Plan) { p.Requests, p.Duration = 40, 0 },
			"fresh":      func(p *Plan) { p.Requests, p.Duration, p.RequestsPerConnection = 40, 0, 1 },
			"open loop":  func(p *Plan) { p.Requests, p.Duration, p.Rate = 40, 0, 200 },
			"aging":      func(p *Plan) { p.Requests, p.Duration, p.Rate, p.ConnectionLifetime = 40, 0, 200, 30*time.Millisecond },
			"churning":   func(p *Plan) { p.Requests, p.Duration, p.Rate, p.ConnectionsPerSecond = 40, 0, 200, 50 },
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				got := runPlan(t, planOf(func(plan *Plan) {
					plan.Connections, plan.WarmUp = 2, 200*time.Millisecond
					plan.Start = time.Now().Add(plan.WarmUp)
					plan.ConnectTimeout, plan.Timeout = 5*time.Second, 5*time.Second
					load(plan)
					with(plan)
					plan.Addresses = []record.Address{{HostPort: p.address(plan.Protocol, false)}}
				}))
				if got.requests() != 40 || len(got.errors()) > 0 || got.done.Generator.WarmUp.Answered["a"] == 0 {
					t.Errorf("%d requests, errors %v, warm-up %+v", got.requests(), got.errors(), got.done.Generator.WarmUp)
				}
				answered := 0
				for _, row := range got.rows {
					answered += row.Requests
					if row.Closed < 0 || row.Opened < -0.25 {
						t.Errorf("row %+v", row)
					}
				}
				if answered != 40 {
					t.Errorf("rows have %d answers", answered)
				}
				if kind == "keep-alive" && slices.ContainsFunc(got.rows, func(c record.Connection) bool { return c.Opened >= 0 || c.WarmUp == 0 }) {
					t.Errorf("connections that stay were opened anew, or not used before: %+v", got.rows)
				}
			})
		}
	}
}

// TestAnInterruptedWarmUpLeavesNothing ends a run before time 0.
func TestAnInterruptedWarmUpLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		got := f.execute(ctx, t, planOf(func(p *Plan) {
			p.WarmUp, p.ThinkTime = time.Second, 10*time.Millisecond
			p.Start = time.Now().Add(p.WarmUp)
		}))
		if len(got.rows)+len(got.tallies)+len(got.samples) > 0 || !got.done.Interrupted {
			t.Errorf("%d rows, %d tallies, done %+v", len(got.rows), len(got.tallies), got.done)
		}
	})
}

func TestRequestsAreDealtByZipfsLaw(t *testing.T) {
	for name, tc := range map[string]struct {
		requests, connections int
		exponent              float64
		want                  []int
	}{
		"in proportion to 1/k":      {110, 3, 1, []int{60, 30, 20}},
		"in proportion to 1/k²":     {49, 3, 2, []int{36, 9, 4}},
		"by largest remainders":     {10, 3, 1, []int{5, 3, 2}}, // quotas 5.45, 2.73, 1.82
		"with one for each":         {12, 5, 3, []int{8, 1, 1, 1, 1}},
		"with too few for each":     {2, 5, 1, []int{1, 1, 0, 0, 0}},
		"on one connection":         {7, 1, 2, []int{7}},
		"hardly uneven":             {10, 4, 1e-9, []int{3, 3, 2, 2}},
		"as many as connections":    {4, 4, 10, []int{1, 1, 1, 1}},
		"one more than connections": {5, 4, 10, []int{2, 1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			plan := planOf(func(p *Plan) { p.Requests, p.Connections, p.ZipfExponent = tc.requests, tc.connections, tc.exponent })
			if diff := cmp.Diff(tc.want, plan.zipfShares()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzZipfShares(f *testing.F) {
	f.Add(1000, 7, 1.2)
	f.Add(maxRequests, 1000, 0.5)
	f.Fuzz(func(t *testing.T, requests, connections int, exponent float64) {
		if requests < 1 || requests > maxRequests || connections < 1 || connections > 2000 || !(exponent > 0 && exponent <= maxZipf) {
			return
		}
		plan := planOf(func(p *Plan) { p.Requests, p.Connections, p.ZipfExponent = requests, connections, exponent })
		shares := plan.zipfShares()
		sum := 0
		for i, n := range shares {
			sum += n
			if n < 0 || requests >= connections && n < 1 || i > 0 && n > shares[i-1] {
				t.Fatalf("slot %d has %d of %d requests", i, n, requests)
			}
		}
		if sum != requests || len(shares) != connections {
			t.Fatalf("%d requests on %d slots, want %d on %d", sum, len(shares), requests, connections)
		}
	})
}

// TestASlotMakesTheRequestsThatItWasDealt runs plans on all kinds of drivers.
func TestASlotMakesTheRequestsThatItWasDealt(t *testing.T) {
	t.Parallel()
	p := startPod(t, "a", "127.0.0.1")
	for _, protocol := range protocols() {
		for _, driver := range []string{"", DriverConn} {
			if driver != "" && protocol != ProtocolHTTP1 {
				continue
			}
			t.Run(strings.TrimSpace(protocol+" "+driver), func(t *testing.T) {
				t.Parallel()
				got := runPlan(t, planOf(func(plan *Plan) {
					plan.Protocol, plan.Driver, plan.Connections, plan.Requests, plan.Duration, plan.ZipfExponent = protocol, driver, 3, 110, 0, 1
					plan.ConnectTimeout, plan.Timeout = 5*time.Second, 5*time.Second
					plan.Addresses = []record.Address{{HostPort: p.address(protocol, false)}}
				}))
				var requests []int
				for _, row := range slices.SortedFunc(slices.Values(got.rows), func(a, b record.Connection) int { return a.Slot - b.Slot }) {
					requests = append(requests, row.Requests)
				}
				if diff := cmp.Diff([]int{60, 30, 20}, requests); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}
