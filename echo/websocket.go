package echo

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

const (
	// WebSocketPath is the path on which WebSockets are served.
	WebSocketPath = "/ws"
	// maxMessage is how long a WebSocket message, a line or a datagram may be, in bytes.
	maxMessage = 4 << 10
	// sendWithin is how long a client may take to receive an answer.
	sendWithin = 10 * time.Second
)

// isWebSocket reports whether r asks for a WebSocket.
func isWebSocket(r *http.Request) bool {
	return r.URL.Path == WebSocketPath && r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// serveWebSocket answers every message with a [Reply], whose RequestID is the message if that is a valid one. The query
// changes all answers; a status of 400 or more closes the connection instead.
func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request, c *connection) {
	x := &exchange{w: w, r: r, connection: c, face: s.face.Load(), number: c.requests.Load()}
	x.id = s.requestID(r.Header[HeaderRequestID], c.number, x.number)
	x.setHeaders()
	wish, err := parseWishes(r.URL.RawQuery)
	if err != nil {
		x.plain(http.StatusBadRequest, err.Error())
		return
	}
	s.hijacked.Add(1)
	defer s.hijacked.Done()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // of the origin: there is nothing here that a page must not see
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxMessage)
	defer context.AfterFunc(s.draining, func() { _ = conn.Close(websocket.StatusGoingAway, "stopping") })()
	if c.conn != nil { // the goodbye would wait for the client's
		cut := context.AfterFunc(s.cut, func() { _ = c.conn.Close() })
		defer func() {
			if cut() && s.cut.Err() != nil { // the answer was cut off before the connection was
				_ = c.conn.Close()
			}
		}()
	}
	asked := askedOf(r)
	asked.protocol = ProtocolWebSocket
	for {
		id, err := s.receive(conn)
		if err != nil || !s.answerMessage(conn, c, asked, wish, id) {
			return
		}
	}
}

// receive waits for a message.
func (s *Server) receive(conn *websocket.Conn) (string, error) {
	ctx, cancel := context.WithTimeout(s.cut, s.options.IdleTimeout)
	defer cancel()
	_, message, err := conn.Read(ctx)
	return string(message), err
}

// answerMessage answers one message and reports whether the connection goes on.
func (s *Server) answerMessage(conn *websocket.Conn, c *connection, asked asked, wish wishes, id string) bool {
	began := time.Now()
	number := c.requests.Add(1)
	s.countRequest(c, ProtocolWebSocket)
	if !s.grant(s.cut, &wish) {
		return false
	}
	if wish.status >= http.StatusBadRequest {
		s.meters.observe(ProtocolWebSocket, wish.status, time.Since(began))
		_ = conn.Close(websocket.StatusInternalError, "status "+strconv.Itoa(wish.status)+", as wished for")
		return false
	}
	id = s.requestID([]string{id}, c.number, number)
	body := pad(c.textOf(s.face.Load()).appendReply(nil, asked, number, id), wish.size)
	ctx, cancel := context.WithTimeout(s.cut, sendWithin)
	defer cancel()
	err := conn.Write(ctx, websocket.MessageText, body)
	took := time.Since(began)
	s.meters.observe(ProtocolWebSocket, http.StatusOK, took)
	s.logRequest(c, ProtocolWebSocket, number, id, took)
	if err == nil && wish.close {
		_ = conn.Close(websocket.StatusNormalClosure, "as wished for")
		return false
	}
	return err == nil
}
