package loadgen

import (
	"sync"
	"time"
)

// paceBurst is how far a run may fall behind its rate and still catch up: the grain of timers, not a burst to speak of.
const paceBurst = 10 * time.Millisecond

// pacer holds a run to a number of requests per second, spaced evenly from the first one on: what it is for, somebody
// else's cluster, is spared peaks, too. A nil pacer holds nothing back.
type pacer struct {
	interval time.Duration

	mu   sync.Mutex
	next time.Duration // since the start
	held time.Duration // that requests waited, in all, those of the warm-up apart
}

// newPacer returns nil for a rate of 0. Nothing is sent before from.
func newPacer(rate float64, from time.Duration) *pacer {
	if rate <= 0 {
		return nil
	}
	return &pacer{interval: time.Duration(float64(time.Second) / rate), next: from}
}

// reserve books the next request and returns when it may be sent.
func (p *pacer) reserve(now time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := max(p.next, now-paceBurst)
	p.next = at + p.interval
	if !warm(now) {
		p.held += max(0, at-now)
	}
	return at
}

// heldBack is how long requests waited because of the rate, in all.
func (p *pacer) heldBack() time.Duration {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}
