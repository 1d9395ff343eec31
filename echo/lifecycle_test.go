package echo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener hands out the far ends of pipes, so that a server can be run in fake time.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pipeClient returns a client of l; every client has connections of its own.
func (l *pipeListener) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: l.dial}}
}

// statusOf asks and returns the status, or 0 if there was no answer.
func statusOf(c *http.Client, path string) int {
	response, err := c.Get("http://echo" + path)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func TestStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := New(Options{
			Identity: fullIdentity(), Grace: 5 * time.Second, Drain: 10 * time.Second, Token: "secret",
			Logger: slog.New(slog.NewJSONHandler(&log, nil)),
		})
		listener := newPipeListener()
		signal, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Serve(signal, Listeners{HTTP: listener}) }()
		synctest.Wait()
		kept := listener.client()
		if got := statusOf(kept, "/readyz"); got != 200 {
			t.Errorf("ready: %d, want 200", got)
		}

		began := time.Now()
		stop()
		synctest.Wait()
		if got := statusOf(kept, "/readyz"); got != 200 {
			t.Errorf("ready right after the signal: %d, want 200 for as long as it serves on", got)
		}
		time.Sleep(5*time.Second - 1)
		fresh := listener.client()
		if kept, fresh := statusOf(kept, "/"), statusOf(fresh, "/"); kept != 200 || fresh != 200 {
			t.Errorf("at the end of the grace period: %d on an old connection, %d on a new one, want 200", kept, fresh)
		}
		under := make(chan int)
		go func() { under <- statusOf(listener.client(), "/?delay=3s") }()
		synctest.Wait()
		time.Sleep(1 + time.Millisecond)
		synctest.Wait()
		if got := statusOf(listener.client(), "/"); got != 0 {
			t.Errorf("a new connection while draining: %d, want none", got)
		}
		if got := <-under; got != 200 {
			t.Errorf("the request under way: %d, want 200", got)
		}
		// Shutdown looks for idle connections at growing intervals of up to half a second.
		err := <-ended
		if took := time.Since(began); err != nil || took < 7999*time.Millisecond || took > 8600*time.Millisecond {
			t.Errorf("ended after %v with %v, want about 8 s without an error", took, err)
		}
		for _, want := range []string{"serving on", "draining", "stopped"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log says nothing of %q", want)
			}
		}
		kept.CloseIdleConnections()
		fresh.CloseIdleConnections()
	})
}

func TestRequestsThatDoNotEndAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Grace: time.Second, Drain: 2 * time.Second})
		listener := newPipeListener()
		signal, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Serve(signal, Listeners{HTTP: listener}) }()
		answer := make(chan int)
		go func() { answer <- statusOf(listener.client(), "/?delay=1m") }()
		synctest.Wait()
		began := time.Now()
		stop()
		if err := <-ended; err != nil || time.Since(began) != 3*time.Second {
			t.Errorf("ended after %v with %v, want 3 s without an error", time.Since(began), err)
		}
		if got := <-answer; got != 0 {
			t.Errorf("the request was answered with %d", got)
		}
	})
}

func TestALostListenerIsAnError(t *testing.T) {
	for _, when := range []string{"before the signal", "in the grace period"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listener := newPipeListener()
				signal, stop := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- New(Options{Grace: time.Hour}).Serve(signal, Listeners{HTTP: listener}) }()
				synctest.Wait()
				if when == "in the grace period" {
					stop()
					synctest.Wait()
				}
				_ = listener.Close()
				if err := <-ended; err == nil {
					t.Error("no error")
				}
				stop()
			})
		})
	}
}

func TestDelaysAreKeptToTheMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipeListener()
		signal, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		s := New(Options{})
		go func() { ended <- s.Serve(signal, Listeners{HTTP: listener}) }()
		began := time.Now()
		if got := statusOf(listener.client(), "/?delay=1m"); got != 200 || time.Since(began) != time.Minute {
			t.Errorf("%d after %v, want 200 after 1m", got, time.Since(began))
		}

		// A client that goes away ends its delay.
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, _ := http.NewRequestWithContext(gone, http.MethodGet, "http://echo/?delay=1m", nil)
		if _, err := listener.client().Do(r); err == nil { //nolint:bodyclose // there is no response
			t.Error("answered")
		}
		began = time.Now()
		stop()
		if err := <-ended; err != nil || time.Since(began) != 0 {
			t.Errorf("ended %v after the signal with %v: the delay went on", time.Since(began), err)
		}
	})
}

func TestRunTellsOfATakenPort(t *testing.T) {
	var config net.ListenConfig
	taken, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := New(Options{Listen: taken.Addr().String()}).Run(t.Context()); err == nil {
		t.Error("no error")
	}
}
