package loadgen

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

func TestEveryConnectionHasAPortOfItsOwn(t *testing.T) {
	for name, tc := range map[string]struct {
		sources, connections, from, to int
		want                           [][]uint16 // by slot, of its first four connections
	}{
		"one address, a port each":          {0, 3, 600, 602, [][]uint16{{600, 600, 600, 600}, {601, 601, 601, 601}, {602, 602, 602, 602}}},
		"one address, two ports each":       {0, 2, 600, 604, [][]uint16{{600, 602, 600, 602}, {601, 603, 601, 603}}},
		"two addresses, each all the ports": {2, 4, 600, 601, [][]uint16{{600, 600, 600, 600}, {600, 600, 600, 600}, {601, 601, 601, 601}, {601, 601, 601, 601}}},
		"two addresses, an odd connection":  {2, 3, 600, 603, [][]uint16{{600, 602, 600, 602}, {600, 602, 600, 602}, {601, 603, 601, 603}}},
	} {
		t.Run(name, func(t *testing.T) {
			plan := planOf(func(p *Plan) {
				p.Connections, p.SourcePorts = tc.connections, &record.PortRange{From: tc.from, To: tc.to}
				for i := range tc.sources {
					p.Sources = append(p.Sources, "10.0.0."+strconv.Itoa(i+1))
				}
			})
			if err := plan.Validate(); err != nil {
				t.Fatal(err)
			}
			var got [][]uint16
			owner := map[netip.AddrPort]int{}
			for slot := range tc.connections {
				var ports []uint16
				for nth := 1; nth <= 4; nth++ {
					port := plan.sourcePort(slot, nth)
					ports = append(ports, port)
					at := netip.AddrPortFrom(plan.sourceOf(slot), port)
					if other, taken := owner[at]; taken && other != slot {
						t.Errorf("slots %d and %d both leave from %s", other, slot, at)
					}
					owner[at] = slot
				}
				got = append(got, ports)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("ports by slot (-want +got):\n%s", diff)
			}
		})
	}
}

// freePorts returns the first of n ports on end that nobody uses, outside those that the kernel chooses from.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for first := 20_000; first < 32_000; first += n {
		if allFree(first, n) {
			return first
		}
	}
	t.Skip("no range of ports is free")
	return 0
}

func allFree(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

func TestConnectionsLeaveFromTheirPorts(t *testing.T) {
	for name, with := range map[string]func(p *Plan){
		"event loop":                     func(p *Plan) { p.Driver = DriverEpoll },
		"goroutines":                     func(p *Plan) { p.Driver = DriverConn },
		"event loop, an address is said": func(p *Plan) { p.Driver, p.Sources = DriverEpoll, []string{"127.0.0.1", "127.0.0.2"} },
		"goroutines, an address is said": func(p *Plan) { p.Driver, p.Sources = DriverConn, []string{"127.0.0.1", "127.0.0.2"} },
	} {
		t.Run(name, func(t *testing.T) {
			address, first := echoServer(t, "a"), freePorts(t, 8)
			got := runPlan(t, planOf(func(p *Plan) {
				p.Addresses = []record.Address{{HostPort: address}}
				p.Connections, p.Requests, p.Duration = 4, 24, 0
				p.SourcePorts = &record.PortRange{From: first, To: first + 7}
				with(p)
			}))
			if len(got.errors()) > 0 || len(got.rows) != 4 {
				t.Fatalf("%d connections, errors %v", len(got.rows), got.errors())
			}
			seen := map[string]bool{}
			for _, row := range got.rows {
				local, err := netip.ParseAddrPort(row.Local)
				if err != nil || row.Observed != row.Local || int(local.Port()) < first || int(local.Port()) > first+7 || seen[row.Local] {
					t.Errorf("it left from %s and was seen as %s: want a port of its own from %d to %d", row.Local, row.Observed, first, first+7)
				}
				seen[row.Local] = true
			}
		})
	}
}

func TestASlotTakesItsPortsInTurn(t *testing.T) {
	for _, driver := range []string{DriverEpoll, DriverConn} {
		t.Run(driver, func(t *testing.T) {
			address, first := echoServer(t, "a"), freePorts(t, 3)
			got := runPlan(t, planOf(func(p *Plan) {
				p.Addresses = []record.Address{{HostPort: address}}
				p.Requests, p.Duration, p.RequestsPerConnection, p.Driver = 6, 0, 1, driver
				p.SourcePorts = &record.PortRange{From: first, To: first + 2}
			}))
			var ports []int
			for _, row := range got.byID() {
				local, _ := netip.ParseAddrPort(row.Local)
				ports = append(ports, int(local.Port())-first)
			}
			if diff := cmp.Diff([]int{0, 1, 2, 0, 1, 2}, ports); diff != "" || len(got.errors()) > 0 {
				t.Errorf("ports after the first one, errors %v (-want +got):\n%s", got.errors(), diff)
			}
		})
	}
}

func TestADialThatFailedSaysWhereItLeftFrom(t *testing.T) {
	listener := listen(t)
	address := listener.Addr().String()
	_ = listener.Close()
	for _, driver := range []string{DriverEpoll, DriverConn} {
		first := freePorts(t, 1)
		got := runPlan(t, planOf(func(p *Plan) {
			p.Addresses = []record.Address{{HostPort: address}}
			p.Requests, p.Duration, p.Driver, p.Sources = 1, 0, driver, []string{"127.0.0.1"}
			p.SourcePorts = &record.PortRange{From: first, To: first}
		}))
		row := got.byID()[0]
		if want := "127.0.0.1:" + strconv.Itoa(first); row.Error != record.ErrRefused || row.Local != want || row.Connected != 0 {
			t.Errorf("%s: row %+v, want one that left from %s", driver, row, want)
		}
	}
}

func TestPortsThatCannotBeHadAreRefusedBeforeTheLoad(t *testing.T) {
	taken := listen(t)
	port := taken.Addr().(*net.TCPAddr).Port
	plan := planOf(func(p *Plan) {
		p.Addresses = []record.Address{{HostPort: "127.0.0.1:80"}}
		p.SourcePorts = &record.PortRange{From: port, To: port}
	})
	err := Run(t.Context(), plan, func(Message) error { return nil })
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "something on this machine listens there") {
		t.Errorf("a port that somebody listens on: %v", err)
	}
	if os.Geteuid() == 0 {
		return // root may bind any
	}
	plan.SourcePorts = &record.PortRange{From: 600, To: 600}
	if err := plan.checkPorts(); !errors.Is(err, syscall.EACCES) || !strings.Contains(err.Error(), "NET_BIND_SERVICE") {
		t.Errorf("a port below 1024: %v", err)
	}
}

func TestRangesOfPortsThatMakeNoSense(t *testing.T) {
	for name, tc := range map[string]struct {
		with func(p *Plan)
		want string
	}{
		"upside down":          {func(p *Plan) { p.SourcePorts = &record.PortRange{From: 9, To: 8} }, "sourcePorts: 9 to 8: want a range from 1 to 65535"},
		"beyond the last port": {func(p *Plan) { p.SourcePorts = &record.PortRange{From: 9, To: 65536} }, "want a range from 1 to 65535"},
		"port 0":               {func(p *Plan) { p.SourcePorts = &record.PortRange{To: 9} }, "want a range from 1 to 65535"},
		"more connections":     {func(p *Plan) { p.Connections, p.SourcePorts = 3, &record.PortRange{From: 8, To: 9} }, "2 ports for 3 connections from one address"},
		"more of one of the others": {func(p *Plan) {
			p.Connections, p.Sources, p.SourcePorts = 3, []string{"10.0.0.1", "10.0.0.2"}, &record.PortRange{From: 8, To: 8}
		}, "1 ports for 2 connections"},
		"of flows":     {func(p *Plan) { p.Protocol, p.SourcePorts = ProtocolUDP, &record.PortRange{From: 8, To: 9} }, "sourcePorts: udp has none"},
		"of a channel": {func(p *Plan) { p.Protocol, p.SourcePorts = ProtocolGRPC, &record.PortRange{From: 8, To: 9} }, "sourcePorts: grpc has none"},
	} {
		if err := planOf(tc.with).Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	for _, protocol := range []string{ProtocolHTTP1, ProtocolHTTP2, ProtocolWebSocket, ProtocolTCP} {
		if err := planOf(func(p *Plan) { p.Protocol, p.SourcePorts = protocol, &record.PortRange{From: 8, To: 9} }).Validate(); err != nil {
			t.Errorf("%s: %v", protocol, err)
		}
	}
}

// A SYN that nobody answers is a timeout, and the slot tries again from the same port.
func TestATimeoutDoesNotCostThePort(t *testing.T) {
	t.Parallel()
	address, first := blackhole(t), freePorts(t, 1)
	for _, driver := range []string{DriverEpoll, DriverConn} {
		got := runPlan(t, planOf(func(p *Plan) {
			p.Addresses = []record.Address{{HostPort: address}}
			p.Requests, p.Duration, p.ConnectTimeout, p.Driver, p.Sources = 2, 0, 100*time.Millisecond, driver, []string{"127.0.0.1"}
			p.SourcePorts = &record.PortRange{From: first, To: first}
		}))
		for _, row := range got.rows {
			if row.Error != record.ErrTimeout || !strings.HasSuffix(row.Local, ":"+strconv.Itoa(first)) {
				t.Errorf("%s: row %+v", driver, row)
			}
		}
		if len(got.rows) != 2 {
			t.Errorf("%s: %d rows", driver, len(got.rows))
		}
	}
}
