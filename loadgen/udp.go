package loadgen

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/podskew/podskew/record"
)

// maxDatagram is the longest answer that is read, in bytes.
const maxDatagram = 4 << 10

// newUDPDriver runs flows: a flow is a source address and port, and every datagram that is answered is a request. A
// datagram that is lost, or refused by an ICMP message, does not end the flow: the source port goes on, and with it what
// kube-proxy decided for it.
func newUDPDriver(r *run) driver {
	d := &udpDriver{}
	d.sessionDriver = newSessionDriver(r, ProtocolUDP, d.open)
	return d
}

// udpDriver counts the datagrams that no request waits for.
type udpDriver struct {
	*sessionDriver
	stray atomic.Int64 // answers that came too late, or twice, or to somebody else
}

// account implements driver.
func (d *udpDriver) account(g *record.Generator) { g.StrayAnswers = int(d.stray.Load()) }

// udpSession is one flow.
type udpSession struct {
	driver *udpDriver
	conn   *net.UDPConn
	prefix string // of this flow's tokens
	sent   int
	buf    []byte
	closed func() bool
}

func (d *udpDriver) open(ctx context.Context, t *track, nth int) (session, error) {
	r := d.run
	to, err := r.destination(ctx, t, nth)
	if err != nil {
		return nil, err
	}
	conn, err := dialUDP(ctx, to)
	if err != nil {
		return nil, err
	}
	s := &udpSession{driver: d, conn: conn, prefix: r.plan.Agent + "." + strconv.Itoa(t.slot) + "." + strconv.Itoa(nth) + "."}
	if len(s.prefix) > maxPrefix {
		s.prefix = s.prefix[len(s.prefix)-maxPrefix:]
	}
	s.closed = context.AfterFunc(r.dialCtx, func() { _ = conn.Close() })
	return s, nil
}

// maxPrefix leaves room for a number in a token of 128 characters.
const maxPrefix = 100

// dialUDP opens a connected socket, which hears of ICMP messages and takes answers of nobody else.
func dialUDP(ctx context.Context, to target) (*net.UDPConn, error) {
	var d net.Dialer
	if to.source.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.source, 0))
	}
	address := to.hostPort
	if to.addrPort.IsValid() {
		address = to.addrPort.String()
	}
	conn, err := d.DialContext(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	socket, ok := conn.(*net.UDPConn)
	if !ok {
		_ = conn.Close()
		return nil, errors.New("the dialled socket is not one of UDP")
	}
	return socket, nil
}

func (s *udpSession) stream() exchanger {
	s.buf = make([]byte, maxDatagram)
	return s
}

func (s *udpSession) local() string { return s.conn.LocalAddr().String() }

func (s *udpSession) close(bool) {
	s.closed()
	_ = s.conn.Close()
}

func (s *udpSession) exchange(ctx context.Context, from *attribution) outcome {
	if deadline, ok := ctx.Deadline(); ok {
		_ = s.conn.SetDeadline(deadline)
	}
	s.sent++
	token := s.prefix + strconv.Itoa(s.sent)
	if _, err := s.conn.Write([]byte(token)); err != nil {
		return s.failed(err)
	}
	for {
		n, err := s.conn.Read(s.buf)
		if err != nil {
			return s.failed(err)
		}
		id, err := parseIdentity(s.buf[:n])
		if err != nil {
			return outcome{err: err}
		}
		if id.requestID != token {
			s.driver.stray.Add(1)
			continue
		}
		return outcome{err: id.credit(from, s.driver.run.names)}
	}
}

// failed is the outcome of a datagram that was not answered. The flow goes on unless its socket is gone.
func (s *udpSession) failed(err error) outcome {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errNoAnswer
	}
	return outcome{err: err, over: errors.Is(err, net.ErrClosed)}
}
