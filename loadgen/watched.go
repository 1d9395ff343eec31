package loadgen

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// dialWatched is dial with an eye on the connection below TLS.
func (r *run) dialWatched(ctx context.Context, t *track, nth int, protos ...string) (net.Conn, *watchedConn, error) {
	to, err := r.destination(ctx, t, nth)
	if err != nil {
		return nil, nil, err
	}
	raw, err := r.world.dial(ctx, to)
	if err != nil {
		r.leftInVain(t, to, err)
		return nil, nil, err
	}
	watched := &watchedConn{Conn: raw}
	conn, err := r.secure(ctx, watched, to, protos...)
	return conn, watched, err
}

// watchedConn remembers the first failure of a connection, which HTTP/2 and gRPC would turn into words.
type watchedConn struct {
	net.Conn
	first atomic.Pointer[error]
	heard atomic.Bool // anything was read
}

// Read implements net.Conn.
func (w *watchedConn) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 && !w.heard.Load() {
		w.heard.Store(true)
	}
	w.note(err)
	return n, err
}

// Write implements net.Conn.
func (w *watchedConn) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.note(err)
	return n, err
}

func (w *watchedConn) note(err error) {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		w.first.CompareAndSwap(nil, &err)
	}
}

// failure is the first error of the peer's making, or nil.
func (w *watchedConn) failure() error {
	err := w.first.Load()
	switch {
	case err == nil:
		return nil
	case errors.Is(*err, io.EOF):
		return errClosed
	}
	return *err
}

// severed is failure, but nil if the peer closed the connection in an orderly way: with no request under way that is its
// right.
func (w *watchedConn) severed() error {
	if err := w.failure(); !errors.Is(err, errClosed) {
		return err
	}
	return nil
}
