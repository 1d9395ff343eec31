package echo

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// maxLater is how many datagrams wait for their answers at a time. More wait to be read, as at any server that is too slow.
const maxLater = 4096

// serveSlow says how long the server waits before each answer (GET, HEAD), or changes it (POST, PUT with ?delay=50ms, 0s to
// [MaxDelay]). Its own pages, the readiness probe among them, are answered at once.
func (s *Server) serveSlow(x *exchange) {
	switch x.r.Method {
	case http.MethodGet, http.MethodHead:
		x.plain(http.StatusOK, time.Duration(s.pace.Load()).String())
		return
	case http.MethodPost, http.MethodPut:
	default:
		x.w.Header().Set("Allow", "GET, HEAD, POST, PUT")
		x.plain(http.StatusMethodNotAllowed, "the delay is read with GET, and changed with POST or PUT")
		return
	}
	if !s.authorized(x.r) {
		x.plain(http.StatusForbidden, "slowing the server takes its token in the header "+HeaderToken)
		return
	}
	delay, err := time.ParseDuration(x.r.URL.Query().Get("delay"))
	if err != nil || delay < 0 || delay > MaxDelay {
		x.plain(http.StatusBadRequest, "want ?delay=, a duration from 0s to "+MaxDelay.String())
		return
	}
	if was := s.pace.Swap(int64(delay)); was != int64(delay) {
		s.logger.Info("pace changed", "delay", delay.String(), "by", x.connection.remote)
	}
	x.plain(http.StatusOK, delay.String())
}

// wait waits for what a request wishes and as long as the server is slow, [MaxDelay] at most. It reports false if ctx ended
// meanwhile.
func (s *Server) wait(ctx context.Context, wished time.Duration) bool {
	delay := min(wished+time.Duration(s.pace.Load()), MaxDelay)
	if delay <= 0 {
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// laterAnswers are the answers to datagrams that a slow server has not sent yet.
type laterAnswers struct {
	server  *Server
	free    chan struct{} // as many as wait
	sending sync.WaitGroup
}

// send sends a copy of an answer once the server has waited. When too many wait it waits for one of them.
func (l *laterAnswers) send(to *udpSocket, answer []byte, source netip.AddrPort, began time.Time) {
	answer = slices.Clone(answer)
	socket := *to // with the address that this datagram came to
	l.free <- struct{}{}
	l.sending.Go(func() {
		defer func() { <-l.free }()
		if !l.server.wait(l.server.cut, 0) {
			return
		}
		_ = socket.write(answer, source) // a client that is gone is its own witness
		l.server.meters.observe(ProtocolUDP, http.StatusOK, time.Since(began))
	})
}
