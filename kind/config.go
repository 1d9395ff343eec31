package kind

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/yaml"
)

const (
	// DefaultImage is the node image where none is given: of the images made for the release of kind that is built in,
	// the one with the Kubernetes minor version of the lab. The digest is part of it because kind supports an image only
	// with the release it was made for, and the tag alone may have moved on.
	DefaultImage = "kindest/node:v1.36.4@sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed"

	labelZone     = "topology.kubernetes.io/zone"
	labelExternal = "podskew.dev/external"
)

// ProxyModes lists the modes of kube-proxy a cluster can be made with. The first is the default.
func ProxyModes() []string { return []string{"nftables", "iptables", "ipvs"} }

// zones are those of the workers, in order.
func zones() []string { return []string{"a", "b", "c"} }

// nodeCount is how many nodes Config asks for: a control plane, a worker in each zone, the external node.
func nodeCount() int { return 1 + len(zones()) + 1 }

// The patches of what kubeadm is told. kubeadm's own API version is left out on purpose: kind picks it by the version of
// the node image.
const (
	taintExternal = `kind: JoinConfiguration
nodeRegistration:
  taints:
  - key: ` + labelExternal + `
    value: "true"
    effect: NoSchedule
`
	tolerateCgroupV1 = `kind: KubeletConfiguration
failCgroupV1: false
`
)

// Config is the configuration of a cluster as kind reads it (kind.x-k8s.io/v1alpha4): one control plane, three workers
// in the zones a, b and c, and one external node, set apart for clients outside the cluster. On hosts with cgroup v1
// the kubelet has to be told to start all the same.
func Config(proxyMode string, cgroupV1 bool) ([]byte, error) {
	if !slices.Contains(ProxyModes(), proxyMode) {
		return nil, fmt.Errorf("kube-proxy has no mode %q: one of %s", proxyMode, strings.Join(ProxyModes(), ", "))
	}
	c := v1alpha4.Cluster{
		TypeMeta:   v1alpha4.TypeMeta{Kind: "Cluster", APIVersion: "kind.x-k8s.io/v1alpha4"},
		Networking: v1alpha4.Networking{KubeProxyMode: v1alpha4.ProxyMode(proxyMode)},
		Nodes:      []v1alpha4.Node{{Role: v1alpha4.ControlPlaneRole}},
	}
	for _, zone := range zones() {
		c.Nodes = append(c.Nodes, v1alpha4.Node{Role: v1alpha4.WorkerRole, Labels: map[string]string{labelZone: zone}})
	}
	c.Nodes = append(c.Nodes, v1alpha4.Node{
		Role: v1alpha4.WorkerRole, Labels: map[string]string{labelExternal: "true"}, KubeadmConfigPatches: []string{taintExternal},
	})
	if cgroupV1 {
		c.KubeadmConfigPatches = []string{tolerateCgroupV1}
	}
	return yaml.Marshal(c)
}
