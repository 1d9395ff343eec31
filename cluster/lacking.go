package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/record"
)

// LackingError says that this cluster, or this machine, does not have what a scenario needs. Nothing is broken: the
// scenario is skipped here.
type LackingError struct {
	What string // a clause: "its API server has no networking.istio.io/v1"
}

// Error is the clause.
func (e *LackingError) Error() string { return e.What }

// NeedAPIs returns a [*LackingError] unless the API server has all of these group versions, such as
// networking.istio.io/v1.
func (c *Cluster) NeedAPIs(ctx context.Context, groupVersions []string) error {
	if len(groupVersions) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	groups, err := c.client.Discovery().ServerGroups()
	if err != nil {
		return fmt.Errorf("asking the API server what it has: %w", err)
	}
	var have, missing []string
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			have = append(have, v.GroupVersion)
		}
	}
	for _, want := range groupVersions {
		if !slices.Contains(have, want) {
			missing = append(missing, want)
		}
	}
	if len(missing) > 0 {
		return &LackingError{What: "the API server has no " + strings.Join(missing, ", ")}
	}
	return nil
}

// ProxyMode is kube-proxy's mode on this cluster: nftables, iptables or ipvs, mixed if nodes differ, or unknown.
func (c *Cluster) ProxyMode(ctx context.Context) (string, error) {
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("listing the nodes: %w", c.explain(ctx, "", err))
	}
	nodes := make([]node, 0, len(list.Items))
	for i := range list.Items {
		nodes = append(nodes, newNode(&list.Items[i]))
	}
	facts := make([]record.Node, 0, len(nodes))
	for name, proxy := range c.readProxies(ctx, nodes, time.Now()) {
		facts = append(facts, record.Node{Name: name, Proxy: proxy})
	}
	return overall(facts), nil
}
