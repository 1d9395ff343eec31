package loadgen

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/podskew/podskew/echo"
)

// newTCPDriver runs bare TCP connections: the first request is to connect and is answered by the line that echo pods
// send unasked; every further one is a line.
func newTCPDriver(r *run) driver {
	return newSessionDriver(r, ProtocolTCP, r.openTCP)
}

// tcpSession is one connection.
type tcpSession struct {
	run     *run
	conn    net.Conn
	in      *bufio.Reader
	sent    int
	unwatch func() bool
}

func (r *run) openTCP(ctx context.Context, t *track, nth int) (session, error) {
	conn, err := r.dial(ctx, t, nth)
	if err != nil {
		return nil, err
	}
	s := &tcpSession{run: r, conn: conn, in: bufio.NewReader(conn)}
	s.unwatch = context.AfterFunc(r.dialCtx, func() { _ = conn.Close() })
	return s, nil
}

func (s *tcpSession) stream() exchanger { return s }

func (s *tcpSession) local() string { return s.conn.LocalAddr().String() }

func (s *tcpSession) close(orderly bool) {
	if orderly {
		_ = s.conn.SetDeadline(time.Now().Add(min(maxCloseWait, s.run.plan.Timeout)))
		if _, err := io.WriteString(s.conn, echo.Goodbye+"\n"); err == nil {
			_, _ = s.in.ReadByte()
		}
	}
	s.unwatch()
	_ = s.conn.Close()
}

func (s *tcpSession) exchange(ctx context.Context, from *attribution) outcome {
	if deadline, ok := ctx.Deadline(); ok {
		_ = s.conn.SetDeadline(deadline)
	}
	if s.sent++; s.sent > 1 {
		if _, err := io.WriteString(s.conn, strconv.Itoa(s.sent)+"\n"); err != nil {
			return outcome{err: err, over: true}
		}
	}
	line, err := s.line()
	if err != nil {
		return outcome{err: err, over: true}
	}
	id, err := parseIdentity(line)
	if err == nil {
		err = id.credit(from, s.run.names)
	}
	return outcome{err: err, over: err != nil}
}

// line reads one line.
func (s *tcpSession) line() ([]byte, error) {
	var long []byte
	for {
		part, err := s.in.ReadSlice('\n')
		switch {
		case err == nil && long == nil:
			return part, nil
		case err == nil:
			return append(long, part...), nil
		case errors.Is(err, io.EOF) && len(part)+len(long) == 0:
			return nil, errClosed
		case errors.Is(err, io.EOF):
			return nil, errCut
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
		if long = append(long, part...); len(long) > maxIdentity {
			return nil, parseError("the server sent a line without an end")
		}
	}
}
