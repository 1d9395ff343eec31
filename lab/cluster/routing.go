package cluster

import (
	"fmt"
	"net/netip"

	"github.com/podskew/podskew/lab/boot"
	"github.com/podskew/podskew/lab/podnet"
)

// NFTables and IPTables are the modes of kube-proxy that a lab can have.
const (
	NFTables = "nftables"
	IPTables = "iptables"
)

// podRoutes are the ways to the pods of every node but the named one.
func podRoutes(nodes []Node, except string) []podnet.Route {
	var routes []podnet.Route
	for _, n := range nodes {
		if n.Name != except && n.PodCIDR.IsValid() {
			routes = append(routes, podnet.Route{To: n.PodCIDR, Via: n.Address})
		}
	}
	return routes
}

// nodeRoutes are a node's routes. The external node sees the LAN and load balancers, and nothing else.
func nodeRoutes(nodes []Node, n Node) []podnet.Route {
	if n.External {
		return balancerRoutes(nodes)
	}
	everywhere := podnet.Route{
		To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: netip.MustParseAddr(controlPlaneIP),
	}
	return append(podRoutes(nodes, n.Name), everywhere)
}

// balancerRoutes lead to the addresses of load balancers: connections are dealt to the workers, as a router does that
// hears of an address from each of them. An address whose nodes have been asked has a way of its own (see checkHealth).
func balancerRoutes(nodes []Node) []podnet.Route {
	route := podnet.Route{To: netip.MustParsePrefix(balancersCIDR)}
	for _, n := range nodes {
		switch {
		case n.External:
		case !route.Via.IsValid():
			route.Via = n.Address
		default:
			route.Also = append(route.Also, n.Address)
		}
	}
	return []podnet.Route{route}
}

// nodeSysctls are written before the node has an interface, so that every later one takes over the defaults. A new
// network namespace inherits the machine's settings, which may differ from machine to machine.
func nodeSysctls(n Node) []boot.Sysctl {
	if n.External {
		return []boot.Sysctl{{Path: "net/ipv4/fib_multipath_hash_policy", Value: "1", Optional: true}}
	}
	return []boot.Sysctl{
		{Path: "net/ipv4/ip_forward", Value: "1"},
		{Path: "net/ipv4/conf/all/rp_filter", Value: "0"},
		{Path: "net/ipv4/conf/default/rp_filter", Value: "0"},
		{Path: "net/ipv4/conf/all/send_redirects", Value: "0"},
		{Path: "net/ipv4/conf/default/send_redirects", Value: "0"},
	}
}

// masquerade gives packets of a node's pods that leave the pod network the node's address, as the masquerade agents
// of ordinary clusters do: nothing outside knows the way to a pod.
func masquerade(n Node, mode string) boot.Command {
	if mode == IPTables {
		return boot.Command{Args: []string{
			"iptables", "-w", "5", "-t", "nat", "-A", "POSTROUTING", "-s", n.PodCIDR.String(), "!", "-d", podsCIDR,
			"-o", "eth0", "-m", "comment", "--comment", "lab egress", "-j", "MASQUERADE",
		}}
	}
	return boot.Command{Args: []string{"nft", "-f", "-"}, Stdin: fmt.Sprintf(`table ip lab-egress {
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		ip saddr %s ip daddr != %s oifname "eth0" masquerade
	}
}
`, n.PodCIDR, podsCIDR)}
}
