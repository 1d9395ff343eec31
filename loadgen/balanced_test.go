package loadgen

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

// balancedPlan calls all pods in turn on channels of their own.
func balancedPlan(pods []*pod, with func(*Plan)) Plan {
	return planOf(func(p *Plan) {
		p.Protocol, p.GRPCPolicy, p.Addresses = ProtocolGRPC, GRPCRoundRobin, nil
		for _, one := range pods {
			p.Addresses = append(p.Addresses, record.Address{HostPort: one.web})
		}
		if with != nil {
			with(p)
		}
	})
}

func threePods(t *testing.T) []*pod {
	t.Helper()
	var pods []*pod
	for i := range 3 {
		pods = append(pods, startPod(t, string(rune('a'+i)), fmt.Sprintf("127.0.0.%d", i+1)))
	}
	return pods
}

func TestARoundRobinChannelSpreadsEvenlyAndOneConnectionPins(t *testing.T) {
	pods := threePods(t)
	for _, path := range []string{"/", "/podskew.v1alpha1.Echo/Converse"} {
		t.Run("round_robin "+path, func(t *testing.T) {
			got := runPlan(t, balancedPlan(pods, func(p *Plan) {
				p.Connections, p.StreamsPerConnection, p.Requests, p.Duration, p.Path = 2, 3, 300, 0, path
			}))
			if len(got.rows) != 6 || len(got.errors()) > 0 || got.requests() != 300 {
				t.Fatalf("%d rows, %d requests, errors %v", len(got.rows), got.requests(), got.errors())
			}
			calls := got.sum(byBackend)
			for _, one := range pods {
				// Until all connections are there the first ones have all the calls, and all the streams, which stay.
				if path == "/" && calls[one.name] < 30 {
					t.Errorf("%s has %d of 300 calls", one.name, calls[one.name])
				}
			}
			for _, row := range got.rows {
				if row.Error != "" || row.Slot > 1 || row.Backend != "" && row.Observed != row.Local || len(row.Others) > 0 {
					t.Errorf("row %+v", row)
				}
			}
		})
	}
	t.Run("pick_first", func(t *testing.T) {
		got := runPlan(t, balancedPlan(pods, func(p *Plan) {
			p.GRPCPolicy, p.Requests, p.Duration = GRPCPickFirst, 60, 0
		}))
		if diff := cmp.Diff(map[string]int{"a": 60}, got.sum(byBackend)); diff != "" || len(got.rows) != 1 {
			t.Errorf("%d rows, requests by backend (-want +got):\n%s", len(got.rows), diff)
		}
	})
}

// sameWorld is this machine, on which a name stands for some of its addresses.
func sameWorld(addresses func() []netip.Addr) world {
	return world{dial: dialTCP, sources: sourceIPs, open: true, lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "echo.test" {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return addresses(), nil
	}}
}

// startAt runs an echo pod's HTTP on one address and port.
func startAt(t *testing.T, name, address string) (string, bool) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", false
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- echo.New(echo.Options{Identity: echo.Identity{Pod: name}}).Serve(ctx, echo.Listeners{HTTP: listener})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("echo ended with %v", err)
		}
	})
	return listener.Addr().String(), true
}

func TestARoundRobinChannelCallsEveryAddressOfItsName(t *testing.T) {
	first, ok := startAt(t, "a", "127.0.0.1:0")
	if !ok {
		t.Fatal("no port is free")
	}
	_, port, _ := net.SplitHostPort(first)
	if _, ok := startAt(t, "b", "127.0.0.2:"+port); !ok {
		t.Skip("the port is taken on the other address")
	}
	plan := balancedPlan(nil, func(p *Plan) {
		p.Addresses = []record.Address{{HostPort: "echo.test:" + port}}
		p.Requests, p.Duration = 100, 0
	})
	got := &results{}
	if err := execute(t.Context(), plan, got.sink(t), sameWorld(func() []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}
	})); err != nil {
		t.Fatal(err)
	}
	checkConsistent(t, plan, got)
	dialled := map[string]string{}
	for _, row := range got.rows {
		dialled[row.Dialled] = row.Backend
		if row.Address != "echo.test:"+port || row.Error != "" {
			t.Errorf("row %+v", row)
		}
	}
	if diff := cmp.Diff(map[string]string{"127.0.0.1:" + port: "a", "127.0.0.2:" + port: "b"}, dialled); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := got.sum(byBackend); n["a"] < 40 || n["b"] < 40 {
		t.Errorf("calls %v", n)
	}
}

func TestARoundRobinChannelGoesOnWithoutAPodThatIsGone(t *testing.T) {
	t.Parallel()
	pods := threePods(t)
	plan := balancedPlan(pods, func(p *Plan) { p.ThinkTime = 5 * time.Millisecond })
	stoppedAt := 0
	got := runUntil(t, plan, func(at Progress) bool {
		if at.Requests > 20 && at.Connections >= 3 && stoppedAt == 0 {
			stoppedAt = at.Requests
			pods[1].stop()
		}
		return stoppedAt > 0 && at.Requests > stoppedAt+150 && at.Connections > 4
	})
	refused := 0
	for _, row := range got.rows {
		if row.Error == record.ErrRefused && row.Address == pods[1].web {
			refused++
		}
	}
	if refused == 0 || refused > 100 {
		t.Errorf("%d dials were refused", refused)
	}
	if n := got.sum(byBackend); n["a"] < 50 || n["c"] < 50 || n["b"] > n["a"] {
		t.Errorf("calls %v", n)
	}
}

func TestARoundRobinChannelWithoutAnyPodFailsCallByCall(t *testing.T) {
	pods := threePods(t)
	for _, one := range pods {
		one.stop()
	}
	plan := balancedPlan(pods, func(p *Plan) { p.Requests, p.Duration = 5, 0 })
	got := runPlan(t, plan)
	if got.errors()[record.ErrRefused] != 5 || got.requests() != 5 || len(got.rows) < 3 {
		t.Errorf("%d requests, errors %v, %d rows", got.requests(), got.errors(), len(got.rows))
	}
}

func TestARoundRobinChannelGivesUpOnAPodThatSaysNothing(t *testing.T) {
	t.Parallel()
	p := startPod(t, "a", "127.0.0.1")
	plan := balancedPlan([]*pod{p}, func(plan *Plan) {
		plan.Addresses = append(plan.Addresses, record.Address{HostPort: silent(t, ProtocolGRPC)})
		plan.ThinkTime, plan.ConnectTimeout = 5*time.Millisecond, 200*time.Millisecond
	})
	got := runUntil(t, plan, func(at Progress) bool { return at.Connections > 3 }) // the pod's, and two that have ended
	timeouts := 0
	for _, row := range got.rows {
		switch {
		case row.Address == p.web && (row.Error != "" || row.Requests != got.requests()):
			t.Errorf("row %+v, of %d requests", row, got.requests())
		case row.Address != p.web && row.Error == record.ErrTimeout:
			timeouts++
		}
	}
	if timeouts < 2 || len(got.errors()) > 0 {
		t.Errorf("%d timeouts, errors %v, rows %+v", timeouts, got.errors(), got.rows)
	}
}
