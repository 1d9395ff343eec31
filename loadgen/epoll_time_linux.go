//go:build amd64 || arm64

package loadgen

import "time"

// wake sets the slot's timer.
func (d *epollDriver) wake(c *econn, at time.Duration) {
	c.timer++
	d.timers.push(slotTimer{at: at, slot: int32(c.slot), number: c.timer})
}

// fire does what timers are due for.
func (d *epollDriver) fire() {
	for {
		t, ok := d.timers.pop(d.now)
		if !ok {
			return
		}
		c := &d.conns[t.slot]
		if c.timer != t.number {
			continue
		}
		switch c.state {
		case pausing:
			d.rested(c)
		case pacing:
			d.begin(c)
		case dialling:
			d.dial(c)
		case thinking:
			d.thought(c)
		default: // no timer runs then
		}
	}
}

// rested is the end of a pause after a failure.
func (d *epollDriver) rested(c *econn) {
	switch {
	case d.run.stopped.Load():
		d.done(c)
	case d.pool != nil:
		d.await(c) // without a connection
	default:
		d.next(c)
	}
}
