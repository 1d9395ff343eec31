package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"
)

const (
	maxTCPConnections = 256
	maxTCPQueries     = 128 // on one connection
	tcpIdleTimeout    = 10 * time.Second
	ioTimeout         = 2 * time.Second
	shutdownTimeout   = time.Second
	maxPortAttempts   = 10 // to find a port that is free for UDP and TCP
)

// sockets are what the server listens on: for each address one socket of either kind.
type sockets struct {
	udp []net.PacketConn
	tcp []net.Listener
}

// bind opens the sockets for addresses (ip:port).
func bind(ctx context.Context, listen []string) (*sockets, error) {
	s := &sockets{}
	for _, address := range listen {
		if err := s.bindPair(ctx, address); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// bindPair opens the UDP and the TCP socket for one address. With port 0, TCP takes the port that UDP was given, or both
// try another if a TCP socket has that one already.
func (s *sockets) bindPair(ctx context.Context, address string) error {
	var config net.ListenConfig
	_, port, _ := net.SplitHostPort(address)
	for attempt := 1; ; attempt++ {
		udp, err := config.ListenPacket(ctx, "udp", address)
		if err != nil {
			return fmt.Errorf("binding cluster DNS over UDP: %w", err)
		}
		tcp, err := config.Listen(ctx, "tcp", udp.LocalAddr().String())
		if err == nil {
			s.udp = append(s.udp, udp)
			s.tcp = append(s.tcp, netutil.LimitListener(tcp, maxTCPConnections))
			return nil
		}
		_ = udp.Close()
		if port != "0" || attempt == maxPortAttempts {
			return fmt.Errorf("binding cluster DNS over TCP: %w", err)
		}
	}
}

// addresses returns the addresses that clients can reach the sockets at, as far as they say.
func (s *sockets) addresses() []netip.Addr {
	var addrs []netip.Addr
	for _, conn := range s.udp {
		if bound, ok := conn.LocalAddr().(*net.UDPAddr); ok && !bound.IP.IsUnspecified() {
			addrs = append(addrs, bound.AddrPort().Addr().Unmap().WithZone(""))
		}
	}
	return addrs
}

// close closes all sockets; those closed already do not matter.
func (s *sockets) close() {
	for _, conn := range s.udp {
		_ = conn.Close()
	}
	for _, listener := range s.tcp {
		_ = listener.Close()
	}
}

// serve answers on all sockets until ctx ends or one of them fails. It calls ready once all of them answer.
func (s *sockets) serve(ctx context.Context, h dns.Handler, ready func([]net.Addr)) error {
	servers := make([]*dns.Server, 0, 2*len(s.udp))
	for _, conn := range s.udp {
		servers = append(servers, &dns.Server{PacketConn: conn, UDPSize: dns.DefaultMsgSize})
	}
	for _, listener := range s.tcp {
		servers = append(servers, &dns.Server{Listener: listener, MaxTCPQueries: maxTCPQueries})
	}
	var started, ended sync.WaitGroup
	failed := make(chan error, len(servers))
	for _, server := range servers {
		server.Handler = h
		server.ReadTimeout, server.WriteTimeout = ioTimeout, ioTimeout
		server.IdleTimeout = func() time.Duration { return tcpIdleTimeout }
		started.Add(1)
		server.NotifyStartedFunc = sync.OnceFunc(started.Done)
		ended.Go(func() {
			// Also a server that never got going must not keep the others' start waiting.
			defer server.NotifyStartedFunc()
			failed <- server.ActivateAndServe()
		})
	}
	started.Wait()
	addrs := make([]net.Addr, 0, len(s.udp))
	for _, conn := range s.udp {
		addrs = append(addrs, conn.LocalAddr())
	}
	ready(addrs)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serving cluster DNS: %w", errors.Join(err, errors.New("a socket ended early")))
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	for _, server := range servers {
		_ = server.ShutdownContext(stop)
	}
	s.close()
	ended.Wait()
	return err
}
