package cluster

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tellZones labels nodes with their zones once their kube-proxies run, and anew if they have been labelled before.
//
// A kube-proxy (v1.36.3) begins to listen to its node's labels before anybody in it wants to be told of them, and tells of
// changes only. If the first news comes too soon it is lost: that kube-proxy does not know its zone and ignores all hints
// for as long as it runs. A change after its rules were first programmed is never lost.
func (s *supervisor) tellZones(ctx context.Context, nodes ...Node) error {
	for _, n := range nodes {
		if n.Zone == "" {
			continue
		}
		for _, zone := range []string{"null", strconv.Quote(n.Zone)} {
			patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, corev1.LabelTopologyZone, zone)
			if _, err := s.client.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				return fmt.Errorf("writing the zone of node %s: %w", n.Name, err)
			}
		}
	}
	return nil
}

// tellZoneAgain tells a kube-proxy that was restarted its node's zone, when it has programmed its rules.
func (s *supervisor) tellZoneAgain(n Node) {
	ctx, cancel := context.WithTimeout(s.ctx, startWithin)
	defer cancel()
	err := s.await(ctx, "kube-proxy", func(ctx context.Context) error { return proxySynced(ctx, n) })
	if err == nil {
		err = s.tellZones(ctx, n)
	}
	if err != nil {
		s.log.Warn("telling a kube-proxy its zone", "node", n.Name, "error", err)
	}
}
