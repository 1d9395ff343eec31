package cluster

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/scenarios"
)

// eventGrants are what events need beyond what every run does. Most need nothing more.
func eventGrants(events []scenarios.Event) []grant {
	var out []grant
	for _, row := range []struct {
		is func(scenarios.Event) bool
		grant
	}{
		{
			func(e scenarios.Event) bool { return e.DeletePod != nil },
			grant{resource: "pods", verbs: []string{"delete"}, why: "deletes an echo pod, for the event deletePod"},
		},
		{
			func(e scenarios.Event) bool { return e.Cordon != "" || e.Uncordon != "" || e.Drain != "" },
			grant{resource: "nodes", wide: true, verbs: []string{"patch"}, why: "cordons nodes and uncordons them, for the events cordon, uncordon and drain"},
		},
		{
			func(e scenarios.Event) bool { return e.Drain != "" },
			grant{resource: "pods/eviction", verbs: []string{"create"}, why: "evicts its echo pods, for the event drain"},
		},
		{
			func(e scenarios.Event) bool { return e.RestartKubeProxy != "" },
			grant{
				resource: "pods", namespace: metav1.NamespaceSystem, verbs: []string{"list", "delete"},
				why: "restarts kube-proxy by deleting its pods, for the event restartKubeProxy",
			},
		},
	} {
		if slices.ContainsFunc(events, row.is) {
			out = append(out, row.grant)
		}
	}
	return out
}
