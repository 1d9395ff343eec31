package loadgen

import "math/bits"

// Pool policies: which of the idle connections a request is sent on.
const (
	PoolRoundRobin = "roundRobin" // the next one in the order of slots, after the one used last
	PoolLRU        = "lru"        // the one that has been idle longest
	PoolMRU        = "mru"        // the one that has been idle shortest
	PoolFirstFree  = "firstFree"  // the one with the lowest slot
)

// pool holds idle slots, from 0 to n-1, each at most once. It is not safe for concurrent use.
type pool struct {
	policy string
	idle   slotSet
	next   int // roundRobin: slot to look from

	// lru and mru: idle slots by the time they came, linked both ways so that one can leave from the middle.
	newer, older   []int32
	oldest, newest int32
}

const noSlot = -1

// newPool returns an empty pool for n slots. An empty policy is roundRobin.
func newPool(policy string, n int) *pool {
	p := &pool{policy: policy, idle: newSlotSet(n), oldest: noSlot, newest: noSlot}
	if p.linked() {
		p.newer, p.older = make([]int32, n), make([]int32, n)
	}
	return p
}

func (p *pool) linked() bool { return p.policy == PoolLRU || p.policy == PoolMRU }

// put adds an idle slot; one that is in already stays where it is.
func (p *pool) put(slot int) {
	if p.idle.has(slot) {
		return
	}
	p.idle.add(slot)
	if !p.linked() {
		return
	}
	s := int32(slot)
	p.newer[s], p.older[s] = noSlot, p.newest
	if p.newest == noSlot {
		p.oldest = s
	} else {
		p.newer[p.newest] = s
	}
	p.newest = s
}

// take removes the slot that the policy says and returns it; false if none is idle.
func (p *pool) take() (slot int, ok bool) {
	switch p.policy {
	case PoolLRU:
		slot = int(p.oldest)
	case PoolMRU:
		slot = int(p.newest)
	case PoolFirstFree:
		slot = p.idle.from(0)
	default:
		if slot = p.idle.from(p.next); slot == noSlot {
			slot = p.idle.from(0)
		}
		if slot != noSlot {
			p.next = slot + 1
		}
	}
	return slot, p.remove(slot)
}

// remove takes a slot out, whose turn it need not be, and reports whether it was in.
func (p *pool) remove(slot int) bool {
	if slot == noSlot || !p.idle.has(slot) {
		return false
	}
	p.idle.drop(slot)
	if !p.linked() {
		return true
	}
	newer, older := p.newer[slot], p.older[slot]
	if older == noSlot {
		p.oldest = newer
	} else {
		p.newer[older] = newer
	}
	if newer == noSlot {
		p.newest = older
	} else {
		p.older[newer] = older
	}
	return true
}

// len is how many slots are idle.
func (p *pool) len() int { return p.idle.size }

// slotSet is a set of small numbers that finds the next one at or above a number in a few steps: a tree of words, each
// bit of which says whether the word below it has any.
type slotSet struct {
	levels [][]uint64 // the leaves first; the last level is one word
	size   int
}

func newSlotSet(n int) slotSet {
	var s slotSet
	for {
		n = (n + 63) / 64
		s.levels = append(s.levels, make([]uint64, max(n, 1)))
		if n <= 1 {
			return s
		}
	}
}

func (s *slotSet) has(i int) bool { return s.levels[0][i/64]>>(i%64)&1 != 0 }

func (s *slotSet) add(i int) {
	s.size++
	for _, level := range s.levels {
		level[i/64] |= 1 << (i % 64)
		i /= 64
	}
}

func (s *slotSet) drop(i int) {
	s.size--
	for _, level := range s.levels {
		level[i/64] &^= 1 << (i % 64)
		if level[i/64] != 0 {
			return
		}
		i /= 64
	}
}

// from returns the lowest number at or above i, or noSlot.
func (s *slotSet) from(i int) int {
	for up, level := range s.levels {
		if i/64 >= len(level) {
			return noSlot
		}
		if rest := level[i/64] >> (i % 64); rest != 0 {
			i += bits.TrailingZeros64(rest)
			return s.down(up, i)
		}
		i = i/64 + 1
	}
	return noSlot
}

// down follows the lowest bits from bit i of a level to the leaves.
func (s *slotSet) down(level, i int) int {
	for ; level > 0; level-- {
		i = i*64 + bits.TrailingZeros64(s.levels[level-1][i])
	}
	return i
}
