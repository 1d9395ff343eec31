package node

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/cm"
)

// containerManager is the kubelet's own stub, for nodes without cgroups, with one repair.
type containerManager struct{ cm.ContainerManager }

// NewPodContainerManager returns the repaired stub.
func (c containerManager) NewPodContainerManager() cm.PodContainerManager {
	return podContainerManager{c.ContainerManager.NewPodContainerManager()}
}

type podContainerManager struct{ cm.PodContainerManager }

// GetPodCgroupConfig says that there is no configuration. The stub's "not implemented" is logged twice in every sync
// of a pod, and an empty configuration makes the kubelet panic.
func (podContainerManager) GetPodCgroupConfig(*corev1.Pod, corev1.ResourceName) (*cm.ResourceConfig, error) {
	return nil, nil //nolint:nilnil // the kubelet's own convention for "nothing set"
}
