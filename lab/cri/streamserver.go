package cri

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming"
)

// streamServer serves the streams of exec, attach and port-forward over HTTP to the kubelet. It stands in for the
// library's own server, which neither tells its address nor ends the connections it has taken over.
type streamServer struct {
	urls     streaming.Server // makes the URLs and handles their requests
	listener *trackingListener
	web      *http.Server

	mu     sync.Mutex // orders the last request before the wait for it
	closed bool
	busy   sync.WaitGroup // requests, which last as long as their streams
}

// newStreamServer listens on the server's address for streams.
func newStreamServer(s *Server) (*streamServer, error) {
	addr := s.opts.StreamAddr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for exec and port-forward: %w", err)
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: listener.Addr().String()}
	urls, err := streaming.NewServer(config, streamRuntime{s})
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("preparing exec and port-forward: %w", err)
	}
	ss := &streamServer{urls: urls, listener: &trackingListener{Listener: listener, open: map[*trackedConn]bool{}}}
	ss.web = &http.Server{Handler: http.HandlerFunc(ss.handle), ReadHeaderTimeout: 10 * time.Second}
	return ss, nil
}

func (ss *streamServer) handle(w http.ResponseWriter, r *http.Request) {
	ss.mu.Lock()
	closed := ss.closed
	if !closed {
		ss.busy.Add(1)
	}
	ss.mu.Unlock()
	if closed {
		http.Error(w, "the runtime is shutting down", http.StatusServiceUnavailable)
		return
	}
	defer ss.busy.Done()
	ss.urls.ServeHTTP(w, r)
}

// serve answers until close.
func (ss *streamServer) serve() error {
	if err := ss.web.Serve(ss.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// close ends all connections and waits for their requests.
func (ss *streamServer) close() {
	ss.mu.Lock()
	ss.closed = true
	ss.mu.Unlock()
	ss.web.Close()
	ss.listener.Close() // not the web server's before serve
	ss.listener.closeConnections()
	ss.busy.Wait()
}

// trackingListener knows its open connections: those that a handler has taken over for its streams are no longer the
// web server's to close.
type trackingListener struct {
	net.Listener

	mu     sync.Mutex
	open   map[*trackedConn]bool
	closed bool
}

// trackedConn is a connection that takes itself off the list.
type trackedConn struct {
	net.Conn
	listener *trackingListener
}

// Accept returns the next connection.
func (l *trackingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	tracked := &trackedConn{conn, l}
	l.open[tracked] = true
	return tracked, nil
}

// Close closes the connection.
func (c *trackedConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// closeConnections closes all, and those to come.
func (l *trackingListener) closeConnections() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for conn := range l.open {
		conn.Conn.Close()
	}
	clear(l.open)
}
