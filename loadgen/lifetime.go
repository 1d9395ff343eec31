package loadgen

import (
	"math"
	"time"
)

// Reconnect policies: what follows a failure.
const (
	ReconnectImmediate = "immediate" // a new dial at once; after a dial that failed, a millisecond later
	ReconnectBackoff   = "backoff"   // a pause of 1 ms, doubled up to 100 ms with every failure on end
)

const (
	firstPause = time.Millisecond
	maxPause   = 100 * time.Millisecond
)

// lifetime is how long the nth connection of a slot, from 1, may live from its dial on: ConnectionLifetime, varied evenly
// by LifetimeJitter of itself either way. It depends on nothing but the plan, so that every driver replaces the same
// connections at the same times. 0: no limit.
func (p *Plan) lifetime(slot, nth int) time.Duration {
	if p.ConnectionLifetime == 0 || p.LifetimeJitter == 0 {
		return p.ConnectionLifetime
	}
	vary := p.LifetimeJitter * (2*p.uniform(jitterStream, slot, nth) - 1)
	return max(1, p.ConnectionLifetime+time.Duration(vary*float64(p.ConnectionLifetime)))
}

// uniform is a number in [0, 1) that depends on the seed and its arguments.
func (p *Plan) uniform(stream, a, b int) float64 {
	x := mix(p.Seed + uint64(stream)*0x9e3779b97f4a7c15)
	x = mix(x ^ uint64(a)*0xd6e8feb86659fd93)
	x = mix(x + uint64(b)*0xa0761d6478bd642f)
	return float64(x>>11) / (1 << 53)
}

// firstChurn is the number of the first replacement: 1, or less if there is a warm-up.
func (p *Plan) firstChurn() int {
	return 1 - int(math.Ceil(p.WarmUp.Seconds()*p.ConnectionsPerSecond))
}

// churnTime is when the nth replacement of an oldest connection is due, since the start; those of the warm-up have numbers up to 0.
func (p *Plan) churnTime(nth int) time.Duration {
	return time.Duration(float64(nth) / p.ConnectionsPerSecond * float64(time.Second))
}

// backoff says how long a slot waits before it dials again. The zero value backs off.
type backoff struct {
	immediate bool
	pause     time.Duration // the last one; 0: no failures on end
}

func newBackoff(policy string) backoff {
	return backoff{immediate: policy == ReconnectImmediate}
}

// after returns the pause after a connection that failed. dialled says whether it had been established, answered whether
// anything came back on it: then the count of failures on end begins anew.
func (b *backoff) after(dialled, answered bool) time.Duration {
	if b.immediate {
		if dialled {
			return 0
		}
		return firstPause // not faster than that: a target that refuses at once would have the machine do nothing else
	}
	if answered {
		b.pause = 0
	}
	b.pause = min(max(2*b.pause, firstPause), maxPause)
	return b.pause
}

// reset forgets the failures: a connection ended as planned.
func (b *backoff) reset() { b.pause = 0 }

// ages knows the order in which the open connections of a run were dialled, which is that of their IDs: a heap of the
// latest connection of every slot. It is not safe for concurrent use.
type ages struct {
	heap []age
	at   map[int]int // of a slot in the heap
}

type age struct{ slot, id int }

// opened notes a slot's new connection, instead of the one it had.
func (a *ages) opened(slot, id int) {
	if a.at == nil {
		a.at = map[int]int{}
	}
	i, known := a.at[slot]
	if !known {
		i = len(a.heap)
		a.heap = append(a.heap, age{})
	}
	a.place(i, age{slot, id})
	a.up(i)
	a.down(a.at[slot])
}

// oldest removes the oldest connection of which current still says that it is its slot's and returns its slot; false if
// there is none.
func (a *ages) oldest(current func(slot, id int) bool) (slot int, ok bool) {
	for len(a.heap) > 0 {
		top, last := a.heap[0], a.heap[len(a.heap)-1]
		a.heap = a.heap[:len(a.heap)-1]
		delete(a.at, top.slot)
		if len(a.heap) > 0 {
			a.place(0, last)
			a.down(0)
		}
		if current(top.slot, top.id) {
			return top.slot, true
		}
	}
	return 0, false
}

func (a *ages) place(i int, c age) { a.heap[i], a.at[c.slot] = c, i }

func (a *ages) up(i int) {
	for c := a.heap[i]; i > 0; {
		parent := (i - 1) / 2
		if a.heap[parent].id <= c.id {
			return
		}
		a.place(i, a.heap[parent])
		a.place(parent, c)
		i = parent
	}
}

func (a *ages) down(i int) {
	for c := a.heap[i]; ; {
		child := 2*i + 1
		if child >= len(a.heap) {
			return
		}
		if child+1 < len(a.heap) && a.heap[child+1].id < a.heap[child].id {
			child++
		}
		if c.id <= a.heap[child].id {
			return
		}
		a.place(i, a.heap[child])
		a.place(child, c)
		i = child
	}
}
