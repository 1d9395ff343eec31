package loadgen

import (
	"runtime"
	"time"
)

// serve runs the slot to the end of the plan, if requests are dealt to it.
func (s *slot) serve() {
	t := task{}
	if !s.driver.keeps {
		t = s.await()
	}
	for t.kind != endTask {
		if !s.run.admit() {
			s.driver.giveBack(s)
			return
		}
		var err error
		t, err = s.serveConnection(t)
		if err != nil {
			s.driver.done(s)
			if !s.rest(err) {
				return
			}
		}
		if (t.kind == noTask || t.kind == replaceTask) && (err != nil || !s.driver.keeps || s.driver.isOver()) {
			t = s.await()
		}
	}
}

// serveConnection is one connection, from its dial to its row. The dial is for the request of t, if that is one, else
// ahead of requests. It returns what is to be done next, and what ended the connection before its time.
func (s *slot) serveConnection(t task) (next task, err error) {
	err = s.open()
	if err != nil && t.kind == sendTask {
		err = s.fail(s.requestOf(t, s.began), err)
	}
	if err != nil {
		s.end(err)
		return task{}, err
	}
	sent := s.began // a request counts as sent when something was first done for it
	for n := 1; ; n++ {
		if t.kind != sendTask {
			t = s.await()
			if t.kind != sendTask {
				s.end(nil)
				return t, nil
			}
			if gone, err := s.gone(); gone || err != nil {
				s.end(err)
				return t, nil // on another connection, and at once: the request is due
			}
			sent = s.run.now()
		}
		now := s.run.now()
		if !s.run.plan.openLoop() {
			sent = now
		}
		ended, err := s.ask(s.requestOf(t, sent), now, n == s.run.plan.RequestsPerConnection || s.over(now))
		if ended || err != nil {
			s.end(err)
			return task{}, err
		}
		t = task{}
	}
}

// requestOf is the request of a task that is sent at sent.
func (s *slot) requestOf(t task, sent time.Duration) request {
	q := request{sent: sent, warm: t.warm}
	if s.run.plan.openLoop() {
		q.late = max(0, sent-t.due)
	}
	return q
}

// await waits, as an idle slot, for something to do. A request that may not be sent any more is the end.
func (s *slot) await() task {
	t := s.awaitTask()
	if t.kind == sendTask && !s.run.turn() {
		s.driver.giveBack(s)
		return task{kind: endTask}
	}
	return t
}

func (s *slot) awaitTask() task {
	if !s.driver.idle(s) {
		return task{kind: endTask}
	}
	if s.dies == never || s.conn == nil {
		return <-s.tasks
	}
	timer := time.NewTimer(s.dies - s.run.now())
	defer timer.Stop()
	select {
	case t := <-s.tasks:
		return t
	case <-timer.C:
		if s.driver.withdraw(s.slot) {
			return task{kind: replaceTask}
		}
		return <-s.tasks // it came at the same moment
	}
}

// idle lets a slot be dealt requests, and reports whether there are any to come.
func (d *connDriver) idle(s *slot) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.freeLocked(s)
	if d.over {
		return false
	}
	d.pool.put(s.slot)
	d.dispatch(d.run.now())
	return true
}

// done notes that a slot's request is done while the slot is not idle yet.
func (d *connDriver) done(s *slot) {
	if !d.pooled() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.freeLocked(s)
	d.dispatch(d.run.now())
}

func (d *connDriver) freeLocked(s *slot) {
	if s.holds {
		s.holds = false
		d.free++
	}
}

// giveBack notes that a slot's request was not sent.
func (d *connDriver) giveBack(s *slot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.holds && !s.warm {
		d.back++
	}
	d.freeLocked(s)
}

// withdraw takes an idle slot back and reports whether it was.
func (d *connDriver) withdraw(slot int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pool.remove(slot)
}

// isOver reports whether no request will be dealt any more.
func (d *connDriver) isOver() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over || !d.run.goesOn(d.run.now())
}

// dispatch deals the requests that may be sent now to idle slots. The caller holds the lock.
func (d *connDriver) dispatch(now time.Duration) {
	for !d.over && d.free > 0 && d.run.goesOn(now) && (d.arrive == nil || d.hasDue(now)) {
		i, ok := d.pool.take()
		if !ok {
			return
		}
		s := d.slots[i]
		s.holds, s.warm = true, d.dealsWarm(now)
		d.free--
		s.tasks <- task{kind: sendTask, due: d.due, warm: s.warm} // there is room: it was idle
		if !s.warm {
			d.dealt++
		}
		d.advance(s.warm)
	}
	if d.starved {
		d.starved = false
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// dealsWarm reports whether the next request, dealt now, is of the warm-up. The caller holds the lock.
func (d *connDriver) dealsWarm(now time.Duration) bool {
	if d.arrive != nil {
		return warm(d.due)
	}
	return warm(now)
}

// advance goes on to the next request; warmed: the last one was of the warm-up. The caller holds the lock.
func (d *connDriver) advance(warmed bool) {
	if d.arrive == nil {
		if d.left > 0 && !warmed {
			d.left--
		}
		if d.left == 0 {
			d.finish()
		}
		return
	}
	due, ok := d.arrive.next()
	d.due, d.spent = due, !ok
	if d.spent && (d.arrive.complete() || d.run.ends() == never) {
		d.finish()
	}
}

// hasDue reports whether a request of the open loop may be sent at now. The caller holds the lock.
func (d *connDriver) hasDue(now time.Duration) bool { return !d.spent && d.due <= now }

// finish ends the slots that are idle; the others end when they would be. The caller holds the lock.
func (d *connDriver) finish() {
	if d.over {
		return
	}
	d.over = true
	close(d.ended)
	for {
		i, ok := d.pool.take()
		if !ok {
			return
		}
		d.slots[i].tasks <- task{kind: endTask}
	}
}

// deal deals requests until the end of the plan.
func (d *connDriver) deal() {
	for d.waitForNext() {
		d.mu.Lock()
		d.dispatch(d.run.now())
		d.mu.Unlock()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.arrive != nil {
		d.run.intended.Store(int64(d.intended()))
	}
	d.finish()
}

// intended is how many requests of an open loop were due by now, or by the end. The caller holds the lock.
func (d *connDriver) intended() int {
	n := d.dealt
	if now := min(d.run.now(), d.run.ends()); !d.over && d.hasDue(now) {
		n += d.arrive.due(now)
		if !warm(d.due) {
			n++
		}
	}
	return n
}

// waitForNext waits until a request is due and a slot idle and reports whether there is one: false at the end.
func (d *connDriver) waitForNext() bool {
	d.mu.Lock()
	now := d.run.now()
	over, due := d.over || !d.run.goesOn(now), d.due
	d.starved = d.arrive != nil && d.hasDue(now) && d.pool.len() == 0
	wait := d.arrive == nil || d.spent || d.starved
	d.mu.Unlock()
	switch {
	case over:
		return false
	case wait:
		return d.waitForWake()
	default:
		return d.run.sleepUntil(due)
	}
}

func (d *connDriver) waitForWake() bool {
	timer := time.NewTimer(d.run.ends() - d.run.now())
	defer timer.Stop()
	select {
	case <-d.wake:
		return true
	case <-d.ended:
		return false
	case <-timer.C:
		return false
	case <-d.run.ctx.Done():
		d.run.stopped.Store(true)
		return false
	}
}

const (
	// timerGrain is how much too late Go's timers may be: an idle process waits for them in whole milliseconds.
	timerGrain = 1500 * time.Microsecond
	// napGrain is how much too late a system call that sleeps may be: the default slack of the kernel's timers, and the
	// way back.
	napGrain = 100 * time.Microsecond
)

// sleepUntil waits for an intended time, better than timers can, and reports whether the run goes on.
func (r *run) sleepUntil(at time.Duration) bool {
	if !r.world.sockets { // in fake time timers are exact
		return r.wait(at - r.now())
	}
	if !r.wait(at - r.now() - timerGrain) {
		return false
	}
	for {
		left := at - r.now()
		switch {
		case left <= 0:
			return !r.stopped.Load()
		case !r.plan.Precise:
			nap(left)
		case left > napGrain:
			nap(left - napGrain)
		default:
			runtime.Gosched()
		}
	}
}
