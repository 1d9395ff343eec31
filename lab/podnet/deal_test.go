package podnet

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestDeal puts routes of several gateways in the place of each other, and takes the last one away.
func TestDeal(t *testing.T) {
	if !isolate(t) {
		return
	}
	lan, err := NewLAN(netip.MustParsePrefix("10.77.0.1/24"))
	if err != nil {
		t.Fatal(err)
	}
	node := startNode(t)
	if err := lan.Join("external", node.Pid, netip.MustParsePrefix("10.77.0.200/24"), nil); err != nil {
		t.Fatal(err)
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", node.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	to := netip.MustParsePrefix("10.80.0.1/32")
	by := func(host byte, weight int) Share { return Share{netip.AddrFrom4([4]byte{10, 77, 0, host}), weight} }
	for _, c := range []struct {
		shares []Share
		want   string
	}{
		{[]Share{by(11, 1), by(12, 1), by(13, 1)}, "10.77.0.11×1 10.77.0.12×1 10.77.0.13×1 "},
		{[]Share{by(11, 1), by(12, 3)}, "10.77.0.11×1 10.77.0.12×3 "},
		{[]Share{by(12, 256)}, "10.77.0.12 "},
		{nil, ""},
		{nil, ""}, // gone already
	} {
		if err := Deal(node.Pid, to, c.shares); err != nil {
			t.Fatal(err)
		}
		within(t, ns, func() error {
			routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: ipNet(to)}, netlink.RT_FILTER_DST)
			if err != nil {
				return err
			}
			got := ""
			for _, r := range routes {
				for _, hop := range r.MultiPath {
					got += fmt.Sprintf("%s×%d ", hop.Gw, hop.Hops+1)
				}
				if r.Gw != nil {
					got += r.Gw.String() + " "
				}
			}
			if got != c.want {
				return fmt.Errorf("got %q, want %q", got, c.want)
			}
			return nil
		})
	}
	for _, weight := range []int{0, 257} {
		if err := Deal(node.Pid, to, []Share{by(11, weight)}); err == nil {
			t.Errorf("weight %d is taken", weight)
		}
	}
}
