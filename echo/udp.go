package echo

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// maxFlows is how many UDP flows are remembered at least. Twice as many are at most, in some 10 MB. A flow that was
// forgotten is a new one when it is heard of again.
const maxFlows = 1 << 15

// flow is one source address and port.
type flow struct {
	number   uint64
	requests uint64
	usage    *usage
	remote   string
}

// flows are the flows seen last. There are two generations: when the young one is full it becomes the old one, whose
// flows are forgotten unless they were heard of meanwhile.
type flows struct {
	limit      int
	young, old map[netip.AddrPort]*flow
}

func newFlows(limit int) *flows {
	return &flows{limit: limit, young: map[netip.AddrPort]*flow{}}
}

// get returns the flow of a source, if it is remembered.
func (f *flows) get(source netip.AddrPort) *flow {
	if one := f.young[source]; one != nil {
		return one
	}
	one := f.old[source]
	if one != nil {
		f.put(source, one)
	}
	return one
}

// put remembers a flow.
func (f *flows) put(source netip.AddrPort, one *flow) {
	if len(f.young) >= f.limit {
		f.old, f.young = f.young, make(map[netip.AddrPort]*flow, f.limit)
	}
	f.young[source] = one
}

// serveUDP answers every datagram that holds a request id, or nothing, with a [Reply]. Others are counted and left
// unanswered: who does not say what an answer is to belong to cannot tell it from a stray one, and a server that answers
// anything at all is of use to those who forge addresses. It ends when draining begins.
func (s *Server) serveUDP(conn *net.UDPConn) error {
	defer conn.Close()
	defer context.AfterFunc(s.draining, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	socket := newUDPSocket(conn)
	later := &laterAnswers{server: s, free: make(chan struct{}, maxLater)}
	defer later.sending.Wait()
	seen := newFlows(maxFlows)
	in, out := make([]byte, maxMessage), make([]byte, 0, maxMessage)
	for {
		n, source, err := socket.read(in)
		switch {
		case s.draining.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			continue // of an earlier answer: nobody listens where it went
		}
		began := time.Now()
		id, ok := datagramID(in[:n])
		if !ok {
			s.garbage.Add(1)
			continue
		}
		out = s.answerDatagram(out[:0], seen, source, id)
		if s.pace.Load() > 0 {
			later.send(socket, out, source, began)
			continue
		}
		_ = socket.write(out, source) // a client that is gone is its own witness
		s.meters.observe(ProtocolUDP, http.StatusOK, time.Since(began))
	}
}

// datagramID returns the request id that a datagram holds, which may be none.
func datagramID(datagram []byte) (string, bool) {
	if len(datagram) > maxMessage/2 {
		return "", false
	}
	id := strings.TrimRight(string(datagram), "\r\n")
	return id, id == "" || validRequestID(id)
}

// answerDatagram counts one datagram and appends the answer to b.
func (s *Server) answerDatagram(b []byte, seen *flows, source netip.AddrPort, id string) []byte {
	client := netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
	one := seen.get(client)
	if one == nil {
		one = &flow{number: s.accepted.Add(1), remote: client.String()}
		one.usage = s.ledger.open(one.number, one.remote, ProtocolUDP, client.Addr())
		seen.put(client, one)
	}
	one.requests++
	s.ledger.count(one.usage)
	c := &connection{number: one.number, client: client, remote: one.remote}
	id = s.requestID([]string{id}, one.number, one.requests)
	s.logRequest(c, ProtocolUDP, one.requests, id, 0)
	return c.render(s.face.Load()).appendReply(b, asked{protocol: ProtocolUDP}, one.requests, id)
}
