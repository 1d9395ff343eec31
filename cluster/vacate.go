package cluster

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Vacate takes what nodes and kube-proxies know of the run out of the cluster, and returns when it is gone: its pods, its
// Services and their endpoints. That takes a second or two. What is left are objects that only the API server knows;
// Remove, which has to be called all the same, waits for their end. Vacate needs rights that only clusters of podskew's own
// grant: to delete Services and EndpointSlices.
func (r *Run) Vacate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	ns, core := r.Namespace(), r.c.client.CoreV1()
	// The namespace first: in one that ends nothing can be made, so that no controller replaces what goes now.
	if err := core.Namespaces().Delete(ctx, ns, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("removing namespace %s: %w", ns, err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.c.endPods(gctx, ns, 1) })
	g.Go(func() error { return r.deleteServices(gctx) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("ending the pods and Services of namespace %s: %w", ns, err)
	}
	return errors.Join(
		follow(ctx, podFeed(r.c.client, ns), metav1.ListOptions{}, func(all map[string]*corev1.Pod) (bool, error) { return len(all) == 0, nil }),
		// After the pods, whose end would only be entered into slices that are to go.
		r.deleteSlices(ctx),
	)
}

func (r *Run) deleteServices(ctx context.Context) error {
	api := r.c.client.CoreV1().Services(r.Namespace())
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		if err := api.Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func (r *Run) deleteSlices(ctx context.Context) error {
	err := r.c.client.DiscoveryV1().EndpointSlices(r.Namespace()).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
