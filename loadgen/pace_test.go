package loadgen

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAPlanIsHeldToItsRate(t *testing.T) {
	for name, tc := range map[string]struct {
		with      func(p *Plan)
		requests  int
		rows      int
		lasts     time.Duration
		heldWords string
	}{
		"requests on connections that stay": {
			with: func(p *Plan) { p.Connections, p.MaxRate, p.Duration = 4, 50, 2*time.Second },
			// The first one at 0 s, then one every 20 ms, up to 1.98 s.
			requests: 100, rows: 4, lasts: 2 * time.Second, heldWords: "held to 50 requests per second",
		},
		"a dial and its request are one": {
			with: func(p *Plan) {
				p.Connections, p.MaxRate, p.RequestsPerConnection, p.Requests, p.Duration = 4, 10, 1, 20, 0
			},
			requests: 20, rows: 20, lasts: 1900 * time.Millisecond, heldWords: "held to 10 requests per second",
		},
		"a rate that is never reached": {
			with:     func(p *Plan) { p.MaxRate, p.Requests, p.Duration, p.Connections = 1e6, 1, 0, 1 },
			requests: 1, rows: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				begun := time.Now()
				got := f.execute(t.Context(), t, planOf(tc.with))
				if got.requests() != tc.requests || len(got.rows) != tc.rows || time.Since(begun) != tc.lasts {
					t.Errorf("%d requests on %d connections in %v, want %d on %d in %v",
						got.requests(), len(got.rows), time.Since(begun), tc.requests, tc.rows, tc.lasts)
				}
				problems := strings.Join(got.done.Problems, "\n")
				if (tc.heldWords == "") != (problems == "") || !strings.Contains(problems, tc.heldWords) {
					t.Errorf("problems %q, want %q", problems, tc.heldWords)
				}
			})
		})
	}
}

// Seconds of the tallies show that the load is spread and does not come in peaks.
func TestAHeldLoadIsEven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Connections, p.MaxRate, p.Duration = 10, 100, 3*time.Second }))
		for second, n := range got.sum(bySecond) {
			if n != 100 {
				t.Errorf("%d requests in second %s, want 100", n, second)
			}
		}
	})
}

func TestARunThatWaitsForItsTurnCanBeInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		f := &fake{}
		begun := time.Now()
		got := f.execute(ctx, t, planOf(func(p *Plan) { p.Connections, p.MaxRate, p.Duration = 2, 0.01, time.Hour }))
		if !got.done.Interrupted || got.requests() != 1 || time.Since(begun) > 3*time.Second {
			t.Errorf("interrupted %v, %d requests, after %v", got.done.Interrupted, got.requests(), time.Since(begun))
		}
	})
}
