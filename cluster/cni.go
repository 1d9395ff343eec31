package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// networkPlugins are the labels, as key=value, of the pods that well-known network plugins run on every node.
func networkPlugins() []struct{ label, name string } {
	return []struct{ label, name string }{
		{"k8s-app=cilium", "cilium"},
		{"k8s-app=calico-node", "calico"},
		{"k8s-app=canal", "canal"},
		{"k8s-app=aws-node", "aws-vpc-cni"},
		{"k8s-app=azure-cni", "azure-cni"},
		{"k8s-app=kindnet", "kindnet"},
		{"k8s-app=flannel", "flannel"},
		{"k8s-app=kube-router", "kube-router"},
		{"app=kindnet", "kindnet"},
		{"app=flannel", "flannel"},
		{"app=antrea", "antrea"},
		{"app=ovnkube-node", "ovn-kubernetes"},
		{"name=weave-net", "weave"},
	}
}

// readCNI finds the network plugin by its pods, which every cluster shows that lets us list pods; modeUnknown if none
// is known.
func (c *Cluster) readCNI(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*proxyTimeout)
	defer cancel()
	values := map[string][]string{}
	for _, p := range networkPlugins() {
		key, value, _ := strings.Cut(p.label, "=")
		values[key] = append(values[key], value)
	}
	found := map[string]bool{}
	for _, key := range []string{"k8s-app", "app", "name"} {
		selector := fmt.Sprintf("%s in (%s)", key, strings.Join(values[key], ","))
		list, err := c.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			c.notes.add(fmt.Sprintf("the network plugin is unknown: %v", err))
			return modeUnknown
		}
		for i := range list.Items {
			if p := &list.Items[i]; onEveryNode(p) {
				found[key+"="+p.Labels[key]] = true
			}
		}
	}
	var names []string
	for _, p := range networkPlugins() {
		if found[p.label] && !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
	}
	if len(names) == 0 {
		return modeUnknown
	}
	return strings.Join(names, "+") // chained plugins: aws-vpc-cni with cilium
}

// onEveryNode tells a plugin's own pods from somebody's application of that name.
func onEveryNode(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "DaemonSet" })
}
