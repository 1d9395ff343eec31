//go:build amd64 || arm64

package loadgen

import "time"

// Requests of a pool, or of an open loop, are dealt to idle slots. What is dealt when, and what becomes of a slot without
// a connection, is as in connDriver.

// await makes a slot idle.
func (d *epollDriver) await(c *econn) {
	d.unload(c)
	if d.over {
		d.endIdle(c)
		return
	}
	c.state = idle
	d.deadlines[c.slot] = never
	if c.fd >= 0 && c.dies <= d.now {
		d.deaths.push(slotTimer{at: c.dies, slot: int32(c.slot), number: uint32(c.generation)})
	}
	d.pool.put(c.slot)
}

// unload notes that a slot's request is done.
func (d *epollDriver) unload(c *econn) {
	if c.holds {
		c.holds = false
		d.free++
	}
	c.asked = false
}

// giveBack notes that a slot's request is not sent.
func (d *epollDriver) giveBack(c *econn) {
	if c.holds && c.asked && !c.warm {
		d.back++
	}
	d.unload(c)
}

// endIdle ends a slot for which there are no more requests.
func (d *epollDriver) endIdle(c *econn) {
	if c.fd >= 0 {
		d.closeConn(c, nil)
	}
	d.done(c)
}

// deal deals the requests that may be sent now.
func (d *epollDriver) deal() {
	if d.pool == nil || d.over {
		return
	}
	for d.free > 0 && !d.over && (d.arrive == nil || d.due <= d.now) && d.run.goesOn(d.now) {
		i, ok := d.pool.take()
		if !ok {
			break
		}
		c := &d.conns[i]
		c.holds, c.asked, c.due, c.warm = true, true, d.due, warm(d.now)
		if d.arrive != nil {
			c.warm = warm(d.due)
		}
		d.free--
		if !c.warm {
			d.dealt++
		}
		d.advance(c.warm)
		d.pace(c)
		if d.arrive != nil {
			d.now = d.run.now()
		}
	}
	if !d.over && !d.run.goesOn(d.now) {
		d.close()
	}
}

// advance goes on to the next request; warmed: the last one was of the warm-up.
func (d *epollDriver) advance(warmed bool) {
	if d.arrive == nil {
		if d.budget > 0 && !warmed {
			d.budget--
		}
		if d.budget == 0 {
			d.close()
		}
		return
	}
	due, ok := d.arrive.next()
	if ok {
		d.due = due
		return
	}
	d.exhausted, d.due = true, never
	if d.arrive.complete() || d.run.ends() == never { // else the connections stay to the end of the duration
		d.close()
	}
}

// close ends the slots that are idle; the others end when they would be.
func (d *epollDriver) close() {
	d.over = true
	if d.arrive != nil {
		intended := d.dealt
		if now := min(d.now, d.run.ends()); !d.exhausted && d.due <= now {
			intended += d.arrive.due(now)
			if !warm(d.due) {
				intended++
			}
		}
		d.run.intended.Store(int64(intended))
	}
	for {
		i, ok := d.pool.take()
		if !ok {
			return
		}
		d.endIdle(&d.conns[i])
	}
}

// churn replaces the oldest connection as often as the plan says.
func (d *epollDriver) churn() {
	for d.ids != nil && d.churnAt <= d.now && d.churnAt < d.run.ends() {
		d.churns++
		d.churnAt = d.run.plan.churnTime(d.churns + 1)
		i, ok := d.ages.oldest(func(slot, id int) bool { return d.ids[slot] == id })
		if !ok {
			continue
		}
		c := &d.conns[i]
		c.replaced = c.row.ID
		switch {
		case c.state == thinking:
			d.finish(c, nil)
		case c.state == idle && d.pool.remove(i):
			d.replace(c)
		}
	}
}

// bury replaces idle connections whose lifetime is over. Those in use end with their next request.
func (d *epollDriver) bury() {
	for {
		t, ok := d.deaths.pop(d.now)
		if !ok {
			return
		}
		c := &d.conns[t.slot]
		if uint32(c.generation) == t.number && c.state == idle && d.pool.remove(c.slot) {
			d.replace(c)
		}
	}
}

// replace replaces the connection of an idle slot.
func (d *epollDriver) replace(c *econn) {
	d.closeConn(c, nil)
	c.pauses.reset()
	d.next(c)
}

// spinFrom is how long before a request is due a precise loop begins to spin: more than a sleep is late.
const spinFrom = 100 * time.Microsecond

// untilDue is how long to wait for the next request of a pool that could be dealt.
func (d *epollDriver) untilDue() time.Duration {
	if d.pool == nil || d.over {
		return never
	}
	until := d.run.ends() - d.now
	if d.arrive == nil || d.pool.len() == 0 {
		return until
	}
	wait := d.due - d.now
	if d.run.plan.Precise {
		wait = max(0, wait-spinFrom)
	}
	return min(until, wait)
}
