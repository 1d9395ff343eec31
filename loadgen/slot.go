package loadgen

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/podskew/podskew/record"
)

const (
	firstPause = time.Millisecond
	maxPause   = 100 * time.Millisecond
	// maxCloseWait is how long the server may take to close a connection that it was asked to close.
	maxCloseWait = time.Second
	// maxOthers is how many pods besides the first one are counted on one connection.
	maxOthers = 1000
	readSize  = 4 << 10
)

// slot is one of a plan's concurrent connections: it opens a connection, uses it up, and opens the next.
type slot struct {
	run    *run
	shard  *shard
	index  int
	target int // of run.targets
	left   int // requests it may still make; negative: as many as it can

	keep, last []byte // the request, and the one that ends a connection

	parser parser
	from   attribution
	buf    []byte // what was read and not parsed is buf[r:w]
	r, w   int

	opened  time.Duration // when the dial began
	expires time.Duration // when the wait that is on ends
	armed   time.Duration // when the connection's deadline wakes it up; not after expires

	cell           *record.Tally // of the last request
	key            cellKey
	cellGeneration uint64

	// Guarded by the shard's lock, since others look at a connection in use.
	conn net.Conn // nil: none
	row  record.Connection
}

func newSlot(r *run, index int) *slot {
	p := r.plan
	s := &slot{
		run: r, index: index, shard: r.shards[index%len(r.shards)],
		target: (index + p.AddressOffset) % len(p.Addresses), left: -1,
	}
	if p.Requests > 0 {
		s.left = p.Requests / p.Connections
		if index < p.Requests%p.Connections {
			s.left++
		}
	}
	host := p.Host
	if host == "" {
		host = r.targets[s.target].hostPort
	}
	head := "GET " + p.Path + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: podskew\r\n"
	s.keep, s.last = []byte(head+"\r\n"), []byte(head+"Connection: close\r\n\r\n")
	return s
}

// work runs the slot to the end of the plan.
func (s *slot) work() {
	s.buf = make([]byte, readSize)
	pause := firstPause
	for s.goesOn(s.run.now()) && s.pace() {
		answered, err := s.connection()
		if answered {
			pause = firstPause
		}
		if err == nil {
			continue
		}
		// A target that refuses at once would else be dialled as fast as the machine can.
		if !s.run.wait(min(pause, s.run.end-s.run.now())) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// goesOn reports whether another request may be sent.
func (s *slot) goesOn(now time.Duration) bool {
	return s.left != 0 && now < s.run.end && !s.run.stopped.Load()
}

// connection is one unit, from its dial to its row. It reports whether anything was answered, and what ended the
// connection if it did not end as planned.
func (s *slot) connection() (answered bool, err error) {
	s.begin()
	ctx, cancel := context.WithTimeout(s.run.dialCtx, s.run.plan.ConnectTimeout)
	conn, err := s.run.world.dial(ctx, s.run.targets[s.target])
	cancel()
	if err != nil {
		err = s.failDial(err)
	} else {
		err = s.use(conn)
		_ = conn.Close() // whatever could be lost has been read
	}
	answered = s.row.Requests > 0
	s.finish(err)
	return answered, err
}

// begin opens the row: the unit counts from here on, whatever becomes of it.
func (s *slot) begin() {
	r := s.run
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	s.opened = r.now()
	s.row = record.Connection{
		Stream: r.plan.Stream, Agent: r.plan.Agent, ID: int(r.opened.Add(1)), Slot: s.index,
		Address: r.targets[s.target].hostPort, Opened: s.opened.Seconds(),
	}
	r.open.Add(1)
}

func (s *slot) failDial(err error) error {
	if s.run.cut.Load() {
		err = errInterrupted
	}
	if ownFault(err) {
		s.run.ownFaults.Add(1)
	}
	return s.fail(s.opened, err)
}

// use sends the connection's requests, one after the other, and returns what ended it before its time.
func (s *slot) use(conn net.Conn) error {
	if !s.adopt(conn) {
		return s.fail(s.run.now(), errInterrupted)
	}
	for n := 1; ; n++ {
		last := n == s.run.plan.RequestsPerConnection || s.left == 1
		if n > 1 && !s.pace() {
			return nil
		}
		sent := s.run.now()
		if err := s.exchange(last, sent); err != nil {
			return s.fail(sent, err)
		}
		s.count(request{sent: sent, took: s.run.now() - sent, answered: true, kind: s.statusKind()})
		switch {
		case s.w > s.r:
			return parseError("the server sent more than its answer")
		case s.parser.close || last:
			return s.awaitClose()
		}
	}
}

func (s *slot) statusKind() record.ErrorKind {
	if s.parser.status >= 400 {
		return record.ErrStatus
	}
	if s.from.pod == "" {
		s.run.unattributed.Add(1)
	}
	return ""
}

// fail counts the request that nobody answered.
func (s *slot) fail(sent time.Duration, err error) error {
	s.from = attribution{}
	s.count(request{sent: sent, took: s.run.now() - sent, kind: classify(err)})
	return err
}

// adopt makes a new connection the slot's, unless the run was cut meanwhile.
func (s *slot) adopt(conn net.Conn) bool {
	now := s.run.now()
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	s.conn = conn
	s.row.Connected = now.Seconds()
	if local := conn.LocalAddr(); local != nil {
		s.row.Local = local.String()
	}
	s.r, s.w = 0, 0
	s.armed = now + s.run.plan.Timeout
	s.expires = s.armed
	return !s.run.cut.Load() && conn.SetDeadline(s.run.start.Add(s.armed)) == nil
}

// release makes the slot give up the connection that it waits on. It is called by others.
func (s *slot) release() {
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.SetDeadline(time.Unix(1, 0))
	}
}

// exchange sends a request and reads its answer to the end.
func (s *slot) exchange(last bool, sent time.Duration) error {
	request := s.keep
	if last {
		request = s.last
	}
	s.expires = sent + s.run.plan.Timeout
	s.parser.reset()
	if err := s.write(request); err != nil {
		return err
	}
	for {
		n, done, err := s.parser.feed(s.buf[s.r:s.w])
		s.r += n
		if err != nil {
			return err
		}
		if !done {
			err = s.read()
			if errors.Is(err, io.EOF) {
				done, err = true, s.atEOF()
			}
			if err != nil {
				return err
			}
		}
		if done {
			return s.from.update(&s.parser, s.run.names)
		}
	}
}

// atEOF is what the end of the connection means for the answer that is awaited.
func (s *slot) atEOF() error {
	switch err := s.parser.eof(s.w - s.r); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errCut
	case err != nil:
		return errClosed
	}
	return nil
}

// awaitClose lets the server close first. It is not an error if it does not, or resets the connection: its answer is here.
func (s *slot) awaitClose() error {
	s.expires = s.run.now() + min(maxCloseWait, s.run.plan.Timeout)
	if s.expires < s.armed && !s.arm() {
		return nil
	}
	if s.read() == nil {
		return parseError("the server sent more than its answer")
	}
	return nil
}

// write writes all of b, mostly in one call.
func (s *slot) write(b []byte) error {
	for {
		n, err := s.conn.Write(b)
		if err == nil {
			return nil
		}
		b = b[n:]
		if err = s.prolong(err); err != nil {
			return err
		}
	}
}

// read reads at least one byte behind those that are not parsed yet.
func (s *slot) read() error {
	switch {
	case s.r == s.w:
		s.r, s.w = 0, 0
	case s.w == len(s.buf) && s.r > 0:
		s.r, s.w = 0, copy(s.buf, s.buf[s.r:s.w])
	case s.w == len(s.buf): // a line as long as the buffer; the parser bounds lines
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for {
		n, err := s.conn.Read(s.buf[s.w:])
		s.w += n
		if n > 0 {
			return nil // an error that comes with data comes again
		}
		if err == nil {
			continue
		}
		if err = s.prolong(err); err != nil {
			return err
		}
	}
}

// prolong handles an error that may be nothing but a deadline set for an earlier wait: setting one for every request
// costs more than waking up once in a Timeout for nothing. It returns nil if the wait goes on.
func (s *slot) prolong(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if !s.run.cut.Load() && s.run.now() < s.expires && s.arm() {
		return nil
	}
	if s.run.cut.Load() {
		return errInterrupted
	}
	return errNoAnswer
}

// arm sets the deadline to the end of the current wait, unless the run was cut.
func (s *slot) arm() bool {
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	s.armed = s.expires
	return !s.run.cut.Load() && s.conn.SetDeadline(s.run.start.Add(s.armed)) == nil
}

// count enters a request into the row, the tallies and the samples.
func (s *slot) count(q request) {
	if s.left > 0 {
		s.left--
	}
	key := cellKey{address: s.target, second: int(q.sent / time.Second), backend: s.from.pod, observed: s.from.ip}
	s.shard.mu.Lock()
	if s.cell == nil || s.cellGeneration != s.shard.generation || s.key != key {
		s.cell, s.key, s.cellGeneration = s.shard.cell(key), key, s.shard.generation
	}
	s.shard.count(s.cell, q)
	if q.answered {
		s.creditRow()
	}
	id := s.row.ID
	s.shard.mu.Unlock()

	if hash, ok := s.run.samples.wants(); ok {
		s.run.samples.offer(hash, record.Sample{
			Stream: s.run.plan.Stream, Agent: s.run.plan.Agent, Connection: id,
			Sent: q.sent.Seconds(), Latency: q.took.Seconds(), Error: q.kind,
		})
	}
}

// creditRow notes who answered. The caller holds the lock.
func (s *slot) creditRow() {
	s.row.Requests++
	switch pod := s.from.pod; pod {
	case s.row.Backend, "":
	default:
		if s.row.Backend == "" {
			s.row.Backend, s.row.Observed, s.row.ServerConn = pod, s.from.client, s.from.serverConn
			return
		}
		if s.row.Others == nil {
			s.row.Others = map[string]int{}
		}
		if _, known := s.row.Others[pod]; !known && len(s.row.Others) == maxOthers {
			s.run.droppedOthers.Add(1)
			return
		}
		s.row.Others[pod]++
	}
}

// finish closes the row and hands it over, waiting if the sink is behind.
func (s *slot) finish(err error) {
	r := s.run
	s.shard.mu.Lock()
	s.conn = nil
	s.row.Closed = r.now().Seconds()
	s.row.Error, s.row.ErrorDetail = classify(err), detail(err)
	row := s.row
	s.row.ID = 0 // no longer open
	s.shard.mu.Unlock()
	r.open.Add(-1)
	select {
	case r.rows <- row:
	default:
		began := time.Now()
		r.rows <- row
		r.heldBack.Add(int64(time.Since(began)))
	}
}
