package loadgen

import (
	"context"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podskew/podskew/record"
)

// countingDial enters every dial into a table.
func countingDial(dial func(context.Context, target) (net.Conn, error), entries *table) func(context.Context, target) (net.Conn, error) {
	return func(ctx context.Context, t target) (net.Conn, error) {
		entries.add()
		return dial(ctx, t)
	}
}

func TestHistogramsCountAsRecordsDo(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var want record.Histogram
	var first, second histogram
	for i := range 10_000 {
		d := time.Duration(math.Exp(rng.Float64() * 43)) // to beyond two hours, and all magnitudes alike
		if i == 0 {
			d = math.MaxInt64 / 20_000
		}
		want.Add(int64(d), 1)
		if i%3 == 0 {
			first.add(d)
		} else {
			second.add(d)
		}
	}
	first.merge(&second)
	if diff := cmp.Diff(want, first.record(), cmpopts.EquateApprox(1e-9, 0)); diff != "" {
		t.Errorf("histogram (-want +got):\n%s", diff)
	}
	if (&histogram{}).record().Count() != 0 {
		t.Error("an empty histogram is not empty")
	}
	var edge histogram
	edge.add(math.MaxInt64)
	edge.add(-1)
	if got := edge.record().Count(); got != 2 {
		t.Errorf("%d counted at the edges, want 2", got)
	}
}

func TestPortsUsedAgainAreCounted(t *testing.T) {
	var s portSet
	for _, a := range []string{"127.0.0.1:1", "127.0.0.1:65535", "127.0.0.2:1", "[::1]:1", "127.0.0.1:1", "[::1]:1"} {
		s.note(netip.MustParseAddrPort(a))
	}
	if got := s.reused.Load(); got != 2 {
		t.Errorf("%d used again, want 2", got)
	}
}

func TestTimersComeInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var h timerHeap
	var want, got []time.Duration
	for range 1000 {
		at := time.Duration(rng.IntN(500))
		want = append(want, at)
		h.push(slotTimer{at: at})
	}
	slices.Sort(want)
	for now := time.Duration(0); now < 500; now += 7 {
		for {
			timer, ok := h.pop(now)
			if !ok {
				break
			}
			if timer.at > now {
				t.Fatalf("a timer of %d came at %d", timer.at, now)
			}
			got = append(got, timer.at)
		}
	}
	for {
		timer, ok := h.pop(500)
		if !ok {
			break
		}
		got = append(got, timer.at)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("timers (-want +got):\n%s", diff)
	}
}
