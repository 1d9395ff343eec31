package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/podskew/podskew/record"
)

// Run is one deployed run. It renews the run's Lease until Remove or Close; one of the two must be called. Its methods
// are safe for concurrent use.
type Run struct {
	c      *Cluster
	d      Deployment // with defaults
	layout *layout
	token  string // what agents demand of every plan
	keeper *keeper

	service *corev1.Service // as the API server completed it
	canary  *corev1.Service
	streams []record.Stream
	pods    []netip.Addr // of the ready endpoints, sorted; nil unless they are dialled

	mu         sync.Mutex
	programmed map[string]bool // node → its rules answered for the canary
}

// Namespace is where everything of the run is.
func (r *Run) Namespace() string { return namespaceOf(r.d.RunID) }

// Close stops renewing the run's Lease and leaves everything deployed: for a cluster that is torn down anyway, and
// for people who want to look. A later Clean takes the run for dead. Close may be called more than once.
func (r *Run) Close() { r.keeper.stop() }

// Scale asks for replicas echo pods and returns at once; the facts tell what came of it. Only runs without a
// placement can be scaled.
func (r *Run) Scale(ctx context.Context, replicas int) error {
	if r.layout.placement != nil {
		return fmt.Errorf("scaling to %d: the scenario places its pods node by node; only spec.echo.replicas can be scaled", replicas)
	}
	l := *r.layout
	l.replicas = replicas
	for _, o := range echoDeployments(r.d, &l) {
		if _, err := r.c.client.AppsV1().Deployments(r.Namespace()).Apply(ctx, o, applyOptions()); err != nil {
			return fmt.Errorf("scaling to %d: %w", replicas, r.c.explain(ctx, r.Namespace(), err))
		}
	}
	return nil
}

// Remove deletes the run's namespace with all that is in it, and waits until it is gone; that takes five seconds at
// least, since the namespace controller waits that long before it starts. Without a deadline on ctx it gives up after
// a minute. What is gone already is no error.
func (r *Run) Remove(ctx context.Context) error {
	r.Close()
	return r.c.removeNamespace(ctx, r.Namespace())
}
