package loadgen

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// slowPool is what a pool does, said in the plainest way.
type slowPool struct {
	policy string
	idle   []int // oldest first
	last   int
}

func (p *slowPool) put(slot int) { p.idle = append(p.idle, slot) }

func (p *slowPool) take() (int, bool) {
	if len(p.idle) == 0 {
		return 0, false
	}
	slot := p.idle[0]
	switch p.policy {
	case PoolMRU:
		slot = p.idle[len(p.idle)-1]
	case PoolFirstFree:
		slot = slices.Min(p.idle)
	case PoolRoundRobin:
		slot = slices.Min(p.idle)
		for _, s := range slices.Sorted(slices.Values(p.idle)) {
			if s > p.last {
				slot = s
				break
			}
		}
		p.last = slot
	}
	p.remove(slot)
	return slot, true
}

func (p *slowPool) remove(slot int) {
	p.idle = slices.DeleteFunc(p.idle, func(s int) bool { return s == slot })
}

func TestPoolsTakeTheSlotTheirPolicySays(t *testing.T) {
	for _, policy := range []string{PoolRoundRobin, PoolLRU, PoolMRU, PoolFirstFree} {
		for _, n := range []int{1, 2, 63, 64, 65, 300, 5000} {
			t.Run(policy, func(t *testing.T) {
				fast, slow := newPool(policy, n), &slowPool{policy: policy, last: -1}
				rng := rand.New(rand.NewPCG(uint64(n), 1))
				out := rng.Perm(n) // slots that are in use
				for range 3000 {
					switch what := rng.IntN(8); {
					case what < 4 && len(out) > 0:
						slot := out[len(out)-1]
						out = out[:len(out)-1]
						fast.put(slot)
						slow.put(slot)
					case what < 7:
						want, wantOK := slow.take()
						got, ok := fast.take()
						if ok != wantOK || ok && got != want {
							t.Fatalf("took %d, %v, want %d, %v", got, ok, want, wantOK)
						}
						if ok {
							out = append(out, got)
						}
					case len(slow.idle) > 0:
						slot := slow.idle[rng.IntN(len(slow.idle))]
						slow.remove(slot)
						if !fast.remove(slot) {
							t.Fatalf("slot %d was not there", slot)
						}
						out = append(out, slot)
					}
					if fast.len() != len(slow.idle) {
						t.Fatalf("%d idle, want %d", fast.len(), len(slow.idle))
					}
				}
			})
		}
	}
}

func TestPoliciesDifferInWhomTheyUse(t *testing.T) {
	for policy, want := range map[string][]int{
		PoolRoundRobin: {0, 1, 2, 3, 0, 1},
		PoolLRU:        {0, 1, 2, 3, 0, 1},
		PoolMRU:        {3, 3, 3, 3, 3, 3},
		PoolFirstFree:  {0, 0, 0, 0, 0, 0},
	} {
		p := newPool(policy, 4)
		for slot := range 4 {
			p.put(slot)
		}
		var got []int
		for range want {
			slot, _ := p.take()
			got = append(got, slot)
			p.put(slot)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", policy, diff)
		}
	}
}

func TestAnEmptyPoolHasNothingToTake(t *testing.T) {
	for _, policy := range []string{"", PoolLRU, PoolMRU, PoolFirstFree} {
		p := newPool(policy, 70)
		p.put(69)
		p.put(69)
		if slot, ok := p.take(); slot != 69 || !ok {
			t.Errorf("%q: took %d, %v, want 69", policy, slot, ok)
		}
		if slot, ok := p.take(); ok || p.remove(69) {
			t.Errorf("%q: took %d from nothing", policy, slot)
		}
	}
}

func BenchmarkPool(b *testing.B) {
	for _, policy := range []string{PoolRoundRobin, PoolLRU, PoolMRU, PoolFirstFree} {
		b.Run(policy, func(b *testing.B) {
			p := newPool(policy, maxConnections)
			for slot := range maxConnections {
				p.put(slot)
			}
			for b.Loop() {
				slot, _ := p.take()
				p.put(slot)
			}
		})
	}
}
