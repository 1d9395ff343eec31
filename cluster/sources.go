package cluster

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// maxSearched bounds how much of a large network is looked at for free addresses.
const maxSearched = 1 << 14

// freeAddresses hands out addresses that nobody has: of the range that a node's annotation names, or else of the network
// of all nodes.
type freeAddresses struct {
	subnet netip.Prefix // of all nodes; may be invalid
	first  uint32       // where looking begins: it depends on the run, so that two runs at a time seldom want the same
	taken  map[netip.Addr]bool
	left   map[netip.Prefix][]netip.Addr // of the ranges that were looked at
}

func newFreeAddresses(subnet netip.Prefix, runID string, nodes []corev1.Node) *freeAddresses {
	h := fnv.New32a()
	_, _ = h.Write([]byte(runID)) // never fails
	f := &freeAddresses{subnet: subnet.Masked(), first: h.Sum32(), taken: map[netip.Addr]bool{}, left: map[netip.Prefix][]netip.Addr{}}
	for i := range nodes {
		for _, ip := range newNode(&nodes[i]).ips {
			f.taken[ip] = true
		}
	}
	if subnet.IsValid() {
		f.taken[f.subnet.Addr()] = true        // the network's own
		f.taken[f.subnet.Addr().Next()] = true // by custom the gateway's
		f.taken[lastOf(f.subnet)] = true       // the broadcast address
	}
	return f
}

// take returns n addresses for an agent on a node that nobody else is given.
func (f *freeAddresses) take(on node, n int) ([]netip.Addr, error) {
	all := f.subnet
	if on.spare != "" {
		var err error
		if all, err = netip.ParsePrefix(on.spare); err != nil {
			return nil, fmt.Errorf("node %s: the annotation %s is %q: write a range of addresses, such as 10.0.0.128/26", on.name, annotationAddresses, on.spare)
		}
		all = all.Masked()
	}
	if !all.IsValid() {
		return nil, fmt.Errorf("which addresses are free in the network of node %[1]s is not known here, as it is on the lab: name a range of them, "+
			"kubectl annotate node %[1]s %[2]s=RANGE, or write sourceAddresses: 1", on.name, annotationAddresses)
	}
	if _, looked := f.left[all]; !looked {
		f.left[all] = f.look(all)
	}
	left := slices.DeleteFunc(f.left[all], func(ip netip.Addr) bool { return f.taken[ip] })
	if len(left) < n {
		return nil, fmt.Errorf("%s has %d addresses that are free, %d more are asked for: write fewer", all, len(left), n)
	}
	f.left[all] = left[n:]
	for _, ip := range left[:n] {
		f.taken[ip] = true // ranges may overlap
	}
	return left[:n:n], nil
}

// look lists the free addresses of a range, from its far end, which is given away last.
func (f *freeAddresses) look(all netip.Prefix) []netip.Addr {
	var left []netip.Addr
	for ip := lastOf(all); all.Contains(ip) && len(left) < maxSearched; ip = ip.Prev() {
		if !f.taken[ip] {
			left = append(left, ip)
		}
	}
	if len(left) == 0 {
		return nil
	}
	at := int(f.first % uint32(len(left)))
	return slices.Concat(left[at:], left[:at])
}

// lastOf is the last address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes) // 4 or 16 bytes, as the address they came from
	return last
}
