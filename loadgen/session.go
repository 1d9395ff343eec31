package loadgen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/podskew/podskew/record"
)

// session is one connection of a protocol that is not HTTP/1.1, from the moment it can be used.
type session interface {
	// stream returns what one of the requests in flight at a time is made with. It is called once for each of them.
	stream() exchanger
	// local is the address it left from.
	local() string
	// close ends it: in an orderly way, or at once.
	close(orderly bool)
}

// exchanger makes requests on a session, one after the other.
type exchanger interface {
	// exchange sends a request and waits for its answer until ctx ends. It notes in from who answered.
	exchange(ctx context.Context, from *attribution) outcome
}

// outcome is what became of a request.
type outcome struct {
	err  error            // why there was no answer; nil: there was one
	kind record.ErrorKind // of an answer that says that the request failed
	mute bool             // the answer cannot say who gave it
	over bool             // the session can be used no more
	lost error            // why, if the request was answered and the session did not end as planned

	unsent bool // it was not sent, because the session was over already

	on      *track // the connection that it was made on, if not the session's only one
	counted func() // is told when it has been counted; nil: nobody
}

// finisher is an exchanger that wants to know when no more is asked of it.
type finisher interface{ finished() }

// opener dials and sets up one session for a track; nth counts those of its slot, from 1.
type opener func(ctx context.Context, t *track, nth int) (session, error)

// sessionDriver runs every slot on goroutines: one, or as many as requests are in flight on a connection.
type sessionDriver struct {
	tracks
	run      *run
	protocol string
	opener   opener
	streams  int
	rowless  bool // sessions have several connections, and see to their rows

	mu       sync.Mutex // guards what follows
	schedule *schedule  // nil: closed loop
	ages     ages
	slots    []*sessionSlot
}

func newSessionDriver(r *run, protocol string, open opener) *sessionDriver {
	d := &sessionDriver{tracks: r.newTracks(), run: r, protocol: protocol, opener: open, streams: max(1, r.plan.StreamsPerConnection)}
	if r.plan.Rate > 0 {
		d.schedule = newSchedule(r.plan)
	}
	for _, t := range d.all {
		d.slots = append(d.slots, newSessionSlot(d, t))
	}
	return d
}

func (d *sessionDriver) name() string { return d.protocol }

func (d *sessionDriver) work() {
	d.run.resolveAhead()
	if !d.run.waitForStart() {
		return
	}
	done := make(chan struct{})
	var churning sync.WaitGroup
	if d.run.plan.ConnectionsPerSecond > 0 {
		churning.Go(func() { d.churn(done) })
	}
	d.run.eachSlot(func(i int) { d.slots[i].work() })
	close(done)
	churning.Wait()
	if d.schedule != nil {
		rest := d.schedule.due(min(d.run.now(), d.run.ends()))
		d.run.intended.Add(int64(rest))
		d.run.unsent.Add(int64(rest))
	}
}

// release has nothing to do: sessions wait on the run's dialCtx.
func (d *sessionDriver) release() {}

func (d *sessionDriver) account(*record.Generator) {}

// churn ends the life of the oldest connection, time and again.
func (d *sessionDriver) churn(done <-chan struct{}) {
	r := d.run
	for n := r.plan.firstChurn(); ; n++ {
		if r.plan.churnTime(n) >= r.ends() {
			return
		}
		timer := time.NewTimer(r.plan.churnTime(n) - r.now())
		select {
		case <-timer.C:
		case <-done:
			timer.Stop()
			return
		}
		if !r.goesOn(r.now()) {
			return
		}
		d.mu.Lock()
		slot, ok := d.ages.oldest(func(slot, id int) bool { return d.slots[slot].is(id) })
		d.mu.Unlock()
		if ok {
			d.slots[slot].expire()
		}
	}
}

// ticket is the permission to send one request.
type ticket struct {
	drawn bool          // from the schedule of an open loop
	at    time.Duration // when it is due then, else when it was claimed
	paced bool          // it had its turn under MaxRate
	warm  bool          // of the warm-up
}

// add notes in q, whose times are those of sending, when the request was due.
func (t ticket) add(q *request) {
	q.warm = t.warm
	if t.drawn {
		q.late = q.sent - t.at
		q.took += q.late
	}
}

// draw takes the next request of an open loop; false if there is none any more.
func (d *sessionDriver) draw() (ticket, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.schedule.next()
	return ticket{drawn: true, at: at, warm: warm(at)}, ok
}

// sessionSlot is one of a plan's concurrent connections.
type sessionSlot struct {
	*track
	driver *sessionDriver

	nth    int // of the slot's connections
	opened time.Duration

	mu      sync.Mutex // guards what follows
	left    int        // requests it may still claim; negative: as many as it can
	kept    []ticket   // drawn for connections that ended before they were used
	used    int        // requests of this connection
	expires time.Duration
	over    bool
	err     error // what ended it before its time
	soft    error // the last failure that did not end it
	id      int   // of the row; 0: no connection
	wake    chan struct{}
}

func newSessionSlot(d *sessionDriver, t *track) *sessionSlot {
	s := &sessionSlot{track: t, driver: d, left: d.run.share(t.slot)}
	if d.schedule != nil {
		s.left = -1 // the schedule ends after so many
	}
	return s
}

// work runs the slot to the end of the plan.
func (s *sessionSlot) work() {
	r := s.run
	pauses := newBackoff(r.plan.Reconnect)
	for r.goesOn(r.now()) && s.wanted() {
		first, ok := s.first()
		if !ok {
			break
		}
		if !r.admit() {
			if first != nil {
				s.kept = append(s.kept, *first)
			}
			break
		}
		dialled, answered, err := s.connection(first)
		if err == nil {
			pauses.reset()
			continue
		}
		if !r.wait(min(pauses.after(dialled, answered), r.ends()-r.now())) {
			break
		}
	}
	for _, t := range s.kept {
		if t.drawn && !t.warm && t.at <= min(r.now(), r.ends()) {
			r.intended.Add(1)
			r.unsent.Add(1)
		}
	}
}

// wanted reports whether the slot has requests to send.
func (s *sessionSlot) wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left != 0 || len(s.kept) > 0
}

// first returns what the connection to come is opened for. In an open loop connections of several requests are opened
// ahead of them, and the ticket is nil.
func (s *sessionSlot) first() (*ticket, bool) {
	if s.driver.schedule != nil && s.run.plan.RequestsPerConnection != 1 {
		return nil, true
	}
	s.mu.Lock()
	s.over, s.wake, s.expires, s.used = false, make(chan struct{}), s.run.ends(), 0
	s.mu.Unlock()
	t, ok := s.next()
	return &t, ok
}

// connection is one unit, from its dial to its row.
func (s *sessionSlot) connection(first *ticket) (dialled, answered bool, err error) {
	r := s.run
	s.nth++
	s.begun()
	ctx, cancel := context.WithTimeout(r.dialCtx, r.plan.ConnectTimeout)
	conn, err := s.driver.opener(ctx, s.track, s.nth)
	cancel()
	if err != nil {
		err = r.dialFailed(err)
		q := request{sent: s.opened, took: r.now() - s.opened, kind: classify(err), warm: warm(s.opened)}
		if first != nil {
			first.add(&q)
			if first.drawn && !first.warm {
				r.intended.Add(1)
			}
		}
		s.count(q, nil)
		s.ended(err)
		return false, false, err
	}
	if !s.driver.rowless {
		s.connected(r.now(), conn.local())
	}
	s.use(conn, first)
	err = s.result()
	conn.close(err == nil)
	return true, s.ended(err), err
}

// begun opens the row.
func (s *sessionSlot) begun() {
	if s.opened = s.run.now(); !s.driver.rowless {
		s.opened = s.begin()
	}
	life := s.run.plan.lifetime(s.slot, s.nth)
	s.mu.Lock()
	s.over, s.err, s.soft = false, nil, nil
	s.wake, s.expires = make(chan struct{}), s.run.ends()
	if life > 0 {
		s.expires = s.opened + life
	}
	s.used = 0
	s.id = s.row.ID // nobody else writes to it
	id := s.id
	s.mu.Unlock()
	if s.run.plan.ConnectionsPerSecond > 0 {
		s.driver.mu.Lock()
		s.driver.ages.opened(s.slot, id)
		s.driver.mu.Unlock()
	}
}

// ended closes the row and reports whether anything was answered.
func (s *sessionSlot) ended(err error) bool {
	s.mu.Lock()
	s.id = 0
	s.mu.Unlock()
	if s.driver.rowless {
		return err == nil
	}
	s.shard.mu.Lock()
	answered := s.row.Requests+s.warmed > 0
	s.shard.mu.Unlock()
	s.finish(err)
	return answered
}

// is reports whether the slot's connection is the one of that ID.
func (s *sessionSlot) is(id int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id == id
}

// expire ends the connection's life now; requests under way are answered.
func (s *sessionSlot) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != 0 && !s.over {
		s.endLocked(nil)
	}
}

// endLocked has nothing more sent on the connection.
func (s *sessionSlot) endLocked(err error) {
	if s.err == nil {
		s.err = err
	}
	if !s.over {
		s.over = true
		close(s.wake)
	}
}

// use makes the connection's requests.
func (s *sessionSlot) use(conn session, first *ticket) {
	if first != nil {
		s.mu.Lock()
		s.used++
		s.mu.Unlock()
	}
	if s.driver.streams == 1 {
		s.stream(conn.stream(), first)
		return
	}
	var streams sync.WaitGroup
	for range s.driver.streams {
		x, t := conn.stream(), first
		first = nil
		streams.Go(func() { s.stream(x, t) })
	}
	streams.Wait()
}

// stream makes requests one after the other.
func (s *sessionSlot) stream(x exchanger, t *ticket) {
	if f, ok := x.(finisher); ok {
		defer f.finished()
	}
	from := &attribution{}
	pauses := newBackoff(s.run.plan.Reconnect)
	for {
		if t == nil {
			next, ok := s.next()
			if !ok {
				return
			}
			t = &next
		}
		failed := s.send(x, *t, from)
		t = nil
		pause := s.run.plan.ThinkTime
		if failed {
			pause = max(pause, pauses.after(true, false)) // a target that refuses at once would else be asked as fast as the machine can
		} else {
			pauses.reset()
		}
		if pause > 0 && !s.rest(s.run.now()+pause) {
			return
		}
	}
}

// next waits for the next request's turn; false if there is none on this connection.
func (s *sessionSlot) next() (ticket, bool) {
	t, ok := s.claim()
	if !ok {
		return ticket{}, false
	}
	switch {
	case s.driver.schedule == nil && !t.paced:
		if t.paced = s.run.turn(); !t.paced {
			return ticket{}, false
		}
	case s.driver.schedule != nil && !t.drawn:
		if t, ok = s.driver.draw(); !ok || t.at >= s.run.ends() {
			s.mu.Lock()
			s.left = 0 // the schedule is at its end
			s.mu.Unlock()
			return ticket{}, false
		}
	}
	ready := s.rest(t.at)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ready || s.over {
		s.kept = append(s.kept, t)
		return ticket{}, false
	}
	return t, true
}

// claim takes one request of the slot's share and of the connection's.
func (s *sessionSlot) claim() (ticket, bool) {
	now := s.run.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	per := s.run.plan.RequestsPerConnection
	if s.over || per > 0 && s.used >= per || now >= s.expires || !s.run.goesOn(now) {
		return ticket{}, false
	}
	for len(s.kept) > 0 && s.kept[0].warm && !s.kept[0].drawn && !warm(now) {
		s.kept = s.kept[1:] // nothing of the run waits for it
	}
	if n := len(s.kept); n > 0 {
		t := s.kept[0]
		s.kept = s.kept[1:]
		s.used++
		return t, true
	}
	if s.left == 0 {
		return ticket{}, false
	}
	if s.left > 0 && !warm(now) {
		s.left--
	}
	s.used++
	return ticket{at: now, warm: warm(now)}, true
}

// rest waits until a time and reports whether the connection can be used then.
func (s *sessionSlot) rest(until time.Duration) bool {
	r := s.run
	s.mu.Lock()
	expires, wake := s.expires, s.wake
	s.mu.Unlock()
	now := r.now()
	if now >= until {
		return r.goesOn(now) && now < expires
	}
	at := min(until, expires, r.ends())
	timer := time.NewTimer(at - r.spin() - now)
	defer timer.Stop()
	select {
	case <-timer.C:
		for now < at {
			now = r.now()
		}
		now = r.now()
		return now >= until && r.goesOn(now)
	case <-wake:
	case <-r.ctx.Done():
		r.stopped.Store(true)
	}
	return false
}

// spinFor is how long before a request is due a precise plan begins to watch the clock: timers fire up to a millisecond
// late.
const spinFor = 1500 * time.Microsecond

// spin is how long of a wait is spent watching the clock.
func (r *run) spin() time.Duration {
	if r.plan.Precise {
		return spinFor
	}
	return 0
}

// send makes one request and reports whether it failed without ending the connection.
func (s *sessionSlot) send(x exchanger, t ticket, from *attribution) bool {
	r := s.run
	ctx, cancel := context.WithTimeout(r.dialCtx, r.plan.Timeout)
	sent := r.now()
	o := x.exchange(ctx, from)
	done := r.now()
	expired := errors.Is(ctx.Err(), context.DeadlineExceeded)
	cancel()
	q := request{sent: sent, took: done - sent, answered: o.err == nil, kind: o.kind}
	if o.unsent && s.answers() {
		s.giveBack(t, o.lost)
		return false
	}
	if t.add(&q); t.drawn && !t.warm {
		r.intended.Add(1)
	}
	on := s.track
	if o.on != nil {
		on = o.on
	}
	switch {
	case o.err == nil && o.mute:
		on.count(q, nil)
	case o.err == nil:
		on.count(q, from)
	default:
		o.err = r.explain(o.err, expired)
		q.kind = classify(o.err)
		on.count(q, nil)
	}
	if o.counted != nil {
		o.counted()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.over {
		s.endLocked(cmp.Or(o.err, o.lost))
	} else {
		s.soft = o.err
	}
	return o.err != nil && !o.over
}

// answers reports whether anything was answered on the connection.
func (s *sessionSlot) answers() bool {
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	return s.row.Requests+s.warmed > 0
}

// giveBack keeps a ticket for the next connection: this one ended before it could be used.
func (s *sessionSlot) giveBack(t ticket, lost error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, t)
	s.endLocked(lost)
}

// explain is the error that a request failed with, once the run's own reasons are known.
func (r *run) explain(err error, expired bool) error {
	switch {
	case r.cut.Load():
		return errInterrupted
	case expired:
		return fmt.Errorf("%w: %s", errNoAnswer, err.Error())
	}
	return err
}

// result is what ended the connection; nil: it ended as planned. One that failed without an answer to its last request
// did not.
func (s *sessionSlot) result() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	return s.soft
}
