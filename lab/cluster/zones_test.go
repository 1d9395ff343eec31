package cluster

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

// Each kube-proxy sees a change, whether its node had the label before or not.
func TestZonesAreToldAsAChange(t *testing.T) {
	nodes := Nodes(2)
	first, second := nodeObject(nodes[0], nil), nodeObject(nodes[1], nil)
	if zone, ok := first.Labels[corev1.LabelTopologyZone]; ok {
		t.Errorf("a node is created in zone %q, before its kube-proxy listens", zone)
	}
	second.Labels[corev1.LabelTopologyZone] = "b"
	client := fake.NewClientset(first, second, nodeObject(nodes[2], nil))
	var told []string
	client.PrependReactor("patch", "nodes", func(a k8stesting.Action) (bool, runtime.Object, error) {
		p := a.(k8stesting.PatchAction)
		told = append(told, p.GetName()+" "+string(p.GetPatch()))
		return false, nil, nil
	})
	s := &supervisor{client: client}
	if err := s.tellZones(t.Context(), nodes...); err != nil {
		t.Fatal(err)
	}
	const label = `{"metadata":{"labels":{"topology.kubernetes.io/zone":`
	want := []string{"worker " + label + "null}}}", "worker " + label + `"a"}}}`, "worker2 " + label + "null}}}", "worker2 " + label + `"b"}}}`}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	list, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, zone := range map[string]string{"worker": "a", "worker2": "b", "external": ""} {
		at := slices.IndexFunc(list.Items, func(n corev1.Node) bool { return n.Name == i })
		if got := list.Items[at].Labels[corev1.LabelTopologyZone]; got != zone {
			t.Errorf("%s is in zone %q, want %q", i, got, zone)
		}
	}
}
