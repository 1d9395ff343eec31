// Package podnet wires the lab's network namespaces together: nodes to a bridge they share (the LAN), and pods to
// their node by a point-to-point veth pair, in the way that kindnet wires the nodes of a kind cluster.
//
// Nothing here has a name outside the namespaces, so nothing is left when the processes that hold them end.
package podnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// uplink is the name of a node's or pod's interface, seen from inside it.
const uplink = "eth0"

// linkPrefix and a node's name are the name of its link, seen from the bridge.
const linkPrefix = "lan-"

// bridgeName is the name of the LAN's bridge.
const bridgeName = "lan"

// LAN is the network of the nodes: a bridge in the network namespace it was created in.
type LAN struct {
	bridge  netlink.Link
	address netip.Addr
}

// Route sends a prefix by way of a gateway on the LAN.
type Route struct {
	To   netip.Prefix
	Via  netip.Addr
	Also []netip.Addr // further gateways; the kernel deals connections to all of them
}

// on is the route over a link.
func (r Route) on(link int) *netlink.Route {
	route := &netlink.Route{LinkIndex: link, Dst: ipNet(r.To), Gw: r.Via.AsSlice()}
	if len(r.Also) == 0 {
		return route
	}
	route.LinkIndex, route.Gw = 0, nil
	for _, via := range append([]netip.Addr{r.Via}, r.Also...) {
		route.MultiPath = append(route.MultiPath, &netlink.NexthopInfo{LinkIndex: link, Gw: via.AsSlice()})
	}
	return route
}

// NewLAN creates the bridge in the calling process's network namespace and gives it the address.
func NewLAN(address netip.Prefix) (*LAN, error) {
	if err := linkUp(&netlink.Handle{}, "lo"); err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	// A bridge without an own address takes the lowest of its ports', which changes as nodes join.
	attrs.HardwareAddr = net.HardwareAddr{0x0a, 'l', 'a', 'b', 0, 1}
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return nil, fmt.Errorf("creating the bridge %s: %w", bridgeName, err)
	}
	bridge, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return nil, fmt.Errorf("finding the bridge %s: %w", bridgeName, err)
	}
	if err := netlink.AddrAdd(bridge, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return nil, fmt.Errorf("giving the bridge the address %s: %w", address, err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return nil, fmt.Errorf("setting the bridge up: %w", err)
	}
	return &LAN{bridge: bridge, address: address.Addr()}, nil
}

// Join connects the network namespace of the process to the LAN: a veth pair whose far end is the namespace's eth0
// with that address, and the routes.
func (l *LAN) Join(name string, pid int, address netip.Prefix, routes []Route) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = linkPrefix + name
	attrs.MasterIndex = l.bridge.Attrs().Index
	// A node that starts again has the same address on the wire: others may still know it by that.
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: uplink, PeerNamespace: netlink.NsPid(pid), PeerHardwareAddr: hardwareAddress(address.Addr())}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("creating the link of %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("setting the link of %s up: %w", name, err)
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("opening the network namespace of %s: %w", name, err)
	}
	defer ns.Close()
	if err := configure(ns, address, nil, routes); err != nil {
		return fmt.Errorf("configuring the network of %s: %w", name, err)
	}
	return nil
}

// Cut takes a namespace's link away, both ends of it: nothing goes in or out any more. One that is not there is no error.
func (l *LAN) Cut(name string) error {
	link, err := netlink.LinkByName(linkPrefix + name)
	if absent(err) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !absent(err) {
		return fmt.Errorf("cutting the link of %s: %w", name, err)
	}
	return nil
}

// hardwareAddress is what an address on the LAN has on the wire: locally administered, and the address itself.
func hardwareAddress(a netip.Addr) net.HardwareAddr {
	b := a.AsSlice()
	return append(net.HardwareAddr{0x0a, 'l'}, b[len(b)-4:]...)
}

// AddRoutes adds routes to the calling process's network namespace.
func (l *LAN) AddRoutes(routes []Route) error {
	for _, r := range routes {
		if err := netlink.RouteAdd(r.on(l.bridge.Attrs().Index)); err != nil {
			return fmt.Errorf("adding the route to %s by %s: %w", r.To, r.Via, err)
		}
	}
	return nil
}

// configure sets a fresh namespace's loopback and eth0 up and adds addresses and routes; onLink are the neighbours
// that are reached without a gateway although they are in no prefix of the interface.
func configure(ns netns.NsHandle, address netip.Prefix, onLink []netip.Addr, routes []Route) error {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := linkUp(h, "lo"); err != nil {
		return err
	}
	link, err := h.LinkByName(uplink)
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return fmt.Errorf("adding the address %s: %w", address, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s up: %w", uplink, err)
	}
	for _, n := range onLink {
		route := netlink.Route{
			LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK,
			Dst: ipNet(netip.PrefixFrom(n, n.BitLen())), Src: address.Addr().AsSlice(),
		}
		if err := h.RouteAdd(&route); err != nil {
			return fmt.Errorf("adding the route to %s: %w", n, err)
		}
	}
	for _, r := range routes {
		if err := h.RouteAdd(r.on(link.Attrs().Index)); err != nil {
			return fmt.Errorf("adding the route to %s by %s: %w", r.To, r.Via, err)
		}
	}
	return nil
}

func linkUp(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding %s: %w", name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s up: %w", name, err)
	}
	return nil
}

// absent reports whether the error says that the link is not there (any more).
func absent(err error) bool {
	_, notFound := errors.AsType[netlink.LinkNotFoundError](err)
	return notFound || errors.Is(err, unix.ENODEV)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
