package loadgen

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/podskew/podskew/record"
)

const (
	// maxCloseWait is how long the server may take to close a connection that it was asked to close.
	maxCloseWait = time.Second
	// idleCheck is how long a connection must have been idle to be looked at before a request is sent on it: servers
	// close connections that nobody uses, and that is no fault of the request's.
	idleCheck = 5 * time.Millisecond
)

// slot is one of a plan's concurrent connections: it opens a connection, uses it up, and opens the next. Only its own
// goroutine uses it, but for what is said to be others'.
type slot struct {
	*track
	dialogue
	driver *connDriver
	left   int // requests it may still make; negative: as many as it can, or as it is given

	pauses                backoff
	dials                 int             // so far
	holds                 bool            // it was given a request that is not done; guarded by the driver's lock
	warm                  bool            // which is of the warm-up; guarded likewise
	established, answered bool            // the connection in use was; something came back on it
	began                 time.Duration   // when the dial of the connection in use began
	used                  time.Duration   // when its last answer came
	dies                  time.Duration   // when its lifetime is over
	watched               syscall.RawConn // to look at it while it is idle; nil: cannot be done, or is not worth it

	tasks    chan task    // what others want of it
	replaced atomic.Int64 // ID of the connection that churn has ended
}

// task is what a slot is told to do next.
type task struct {
	kind taskKind
	due  time.Duration // open loop: the intended time of the request
	warm bool          // the request is of the warm-up
}

type taskKind uint8

const (
	noTask      taskKind = iota
	sendTask             // send a request
	replaceTask          // replace the connection
	endTask              // close the connection and end
)

func newSlot(d *connDriver, t *track) *slot {
	s := &slot{
		track: t, dialogue: newDialogue(d.run, t), driver: d, left: -1,
		pauses: newBackoff(d.run.plan.Reconnect), tasks: make(chan task, 1),
	}
	if !d.pooled() {
		s.left = d.run.share(t.slot)
	}
	return s
}

// work runs the slot to the end of the plan, if it has requests of its own.
func (s *slot) work() {
	for s.goesOn(s.run.now()) && s.pace() && s.run.admit() {
		if err := s.connection(); !s.rest(err) {
			return
		}
	}
}

// goesOn reports whether another request may be sent.
func (s *slot) goesOn(now time.Duration) bool { return s.left != 0 && s.run.goesOn(now) }

// pace waits for the slot's turn and reports whether another request may be sent then.
func (s *slot) pace() bool { return s.run.turn() && s.left != 0 }

// rest pauses after a connection that ended with err, if it is one, and reports whether the run goes on.
func (s *slot) rest(err error) bool {
	if err == nil {
		s.pauses.reset()
		return true
	}
	return s.run.wait(min(s.pauses.after(s.established, s.answered), s.run.ends()-s.run.now()))
}

// connection is one unit, from its dial to its row. It returns what ended it if it did not end as planned.
func (s *slot) connection() error {
	err := s.open()
	if err != nil {
		err = s.fail(request{sent: s.began, warm: warm(s.began)}, err)
	} else {
		err = s.use()
	}
	s.end(err)
	return err
}

// open dials. The unit counts from here on, whatever becomes of it, and its row must be ended.
func (s *slot) open() error {
	s.dials++
	s.began, s.established, s.answered = s.begin(), false, false
	s.dies = never
	if life := s.run.plan.lifetime(s.slot, s.dials); life > 0 {
		s.dies = s.began + life
	}
	ctx, cancel := context.WithTimeout(s.run.dialCtx, s.run.plan.ConnectTimeout)
	conn, err := s.run.dial(ctx, s.track, s.dials, "http/1.1")
	cancel()
	if err != nil {
		return s.run.dialFailed(err)
	}
	s.used = s.run.now()
	s.established = true
	if !s.adopt(conn, s.used) {
		return errInterrupted
	}
	s.watched = s.driver.watch(conn)
	s.driver.opened(s.slot, s.row.ID)
	return nil
}

// use sends the connection's requests, one after the other, and returns what ended it before its time.
func (s *slot) use() error {
	for n := 1; ; n++ {
		if n > 1 {
			if !s.think() || !s.pace() {
				return nil
			}
			if gone, err := s.gone(); gone || err != nil {
				return err
			}
		}
		sent := s.run.now()
		last := n == s.run.plan.RequestsPerConnection || s.left == 1 && !warm(sent) || s.over(sent)
		ended, err := s.ask(request{sent: sent, warm: warm(sent)}, sent, last)
		if ended || err != nil {
			return err
		}
	}
}

// ask makes one request now, of which q says when it counts as sent and how late that is, and counts it. It reports whether
// the connection ended with the answer, and what ended it before its time.
func (s *slot) ask(q request, now time.Duration, last bool) (ended bool, err error) {
	if err := s.exchange(last, now); err != nil {
		return true, s.fail(q, err)
	}
	s.used = s.run.now()
	q.took, q.answered, q.kind = s.used-q.sent+q.late, true, statusKind(s.parser.status)
	s.note(q)
	s.answered = true
	switch {
	case s.surplus():
		return true, parseError("the server sent more than its answer")
	case s.parser.close || last:
		s.driver.done(s)
		return true, s.awaitClose()
	}
	return false, nil
}

// over reports whether the connection is to be replaced.
func (s *slot) over(now time.Duration) bool {
	return now >= s.dies || s.replaced.Load() == int64(s.row.ID)
}

// think waits between an answer and the next request and reports whether the connection goes on then.
func (s *slot) think() bool {
	pause := s.run.plan.ThinkTime
	if pause == 0 {
		return true
	}
	until := min(s.used+pause, s.run.ends(), s.dies)
	timer := time.NewTimer(until - s.run.now())
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			now := s.run.now()
			return s.goesOn(now) && !s.over(now)
		case <-s.tasks: // it may have been meant for the connection before
			if s.over(s.run.now()) {
				return false
			}
		case <-s.run.ctx.Done():
			s.run.stopped.Store(true)
			return false
		}
	}
}

// gone reports whether the server has closed the connection while it was idle, which is its right.
func (s *slot) gone() (bool, error) {
	if s.watched == nil || s.run.now()-s.used < idleCheck {
		return false, nil
	}
	switch n, err := peek(s.watched); {
	case n > 0 && !s.run.plan.TLS: // with TLS it may be what keeps the peers' keys fresh
		return true, parseError("the server sent something that nobody asked for")
	case n > 0:
		return false, nil
	case err == nil:
		return true, nil
	default:
		return err == syscall.ECONNRESET, nil //nolint:errorlint // a bare errno by its nature
	}
}

// note counts a request.
func (s *slot) note(q request) {
	if s.left > 0 && !q.warm {
		s.left--
	}
	s.count(q, &s.from)
}

// fail counts the request that nobody answered.
func (s *slot) fail(q request, err error) error {
	q.took, q.kind = s.run.now()-q.sent+q.late, classify(err)
	s.note(q)
	return err
}

// end closes the connection and its row.
func (s *slot) end(err error) {
	s.driver.closed(s.slot)
	s.drop()
	s.finish(err)
}

// statusKind is the class of an answer's status.
func statusKind(status int) record.ErrorKind {
	if status >= 400 {
		return record.ErrStatus
	}
	return ""
}

// rawConn returns what can look at a connection's socket, or nil.
func rawConn(conn net.Conn) syscall.RawConn {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = t.NetConn()
	}
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
