package echo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Listeners are what a [Server] serves on. At least one is set; the server closes them all.
type Listeners struct {
	// HTTP is for HTTP/1.1 and HTTP/2 without TLS (with prior knowledge), gRPC and WebSockets.
	HTTP net.Listener
	// HTTPS is for the same inside TLS.
	HTTPS net.Listener
	// TCP is for lines of text.
	TCP net.Listener
	// UDP is for datagrams.
	UDP *net.UDPConn
}

// listen opens what the options name.
func (o Options) listen(ctx context.Context) (l Listeners, err error) {
	var config net.ListenConfig
	for _, one := range []struct {
		name, address string
		to            *net.Listener
	}{{"HTTP", o.Listen, &l.HTTP}, {"HTTPS", o.ListenTLS, &l.HTTPS}, {"TCP", o.ListenTCP, &l.TCP}} {
		if one.address == "" {
			continue
		}
		if *one.to, err = config.Listen(ctx, "tcp", one.address); err != nil {
			l.close()
			return Listeners{}, fmt.Errorf("listening for %s: %w", one.name, err)
		}
	}
	if o.ListenUDP != "" {
		conn, err := config.ListenPacket(ctx, "udp", o.ListenUDP)
		if err != nil {
			l.close()
			return Listeners{}, fmt.Errorf("listening for UDP: %w", err)
		}
		l.UDP, _ = conn.(*net.UDPConn)
	}
	if l == (Listeners{}) {
		return l, errors.New("there is nothing to listen on")
	}
	return l, nil
}

// close closes all of them.
func (l Listeners) close() {
	for _, listener := range []net.Listener{l.HTTP, l.HTTPS, l.TCP} {
		if listener != nil {
			_ = listener.Close()
		}
	}
	if l.UDP != nil {
		_ = l.UDP.Close()
	}
}

// addresses are the names of the listeners and what they are bound to, for the log.
func (l Listeners) addresses() []any {
	var all []any
	for _, one := range []struct {
		name     string
		listener net.Listener
	}{{"address", l.HTTP}, {"https", l.HTTPS}, {"tcp", l.TCP}} {
		if one.listener != nil {
			all = append(all, one.name, one.listener.Addr().String())
		}
	}
	if l.UDP != nil {
		all = append(all, "udp", l.UDP.LocalAddr().String())
	}
	return all
}

// serving are the parts of a server that are under way.
type serving struct {
	listeners Listeners
	http      *http.Server
	parts     int
	ended     chan error // of each part; nil if it was to end
}

// begin starts all parts as goroutines of running.
func (s *Server) begin(running *sync.WaitGroup, l Listeners) (*serving, error) {
	v := &serving{listeners: l, ended: make(chan error, 4)}
	start := func(name string, serve func() error) {
		v.parts++
		running.Go(func() {
			err := serve()
			if err != nil && !errors.Is(err, http.ErrServerClosed) {
				err = fmt.Errorf("%s: %w", name, err)
			} else {
				err = nil
			}
			v.ended <- err
		})
	}
	v.http = s.httpServer()
	if l.HTTPS != nil {
		certificate, err := selfSigned(s.options.Identity, s.started)
		if err != nil {
			return nil, err
		}
		v.http.TLSConfig = tlsConfig(certificate)
		start("HTTPS", func() error { return v.http.ServeTLS(s.wrap(l.HTTPS), "", "") })
	}
	if l.HTTP != nil {
		start("HTTP", func() error { return v.http.Serve(s.wrap(l.HTTP)) })
	}
	if l.TCP != nil {
		start("TCP", func() error { return s.serveTCP(s.wrap(l.TCP)) })
	}
	if l.UDP != nil {
		start("UDP", func() error { return s.serveUDP(l.UDP) })
	}
	return v, nil
}

// drain ends all parts: they take nothing new, end what is at rest, and wait for answers under way. What takes longer
// than within is cut off.
func (s *Server) drain(ctx context.Context, v *serving, within time.Duration) error {
	s.logger.Info("draining", "connections", s.open.Load(), "within", within.String())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	s.startDrain()
	if v.listeners.TCP != nil {
		_ = v.listeners.TCP.Close()
	}
	cutOff := context.AfterFunc(ctx, s.cutAll)
	err := v.http.Shutdown(ctx)
	if err != nil {
		s.logger.Warn("requests cut off", "connections", s.open.Load())
		_ = v.http.Close()
	}
	s.hijacked.Wait() // not before: Shutdown sees to it that there are no new ones
	var errs []error
	for range v.parts {
		errs = append(errs, <-v.ended)
	}
	cutOff()
	s.cutAll()
	return errors.Join(errs...)
}

// abandon ends all parts at once.
func (s *Server) abandon(v *serving) {
	s.startDrain()
	s.cutAll()
	v.listeners.close()
	_ = v.http.Close()
	s.grpc.Stop()
}
