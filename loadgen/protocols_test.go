package loadgen

import (
	order "cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

// pod is an echo pod on this machine.
type pod struct {
	name, web, secure, lines, datagrams string
	stop                                func()
}

// startPod runs an echo server on an address of this machine, on ports of its own or those that are given.
func startPod(tb testing.TB, name, ip string) *pod {
	tb.Helper()
	var l echo.Listeners
	var err error
	for _, to := range []*net.Listener{&l.HTTP, &l.HTTPS, &l.TCP} {
		if *to, err = net.Listen("tcp", net.JoinHostPort(ip, "0")); err != nil {
			tb.Fatal(err)
		}
	}
	if l.UDP, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(ip)}); err != nil {
		tb.Fatal(err)
	}
	p := &pod{
		name: name, web: l.HTTP.Addr().String(), secure: l.HTTPS.Addr().String(), lines: l.TCP.Addr().String(),
		datagrams: l.UDP.LocalAddr().String(),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- echo.New(echo.Options{Identity: echo.Identity{Pod: name, Node: "worker"}, Drain: 5 * time.Second}).Serve(ctx, l)
	}()
	stopped := false
	p.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("echo ended with %v", err)
		}
	}
	tb.Cleanup(p.stop)
	return p
}

// address is where a protocol is spoken.
func (p *pod) address(protocol string, secure bool) string {
	switch {
	case protocol == ProtocolTCP:
		return p.lines
	case protocol == ProtocolUDP:
		return p.datagrams
	case secure:
		return p.secure
	}
	return p.web
}

// rows asks the pod what it counted, by connection.
func (p *pod) rows(tb testing.TB) echo.Rows {
	tb.Helper()
	response, err := http.Get("http://" + p.web + "/stats?rows=compact&limit=131072")
	if err != nil {
		tb.Fatal(err)
	}
	defer response.Body.Close()
	var rows echo.Rows
	if err := json.NewDecoder(response.Body).Decode(&rows); err != nil {
		tb.Fatal(err)
	}
	return rows
}

// speech is a way to speak to an echo pod.
type speech struct {
	protocol string
	tls      bool
	path     string
	named    string // as echo calls it
}

func (s speech) String() string {
	name := s.protocol
	if s.tls {
		name += " with TLS"
	}
	if s.path != "" {
		name += " by streams"
	}
	return name
}

// parallel lets a test wait beside others. With -short one way to speak each protocol will do.
func (s speech) parallel(t *testing.T) {
	t.Helper()
	if testing.Short() && (s.tls || s.path != "") {
		t.Skip("a variant")
	}
	t.Parallel()
}

// speeches are all of them but HTTP/1.1.
func speeches() []speech {
	const converse = "/podskew.v1alpha1.Echo/Converse"
	return []speech{
		{protocol: ProtocolHTTP2, named: "HTTP/2.0"}, {protocol: ProtocolHTTP2, tls: true, named: "HTTP/2.0"},
		{protocol: ProtocolGRPC, named: "gRPC"}, {protocol: ProtocolGRPC, tls: true, named: "gRPC"},
		{protocol: ProtocolGRPC, path: converse, named: "gRPC"}, {protocol: ProtocolWebSocket, named: "WebSocket"},
		{protocol: ProtocolTCP, named: "TCP"}, {protocol: ProtocolUDP, named: "UDP"},
	}
}

// planFor is a plan of that protocol at the pod.
func (s speech) planFor(p *pod, with func(*Plan)) Plan {
	return planOf(func(plan *Plan) {
		plan.Protocol, plan.TLS = s.protocol, s.tls
		if s.path != "" {
			plan.Path = s.path
		}
		plan.Addresses = []record.Address{{HostPort: p.address(s.protocol, s.tls)}}
		plan.ConnectTimeout, plan.Timeout = 5*time.Second, 5*time.Second
		if with != nil {
			with(plan)
		}
	})
}

// checkBothEnds holds the rows of a run against what the pod counted: the same connections, with the same requests.
func checkBothEnds(t *testing.T, got *results, p *pod, named string) {
	t.Helper()
	served := p.rows(t)
	want, have := map[string]int{}, map[string]int{}
	for _, row := range served.Rows {
		if row.Protocol == named {
			want[fmt.Sprintf("%d from %s", row.Connection, row.Client)] = int(row.Requests)
		}
	}
	for _, row := range got.rows {
		if row.Backend != "" {
			have[fmt.Sprintf("%d from %s", row.ServerConn, row.Observed)] += row.Requests // a port taken twice is one flow
		}
		if row.Backend != "" && (row.Observed != row.Local || row.Backend != p.name) {
			t.Errorf("row %+v", row)
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("requests by connection (-pod +client):\n%s", diff)
	}
}

func TestBothEndsCountTheSameInEveryProtocol(t *testing.T) {
	t.Parallel()
	for _, s := range speeches() {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			for _, tc := range []struct {
				name                           string
				requests, per, conns, wantRows int
			}{
				{"connections that last", 200, 0, 4, 4}, {"three requests each", 60, 3, 2, 20}, {"fresh ones", 40, 1, 4, 40},
			} {
				t.Run(tc.name, func(t *testing.T) {
					p := startPod(t, "a", "127.0.0.1")
					got := runPlan(t, s.planFor(p, func(plan *Plan) {
						plan.Requests, plan.Duration, plan.RequestsPerConnection, plan.Connections = tc.requests, 0, tc.per, tc.conns
					}))
					if len(got.rows) != tc.wantRows || got.requests() != tc.requests || len(got.errors()) > 0 {
						t.Errorf("%d rows, %d requests, errors %v: want %d and %d", len(got.rows), got.requests(), got.errors(), tc.wantRows, tc.requests)
					}
					for _, row := range got.rows {
						if row.Error != "" {
							t.Errorf("row %+v", row)
						}
					}
					if g := got.done.Generator; g == nil || g.Driver != s.protocol {
						t.Errorf("generator %+v", g)
					}
					checkBothEnds(t, got, p, s.named)
				})
			}
		})
	}
}

func TestStreamsShareTheirConnections(t *testing.T) {
	t.Parallel()
	for _, s := range speeches()[:5] {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			p := startPod(t, "a", "127.0.0.1")
			plan := s.planFor(p, func(plan *Plan) {
				plan.Connections, plan.StreamsPerConnection, plan.Duration, plan.Requests = 3, 8, 0, 24
				if plan.Path == "/" {
					plan.Path = "/?delay=300ms"
				} else {
					plan.Path += "?delay=300ms"
				}
			})
			began := time.Now()
			got := runPlan(t, plan)
			// One after the other they would take 2.4 s on each connection.
			if took := time.Since(began); len(got.rows) != 3 || got.requests() != 24 || took > 2*time.Second {
				t.Errorf("%d rows, %d requests in %s", len(got.rows), got.requests(), took)
			}
			checkBothEnds(t, got, p, s.named)
		})
	}
}

func TestEveryProtocolEndsWithItsPlan(t *testing.T) {
	t.Parallel()
	for _, s := range speeches() {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			p := startPod(t, "a", "127.0.0.1")
			began := time.Now()
			got := runPlan(t, s.planFor(p, func(plan *Plan) { plan.Duration, plan.Connections = 300*time.Millisecond, 2 }))
			if took := time.Since(began); took < 300*time.Millisecond || took > 3*time.Second || len(got.errors()) > 0 || got.requests() < 2 {
				t.Errorf("%d requests in %s, errors %v", got.requests(), took, got.errors())
			}
			checkBothEnds(t, got, p, s.named)
		})
	}
}

func TestLifetimesReplaceConnectionsInEveryProtocol(t *testing.T) {
	t.Parallel()
	for _, s := range speeches() {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			p := startPod(t, "a", "127.0.0.1")
			const life = 100 * time.Millisecond
			got := runUntil(t, s.planFor(p, func(plan *Plan) {
				plan.ConnectionLifetime, plan.ThinkTime = life, 10*time.Millisecond
			}), func(at Progress) bool { return at.Connections >= 3 })
			for i, row := range got.byID()[:len(got.rows)-1] {
				if life := row.Closed - row.Opened; row.Error != "" || life < 0.1 {
					t.Errorf("connection %d lived %.3f s: %+v", i+1, life, row)
				}
			}
			checkBothEnds(t, got, p, s.named)
		})
	}
}

func TestTheOpenLoopKeepsItsTimesInEveryProtocol(t *testing.T) {
	t.Parallel()
	for _, s := range speeches() {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			p := startPod(t, "a", "127.0.0.1")
			got := runPlan(t, s.planFor(p, func(plan *Plan) { plan.Requests, plan.Duration, plan.Connections, plan.Rate = 100, 0, 2, 250 }))
			g := got.done.Generator
			if g.Intended != 100 || g.Dropped != 0 || got.requests() != 100 || g.Lateness.Count() != 100 {
				t.Errorf("%d intended, %d dropped, %d sent, lateness of %d", g.Intended, g.Dropped, got.requests(), g.Lateness.Count())
			}
			// However late a slow machine sends, nothing is sent before it is due.
			for i, sample := range got.samples {
				if due := float64(i) / 250; sample.Sent < due-1e-6 {
					t.Errorf("request %d was sent at %.4f s, due at %.4f s", i+1, sample.Sent, due)
				}
			}
			checkBothEnds(t, got, p, s.named)
		})
	}
}

func TestFailuresHaveTheSameClassInEveryProtocol(t *testing.T) {
	t.Parallel()
	for _, s := range speeches() {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			once := func(plan *Plan) {
				plan.Requests, plan.Duration, plan.ConnectTimeout, plan.Timeout = 1, 0, 20*time.Second, 20*time.Second
			}
			t.Run("nobody listens", func(t *testing.T) {
				p := startPod(t, "a", "127.0.0.1")
				p.stop()
				row := runPlan(t, s.planFor(p, once)).byID()[0]
				if row.Error != record.ErrRefused || row.Requests != 0 || row.Closed == 0 {
					t.Errorf("row %+v", row)
				}
			})
			t.Run("nothing comes back", func(t *testing.T) {
				p := startPod(t, "a", "127.0.0.1")
				plan := s.planFor(p, once)
				plan.ConnectTimeout, plan.Timeout = 200*time.Millisecond, 200*time.Millisecond
				plan.Addresses[0].HostPort = silent(t, s.protocol)
				got := runPlan(t, plan)
				if row := got.byID()[0]; row.Error != record.ErrTimeout || got.errors()[record.ErrTimeout] != 1 {
					t.Errorf("row %+v, errors %v", row, got.errors())
				}
			})
			if s.protocol == ProtocolUDP {
				return // nobody can cut a flow
			}
			t.Run("the peer resets", func(t *testing.T) {
				p := startPod(t, "a", "127.0.0.1")
				plan := s.planFor(p, once)
				listener := listen(t)
				go serveEach(listener, func(conn net.Conn) {
					_, _ = conn.Read(make([]byte, 1))
					_ = conn.(*net.TCPConn).SetLinger(0)
				})
				plan.Addresses[0].HostPort = listener.Addr().String()
				if s.protocol == ProtocolTCP {
					plan.Requests = 2
					t.Skip("an echo pod speaks first")
				}
				got := runPlan(t, plan)
				if row := got.byID()[0]; row.Error != record.ErrReset || got.errors()[record.ErrReset] != 1 {
					t.Errorf("row %+v, errors %v", row, got.errors())
				}
			})
			if s.protocol == ProtocolTCP {
				return // it has no statuses
			}
			t.Run("a status says no", func(t *testing.T) {
				p := startPod(t, "a", "127.0.0.1")
				plan := s.planFor(p, func(plan *Plan) { plan.Requests, plan.Duration = 3, 0 })
				if plan.Path == "/" {
					plan.Path = "/?status=503"
				} else {
					plan.Path += "?status=503"
				}
				got := runPlan(t, plan)
				if got.errors()[record.ErrStatus] != 3 || got.requests() != 3 {
					t.Errorf("%d requests, errors %v", got.requests(), got.errors())
				}
				if s.protocol != ProtocolWebSocket { // whose connection ends with it
					checkBothEnds(t, got, p, s.named)
				}
			})
		})
	}
}

// silent returns an address that takes what is sent to it and says nothing.
func silent(t *testing.T, protocol string) string {
	t.Helper()
	if protocol == ProtocolUDP {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn.LocalAddr().String()
	}
	listener := listen(t) // connections are established, and nobody accepts them
	return listener.Addr().String()
}

func TestAnInterruptCutsEveryProtocol(t *testing.T) {
	t.Parallel()
	for _, s := range speeches() {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			p := startPod(t, "a", "127.0.0.1")
			plan := s.planFor(p, func(plan *Plan) {
				plan.Duration, plan.Timeout, plan.ConnectTimeout = time.Hour, time.Minute, time.Minute
			})
			plan.Addresses[0].HostPort = silent(t, s.protocol)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			got := &results{}
			sink := got.sink(t)
			began := time.Now()
			err := Run(ctx, plan, func(m Message) error {
				if m.Progress != nil && m.Progress.Open > 0 {
					cancel()
				}
				return sink(m)
			})
			if took := time.Since(began); err != nil || !got.done.Interrupted || len(got.rows) != 1 || took > 5*time.Second {
				t.Fatalf("%v after %s, %+v, rows %+v", err, took, got.done, got.rows)
			}
			if row := got.rows[0]; row.Error != record.ErrOther || row.ErrorDetail != errInterrupted.Error() {
				t.Errorf("row %+v", row)
			}
		})
	}
}

func TestASlowPodTimesOutWithoutLosingTheUnit(t *testing.T) {
	t.Parallel()
	p := startPod(t, "a", "127.0.0.1")
	for _, s := range speeches()[:5] {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			got := runPlan(t, s.planFor(p, func(plan *Plan) {
				plan.Requests, plan.Duration, plan.Timeout = 3, 0, 100*time.Millisecond
				if plan.Path == "/" {
					plan.Path = "/?delay=10s"
				} else {
					plan.Path += "?delay=10s"
				}
			}))
			if len(got.rows) != 1 || got.errors()[record.ErrTimeout] != 3 || got.rows[0].Error != record.ErrTimeout {
				t.Errorf("errors %v, rows %+v", got.errors(), got.rows)
			}
		})
	}
}

func TestALostConnectionIsFollowedByANewUnit(t *testing.T) {
	t.Parallel()
	for _, s := range speeches()[:7] {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			p := startPod(t, "a", "127.0.0.1")
			cutter := newCutter(t, p.address(s.protocol, s.tls))
			plan := s.planFor(p, func(plan *Plan) {
				plan.ThinkTime = 10 * time.Millisecond
			})
			plan.Addresses[0].HostPort = cutter.address
			cutAt := 0
			got := runUntil(t, plan, func(at Progress) bool {
				if at.Requests > 5 && cutAt == 0 {
					cutAt = at.Requests
					cutter.cut()
				}
				return at.Connections > 1 && at.Requests > cutAt+20 // of which most are the second connection's
			})
			rows := got.byID()
			if len(rows) != 2 || rows[0].Error != record.ErrReset || rows[1].Error != "" || rows[1].Requests < 5 {
				t.Errorf("rows %+v", rows)
			}
			if n := got.errors()[record.ErrReset]; n > 1 {
				t.Errorf("%d requests failed", n)
			}
		})
	}
}

// cutter relays connections and resets them on demand.
type cutter struct {
	address string
	cut     func()
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	listener := listen(t)
	live := make(chan net.Conn, 100)
	go serveEach2(listener, func(conn net.Conn) {
		up, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		live <- conn
		go func() { relay(up, conn) }()
		relay(conn, up)
	})
	return &cutter{address: listener.Addr().String(), cut: func() {
		conn := <-live
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}}
}

func relay(to, from net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}

func serveEach2(listener net.Listener, handle func(net.Conn)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go handle(conn)
	}
}

func TestAPodThatSaysGoodbyeLosesNoRequest(t *testing.T) {
	t.Parallel()
	for _, s := range speeches()[:4] {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			p := startPod(t, "a", "127.0.0.1")
			gone := make(chan struct{})
			plan := s.planFor(p, func(plan *Plan) {
				plan.StreamsPerConnection, plan.Path = 2, "/?delay=5ms"
			})
			asked := false
			got := runUntil(t, plan, func(at Progress) bool {
				if at.Requests > 5 && !asked {
					asked = true
					go func() { defer close(gone); p.stop() }()
				}
				return at.Errors > 0
			})
			<-gone
			rows := got.byID()
			if rows[0].Error != "" || rows[0].Requests < 5 || len(rows) < 2 || rows[1].Error != record.ErrRefused {
				t.Errorf("rows %+v", rows[:min(2, len(rows))])
			}
			if errs := got.errors(); len(errs) > 1 || errs[record.ErrRefused] == 0 {
				t.Errorf("errors %v", errs)
			}
		})
	}
}

func TestOneFlowKeepsItsPortAndFreshOnesDoNot(t *testing.T) {
	p := startPod(t, "a", "127.0.0.1")
	for per, want := range map[int]int{0: 2, 1: 50} {
		got := runPlan(t, speech{protocol: ProtocolUDP}.planFor(p, func(plan *Plan) {
			plan.Requests, plan.Duration, plan.Connections, plan.RequestsPerConnection = 50, 0, 2, per
		}))
		ports := map[string]bool{}
		for _, row := range got.rows {
			ports[row.Local] = true
		}
		if len(got.rows) != want || len(ports) < want*9/10 {
			t.Errorf("%d requests per port: %d flows from %d ports, want %d", per, len(got.rows), len(ports), want)
		}
	}
}

func TestSourcesInEveryProtocol(t *testing.T) {
	t.Parallel()
	for _, s := range speeches() {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			p := startPod(t, "a", "127.0.0.1")
			got := runPlan(t, s.planFor(p, func(plan *Plan) {
				plan.Requests, plan.Duration, plan.Connections = 4, 0, 4
				plan.Sources = []string{"127.0.1.1", "127.0.1.2"}
			}))
			var from []string
			for _, row := range got.byID() {
				host, _, _ := net.SplitHostPort(row.Observed)
				from = append(from, host+" slot "+strconv.Itoa(row.Slot%2))
			}
			slices.Sort(from)
			want := []string{"127.0.1.1 slot 0", "127.0.1.1 slot 0", "127.0.1.2 slot 1", "127.0.1.2 slot 1"}
			if diff := cmp.Diff(want, from); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPortsInEveryProtocolThatHasThem(t *testing.T) {
	for _, s := range speeches() {
		if can, _ := abilities(s.protocol); can&canPorts == 0 {
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			p, first := startPod(t, "a", "127.0.0.1"), freePorts(t, 4)
			got := runPlan(t, s.planFor(p, func(plan *Plan) {
				plan.Requests, plan.Duration, plan.Connections = 8, 0, 4
				plan.SourcePorts = &record.PortRange{From: first, To: first + 3}
			}))
			var from, want []string
			for _, row := range got.byID() {
				from = append(from, row.Observed)
			}
			slices.Sort(from)
			for i := range 4 {
				want = append(want, "127.0.0.1:"+strconv.Itoa(first+i))
			}
			if diff := cmp.Diff(want, from); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestChurnReplacesConnectionsInEveryProtocol(t *testing.T) {
	t.Parallel()
	for _, s := range speeches() {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			p := startPod(t, "a", "127.0.0.1")
			got := runUntil(t, s.planFor(p, func(plan *Plan) {
				plan.Connections, plan.ConnectionsPerSecond, plan.ThinkTime = 2, 20, 5*time.Millisecond
			}), func(at Progress) bool { return at.Connections >= 8 })
			checkChurn(t, got, 20)
			checkBothEnds(t, got, p, s.named)
		})
	}
}

// checkChurn checks that no connection was replaced before its turn.
func checkChurn(t *testing.T, got *results, perSecond float64) {
	t.Helper()
	rows := slices.SortedFunc(slices.Values(got.rows), func(a, b record.Connection) int { return order.Compare(a.Closed, b.Closed) })
	for i, row := range rows {
		if due := min(float64(i+1)/perSecond, got.stopped); row.Error != "" || row.Closed < due-1e-6 {
			t.Errorf("the connection that ended as number %d, not before %.3f s: %+v", i+1, due, row)
		}
	}
}

func TestARateHoldsEveryProtocolBack(t *testing.T) {
	t.Parallel()
	for _, s := range speeches() {
		t.Run(s.String(), func(t *testing.T) {
			s.parallel(t)
			p := startPod(t, "a", "127.0.0.1")
			got := runPlan(t, s.planFor(p, func(plan *Plan) { plan.Requests, plan.Duration, plan.Connections, plan.MaxRate = 51, 0, 2, 200 }))
			if n := got.requests(); n != 51 || len(got.errors()) > 0 || got.done.Seconds < 0.249 {
				t.Errorf("%d requests in %.3f s at 200 per second, errors %v", n, got.done.Seconds, got.errors())
			}
		})
	}
}

func TestStrayDatagramsAreNobodysAnswer(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, id := range []string{"somebody.else.1", string(buf[:n]), string(buf[:n])} { // the last one is a duplicate
				_, _ = fmt.Fprintf(peer{conn, from}, `{"pod":"a","client":{"address":"127.0.0.1","port":1},"connection":1,"requestID":%q}`, id)
			}
		}
	}()
	got := runPlan(t, planOf(func(p *Plan) {
		p.Protocol, p.Requests, p.Duration = ProtocolUDP, 5, 0
		p.Addresses = []record.Address{{HostPort: conn.LocalAddr().String()}}
	}))
	if got.requests() != 5 || len(got.errors()) > 0 || got.rows[0].Requests != 5 || got.done.Generator.StrayAnswers < 9 {
		t.Errorf("%d requests, errors %v, row %+v, %d stray", got.requests(), got.errors(), got.rows[0], got.done.Generator.StrayAnswers)
	}
}

// peer writes to one peer.
type peer struct {
	conn *net.UDPConn
	to   netip.AddrPort
}

func (w peer) Write(b []byte) (int, error) { return w.conn.WriteToUDPAddrPort(b, w.to) }

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte(`{"pod":"a","client":{"address":"10.0.0.1","port":80},"connection":7,"requestID":"x"}`))
	f.Add([]byte(`{"client":{"address":"fd00::1%eth0"},"connection":18446744073709551615}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		id, err := parseIdentity(answer)
		if err != nil {
			if classify(err) != record.ErrParse {
				t.Errorf("%v is of class %s", err, classify(err))
			}
			return
		}
		from := &attribution{}
		if err := id.credit(from, newNames()); err != nil {
			return // a name that is none
		}
		if from.pod != "" && checkName(from.pod) != nil || from.client != "" && from.ip == "" {
			t.Errorf("%q gives %+v", answer, from)
		}
	})
}

func TestJSONMembersAreFoundByTheirPath(t *testing.T) {
	body := []byte(`{"a": {"b": "pod-1", "n": 1}, "c": "x"}`)
	for path, want := range map[string]string{"a.b": "pod-1", "c": "x", "a": "", "a.n": "1", "a.x": "", "c.d": "", "": ""} {
		if got := jsonMember(body, path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func TestHTTP2AttributesByHeaderOrBody(t *testing.T) {
	p := startPod(t, "a", "127.0.0.1")
	for name, a := range map[string]Attribution{"by header": {Header: "X-Podskew-Node"}, "by body": {JSON: "node"}} {
		t.Run(name, func(t *testing.T) {
			got := runPlan(t, speech{protocol: ProtocolHTTP2}.planFor(p, func(plan *Plan) {
				plan.Requests, plan.Duration, plan.Attribution = 3, 0, &a
			}))
			if diff := cmp.Diff(map[string]int{"worker": 3}, got.sum(byBackend)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBothEndsAgreeOverAHundredThousandRequests(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	p := startPod(t, "a", "127.0.0.1")
	s := speech{protocol: ProtocolHTTP1, named: "HTTP/1.1"}
	requests := 100_000
	if raceEnabled {
		requests /= 5
	}
	got := runPlan(t, s.planFor(p, func(plan *Plan) {
		plan.Connections, plan.Requests, plan.Duration, plan.RequestsPerConnection = 10, requests, 0, 10
	}))
	if len(got.rows) != requests/10 || got.requests() != requests || len(got.errors()) > 0 {
		t.Errorf("%d rows, %d requests, errors %v", len(got.rows), got.requests(), got.errors())
	}
	checkBothEnds(t, got, p, s.named)
}
