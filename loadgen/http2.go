package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

// maxReplyBody is how much of a body is read, in bytes.
const maxReplyBody = 16 << 20

// newHTTP2Driver runs HTTP/2, with prior knowledge or inside TLS: as many TCP connections as the plan says, each with its
// requests in flight. A connection that the server says goodbye to (GOAWAY) ends as planned; the next one is a new unit.
func newHTTP2Driver(r *run) driver {
	return newSessionDriver(r, ProtocolHTTP2, r.openHTTP2)
}

// http2Session is one connection.
type http2Session struct {
	run     *run
	conn    *watchedConn
	client  *http.ClientConn
	request *http.Request // what every request is made of
}

// openHTTP2 dials and sends the preface. A Transport is asked for one connection only, the one that is dialled here.
func (r *run) openHTTP2(ctx context.Context, t *track, nth int) (session, error) {
	conn, watched, err := r.dialWatched(ctx, t, nth, "h2")
	if err != nil {
		return nil, err
	}
	address := r.targets[t.target].hostPort
	scheme := "http"
	dialled := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	transport := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols), DialContext: dialled}
	transport.Protocols.SetUnencryptedHTTP2(true)
	if r.plan.TLS {
		scheme, transport.DialTLSContext = "https", dialled
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP2(true)
	}
	client, err := transport.NewClientConn(ctx, scheme, address)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	target, err := url.Parse(scheme + "://" + address + r.plan.Path)
	if err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("path %q: %w", r.plan.Path, err)
	}
	header := http.Header{"User-Agent": {"podskew"}}
	request := &http.Request{Method: http.MethodGet, URL: target, Host: r.plan.Host, Header: header, Proto: "HTTP/2.0", ProtoMajor: 2}
	return &http2Session{run: r, conn: watched, client: client, request: request}, nil
}

func (s *http2Session) stream() exchanger { return s }

func (s *http2Session) local() string { return s.conn.LocalAddr().String() }

func (s *http2Session) close(bool) { _ = s.client.Close() }

func (s *http2Session) exchange(ctx context.Context, from *attribution) outcome {
	response, err := s.client.RoundTrip(s.request.Clone(ctx))
	if err != nil {
		return s.failed(err)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReplyBody))
	_ = response.Body.Close()
	if err != nil {
		return s.failed(err)
	}
	lost := s.conn.severed()
	o := outcome{err: s.attribute(response, body, from), over: lost != nil, lost: lost}
	if response.StatusCode >= http.StatusBadRequest {
		o.kind = record.ErrStatus
	}
	return o
}

// failed tells the loss of the connection from what concerns one request, and both from a server that said goodbye before
// the request was sent.
func (s *http2Session) failed(err error) outcome {
	if strings.Contains(err.Error(), "client conn not usable") || strings.Contains(err.Error(), "GOAWAY") {
		return outcome{err: fmt.Errorf("%w: %s", errClosed, err.Error()), over: true, unsent: true, lost: s.conn.severed()}
	}
	if lost := s.conn.failure(); lost != nil && !timedOut(err) {
		return outcome{err: lost, over: true}
	}
	over := s.client.Err() != nil
	return outcome{err: explainHTTP2(err), over: over}
}

// attribute notes who answered, as an echo pod says it or as the plan says that others do.
func (s *http2Session) attribute(response *http.Response, body []byte, from *attribution) error {
	var pod, client, number string
	switch a := s.run.plan.Attribution; {
	case a == nil:
		pod, client = response.Header.Get(echo.HeaderPod), response.Header.Get(echo.HeaderClient)
		number = response.Header.Get(echo.HeaderConnection)
	case a.Header != "":
		pod = response.Header.Get(a.Header)
	default:
		pod = jsonMember(body, a.JSON)
	}
	return from.set([]byte(pod), []byte(client), []byte(number), s.run.names)
}

// explainHTTP2 gives failures that only the HTTP/2 client has words for the class that they have: a stream or connection
// that the peer cut.
func explainHTTP2(err error) error {
	if timedOut(err) || errors.Is(err, context.Canceled) {
		return err
	}
	if _, parse := errors.AsType[parseError](err); parse || classify(err) != record.ErrOther {
		return err
	}
	return fmt.Errorf("%w: %s", errCut, err.Error())
}
