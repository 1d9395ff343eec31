package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	removeTimeout = time.Minute
	// forceAfter is when pods that are still there are taken out of the API server without their kubelet's word: the
	// namespace controller begins after 5 s, and by then the pods of healthy nodes are gone.
	forceAfter = 8 * time.Second
)

// removeNamespace deletes a run's namespace and waits until it is gone. It never touches another's.
func (c *Cluster) removeNamespace(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	api := c.client.CoreV1().Namespaces()
	ns, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing namespace %s: %w", name, c.explain(ctx, name, err))
	}
	if ns.Labels[labelManagedBy] != fieldManager || ns.Labels[labelRun] == "" {
		return fmt.Errorf("namespace %s is not podskew's (no label %s=%s): it stays", name, labelManagedBy, fieldManager)
	}
	err = api.Delete(ctx, name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(ns.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("removing namespace %s: %w", name, c.explain(ctx, name, err))
	}
	// Only now: before, a ReplicaSet would have made new ones. The namespace controller would grant each its full grace.
	if err := c.endPods(ctx, name, 1); err != nil && ctx.Err() == nil {
		c.notes.add(fmt.Sprintf("the pods of namespace %s could not be ended early: %v", name, err))
	}
	return c.waitGone(ctx, ns)
}

func (c *Cluster) endPods(ctx context.Context, namespace string, grace int64) error {
	err := c.client.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &grace}, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (c *Cluster) waitGone(ctx context.Context, ns *corev1.Namespace) error {
	begun, forced := time.Now(), false
	last := ns
	err := follow(ctx, namespaceFeed(c.client), metav1.ListOptions{FieldSelector: "metadata.name=" + ns.Name},
		func(all map[string]*corev1.Namespace) (bool, error) {
			now, there := all[ns.Name]
			if !there || now.UID != ns.UID {
				return true, nil
			}
			last = now
			if !forced && time.Since(begun) >= forceAfter {
				forced = true
				return false, c.endPods(ctx, ns.Name, 0)
			}
			return false, nil
		})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("namespace %s is being deleted but not gone after %v: %s", ns.Name,
			time.Since(begun).Round(time.Second), remaining(last))
	}
	if err != nil {
		return fmt.Errorf("waiting for namespace %s to go: %w", ns.Name, err)
	}
	return nil
}

// remaining is what the namespace controller says holds a deletion up.
func remaining(ns *corev1.Namespace) string {
	var out []string
	for _, cond := range ns.Status.Conditions {
		if cond.Status == corev1.ConditionTrue {
			out = append(out, oneLine(cond.Message))
		}
	}
	if len(out) == 0 {
		return "the namespace controller does not say why"
	}
	return strings.Join(out, "; ")
}

// Clean removes the namespaces of runs that ended without removing them, because podskew or its machine died. A run is
// taken for dead when its Lease has expired; where that is not certain yet, Clean waits and tells progress, if not nil.
// Leases are judged by this machine's clock: one that is more than ten seconds ahead of a running podskew's takes that
// for dead. The outcome is ordered by namespace; it is complete also when there is an error.
func (c *Cluster) Clean(ctx context.Context, opt CleanOptions, progress func(step string)) ([]Cleaned, error) {
	list, err := c.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: labelManagedBy + "=" + fieldManager + "," + labelRun})
	if err != nil {
		return nil, fmt.Errorf("looking for runs to clean: %w", c.explain(ctx, "", err))
	}
	slices.SortFunc(list.Items, func(a, b corev1.Namespace) int { return strings.Compare(a.Name, b.Name) })
	tell := serial(progress)
	out := make([]Cleaned, len(list.Items))
	errs := make([]error, len(list.Items))
	var g errgroup.Group
	for i := range list.Items {
		g.Go(func() error {
			out[i], errs[i] = c.cleanOne(ctx, &list.Items[i], opt, tell)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs: one namespace must not stop the others
	return out, errors.Join(errs...)
}

func (c *Cluster) cleanOne(ctx context.Context, ns *corev1.Namespace, opt CleanOptions, tell func(string)) (Cleaned, error) {
	out := Cleaned{Namespace: ns.Name, Run: ns.Labels[labelRun], Reason: "all runs were to be removed"}
	switch {
	case ns.DeletionTimestamp != nil:
		out.Reason = "it was being deleted already"
	case !opt.All:
		alive, reason, err := c.alive(ctx, ns, tell)
		if out.Reason = reason; alive || err != nil {
			return out, err
		}
	}
	tell("removing namespace " + ns.Name + ": " + out.Reason)
	// The cordons first: once the namespace is gone nobody comes back for them.
	err := c.endCordons(ctx, out.Run)
	if err == nil {
		err = c.removeNamespace(ctx, ns.Name)
	}
	out.Removed = err == nil
	return out, err
}

// alive finds out whether anybody renews the run's Lease, by waiting until it is renewed or has expired.
func (c *Cluster) alive(ctx context.Context, ns *corev1.Namespace, tell func(string)) (bool, string, error) {
	first, err := c.lease(ctx, ns.Name)
	if err != nil {
		return false, "its lease could not be read", err
	}
	left := leaseLeft(first, time.Now())
	if first == nil { // the lease follows the namespace by milliseconds, unless podskew died in between
		left = max(0, leaseDuration-max(0, time.Since(ns.CreationTimestamp.Time)))
	}
	if left > 0 {
		tell(fmt.Sprintf("namespace %s: its run may still be alive; waiting up to %v to see whether it renews its lease", ns.Name, left.Round(time.Second)))
	}
	for until := time.Now().Add(left); time.Now().Before(until); {
		if err := pause(ctx, min(time.Second, time.Until(until))); err != nil {
			return false, "interrupted while waiting for its lease to expire", err
		}
		now, err := c.lease(ctx, ns.Name)
		if err != nil {
			return false, "its lease could not be read", err
		}
		if now != nil && (first == nil || !now.Spec.RenewTime.Equal(first.Spec.RenewTime)) {
			return true, fmt.Sprintf("the run is alive: %s renews its lease", holder(now)), nil
		}
	}
	if first == nil {
		return false, "it has no lease: podskew died while deploying", nil
	}
	return false, fmt.Sprintf("its lease has expired: %s renewed it last at %s", holder(first), renewed(first)), nil
}

// lease reads a run's lease; nil: there is none.
func (c *Cluster) lease(ctx context.Context, namespace string) (*coordinationv1.Lease, error) {
	l, err := c.client.CoordinationV1().Leases(namespace).Get(ctx, leaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // documented: no lease is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("reading the lease of namespace %s: %w", namespace, c.explain(ctx, namespace, err))
	}
	return l, nil
}

func holder(l *coordinationv1.Lease) string {
	if h := l.Spec.HolderIdentity; h != nil && *h != "" {
		return *h
	}
	return fieldManager
}

func renewed(l *coordinationv1.Lease) string {
	if l.Spec.RenewTime == nil {
		return "an unknown time"
	}
	return l.Spec.RenewTime.UTC().Format(time.RFC3339)
}
