package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/coder/websocket"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

// maxIdentity is how long an echo pod's answer may be, in bytes.
const maxIdentity = 2 << 20

// newWebSocketDriver runs WebSockets on echo's path for them, or the plan's: every message is a request.
func newWebSocketDriver(r *run) driver {
	return newSessionDriver(r, ProtocolWebSocket, r.openWebSocket)
}

// webSocketSession is one connection after its handshake.
type webSocketSession struct {
	run  *run
	conn net.Conn // below
	ws   *websocket.Conn
	sent int
}

// openWebSocket dials and does the handshake, on the one connection that is dialled here.
func (r *run) openWebSocket(ctx context.Context, t *track, nth int) (session, error) {
	conn, err := r.dial(ctx, t, nth, "http/1.1")
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DisableKeepAlives:  true,
		DisableCompression: true,
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	ws, response, err := websocket.Dial(ctx, "ws://"+r.targets[t.target].hostPort+r.webSocketPath(), &websocket.DialOptions{ //nolint:bodyclose // it has none, or a copy in memory
		HTTPClient: &http.Client{Transport: transport}, Host: r.plan.Host,
		HTTPHeader:      http.Header{"User-Agent": {"podskew"}},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		_ = conn.Close()
		if response != nil && response.StatusCode >= http.StatusBadRequest {
			return nil, fmt.Errorf("%w: %s", errStatus, response.Status)
		}
		return nil, err
	}
	ws.SetReadLimit(maxIdentity)
	return &webSocketSession{run: r, conn: conn, ws: ws}, nil
}

// errStatus is a handshake that was answered with a status that says no.
var errStatus = errors.New("the handshake was refused")

// webSocketPath is the plan's path, or echo's with the plan's query if that is the root.
func (r *run) webSocketPath() string {
	path := r.plan.Path
	if path == "/" || len(path) > 1 && path[1] == '?' {
		return echo.WebSocketPath + path[1:]
	}
	return path
}

func (s *webSocketSession) stream() exchanger { return s }

func (s *webSocketSession) local() string { return s.conn.LocalAddr().String() }

// close says goodbye if it is orderly, and waits for the answer as long as the library does unless the run is cut.
func (s *webSocketSession) close(orderly bool) {
	if orderly {
		timely := context.AfterFunc(s.run.dialCtx, func() { _ = s.conn.Close() })
		_ = s.ws.Close(websocket.StatusNormalClosure, "")
		timely()
	}
	_ = s.ws.CloseNow()
	_ = s.conn.Close()
}

func (s *webSocketSession) exchange(ctx context.Context, from *attribution) outcome {
	s.sent++
	token := strconv.Itoa(s.sent)
	if err := s.ws.Write(ctx, websocket.MessageText, []byte(token)); err != nil {
		return outcome{err: explainWebSocket(err), over: true}
	}
	_, answer, err := s.ws.Read(ctx)
	if status := websocket.CloseStatus(err); status == websocket.StatusInternalError {
		return outcome{kind: record.ErrStatus, mute: true, over: true} // it answers, and says that it cannot
	}
	if err != nil {
		return outcome{err: explainWebSocket(err), over: true}
	}
	id, err := parseIdentity(answer)
	if err == nil {
		err = id.credit(from, s.run.names)
	}
	return outcome{err: err, over: err != nil}
}

// explainWebSocket gives a close frame its class: the peer ended the connection.
func explainWebSocket(err error) error {
	if websocket.CloseStatus(err) != -1 {
		return fmt.Errorf("%w: %s", errClosed, err.Error())
	}
	return err
}
