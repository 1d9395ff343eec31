package loadgen

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

// echoServer answers as an echo pod named pod does, on a real socket.
func echoServer(tb testing.TB, pod string) string {
	tb.Helper()
	type connNumber struct{}
	var connections atomic.Uint64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := r.Context().Value(connNumber{}).(uint64)
		w.Header().Set(echo.HeaderPod, pod)
		w.Header().Set(echo.HeaderClient, r.RemoteAddr)
		w.Header().Set(echo.HeaderConnection, strconv.FormatUint(n, 10))
		_, _ = io.WriteString(w, `{"pod": "`+pod+`", "and": "what an echo pod has to say besides"}`)
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connNumber{}, connections.Add(1))
	}
	server.Start()
	tb.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// runPlan runs a plan on real sockets.
func runPlan(tb testing.TB, plan Plan) *results {
	tb.Helper()
	r := &results{}
	if err := Run(tb.Context(), plan, r.sink(tb)); err != nil {
		tb.Fatal(err)
	}
	if t, ok := tb.(*testing.T); ok {
		checkConsistent(t, plan, r)
	}
	return r
}

// runUntil runs a plan on real sockets until enough says that what has happened is, however long that takes, and interrupts
// it then. Tests that wait for something this way do not depend on how fast the machine is.
func runUntil(t *testing.T, plan Plan, enough func(Progress) bool) *results {
	t.Helper()
	plan.Requests, plan.Duration = 0, time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := &results{}
	sink, reached := got.sink(t), false
	if err := Run(ctx, plan, func(m Message) error {
		if m.Progress != nil && !reached && enough(*m.Progress) {
			reached, got.stopped = true, time.Since(plan.Start).Seconds()
			cancel()
		}
		return sink(m)
	}); err != nil {
		t.Fatal(err)
	}
	if !reached {
		t.Errorf("it has not come to that within %s: %+v", plan.Duration, got.progress[len(got.progress)-1])
	}
	checkConsistent(t, plan, got)
	return got
}

func TestRowsSayWhatThePodSaw(t *testing.T) {
	a, b := echoServer(t, "a"), echoServer(t, "b")
	for name, perConnection := range map[string]int{"keep-alive": 0, "fresh": 1, "in between": 3} {
		t.Run(name, func(t *testing.T) {
			got := runPlan(t, planOf(func(p *Plan) {
				p.Addresses = []record.Address{{HostPort: a}, {HostPort: b}}
				p.Connections, p.Requests, p.Duration, p.RequestsPerConnection = 4, 24, 0, perConnection
			}))
			want := 24
			if perConnection != 1 {
				want = map[int]int{0: 4, 3: 8}[perConnection]
			}
			if len(got.rows) != want || len(got.errors()) > 0 {
				t.Errorf("%d connections, errors %v, want %d and none", len(got.rows), got.errors(), want)
			}
			seen := map[string]bool{}
			for _, row := range got.rows {
				pod := map[string]string{a: "a", b: "b"}[row.Address]
				if row.Observed != row.Local || row.Backend != pod || row.Requests != 24/want || row.Error != "" {
					t.Errorf("row %+v", row)
				}
				if row.Connected < row.Opened || row.Closed < row.Connected || row.Closed == 0 {
					t.Errorf("times of row %+v", row)
				}
				key := row.Backend + strconv.FormatUint(row.ServerConn, 10)
				if row.ServerConn == 0 || seen[key] {
					t.Errorf("connection %s twice or without a number", key)
				}
				seen[key] = true
			}
			if diff := cmp.Diff(map[string]int{"a": 12, "b": 12}, got.sum(byBackend)); diff != "" {
				t.Errorf("requests by backend (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"127.0.0.1"}, got.ready.IPs); diff != "" {
				t.Errorf("source addresses (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheServerClosesFirst(t *testing.T) {
	listener := listen(t)
	closed := make(chan error, 3)
	go serveEach(listener, func(conn net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, _ = io.WriteString(conn, by("a"))
		// If the client closed first, this would read the end instead of nothing.
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := conn.Read(make([]byte, 1))
		closed <- err
	})
	runPlan(t, planOf(func(p *Plan) {
		p.Addresses = []record.Address{{HostPort: listener.Addr().String()}}
		p.Requests, p.Duration, p.RequestsPerConnection = 3, 0, 1
	}))
	for range 3 {
		if err := <-closed; !timedOut(err) {
			t.Errorf("the client closed first: %v", err)
		}
	}
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = listener.Close() })
	return listener
}

func serveEach(listener net.Listener, handle func(conn net.Conn)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		handle(conn)
		_ = conn.Close()
	}
}

// firstRow makes requests to address, for each of which it waits no longer than wait, and returns the first row.
func firstRow(t *testing.T, address string, requests int, wait time.Duration) record.Connection {
	t.Helper()
	got := runPlan(t, planOf(func(p *Plan) {
		p.Addresses = []record.Address{{HostPort: address}}
		p.Requests, p.Duration, p.ConnectTimeout, p.Timeout = requests, 0, wait, wait
	}))
	return got.byID()[0]
}

func TestAPortNobodyListensOnRefuses(t *testing.T) {
	listener := listen(t)
	address := listener.Addr().String()
	_ = listener.Close()
	row := firstRow(t, address, 1, 20*time.Second)
	if row.Error != record.ErrRefused || row.Local != "" || row.Connected != 0 || row.Closed == 0 {
		t.Errorf("row %+v", row)
	}
}

func TestADroppedSYNTimesOut(t *testing.T) {
	t.Parallel()
	address := blackhole(t)
	row := firstRow(t, address, 1, 150*time.Millisecond)
	if row.Error != record.ErrTimeout || row.Connected != 0 || row.Closed-row.Opened < 0.15 {
		t.Errorf("row %+v", row)
	}
}

// blackhole returns an address that drops SYNs: that of a listener that never accepts and whose backlog is full.
func blackhole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
	for range 20 {
		conn, err := net.DialTimeout("tcp", address, 300*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Skip("this system's backlogs cannot be filled")
	return ""
}

func TestAResetIsOne(t *testing.T) {
	listener := listen(t)
	go serveEach(listener, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		_, _ = http.ReadRequest(in)
		_, _ = io.WriteString(conn, by("a"))
		_, _ = http.ReadRequest(in)
		_ = conn.(*net.TCPConn).SetLinger(0)
	})
	row := firstRow(t, listener.Addr().String(), 2, 20*time.Second)
	if row.Error != record.ErrReset || row.Requests != 1 || row.Backend != "a" {
		t.Errorf("row %+v", row)
	}
}

func TestANameThatIsNoneFailsInDNS(t *testing.T) {
	row := firstRow(t, "not..a.name:80", 1, 20*time.Second) // no server is asked about it
	if row.Error != record.ErrDNS {
		t.Errorf("row %+v", row)
	}
}

func TestConnectionsLeaveFromDifferentPorts(t *testing.T) {
	address := echoServer(t, "a")
	got := runPlan(t, planOf(func(p *Plan) {
		p.Addresses = []record.Address{{HostPort: address}}
		p.Connections, p.Requests, p.Duration, p.RequestsPerConnection = 8, 200, 0, 1
	}))
	locals := map[string]bool{}
	for _, row := range got.rows {
		locals[row.Local] = true
	}
	if len(locals) < 190 { // a port may be taken again once its connection has gone
		t.Errorf("200 connections left from %d ports", len(locals))
	}
}
