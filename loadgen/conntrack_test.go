package loadgen

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

// table is a connection-tracking table in which every entry stays for a second.
type table struct {
	mu      sync.Mutex
	limit   int
	others  int
	entries []time.Time
}

func (t *table) add() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = append(t.entries, time.Now())
}

func (t *table) read() (count, limit int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count = t.others
	for _, at := range t.entries {
		if time.Since(at) < time.Second {
			count++
		}
	}
	return count, t.limit, true
}

func TestTheConnectionTrackingTableIsNotFilled(t *testing.T) {
	for name, tc := range map[string]struct {
		limit, others, budget int
		want                  record.Conntrack
		seconds               float64
	}{
		"an empty table":          {limit: 1000, want: record.Conntrack{Max: 1000, Peak: 50}},
		"room for ten":            {limit: 100, others: 70, want: record.Conntrack{Max: 100, Before: 70, Peak: 80, HeldBack: 40}, seconds: 4},
		"a budget of ten":         {limit: 1000, others: 70, budget: 10, want: record.Conntrack{Max: 1000, Before: 70, Peak: 80, HeldBack: 40}, seconds: 4},
		"a budget beyond the end": {limit: 100, others: 70, budget: 1000, want: record.Conntrack{Max: 100, Before: 70, Peak: 80, HeldBack: 40}, seconds: 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				entries := &table{limit: tc.limit, others: tc.others}
				f := &fake{answer: func(int, int) answer { return answer{after: time.Millisecond, raw: by("a")} }}
				w := f.world()
				w.conntrack = entries.read
				dial := w.dial
				w.dial = countingDial(dial, entries)
				plan := planOf(func(p *Plan) { p.RequestsPerConnection, p.Requests, p.Duration, p.MaxTuples = 1, 50, 0, tc.budget })
				r := &results{}
				if err := execute(t.Context(), plan, r.sink(t), w); err != nil {
					t.Fatal(err)
				}
				got := *r.done.Generator.Conntrack
				if got.Peak > tc.want.Peak || got.Peak < tc.want.Peak/2 {
					t.Errorf("the table held %d entries at most, want up to %d", got.Peak, tc.want.Peak)
				}
				if (got.HeldBack > 0) != (tc.want.HeldBack > 0) || got.Max != tc.want.Max || got.Before != tc.want.Before || got.Full {
					t.Errorf("got %+v, want %+v", got, tc.want)
				}
				if len(r.rows) != 50 || r.done.Seconds < tc.seconds || r.done.Seconds > tc.seconds+2 {
					t.Errorf("%d connections in %.2f s, want 50 in about %.0f", len(r.rows), r.done.Seconds, tc.seconds)
				}
				if said := strings.Contains(strings.Join(r.done.Problems, "\n"), "connection-tracking table would not be filled"); said != (got.HeldBack > 0) {
					t.Errorf("problems %q", r.done.Problems)
				}
			})
		})
	}
}

func TestAFullConnectionTrackingTableIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(int, int) answer { return answer{after: 300 * time.Millisecond, raw: by("a")} }}
		w := f.world()
		var readings atomic.Int64
		w.conntrack = func() (int, int, bool) {
			return []int{10, 1000}[min(readings.Add(1)-1, 1)], 1000, true // somebody else fills it
		}
		r := &results{}
		if err := execute(t.Context(), planOf(func(p *Plan) { p.Requests, p.Duration = 2, 0 }), r.sink(t), w); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&record.Conntrack{Max: 1000, Before: 10, Peak: 1000, Full: true}, r.done.Generator.Conntrack); diff != "" {
			t.Errorf("conntrack (-want +got):\n%s", diff)
		}
		if !strings.Contains(strings.Join(r.done.Problems, "\n"), "connection-tracking table was full, 1000 of 1000 entries") {
			t.Errorf("problems %q", r.done.Problems)
		}
	})
}

func TestConnectionsBeyondTheCapAreInTheTallies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		w := f.world()
		w.rowCap = 10
		r := &results{}
		plan := planOf(func(p *Plan) { p.RequestsPerConnection, p.Requests, p.Duration, p.Connections = 1, 50, 0, 3 })
		if err := execute(t.Context(), plan, r.sink(t), w); err != nil {
			t.Fatal(err)
		}
		connections := 0
		for _, tally := range r.tallies {
			connections += tally.Connections
		}
		if len(r.rows) != 10 || connections != 50 || r.done.Generator.DroppedRows != 40 || len(r.done.Problems) != 1 {
			t.Errorf("%d rows, %d connections in the tallies, %d dropped, problems %q", len(r.rows), connections, r.done.Generator.DroppedRows, r.done.Problems)
		}
	})
}

func TestReservedPortsAreNotFree(t *testing.T) {
	for list, want := range map[string]int{"": 0, "\n": 0, "80": 0, "40000": 1, "40000,40010-40019": 11, "30000-32768": 1, "60999-65535": 1, "x,40000-y": 0} {
		if got := reservedPorts(list, 32768, 60999); got != want {
			t.Errorf("%q: %d ports, want %d", list, got, want)
		}
	}
}
