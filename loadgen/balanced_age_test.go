package loadgen

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/podskew/podskew/record"
)

// A channel that is replaced at an age finds the pods that its name has stood for since.
func TestARoundRobinChannelOfBoundedAgeFindsNewPods(t *testing.T) {
	first, ok := startAt(t, "a", "127.0.0.1:0")
	if !ok {
		t.Fatal("no port is free")
	}
	_, port, _ := net.SplitHostPort(first)
	if _, ok := startAt(t, "b", "127.0.0.2:"+port); !ok {
		t.Skip("the port is taken on the other address")
	}
	for name, age := range map[string]time.Duration{"bounded": 200 * time.Millisecond, "unbounded": 0} {
		grows := time.Now().Add(300 * time.Millisecond) // well after the start, which resolves once or twice
		lookup := func() []netip.Addr {
			list := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			if time.Now().After(grows) {
				list = append(list, netip.MustParseAddr("127.0.0.2")) // b is new
			}
			return list
		}
		plan := balancedPlan(nil, func(p *Plan) {
			p.Addresses = []record.Address{{HostPort: "echo.test:" + port}}
			p.Connections, p.Duration, p.ThinkTime, p.ConnectionLifetime = 1, 900*time.Millisecond, 2*time.Millisecond, age
		})
		got := &results{}
		if err := execute(t.Context(), plan, got.sink(t), sameWorld(lookup)); err != nil {
			t.Fatal(err)
		}
		calls := got.sum(byBackend)
		if found := calls["b"] > 0; calls["a"] == 0 || found != (age > 0) {
			t.Errorf("%s: calls %v", name, calls)
		}
		if len(got.errors()) > 0 {
			t.Errorf("%s: errors %v", name, got.errors())
		}
		for _, row := range got.rows {
			if row.Error != "" || age > 0 && row.Closed == 0 {
				t.Errorf("%s: row %+v", name, row)
			}
		}
	}
}
