package loadgen

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

// secureServer is echoServer inside TLS, with a certificate that nobody trusts.
func secureServer(t *testing.T, pod string) (address string, names func() []string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.TLS.ServerName+" "+r.Proto)
		mu.Unlock()
		w.Header().Set(echo.HeaderPod, pod)
		_, _ = io.WriteString(w, "ok")
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

func TestTLSIsSpokenWithStrangers(t *testing.T) {
	address, names := secureServer(t, "a")
	got := runPlan(t, planOf(func(p *Plan) {
		p.Addresses, p.TLS, p.Host = []record.Address{{HostPort: address}}, true, "web.example.org"
		p.Connections, p.Requests, p.Duration, p.RequestsPerConnection = 1, 6, 0, 2
	}))
	if len(got.rows) != 3 || got.requests() != 6 || len(got.errors()) > 0 || got.done.Generator.Driver != "conn" {
		t.Errorf("%d connections, %d requests, errors %v, generator %+v", len(got.rows), got.requests(), got.errors(), got.done.Generator)
	}
	if diff := cmp.Diff("web.example.org HTTP/1.1", strings.Join(slices.Compact(names()), ",")); diff != "" {
		t.Errorf("names and protocols (-want +got):\n%s", diff)
	}
}

func TestAHandshakeThatIsNoneFailsTheDial(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(conn net.Conn)
		want  record.ErrorKind
		wait  time.Duration
	}{
		"with a server that does not speak TLS": {func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1))
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn)
		}, record.ErrParse, 20 * time.Second},
		"with one that says nothing": {func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, record.ErrTimeout, 200 * time.Millisecond},
		"with one that leaves":       {func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) }, record.ErrReset, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener := listen(t)
			go serveEach(listener, tc.serve)
			got := runPlan(t, planOf(func(p *Plan) {
				p.Addresses, p.TLS = []record.Address{{HostPort: listener.Addr().String()}}, true
				p.Requests, p.Duration, p.ConnectTimeout = 1, 0, tc.wait
			}))
			if row := got.rows[0]; row.Error != tc.want || row.Connected != 0 {
				t.Errorf("row %+v", row)
			}
		})
	}
}

func TestConnectionsLeaveFromTheirSources(t *testing.T) {
	address := echoServer(t, "a")
	for _, driver := range []string{DriverConn, ""} {
		got := runPlan(t, planOf(func(p *Plan) {
			p.Addresses, p.Driver = []record.Address{{HostPort: address}}, driver
			p.Sources, p.Connections = []string{"127.0.0.5", "127.0.0.6", "127.0.0.7"}, 6
			p.Requests, p.Duration, p.RequestsPerConnection = 60, 0, 1
		}))
		n := map[string]int{}
		for _, row := range got.rows {
			local, _, _ := net.SplitHostPort(row.Local)
			observed, _, _ := net.SplitHostPort(row.Observed)
			if local != observed {
				t.Errorf("it left from %s and was seen as %s", row.Local, row.Observed)
			}
			n[local]++
		}
		if diff := cmp.Diff(map[string]int{"127.0.0.5": 20, "127.0.0.6": 20, "127.0.0.7": 20}, n); diff != "" {
			t.Errorf("connections by source (-want +got):\n%s", diff)
		}
	}
}

func TestAServerMayCloseIdleConnections(t *testing.T) {
	t.Parallel()
	listener := listen(t)
	server := &http.Server{
		IdleTimeout: 20 * time.Millisecond,
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(echo.HeaderPod, "a") }),
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	const pause = 300 * time.Millisecond // much longer than the server waits
	for name, with := range map[string]func(p *Plan){
		"that think":  func(p *Plan) { p.ThinkTime = pause },
		"of a pool":   func(p *Plan) { p.Rate = 1 / pause.Seconds() },
		"in time":     func(p *Plan) { p.Rate, p.ConnectionLifetime = 1/pause.Seconds(), time.Hour },
		"one by one":  func(p *Plan) { p.Rate, p.Connections, p.PoolPolicy = 1/pause.Seconds(), 3, PoolLRU },
		"and no pool": func(p *Plan) { p.ThinkTime, p.Connections = pause, 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := runPlan(t, planOf(func(p *Plan) {
				p.Addresses, p.Requests, p.Duration, p.Driver = []record.Address{{HostPort: listener.Addr().String()}}, 4, 0, DriverConn
				with(p)
			}))
			// Times to think are never shorter than planned. A request that is sent late may find its connection still there.
			least := 4
			if got.done.Generator.Intended > 0 {
				least = 2
			}
			if len(got.errors()) > 0 || got.requests() != 4 || len(got.rows) < least {
				t.Errorf("%d requests on %d connections, errors %v", got.requests(), len(got.rows), got.errors())
			}
		})
	}
}

func TestANameIsDialledWithWhatItWasResolvedTo(t *testing.T) {
	address := echoServer(t, "a")
	_, port, _ := net.SplitHostPort(address)
	got := runPlan(t, planOf(func(p *Plan) {
		p.Addresses, p.Requests, p.Duration = []record.Address{{HostPort: "localhost:" + port}}, 2, 0
	}))
	if row := got.rows[0]; row.Dialled != "127.0.0.1:"+port || row.Backend != "a" {
		t.Errorf("row %+v", row)
	}
}
