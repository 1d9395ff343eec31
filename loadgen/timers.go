package loadgen

import "time"

// timerHeap holds the timers of an event loop, the next one first.
type timerHeap []slotTimer

// slotTimer is a timer of a slot. It is stale when the slot's number of timers has moved on.
type slotTimer struct {
	at     time.Duration
	slot   int32
	number uint32
}

func (h *timerHeap) push(t slotTimer) {
	*h = append(*h, t)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if s[parent].at <= t.at {
			return
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

// pop removes the first timer, if it is due.
func (h *timerHeap) pop(now time.Duration) (slotTimer, bool) {
	s := *h
	if len(s) == 0 || s[0].at > now {
		return slotTimer{}, false
	}
	first, n := s[0], len(s)-1
	s[0] = s[n]
	s = s[:n]
	*h = s
	for i := 0; ; {
		child := 2*i + 1
		if child+1 < n && s[child+1].at < s[child].at {
			child++
		}
		if child >= n || s[i].at <= s[child].at {
			return first, true
		}
		s[i], s[child] = s[child], s[i]
		i = child
	}
}
