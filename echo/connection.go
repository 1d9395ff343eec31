package echo

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/pires/go-proxyproto"
)

// connection is what the server knows of one accepted connection.
type connection struct {
	number   uint64 // from 1
	conn     net.Conn
	requests atomic.Uint64 // all of them, probes and the like included

	// The peer is known when the first request is: a PROXY protocol preamble has to be read first.
	identify  sync.Once
	client    netip.AddrPort // invalid if the transport has no such addresses
	remote    string         // the client as text
	proxied   string         // the source that a preamble named, or ""
	tls       bool
	meter     sync.Once // guards usage
	usage     *usage
	numberHdr []string // header values, made once
	remoteHdr []string

	text atomic.Pointer[connectionText]
}

// connectionKey is where a request's context holds its connection.
type connectionKey struct{}

// connectionOf returns the connection of a request. Requests that did not come through the server's own listener (in
// tests of the handler alone) have one of their own.
func connectionOf(r *http.Request) *connection {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		return c
	}
	return &connection{number: 1}
}

// connContext is the server's ConnContext. It must not ask conn for its peer: that would read a PROXY protocol preamble
// in the loop that accepts connections, and one silent client would stop it.
func (s *Server) connContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, s.newConnection(conn))
}

// newConnection numbers a connection.
func (s *Server) newConnection(conn net.Conn) *connection {
	c := &connection{number: s.accepted.Add(1), conn: conn}
	if secure, ok := conn.(*tls.Conn); ok {
		c.tls, c.conn = true, secure.NetConn()
	}
	return c
}

// identified returns c with its peer filled in from its first request. The remote address is that of the request or of
// the connection, as text.
func (c *connection) identified(remote string) *connection {
	c.identify.Do(func() {
		c.remote = remote
		if client, err := netip.ParseAddrPort(remote); err == nil {
			c.client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
			c.remote = c.client.String()
		}
		if conn, ok := c.conn.(*proxyproto.Conn); ok {
			if header := conn.ProxyHeader(); header != nil && !header.Command.IsLocal() {
				c.proxied = c.remote
			}
		}
		c.numberHdr = []string{strconv.FormatUint(c.number, 10)}
		c.remoteHdr = []string{c.remote}
	})
	return c
}

// address returns the peer as it appears in a Reply.
func (c *connection) address() Client {
	if !c.client.IsValid() {
		return Client{Address: c.remote}
	}
	return Client{Address: c.client.Addr().String(), Port: c.client.Port()}
}

// limitListener accepts at most a number of connections at a time and closes the rest at once: a client should see that
// it was turned away instead of waiting in a queue that it does not know of.
type limitListener struct {
	net.Listener
	limit  int64
	open   *atomic.Int64
	turned *atomic.Uint64 // away
}

// Accept implements net.Listener.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.limit {
			return &limitedConn{Conn: conn, open: l.open}, nil
		}
		l.open.Add(-1)
		l.turned.Add(1)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, as from a full backlog, and no TIME_WAIT here
		}
		_ = conn.Close()
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	open  *atomic.Int64
	close sync.Once
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.close.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// CloseWrite lets the HTTP server end a connection whose request it did not read to the end without a reset.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
