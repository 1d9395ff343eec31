package loadgen

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLifetimesVaryEvenlyAndRepeat(t *testing.T) {
	p := &Plan{ConnectionLifetime: 10 * time.Second, LifetimeJitter: 0.2, Seed: 5}
	sum, n := 0.0, 0
	tenths := make([]int, 10)
	seen := map[time.Duration]bool{}
	for slot := range 100 {
		for nth := range 100 {
			life := p.lifetime(slot, nth+1)
			if life < 8*time.Second || life >= 12*time.Second {
				t.Fatalf("lifetime %v", life)
			}
			if life != p.lifetime(slot, nth+1) {
				t.Fatal("it changed")
			}
			sum += life.Seconds()
			tenths[int((life.Seconds()-8)/0.4)]++
			seen[life] = true
			n++
		}
	}
	// Six standard errors: of the mean of numbers that are uniform over 4 s, and of one of ten counts.
	if se := 4 / math.Sqrt(12) / math.Sqrt(float64(n)); math.Abs(sum/float64(n)-10) > 6*se {
		t.Errorf("mean %.3f s", sum/float64(n))
	}
	if slices.Min(tenths) < 1000-180 || slices.Max(tenths) > 1000+180 {
		t.Errorf("counts by tenths of the range %v", tenths)
	}
	if len(seen) < n-10 {
		t.Errorf("%d lifetimes of %d differ", len(seen), n)
	}
	other := *p
	other.Seed++
	if p.lifetime(1, 1) == other.lifetime(1, 1) {
		t.Error("the seed changes nothing")
	}
}

func TestALifetimeWithoutJitterIsExact(t *testing.T) {
	p := &Plan{ConnectionLifetime: time.Second}
	if got := p.lifetime(3, 4); got != time.Second {
		t.Errorf("%v", got)
	}
	if got := (&Plan{}).lifetime(0, 1); got != 0 {
		t.Errorf("no limit is %v", got)
	}
	if got := (&Plan{ConnectionLifetime: time.Millisecond, LifetimeJitter: 1}).lifetime(0, 1); got <= 0 {
		t.Errorf("with all the jitter there is: %v", got)
	}
}

func TestChurnIsEven(t *testing.T) {
	p := &Plan{ConnectionsPerSecond: 3}
	var got []time.Duration
	for n := range 4 {
		got = append(got, p.churnTime(n+1).Round(time.Millisecond))
	}
	want := []time.Duration{333 * time.Millisecond, 667 * time.Millisecond, time.Second, 1333 * time.Millisecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReconnectsPause(t *testing.T) {
	type end struct{ dialled, answered bool }
	refused, cut, cutAfterAnswers := end{}, end{dialled: true}, end{true, true}
	for name, tc := range map[string]struct {
		policy string
		ends   []end
		want   []int // milliseconds
	}{
		"longer with every failure on end": {"", []end{refused, refused, cut, refused, refused, refused, refused, refused, refused}, []int{1, 2, 4, 8, 16, 32, 64, 100, 100}},
		"shortly after an answer":          {ReconnectBackoff, []end{refused, refused, cutAfterAnswers, refused}, []int{1, 2, 1, 2}},
		"not at all if told so":            {ReconnectImmediate, []end{cut, cut, cutAfterAnswers, cut}, []int{0, 0, 0, 0}},
		"a little, told so, if refused":    {ReconnectImmediate, []end{refused, refused, refused, cut}, []int{1, 1, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newBackoff(tc.policy)
			var got []int
			for _, e := range tc.ends {
				got = append(got, int(r.after(e.dialled, e.answered)/time.Millisecond))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			r.reset()
			if p := r.after(false, false); p != firstPause {
				t.Errorf("after a planned end: %v", p)
			}
		})
	}
}

func TestTheOldestConnectionIsReplacedFirst(t *testing.T) {
	now := map[int]int{} // slot to ID
	current := func(slot, id int) bool { return now[slot] == id }
	var a ages
	for _, slot := range []int{3, 1, 4, 0, 2} { // they connect in another order than they were dialled
		a.opened(slot, slot+1)
		now[slot] = slot + 1
	}
	now[1] = 6 // slot 1 has reconnected
	a.opened(1, 6)
	delete(now, 3) // and slot 3 is between two connections
	var got []int
	for {
		slot, ok := a.oldest(current)
		if !ok {
			break
		}
		got = append(got, slot)
	}
	if diff := cmp.Diff([]int{0, 2, 4, 1}, got); diff != "" {
		t.Error(diff)
	}
	for id := range 100_000 { // and the queue does not grow with the connections that come and go
		a.opened(0, 100+id)
		now[0] = 100 + id
		if _, ok := a.oldest(current); !ok {
			t.Fatal("nothing to replace")
		}
	}
	if len(a.heap) > 10 {
		t.Errorf("%d connections are remembered", len(a.heap))
	}
}

func TestAgesKeepTheirOrderWhateverHappens(t *testing.T) {
	const slots = 40
	rng := rand.New(rand.NewPCG(1, 2))
	now := make([]int, slots)
	var a ages
	for id := 1; id < 5000; id++ {
		slot := rng.IntN(slots)
		a.opened(slot, id)
		now[slot] = id
		if rng.IntN(3) > 0 {
			continue
		}
		want := noSlot
		for s, c := range now {
			if c > 0 && (want == noSlot || c < now[want]) {
				want = s
			}
		}
		got, ok := a.oldest(func(slot, id int) bool { return now[slot] == id })
		if !ok || got != want {
			t.Fatalf("oldest %d, %v, want %d", got, ok, want)
		}
		now[got] = 0
	}
}
