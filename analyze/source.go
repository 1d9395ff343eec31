package analyze

import (
	"net/netip"
	"slices"

	"github.com/podskew/podskew/record"
)

// SourceClass is whose address it is that a pod saw as its client.
type SourceClass string

// The source classes.
const (
	Client        SourceClass = "client"         // its own: nothing rewrote it
	ClientNode    SourceClass = "client-node"    // the node the client is on
	ReceivingNode SourceClass = "receiving-node" // the node that took the connection in
	PodGateway    SourceClass = "pod-gateway"    // a node's end of its pods' links: the first address of its pod CIDR
	ProxyPod      SourceClass = "proxy-pod"      // another pod: a proxy in between
	ServiceVIP    SourceClass = "service-vip"    // an address of the Service itself
	DockerGateway SourceClass = "docker-gateway" // the container network's host end
	LinkLocal     SourceClass = "link-local"
	Loopback      SourceClass = "loopback" // the pod itself: a sidecar that hands connections over
	UnknownSource SourceClass = "unknown"
)

// sidecarIPv6 is what Istio's sidecars hand connections over from on IPv6. On IPv4 they do so from 127.0.0.6, which is loopback.
const sidecarIPv6 = "::6"

// classify says whose address observed is, as a pod saw it from agent through dialled, and on which node that is, if on one.
// A node's address is not enough to look for: masquerading towards a pod of the same node leaves the gateway of its pods.
func classify(facts *record.Facts, st *record.Stream, agent record.AgentRef, dialled record.Address, observed string) (SourceClass, string) {
	ip, err := netip.ParseAddr(observed)
	if err != nil {
		return UnknownSource, ""
	}
	ip = ip.Unmap()
	node := nodeWithAddress(facts, ip)
	switch {
	case hasAddress(agent.IPs, ip):
		return Client, node
	case node != "" && node == agent.Node && st.Target != "loadBalancer" && (st.Target != "nodePort" || dialled.Node != node):
		return ClientNode, node
	case node != "" && (st.Target == "loadBalancer" || st.Vantage == "external" || dialled.Node == node):
		return ReceivingNode, node
	}
	if gateway := nodeWithGateway(facts, ip); gateway != "" {
		return PodGateway, gateway
	}
	switch {
	case isServiceAddress(facts, ip):
		return ServiceVIP, ""
	case isPodAddress(facts, ip):
		return ProxyPod, node
	case ip.IsLoopback(), facts.Mesh != nil && ip.String() == sidecarIPv6:
		return Loopback, ""
	case ip.IsLinkLocalUnicast():
		return LinkLocal, ""
	case isDockerGateway(facts, ip):
		return DockerGateway, ""
	}
	return UnknownSource, node
}

func hasAddress(list []string, ip netip.Addr) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		other, err := netip.ParseAddr(s)
		return err == nil && other.Unmap() == ip
	})
}

func nodeWithAddress(facts *record.Facts, ip netip.Addr) string {
	for _, n := range facts.Cluster.Nodes {
		if hasAddress(n.IPs, ip) {
			return n.Name
		}
	}
	return ""
}

// nodeWithGateway returns the node whose pods have ip as their gateway. That it is the first address of the pod CIDR is a
// convention of the common CNIs, not a rule.
func nodeWithGateway(facts *record.Facts, ip netip.Addr) string {
	for _, n := range facts.Cluster.Nodes {
		for _, cidr := range n.PodCIDRs {
			if prefix, err := netip.ParsePrefix(cidr); err == nil && prefix.Masked().Addr().Next() == ip {
				return n.Name
			}
		}
	}
	return ""
}

func isServiceAddress(facts *record.Facts, ip netip.Addr) bool {
	for _, s := range facts.Services {
		if hasAddress(s.ClusterIPs, ip) || hasAddress(s.LoadBalancerIPs, ip) {
			return true
		}
	}
	return false
}

func isPodAddress(facts *record.Facts, ip netip.Addr) bool {
	for _, p := range facts.Pods {
		if hasAddress(p.IPs, ip) && !p.HostNetwork {
			return true
		}
	}
	for _, n := range facts.Cluster.Nodes {
		for _, cidr := range n.PodCIDRs {
			if prefix, err := netip.ParsePrefix(cidr); err == nil && prefix.Contains(ip) {
				return true
			}
		}
	}
	return false
}

// isDockerGateway reports whether ip is the host's end of the network kind's nodes are on. Docker deals networks of /16 and
// /20 and takes the first address itself.
func isDockerGateway(facts *record.Facts, ip netip.Addr) bool {
	if facts.Cluster.Provider != "kind" || !ip.Is4() {
		return false
	}
	for _, n := range facts.Cluster.Nodes {
		for _, s := range n.IPs {
			nodeIP, err := netip.ParseAddr(s)
			if err != nil || !nodeIP.Is4() {
				continue
			}
			for _, bits := range []int{16, 20, 24} {
				if prefix, err := nodeIP.Prefix(bits); err == nil && prefix.Addr().Next() == ip {
					return true
				}
			}
		}
	}
	return false
}
