package loadgen

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

const readSize = 4 << 10

// dialogue is a slot's connection and what is on its way on it.
type dialogue struct {
	keep, last []byte // the request, and the one that ends a connection

	parser parser
	from   attribution
	buf    []byte // what was read and not parsed is buf[r:w]
	r, w   int

	expires time.Duration // when the wait that is on ends
	armed   time.Duration // when the connection's deadline wakes it up; not after expires

	conn net.Conn // nil: none; guarded by the shard's lock, since others look at a connection in use
}

func newDialogue(r *run, t *track) dialogue {
	keep, last := r.requestTo(r.targets[t.target])
	return dialogue{keep: keep, last: last, parser: r.newParser()}
}

// surplus reports whether there are bytes that nobody asked for.
func (w *dialogue) surplus() bool { return w.w > w.r }

// adopt makes a new connection the slot's, unless the run was cut meanwhile.
func (s *slot) adopt(conn net.Conn, now time.Duration) bool {
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	s.conn = conn
	local := ""
	if addr := conn.LocalAddr(); addr != nil {
		local = addr.String()
	}
	s.connectedLocked(now, local)
	s.r, s.w = 0, 0
	s.armed = now + s.run.plan.Timeout
	s.expires = s.armed
	return !s.run.cut.Load() && conn.SetDeadline(s.run.start.Add(s.armed)) == nil
}

// drop closes the connection, if there is one. Whatever could be lost of it has been read.
func (s *slot) drop() {
	s.shard.mu.Lock()
	conn := s.conn
	s.conn = nil
	s.shard.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
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
	if s.sticky != nil {
		request = s.sticky.request(s.run, s.target, last)
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
			if s.sticky != nil {
				s.sticky.learn(&s.parser)
			}
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
	case s.buf == nil:
		s.buf = make([]byte, readSize)
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
