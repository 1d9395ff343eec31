// Package cluster supervises the lab from inside its namespaces: it makes the certificates, builds the network, starts
// the control plane and the nodes, waits until everything is ready, and ends when any part of it does.
package cluster

import (
	"fmt"
	"net/netip"
)

// The lab's addresses. They mean nothing outside its network namespaces, so several labs can use the same ones.
const (
	lanCIDR        = "10.77.0.0/24"
	podsCIDR       = "10.78.0.0/16"
	servicesCIDR   = "10.79.0.0/16"
	balancersCIDR  = "10.80.0.0/24"
	controlPlaneIP = "10.77.0.1"
	kubernetesIP   = "10.79.0.1"
	dnsServiceIP   = "10.79.0.10"
	externalHost   = 200 // last byte of the external node's address
	clusterDomain  = "cluster.local"
)

// MaxWorkers is how many worker nodes a lab can have.
const MaxWorkers = 32

// ExternalLabel marks, as label and as taint, the node that stands for everything outside the cluster.
const ExternalLabel = "podskew.dev/external"

// ExternalName is the external node's name.
const ExternalName = "external"

// Node is one node of the lab.
type Node struct {
	Name     string
	Address  netip.Addr   // on the LAN
	PodCIDR  netip.Prefix // not valid for the external node, which has no pod network
	Zone     string       // empty for the external node
	External bool
}

// Nodes returns the nodes of a lab with that many workers, the external node last.
func Nodes(workers int) []Node {
	zones := []string{"a", "b", "c"}
	var nodes []Node
	for i := 1; i <= workers; i++ {
		name := "worker"
		if i > 1 {
			name = fmt.Sprintf("worker%d", i)
		}
		nodes = append(nodes, Node{
			Name:    name,
			Address: netip.AddrFrom4([4]byte{10, 77, 0, byte(10 + i)}),
			PodCIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 78, byte(i), 0}), 24),
			Zone:    zones[(i-1)%len(zones)],
		})
	}
	return append(nodes, Node{
		Name: ExternalName, Address: netip.AddrFrom4([4]byte{10, 77, 0, externalHost}), External: true,
	})
}
