package echo

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Goodbye is the line that ends a TCP connection, from the server's side: the port then is not blocked on the client's.
const Goodbye = "bye"

// acceptPause is how long to wait after an error of the listener, such as too many open files.
const acceptPause = 10 * time.Millisecond

// serveTCP answers on connection, and then every line, with a [Reply] in one line. The RequestID is the line if that is a
// valid one. It ends when draining begins and all connections have ended.
func (s *Server) serveTCP(listener net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if s.draining.Err() != nil {
				return nil
			}
			if temporary(err) {
				time.Sleep(acceptPause)
				continue
			}
			return err
		}
		connections.Go(func() {
			defer conn.Close()
			s.converse(conn)
		})
	}
}

// temporary reports whether the next connection may be accepted although this one could not be.
func temporary(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	timeout, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && timeout.Temporary()
}

// converse serves one connection to its end.
func (s *Server) converse(conn net.Conn) {
	c := s.newConnection(conn)
	// The deadline goes before the address: a PROXY protocol preamble may have to be read for that.
	_ = conn.SetDeadline(time.Now().Add(readHeaderTimeout))
	c.identified(conn.RemoteAddr().String())
	defer context.AfterFunc(s.draining, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	defer context.AfterFunc(s.cut, func() { _ = conn.Close() })()
	in := bufio.NewReaderSize(conn, maxMessage)
	for id := ""; ; {
		if !s.answerLine(conn, c, id) {
			return
		}
		_ = conn.SetReadDeadline(time.Now().Add(s.options.IdleTimeout))
		if s.draining.Err() != nil {
			return // it may have begun just before the deadline was set
		}
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			s.garbage.Add(1)
			return
		}
		if err != nil {
			return
		}
		if id = strings.TrimRight(string(line), "\r\n"); id == Goodbye {
			return
		}
	}
}

// answerLine writes one line and reports whether it could.
func (s *Server) answerLine(conn net.Conn, c *connection, id string) bool {
	began := time.Now()
	number := c.requests.Add(1)
	s.countRequest(c, ProtocolTCP)
	id = s.requestID([]string{id}, c.number, number)
	if !s.wait(s.cut, 0) {
		return false
	}
	_ = conn.SetWriteDeadline(time.Now().Add(sendWithin))
	_, err := conn.Write(c.textOf(s.face.Load()).appendReply(nil, asked{protocol: ProtocolTCP}, number, id))
	took := time.Since(began)
	s.meters.observe(ProtocolTCP, http.StatusOK, took)
	s.logRequest(c, ProtocolTCP, number, id, took)
	return err == nil
}

// logRequest logs a request that is none of HTTP, if that is wanted.
func (s *Server) logRequest(c *connection, protocol string, number uint64, id string, took time.Duration) {
	if s.options.LogRequests {
		s.logger.Info("request", "client", c.remote, "connection", c.number, "request", number, "requestID", id,
			"protocol", protocol, "seconds", took.Seconds())
	}
}
