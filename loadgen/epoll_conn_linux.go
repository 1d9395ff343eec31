//go:build amd64 || arm64

package loadgen

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// econn is a slot of the event loop and the connection that it has.
type econn struct {
	track
	from    attribution
	partial *partial // a reply of which a part is here; nil: none
	out     []byte   // of the request, what is not sent
	pauses  backoff

	fd         int32 // -1: none
	generation int32 // of the connection: events of earlier ones are stale
	timer      uint32
	state      connState
	dialled    bool // the connection was established
	answered   bool // something came back on it
	last       bool // the request that is out asks for the end of the connection
	stirred    bool // something came while it was idle: bytes, or the end
	asked      bool // pooled: it was given a request that is not sent
	holds      bool // pooled: it was given a request that is not done
	warm       bool // pooled: which is of the warm-up

	left     int // requests the slot may still make; negative: as many as it can, or as it is given
	made     int // requests on this connection
	dials    int
	replaced int           // ID of the connection that churn has ended
	dies     time.Duration // when the connection's lifetime is over
	used     time.Duration // when its last answer came
	due      time.Duration // open loop: the intended time of the request it was given
	sent     time.Duration // when something was first done for the request
	late     time.Duration // open loop: sent after due
}

// partial is a reply that has not come to its end.
type partial struct {
	parser parser
	held   []byte // not parsed: the beginning of a line
}

type connState uint8

const (
	pausing    connState = iota // no connection: a timer runs after a failure
	pacing                      // a timer runs until the next request's turn; there may be a connection
	dialling                    // no connection, and a timer runs until one may be opened
	connecting                  // until ConnectTimeout
	waiting                     // for a reply
	thinking                    // connected, and a timer runs until the next request
	idle                        // pooled: until it is given a request; there may be a connection
	leaving                     // until the server closes
	done
)

// next makes a slot open its next connection, or ends it.
func (d *epollDriver) next(c *econn) {
	switch {
	case d.pool != nil && (!d.keeps || d.over):
		d.await(c)
	case d.pool != nil:
		d.dial(c)
	case c.left == 0 || !d.run.goesOn(d.now):
		d.done(c)
	default:
		d.pace(c)
	}
}

func (d *epollDriver) done(c *econn) {
	c.state = done
	c.timer++
	d.alive--
}

// pace waits for the turn of the next request, or of the dial for it, under Plan.MaxRate.
func (d *epollDriver) pace(c *econn) {
	if d.run.pacer != nil {
		if at := min(d.run.pacer.reserve(d.now), d.run.ends()); at > d.now {
			c.state = pacing
			d.wake(c, at)
			return
		}
	}
	d.begin(c)
}

// begin makes the next request, on a new connection if there is none, unless the time for it is over.
func (d *epollDriver) begin(c *econn) {
	switch {
	case c.left == 0 || !d.run.goesOn(d.now):
		d.giveBack(c)
		if c.fd >= 0 {
			d.finish(c, nil)
		} else {
			d.done(c)
		}
	case c.fd < 0:
		d.dial(c)
	case c.stirred && d.gone(c):
	default:
		d.stamp(c, d.now)
		d.send(c, d.now)
	}
}

// stamp notes when something was first done for a request.
func (d *epollDriver) stamp(c *econn, now time.Duration) {
	c.sent, c.late = now, 0
	if d.arrive != nil {
		c.late = max(0, now-c.due)
	}
}

// dial opens a connection, as soon as it may.
func (d *epollDriver) dial(c *econn) {
	r := d.run
	switch {
	case !r.goesOn(d.now) && (d.pool != nil || c.state == dialling):
		d.giveBack(c)
		d.done(c)
		return
	case d.behind():
		r.heldBack.Add(int64(time.Millisecond))
		c.state = dialling
		d.wake(c, d.now+time.Millisecond)
		return
	case !r.tuples.take():
		if c.state != dialling {
			r.tuples.hold()
		}
		c.state = dialling
		d.wake(c, min(d.now+tupleRetry, r.ends()))
		return
	}
	d.now = r.now()
	c.dialled, c.answered, c.stirred, c.made, c.dies = false, false, false, 0, never
	c.dials++
	d.stamp(c, c.beginLocked(d.now))
	if life := r.plan.lifetime(c.slot, c.dials); life > 0 {
		c.dies = c.sent + life
	}
	c.state = connecting
	d.deadlines[c.slot] = d.now + r.plan.ConnectTimeout
	if call, errno := d.connect(c); errno != 0 {
		d.failDial(c, os.NewSyscallError(call, errno))
	}
}

// connect begins to connect. It names the call that failed.
func (d *epollDriver) connect(c *econn) (call string, errno unix.Errno) {
	to := &d.routes[c.target].address
	if c.fd, errno = openSocket(to.family()); errno != 0 {
		c.fd = -1
		return "socket", errno
	}
	from := d.run.leaves(c.slot, c.dials, c.target)
	if from.Port() != 0 {
		raw := newRawAddr(from)
		if errno = bindPort(c.fd, &raw); errno != 0 {
			return "bind", errno
		}
	} else if n := len(d.sources); n > 0 {
		if errno = bindSource(c.fd, &d.sources[c.slot%n]); errno != 0 {
			return "bind", errno
		}
	}
	if errno = connectTo(c.fd, to); errno != 0 && errno != unix.EINPROGRESS {
		return "connect", errno
	}
	if from.Port() != 0 && !from.Addr().IsUnspecified() {
		c.row.Local = from.String()
	}
	return "epoll_ctl", d.poller.watch(c.fd, int32(c.slot), c.generation)
}

// establish takes a connection into use, or reports that it is not there.
func (d *epollDriver) establish(c *econn, events uint32) bool {
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		if errno := pendingError(c.fd); errno != 0 {
			d.failDial(c, os.NewSyscallError("connect", errno))
			return false
		}
	}
	if events&unix.EPOLLOUT == 0 {
		return false
	}
	c.dialled = true
	d.now = d.run.now()
	c.used = d.now
	c.connectedFrom(d.now, localAddr(c.fd))
	if d.ids != nil {
		d.ids[c.slot] = c.row.ID
		d.ages.opened(c.slot, c.row.ID)
	}
	if d.pool != nil && c.dies < never {
		d.deaths.push(slotTimer{at: c.dies, slot: int32(c.slot), number: uint32(c.generation)})
	}
	if d.pool != nil && !c.asked {
		d.await(c)
		return true
	}
	if d.arrive == nil {
		c.sent = d.now
	}
	d.send(c, d.now)
	return true
}

// failDial ends a dial. It is the failure of the request that it was for.
func (d *epollDriver) failDial(c *econn, err error) {
	address := net.TCPAddrFromAddrPort(d.run.targets[c.target].addrPort)
	op := &net.OpError{Op: "dial", Net: "tcp", Addr: address, Err: err}
	if from := d.run.leaves(c.slot, c.dials, c.target); from.IsValid() {
		op.Source = net.TCPAddrFromAddrPort(from)
	}
	err = d.run.dialFailed(op)
	if d.pool != nil && !c.asked {
		d.now = d.run.now()
		d.finish(c, err)
		return
	}
	d.fail(c, err)
}

// send sends a request.
func (d *epollDriver) send(c *econn, now time.Duration) {
	c.made++
	c.asked = false
	to := &d.routes[c.target]
	c.out, c.last = to.keep, false
	if c.made == d.run.plan.RequestsPerConnection || c.left == 1 && !warm(now) || d.worn(c, now) {
		c.out, c.last = to.last, true
	}
	if c.sticky != nil {
		c.out = c.sticky.request(d.run, c.target, c.last)
	}
	c.state = waiting
	d.deadlines[c.slot] = now + d.run.plan.Timeout
	generation := c.generation
	d.write(c)
	if c.stirred && c.generation == generation {
		c.stirred = false
		d.read(c, true) // what came meanwhile does not come again
	}
}

// worn reports whether the connection is to be replaced.
func (d *epollDriver) worn(c *econn, now time.Duration) bool {
	return now >= c.dies || c.replaced != 0 && c.replaced == c.row.ID
}

// write sends what is left of a request. What the socket does not take goes when it says that it does.
func (d *epollDriver) write(c *econn) {
	for len(c.out) > 0 {
		n, errno := sendTo(c.fd, c.out)
		if errno == unix.EAGAIN {
			return
		}
		if errno != 0 {
			d.fail(c, d.opError(c, "write", errno))
			return
		}
		c.out = c.out[n:]
	}
}

func (d *epollDriver) opError(c *econn, call string, errno unix.Errno) error {
	return &net.OpError{
		Op: call, Net: "tcp", Source: textAddr(c.row.Local), Addr: textAddr(c.row.Address), Err: os.NewSyscallError(call, errno),
	}
}

// textAddr is an address of which only the text is needed.
type textAddr string

func (a textAddr) Network() string { return "tcp" }
func (a textAddr) String() string  { return string(a) }

// read reads all that is there. ending says that the server has closed, or the connection is lost: nothing will come
// after what is there, and no other event.
func (d *epollDriver) read(c *econn, ending bool) {
	for generation := c.generation; c.generation == generation; {
		if c.state != waiting && c.state != leaving {
			c.stirred = true // to be looked at before the next request
			return
		}
		at := 0
		if c.partial != nil {
			at = copy(d.buf, c.partial.held)
		}
		n, errno := receive(c.fd, d.buf[at:])
		switch {
		case errno == unix.EAGAIN:
			return
		case errno != 0 || n == 0:
			d.readEnd(c, errno)
			return
		}
		if c.state == leaving {
			d.finish(c, parseError("the server sent more than its answer"))
			return
		}
		d.take(c, d.buf[:at+n])
		drained := at+n < len(d.buf)
		if drained && !ending {
			return
		}
		if drained && c.generation == generation && c.state == leaving {
			d.finish(c, nil) // it has closed, and sent nothing more: a read would only say so
		}
	}
}

// take takes what was read: a reply or a part of one.
func (d *epollDriver) take(c *econn, data []byte) {
	p := &d.parser
	if c.partial != nil {
		p = &c.partial.parser
	} else {
		p.reset()
	}
	n, complete, err := p.feed(data)
	switch {
	case err != nil:
		d.fail(c, err)
	case !complete:
		d.hold(c, data[n:])
	default:
		d.reply(c, p, n < len(data))
	}
}

// hold keeps the beginning of a reply.
func (d *epollDriver) hold(c *econn, rest []byte) {
	if c.partial == nil {
		if n := len(d.spare); n > 0 {
			c.partial, d.spare = d.spare[n-1], d.spare[:n-1]
		} else {
			c.partial = &partial{parser: d.run.newParser()}
		}
		d.parser, c.partial.parser = c.partial.parser, d.parser // with what its slices point to
	}
	c.partial.held = append(c.partial.held[:0], rest...)
}

// reply counts an answer and goes on.
func (d *epollDriver) reply(c *econn, p *parser, more bool) {
	if err := c.from.update(p, d.run.names); err != nil {
		d.fail(c, err)
		return
	}
	if c.sticky != nil {
		c.sticky.learn(p)
	}
	status, closes := p.status, p.close
	d.unhold(c)
	d.now = d.run.now()
	c.answered, c.used = true, d.now
	d.deadlines[c.slot] = never
	d.note(c, request{sent: c.sent, late: c.late, took: d.now - c.sent + c.late, answered: true, kind: statusKind(status)})
	switch {
	case more:
		d.finish(c, parseError("the server sent more than its answer"))
	case closes || c.last:
		d.unload(c)
		c.state = leaving
		d.deadlines[c.slot] = d.now + min(maxCloseWait, d.run.plan.Timeout)
	case d.pool != nil:
		d.await(c)
	default:
		d.proceed(c)
	}
}

func (d *epollDriver) unhold(c *econn) {
	if c.partial != nil {
		c.partial.held = c.partial.held[:0]
		d.spare = append(d.spare, c.partial)
		c.partial = nil
	}
}

// proceed makes the next request on a connection of a slot that has requests of its own, as soon as it may.
func (d *epollDriver) proceed(c *econn) {
	think := d.run.plan.ThinkTime
	if think == 0 {
		d.pace(c)
		return
	}
	if d.worn(c, d.now) {
		d.finish(c, nil)
		return
	}
	until := min(c.used+think, d.run.ends(), c.dies)
	c.state = thinking
	d.wake(c, until)
}

// thought is the end of the time to think.
func (d *epollDriver) thought(c *econn) {
	if c.left == 0 || !d.run.goesOn(d.now) || d.worn(c, d.now) {
		d.finish(c, nil)
		return
	}
	d.pace(c)
}

// gone looks at a connection on which something has come while it was idle, and ends it if it is of no use any more: a
// server may close what nobody uses, and that is no fault of the request's.
func (d *epollDriver) gone(c *econn) bool {
	if d.now-c.used < idleCheck {
		return false
	}
	n, errno := peekAt(c.fd, d.buf)
	switch {
	case errno == 0 && n > 0:
		d.renew(c, parseError("the server sent something that nobody asked for"))
	case errno == 0, errno == unix.ECONNRESET:
		d.renew(c, nil)
	default:
		return false
	}
	return true
}

// renew ends a connection and, if a request waits for it, opens the next one for it at once.
func (d *epollDriver) renew(c *econn, err error) {
	if d.pool == nil {
		d.finish(c, err)
		return
	}
	d.closeConn(c, err)
	d.dial(c)
}

// readEnd is the end of a connection, in order or not.
func (d *epollDriver) readEnd(c *econn, errno unix.Errno) {
	if c.state == leaving {
		d.finish(c, nil) // its answer is here
		return
	}
	if errno != 0 {
		d.fail(c, d.opError(c, "read", errno))
		return
	}
	if c.partial == nil {
		d.fail(c, errClosed)
		return
	}
	switch err := c.partial.parser.eof(len(c.partial.held)); {
	case err == nil:
		if d.reply(c, &c.partial.parser, false); c.state == leaving {
			d.finish(c, nil)
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		d.fail(c, errCut)
	default:
		d.fail(c, errClosed)
	}
}

// expire ends a wait that was too long.
func (d *epollDriver) expire(c *econn) {
	switch c.state {
	case connecting:
		d.failDial(c, os.ErrDeadlineExceeded)
	case waiting:
		d.fail(c, errNoAnswer)
	case leaving:
		d.finish(c, nil)
	default: // it waits for nobody but us
	}
}

// stop lets a slot go that waits for nothing but its turn.
func (d *epollDriver) stop(c *econn) {
	switch c.state {
	case thinking, pacing, dialling:
		d.giveBack(c)
		if c.fd >= 0 {
			d.finish(c, nil)
		} else {
			d.done(c)
		}
	case pausing:
		if c.slot < d.starting {
			d.done(c)
		}
	default: // it waits for an answer, or a request
	}
}

// cut leaves a connection at once.
func (d *epollDriver) cut(c *econn) {
	switch c.state {
	case connecting:
		d.failDial(c, errInterrupted)
	case waiting:
		d.fail(c, errInterrupted)
	case leaving:
		d.finish(c, nil)
	default: // it waits for nobody but us
	}
}

// fail counts the request that nobody answered, and ends the connection.
func (d *epollDriver) fail(c *econn, err error) {
	d.now = d.run.now()
	d.note(c, request{sent: c.sent, late: c.late, took: d.now - c.sent + c.late, kind: classify(err)})
	d.finish(c, err)
}

func (d *epollDriver) note(c *econn, q request) {
	if q.warm = warm(c.sent); d.pool != nil {
		q.warm = c.warm
	}
	if c.left > 0 && !q.warm {
		c.left--
	}
	c.countLocked(q, &c.from)
}

// finish closes the connection and goes on with the next one. err is what ended it before its time.
func (d *epollDriver) finish(c *econn, err error) {
	d.closeConn(c, err)
	d.unload(c)
	if err == nil {
		c.pauses.reset()
		d.next(c)
		return
	}
	c.state = pausing
	d.wake(c, d.now+min(c.pauses.after(c.dialled, c.answered), d.run.ends()-d.now))
}

// closeConn closes the connection and its row.
func (d *epollDriver) closeConn(c *econn, err error) {
	if c.fd >= 0 {
		closeSocket(c.fd)
	}
	c.fd, c.out = -1, nil
	c.generation++
	c.timer++
	d.unhold(c)
	d.deadlines[c.slot] = never
	if d.ids != nil {
		d.ids[c.slot] = 0
	}
	if row, keep := c.finishLocked(d.now, err); keep {
		d.rows = append(d.rows, row)
	}
}
