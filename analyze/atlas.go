package analyze

import (
	"net/netip"
	"slices"

	"github.com/podskew/podskew/record"
)

// atlas is facts with an index, as a thousand clients ask the same of them.
type atlas struct {
	facts     *record.Facts
	services  map[string]*record.Service
	nodes     map[string]record.Node
	pods      map[string]*record.Pod // by name
	podsAt    map[string]*record.Pod // by address, those on their node's network left out
	endpoints map[endpointKey][]record.Endpoint
	sorted    map[usableKey]usable
}

type endpointKey struct {
	service string
	family  int // 4, 6, or 0 for both
}

type usableKey struct {
	endpointKey
	node string
}

// newAtlas indexes facts. Of two things with the same name the first counts.
func newAtlas(facts *record.Facts) *atlas {
	a := &atlas{
		facts: facts, services: map[string]*record.Service{}, nodes: map[string]record.Node{}, pods: map[string]*record.Pod{},
		podsAt: map[string]*record.Pod{}, endpoints: map[endpointKey][]record.Endpoint{}, sorted: map[usableKey]usable{},
	}
	for i := range facts.Services {
		if s := &facts.Services[i]; a.services[s.Name] == nil {
			a.services[s.Name] = s
		}
	}
	for _, n := range facts.Cluster.Nodes {
		if _, have := a.nodes[n.Name]; !have && n.Name != "" {
			a.nodes[n.Name] = n
		}
	}
	for i := range facts.Pods {
		p := &facts.Pods[i]
		if a.pods[p.Name] == nil {
			a.pods[p.Name] = p
		}
		for _, ip := range p.IPs {
			if a.podsAt[ip] == nil && !p.HostNetwork {
				a.podsAt[ip] = p
			}
		}
	}
	return a
}

// endpointsOf returns the endpoints of a Service that have the address family of dialled, each address once.
func (a *atlas) endpointsOf(service string, dialled netip.Addr) ([]record.Endpoint, endpointKey) {
	key := endpointKey{service: service}
	switch {
	case dialled.Is4():
		key.family = 4
	case dialled.IsValid():
		key.family = 6
	}
	if list, ok := a.endpoints[key]; ok {
		return list, key
	}
	list := endpointsOf(a.facts, service, dialled)
	a.endpoints[key] = list
	return list, key
}

// usable returns the endpoints of a Service as a node's kube-proxy sorts them.
func (a *atlas) usable(service string, dialled netip.Addr, node record.Node) usable {
	endpoints, key := a.endpointsOf(service, dialled)
	at := usableKey{key, node.Name}
	if u, ok := a.sorted[at]; ok {
		return u
	}
	u := categorize(endpoints, node)
	a.sorted[at] = u
	return u
}

// podOf returns the name by which an endpoint answers: its address where the facts name no pod.
func (a *atlas) podOf(e record.Endpoint) string {
	if e.Pod != "" {
		return e.Pod
	}
	if p := a.podsAt[e.Address]; p != nil {
		return p.Name
	}
	return e.Address
}

// onHost reports whether an endpoint lives on its node's own network, where no pod gateway lies in between.
func (a *atlas) onHost(e record.Endpoint) bool {
	p := a.pods[e.Pod]
	return e.Pod != "" && p != nil && p.HostNetwork
}

// addressedNode returns the node that has an address.
func (a *atlas) addressedNode(ip netip.Addr) record.Node {
	for _, n := range a.facts.Cluster.Nodes {
		if ip.IsValid() && slices.Contains(n.IPs, ip.String()) {
			return n
		}
	}
	return record.Node{}
}
