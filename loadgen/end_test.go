package loadgen

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podskew/podskew/record"
)

// endedEarly runs a plan of an hour on real sockets and has it end once requests were answered.
func endedEarly(t *testing.T, plan Plan) *results {
	t.Helper()
	a := newTestAgent(t, AgentConfig{}, plan.Addresses[0].HostPort)
	plan.Requests, plan.Duration = 0, time.Hour
	got := &results{}
	said := make(chan error, 1)
	err := Drive(t.Context(), a.post, plan, begun(got.sink(t), func() {
		got.stopped = time.Since(plan.Start).Seconds() + .3
		go func() {
			said <- End(t.Context(), a.post, EndRequest{
				StopRequest: StopRequest{Run: plan.Run, Stream: plan.Stream, Agent: plan.Agent}, At: time.Duration(got.stopped * 1e9),
			})
		}()
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := <-said; err != nil {
		t.Fatal(err)
	}
	checkConsistent(t, plan, got)
	return got
}

func TestALoadThatIsToldItsEndIsACompleteOne(t *testing.T) {
	type way struct {
		name string
		plan Plan
	}
	p := startPod(t, "a", "127.0.0.1")
	web := speech{protocol: ProtocolHTTP1}
	ways := []way{
		{"http1 as fast as it can", web.planFor(p, func(p *Plan) { p.Connections = 4 })},
		{"http1 by Go's library", web.planFor(p, func(p *Plan) { p.Connections, p.Driver = 4, DriverConn })},
		{"http1 with a rate", web.planFor(p, func(p *Plan) { p.Connections, p.Rate = 4, 100 })},
		{"http1 with a rate, by Go's library", web.planFor(p, func(p *Plan) { p.Connections, p.Rate, p.Driver = 4, 100, DriverConn })},
		{"http1 held to a rate, fresh connections", web.planFor(p, func(p *Plan) { p.Connections, p.MaxRate, p.RequestsPerConnection = 4, 100, 1 })},
		{"http1 that thinks for a minute", web.planFor(p, func(p *Plan) { p.Connections, p.ThinkTime = 4, time.Minute })},
		{"http1 with churn", web.planFor(p, func(p *Plan) { p.Connections, p.ConnectionsPerSecond, p.Driver = 4, 20, DriverConn })},
	}
	for _, s := range speeches() {
		ways = append(ways,
			way{s.String(), s.planFor(p, func(p *Plan) { p.Connections, p.MaxRate = 2, 200 })},
			way{s.String() + " that thinks for a minute", s.planFor(p, func(p *Plan) { p.Connections, p.ThinkTime = 2, time.Minute })})
	}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.plan.Start = time.Now()
			got := endedEarly(t, w.plan)
			if got.done.Interrupted {
				t.Error("it says that it was interrupted")
			}
			if late := got.done.Seconds - got.stopped; late < 0 || late > 5 { // milliseconds, on a machine with nothing else to do
				t.Errorf("it ended %.3f s after its time", late)
			}
			last := slices.MaxFunc(got.samples, func(a, b record.Sample) int { return int((a.Sent - b.Sent) * 1e9) })
			if last.Sent > got.stopped+1 { // a machine that is busy notices late
				t.Errorf("something was sent at %.3f s, after %.3f s", last.Sent, got.stopped)
			}
			if n := len(got.errors()); n > 0 {
				t.Errorf("errors %v", got.errors())
			}
			// A machine that stalls until after the end never sends what fell due since it last did. What was due later was never intended.
			if g := got.done.Generator; g != nil && g.Dropped > 0 {
				if due := 1 + w.plan.Rate*(got.stopped-last.Sent+g.Lateness.Quantile(1)); float64(g.Dropped) > due {
					t.Errorf("%d requests count as never sent, and no more than %.1f fell due after the last that was", g.Dropped, due)
				}
			}
		})
	}
}

func TestAnswersAreWaitedForAtAnEndAndNotAtAnInterrupt(t *testing.T) {
	for name, tc := range map[string]struct {
		interrupt time.Duration // 0: none
		errors    int
		seconds   float64
	}{
		"at an end":                      {0, 0, 6},
		"at an interrupt after the end":  {4 * time.Second, 1, 4.5},
		"at an interrupt before the end": {2 * time.Second, 1, 2.5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tc.interrupt > 0 {
					time.AfterFunc(tc.interrupt, cancel)
				}
				w, finish := slow(6*time.Second).world(), make(chan struct{})
				w.finish = finish
				time.AfterFunc(3*time.Second, func() { close(finish) })
				plan := planOf(func(p *Plan) { p.Duration, p.Timeout = time.Minute, 10*time.Second })
				got := &results{}
				if err := execute(ctx, plan, got.sink(t), w); err != nil {
					t.Fatal(err)
				}
				checkConsistent(t, plan, got)
				time.Sleep(plan.Timeout) // the server has not noticed
				failed := 0
				for _, n := range got.errors() {
					failed += n
				}
				if failed != tc.errors || got.done.Interrupted != (tc.interrupt > 0) || got.done.Seconds != tc.seconds {
					t.Errorf("%d errors, done %+v", failed, *got.done)
				}
			})
		})
	}
}

func TestAnAgentIsToldOnceWhenToEnd(t *testing.T) {
	address := echoServer(t, "a")
	a := newTestAgent(t, AgentConfig{}, address)
	plan := longPlan(address)
	end := EndRequest{StopRequest: StopRequest{Run: plan.Run, Stream: plan.Stream, Agent: plan.Agent}, At: time.Hour}
	if err := End(t.Context(), a.post, end); err != nil {
		t.Errorf("of a plan that does not run: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := make(chan [2]error, 1)
	err := Drive(ctx, a.post, plan, begun((&results{}).sink(t), func() {
		go func() {
			said <- [2]error{End(t.Context(), a.post, end), End(t.Context(), a.post, end)}
			cancel()
		}()
	}))
	if err != nil {
		t.Fatal(err)
	}
	errs := <-said
	if errs[0] != nil || errs[1] == nil || !strings.Contains(errs[1].Error(), "was told already when to end") {
		t.Errorf("got %v", errs)
	}
}
