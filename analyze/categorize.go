package analyze

import (
	"net/netip"
	"slices"

	"github.com/podskew/podskew/record"
)

// usable are the endpoints of a Service as one node's kube-proxy sorts them.
type usable struct {
	cluster []record.Endpoint // what a Cluster traffic policy may choose from
	local   []record.Endpoint // what a Local traffic policy may choose from
	any     bool              // there is a usable endpoint somewhere, though perhaps for another node only
}

// categorize sorts endpoints as kube-proxy does on node (proxy.CategorizeEndpoints of Kubernetes 1.36): ready ones, else
// those that still serve while they terminate, independently for both policies. Topology hints bind the Cluster policy
// only, and only if every ready endpoint has them and one is meant for this node.
func categorize(endpoints []record.Endpoint, node record.Node) usable {
	var u usable
	ready := keep(endpoints, func(e record.Endpoint) bool { return e.Ready })
	lingering := keep(endpoints, func(e record.Endpoint) bool { return !e.Ready && e.Serving && e.Terminating })
	local := func(e record.Endpoint) bool { return e.Node != "" && e.Node == node.Name }

	u.cluster = hinted(ready, node)
	if len(u.cluster) == 0 {
		u.cluster = lingering
	}
	u.local = keep(ready, local)
	if len(u.local) == 0 {
		u.local = keep(lingering, local)
	}
	u.any = len(ready)+len(lingering) > 0
	return u
}

// hinted returns the ready endpoints that their topology hints leave to node.
func hinted(ready []record.Endpoint, node record.Node) []record.Endpoint {
	forNode := func(e record.Endpoint) bool { return slices.Contains(e.HintNodes, node.Name) }
	forZone := func(e record.Endpoint) bool { return slices.Contains(e.HintZones, node.Zone) }
	lacksNode := func(e record.Endpoint) bool { return len(e.HintNodes) == 0 }
	lacksZone := func(e record.Endpoint) bool { return len(e.HintZones) == 0 }
	switch {
	case !slices.ContainsFunc(ready, lacksNode) && slices.ContainsFunc(ready, forNode):
		return keep(ready, forNode)
	case !slices.ContainsFunc(ready, lacksZone) && slices.ContainsFunc(ready, forZone):
		return keep(ready, forZone)
	}
	return ready
}

func keep(endpoints []record.Endpoint, ok func(record.Endpoint) bool) []record.Endpoint {
	var kept []record.Endpoint
	for _, e := range endpoints {
		if ok(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

// endpointsOf returns the endpoints of a Service that have the address family of dialled, each address once.
func endpointsOf(facts *record.Facts, service string, dialled netip.Addr) []record.Endpoint {
	seen := map[string]bool{}
	return keep(facts.Endpoints, func(e record.Endpoint) bool {
		ip, err := netip.ParseAddr(e.Address)
		if e.Service != service || seen[e.Address] || (err == nil && dialled.IsValid() && ip.Unmap().Is4() != dialled.Unmap().Is4()) {
			return false
		}
		seen[e.Address] = true
		return true
	})
}
