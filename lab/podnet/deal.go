package podnet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// MaxWeight is the largest weight of a Share: the kernel's.
const MaxWeight = 256

// Share is a gateway and its part of the connections, in proportion to Weight, from 1 to [MaxWeight].
type Share struct {
	Via    netip.Addr
	Weight int
}

// Deal makes what the network namespace of a process sends to the prefix go by these gateways on the LAN, connection by
// connection, in place of a route to the same prefix that is there. Without any gateway that route is taken away.
func Deal(pid int, to netip.Prefix, shares []Share) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("opening the network namespace of process %d: %w", pid, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("talking to the network namespace of process %d: %w", pid, err)
	}
	defer h.Close()
	if len(shares) == 0 {
		if err := h.RouteDel(&netlink.Route{Dst: ipNet(to)}); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing the route to %s: %w", to, err)
		}
		return nil
	}
	link, err := h.LinkByName(uplink)
	if err != nil {
		return fmt.Errorf("finding %s: %w", uplink, err)
	}
	route := &netlink.Route{Dst: ipNet(to)}
	for _, s := range shares {
		if s.Weight < 1 || s.Weight > MaxWeight {
			return fmt.Errorf("the weight %d of %s: 1 to %d", s.Weight, s.Via, MaxWeight)
		}
		route.MultiPath = append(route.MultiPath, &netlink.NexthopInfo{LinkIndex: link.Attrs().Index, Gw: s.Via.AsSlice(), Hops: s.Weight - 1})
	}
	if err := h.RouteReplace(route); err != nil {
		return fmt.Errorf("dealing out %s: %w", to, err)
	}
	return nil
}
