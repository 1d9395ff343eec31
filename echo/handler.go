package echo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxPooledBody is the largest buffer that is kept for the next request, in bytes.
const maxPooledBody = 16 << 10

// exchange is one request with what the server knows about it.
type exchange struct {
	w          http.ResponseWriter
	r          *http.Request
	connection *connection
	face       *face
	number     uint64 // of the request on its connection
	id         string
}

// ServeHTTP implements http.Handler. Besides /healthz, /readyz, /slow, /stats, /metrics and /labels, every path is answered with
// a [Reply]; /ws can be upgraded to a WebSocket, and gRPC requests are answered as such.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := connectionOf(r).identified(r.RemoteAddr)
	if isGRPC(r) {
		s.serveGRPC(w, r)
		return
	}
	if isWebSocket(r) {
		s.serveWebSocket(w, r, c)
		return
	}
	x := &exchange{w: w, r: r, connection: c, face: s.face.Load(), number: c.requests.Add(1)}
	x.id = s.requestID(r.Header[HeaderRequestID], c.number, x.number)
	x.setHeaders()
	page := s.page(r.URL.Path)
	switch {
	case page == nil:
		s.serveEcho(x)
	case x.discardBody() == 0:
		page(x)
	}
}

// page returns what serves one of the server's own pages, or nil for all other paths.
func (s *Server) page(path string) func(*exchange) {
	switch path {
	case "/healthz":
		return func(x *exchange) { x.plain(http.StatusOK, "ok") }
	case "/readyz":
		return s.serveReady
	case "/slow":
		return s.serveSlow
	case "/stats":
		return s.serveStats
	case "/labels":
		return func(x *exchange) { x.json(s.info.current.Load()) }
	case "/metrics":
		return func(x *exchange) { s.meters.pages.ServeHTTP(x.w, x.r) }
	}
	return nil
}

// setHeaders sets the headers that every reply carries. The values are shared between replies; nothing writes to them.
func (x *exchange) setHeaders() {
	h := x.w.Header()
	h[HeaderPod] = x.face.pod
	h[HeaderNode] = x.face.node
	if x.face.zone != nil {
		h[HeaderZone] = x.face.zone
	}
	h[HeaderClient] = x.connection.remoteHdr
	h[HeaderConnection] = x.connection.numberHdr
	values := [2]string{strconv.FormatUint(x.number, 10), x.id}
	h[HeaderRequest] = values[:1:1]
	h[HeaderRequestID] = values[1:]
	if x.r.Header[HeaderDetail] != nil {
		x.setDetails(h)
	}
}

// setDetails sets the headers about the way that a request took.
func (x *exchange) setDetails(h http.Header) {
	if ip := x.face.identity.PodIP; ip != Unknown {
		h[HeaderPodIP] = []string{ip}
	}
	if list := x.r.Header["X-Forwarded-For"]; len(list) > 0 {
		h[HeaderForwarded] = []string{strings.Join(list, ", ")}
	}
	if x.connection.proxied != "" {
		h[HeaderProxied] = []string{x.connection.proxied}
	}
}

// requestID returns the id that the request came with, if it is printable and not too long, else one of our own.
func (s *Server) requestID(given []string, connection, request uint64) string {
	if len(given) == 1 && validRequestID(given[0]) {
		return given[0]
	}
	b := make([]byte, 0, len(s.instance)+24)
	b = append(append(b, s.instance...), '-')
	b = append(strconv.AppendUint(b, connection, 10), '-')
	return string(strconv.AppendUint(b, request, 10))
}

func validRequestID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// serveEcho says who answered, in the way that the query asks for.
func (s *Server) serveEcho(x *exchange) {
	began := time.Now()
	c := x.connection
	s.countRequest(c, x.r.Proto)
	status := s.answer(x)
	took := time.Since(began)
	s.meters.observe(x.r.Proto, status, took)
	if s.options.LogRequests {
		s.logger.Info("request", "client", c.remote, "connection", c.number, "request", x.number, "requestID", x.id,
			"protocol", x.r.Proto, "method", x.r.Method, "path", x.r.URL.Path, "status", status, "seconds", took.Seconds())
	}
	if status == statusAborted {
		panic(http.ErrAbortHandler) // there is nobody left to answer
	}
}

// countRequest enters a request into the ledger. A connection is one of the protocol of its first request.
func (s *Server) countRequest(c *connection, protocol string) {
	c.meter.Do(func() {
		c.usage = s.ledger.open(c.number, c.remote, protocol, c.client.Addr())
	})
	s.ledger.count(c.usage)
}

// statusAborted stands for requests whose client went away before the answer. It is never sent.
const statusAborted = 499

// answer writes the answer and returns its status.
func (s *Server) answer(x *exchange) int {
	wish, err := parseWishes(x.r.URL.RawQuery)
	if err != nil {
		return x.plain(http.StatusBadRequest, err.Error())
	}
	if status := x.discardBody(); status != 0 {
		return status
	}
	if !s.grant(x.r.Context(), &wish) {
		return statusAborted
	}
	buffer, _ := s.bodies.Get().(*[]byte)
	body := x.connection.textOf(x.face).appendReply((*buffer)[:0], askedOf(x.r), x.number, x.id)
	body = pad(body, wish.size)
	x.write(wish, body)
	if cap(body) <= maxPooledBody {
		*buffer = body
		s.bodies.Put(buffer)
	}
	return wish.status
}

// grant waits as long as is wished for, and decides what the status will be. It reports false if ctx ended meanwhile.
func (s *Server) grant(ctx context.Context, wish *wishes) bool {
	if !s.wait(ctx, wish.delay) {
		return false
	}
	if wish.fail >= 0 && !s.draw(wish.fail) {
		wish.status = http.StatusOK
	}
	return true
}

// write sends the answer.
func (x *exchange) write(wish wishes, body []byte) {
	h := x.w.Header()
	if wish.close {
		h.Set("Connection", "close")
	}
	if wish.status == http.StatusNoContent || wish.status == http.StatusNotModified {
		x.w.WriteHeader(wish.status)
		return
	}
	values := [2]string{"application/json", strconv.Itoa(len(body))}
	h["Content-Type"] = values[:1:1]
	h["Content-Length"] = values[1:]
	x.w.WriteHeader(wish.status)
	_, _ = x.w.Write(body) // a client that is gone is its own witness
}

// pad lengthens a JSON text that ends in a newline to size bytes, with spaces before that newline.
func pad(body []byte, size int) []byte {
	missing := size - len(body)
	if missing <= 0 {
		return body
	}
	at := len(body) - 1
	body = append(body, make([]byte, missing)...)
	for i := at; i < len(body)-1; i++ {
		body[i] = ' '
	}
	body[len(body)-1] = '\n'
	return body
}

// discardBody reads the request's body, so that the connection can be used again, up to a limit. It returns 0, or the
// status that was sent because the body is too long or broken.
func (x *exchange) discardBody() int {
	if x.r.Body == nil || x.r.Body == http.NoBody {
		return 0
	}
	control := http.NewResponseController(x.w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every transport of tests has deadlines
	_, err := io.Copy(io.Discard, http.MaxBytesReader(x.w, x.r.Body, maxBody))
	_ = control.SetReadDeadline(time.Time{})
	if err == nil {
		return 0
	}
	x.w.Header().Set("Connection", "close")
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return x.plain(http.StatusRequestEntityTooLarge, "bodies of at most "+strconv.Itoa(maxBody)+" bytes are read")
	}
	return x.plain(http.StatusBadRequest, "the body ended early")
}
