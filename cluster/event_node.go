package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podskew/podskew/record"
)

const (
	// annotationCordoned is on nodes that a run has cordoned: its id.
	annotationCordoned = "podskew.dev/cordoned"
	// proxyLabel selects the pods of kube-proxy wherever kubeadm or kind have set it up.
	proxyLabel = "k8s-app=kube-proxy"
	// evictAgain is how long an eviction that a disruption budget forbids now waits for the next attempt.
	evictAgain = 500 * time.Millisecond
	allNodes   = "all"
)

// Machines does to nodes what no API server can. Its methods return when it is done.
type Machines interface {
	// KillNode takes the power from a node: all that runs on it ends at once, and nothing leaves it any more.
	KillNode(ctx context.Context, node string) error
	// StartNode starts a killed node anew, empty.
	StartNode(ctx context.Context, node string) error
	// RestartProxy ends the node's kube-proxy and starts another.
	RestartProxy(ctx context.Context, node string) error
}

// cordon keeps new pods off a node. One that somebody else has cordoned stays as it is, now and afterwards.
func (r *Run) cordon(ctx context.Context, name string) (*Done, error) {
	node, err := r.layout.resolve(name)
	if err != nil {
		return nil, fmt.Errorf("cordoning a node: %w", err)
	}
	already, err := r.setCordon(ctx, node.name)
	if err != nil {
		return nil, fmt.Errorf("cordoning node %s: %w", node.name, err)
	}
	event := record.Event{What: "cordoned node " + node.name, Kind: record.EventCordon, Target: node.name, Before: "schedulable", After: "cordoned"}
	if already {
		event.Before = "cordoned"
	}
	return &Done{Event: event}, nil
}

// uncordon lets pods onto a node again that this run has cordoned, and onto no other.
func (r *Run) uncordon(ctx context.Context, name string) (*Done, error) {
	node, err := r.layout.resolve(name)
	if err != nil {
		return nil, fmt.Errorf("uncordoning a node: %w", err)
	}
	if !r.hasCordoned(node.name) {
		return nil, fmt.Errorf("uncordoning node %s: this run has not cordoned it", node.name)
	}
	if err := r.endCordon(ctx, node.name); err != nil {
		return nil, err
	}
	return &Done{Event: record.Event{
		What: "uncordoned node " + node.name, Kind: record.EventCordon, Target: node.name, Before: "cordoned", After: "schedulable",
	}}, nil
}

// drain cordons a node and evicts the run's echo pods on it.
func (r *Run) drain(ctx context.Context, name string) (*Done, error) {
	node, err := r.layout.resolve(name)
	if err != nil {
		return nil, fmt.Errorf("draining a node: %w", err)
	}
	if _, err := r.setCordon(ctx, node.name); err != nil {
		return nil, fmt.Errorf("draining node %s: %w", node.name, err)
	}
	old, err := r.readyPods(ctx)
	if err != nil {
		return nil, fmt.Errorf("draining node %s: %w", node.name, err)
	}
	pods, err := r.echoPodList(ctx)
	if err != nil {
		return nil, fmt.Errorf("draining node %s: %w", node.name, err)
	}
	evicted := 0
	for _, p := range pods {
		if p.Spec.NodeName != node.name {
			continue
		}
		if err := r.evict(ctx, p); err != nil {
			return nil, fmt.Errorf("draining node %s: %w", node.name, err)
		}
		evicted++
	}
	return &Done{
		Event:   record.Event{What: fmt.Sprintf("drained node %s of %d echo pods", node.name, evicted), Kind: record.EventDrain, Target: node.name},
		settled: r.leftNode(node.name, len(old)),
	}, nil
}

// leftNode waits until no ready endpoint is on a node and, unless pods are bound to their nodes, there are as many as before.
func (r *Run) leftNode(node string, before int) func(*endpointView) bool {
	if r.layout.placement != nil {
		before = 0
	}
	return func(v *endpointView) bool { return !v.onNode(node) && v.count() >= before }
}

// evict asks for a pod's eviction until its disruption budget, if there is one, allows it.
func (r *Run) evict(ctx context.Context, p *corev1.Pod) error {
	for {
		err := r.c.client.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))},
		})
		switch {
		case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
			return nil // gone already
		case !apierrors.IsTooManyRequests(err):
			return fmt.Errorf("evicting pod %s: %w", p.Name, err)
		}
		if pause(ctx, evictAgain) != nil {
			return fmt.Errorf("evicting pod %s: %w", p.Name, err)
		}
	}
}

// setCordon cordons a node and notes that it was this run. already: it was cordoned before.
func (r *Run) setCordon(ctx context.Context, name string) (already bool, err error) {
	n, err := r.c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return false, err
	}
	if n.Spec.Unschedulable {
		return true, nil
	}
	r.mu.Lock()
	if r.cordoned == nil {
		r.cordoned = map[string]bool{}
	}
	r.cordoned[name] = true // before it is asked for: an interrupt may come in between
	r.mu.Unlock()
	return false, r.c.patchNode(ctx, name, true, r.d.RunID)
}

func (r *Run) hasCordoned(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cordoned[name]
}

func (r *Run) endCordon(ctx context.Context, name string) error {
	if err := r.c.patchNode(ctx, name, nil, nil); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("uncordoning node %s: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.cordoned, name)
	return nil
}

func (c *Cluster) patchNode(ctx context.Context, name string, unschedulable, run any) error {
	body, err := mergePatch(map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{annotationCordoned: run}},
		"spec":     map[string]any{"unschedulable": unschedulable},
	})
	if err != nil {
		return err
	}
	_, err = c.client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, body, patchOptions())
	return err
}

// Restore undoes what events did to nodes: those that were cordoned take pods again, those that were killed are started.
// It has to be called before the run is removed, whatever happened, also when ctx of the run has ended. Calling it again
// does nothing.
func (r *Run) Restore(ctx context.Context) error {
	r.mu.Lock()
	cordoned, killed := slices.Sorted(maps.Keys(r.cordoned)), slices.Sorted(maps.Keys(r.killed))
	r.mu.Unlock()
	var errs []error
	for _, name := range killed {
		errs = append(errs, r.startNode(ctx, name))
	}
	for _, name := range cordoned {
		errs = append(errs, r.endCordon(ctx, name))
	}
	return errors.Join(errs...)
}

// killNode takes the power from a node.
func (r *Run) killNode(ctx context.Context, name string) (*Done, error) {
	node, err := r.layout.resolve(name)
	if err != nil {
		return nil, fmt.Errorf("killing a node: %w", err)
	}
	if r.d.Machines == nil {
		return nil, fmt.Errorf("killing node %s: only the lab can take the power from a node", node.name)
	}
	r.mu.Lock()
	if r.killed == nil {
		r.killed = map[string]bool{}
	}
	r.killed[node.name] = true
	r.mu.Unlock()
	if err := r.d.Machines.KillNode(ctx, node.name); err != nil {
		return nil, fmt.Errorf("killing node %s: %w", node.name, err)
	}
	return &Done{
		Event:   record.Event{What: fmt.Sprintf("node %s lost its power", node.name), Kind: record.EventKill, Target: node.name},
		settled: r.leftNode(node.name, 0),
	}, nil
}

// startNode starts a killed node and waits until it is ready.
func (r *Run) startNode(ctx context.Context, name string) error {
	if err := r.d.Machines.StartNode(ctx, name); err != nil {
		return fmt.Errorf("starting node %s again: %w", name, err)
	}
	for {
		n, err := r.c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err == nil && nodeReady(n) && !slices.ContainsFunc(n.Spec.Taints, unreachable) {
			break
		}
		if pause(ctx, relistPause) != nil {
			return fmt.Errorf("node %s was started again and is not ready: %w", name, errors.Join(err, ctx.Err()))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.killed, name)
	return nil
}

// unreachable reports whether a taint keeps pods off a node that was not ready.
func unreachable(t corev1.Taint) bool {
	return t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable
}

// restartProxy restarts kube-proxy on one node, or on all.
func (r *Run) restartProxy(ctx context.Context, name string) (*Done, error) {
	nodes := slices.Sorted(maps.Keys(r.layout.nodes))
	event := record.Event{What: "restarted kube-proxy on all nodes", Kind: record.EventProxy}
	if name != allNodes {
		node, err := r.layout.resolve(name)
		if err != nil {
			return nil, fmt.Errorf("restarting kube-proxy: %w", err)
		}
		nodes = []string{node.name}
		event.What, event.Target = "restarted kube-proxy on node "+node.name, node.name
	}
	nodes = slices.DeleteFunc(nodes, func(name string) bool { return r.layout.nodes[name].external })
	restart := r.deleteProxyPods
	if r.d.Machines != nil {
		restart = r.restartProxies
	}
	if err := restart(ctx, nodes); err != nil {
		return nil, fmt.Errorf("restarting kube-proxy: %w", err)
	}
	return &Done{Event: event, settled: func(*endpointView) bool { return true }}, nil
}

func (r *Run) restartProxies(ctx context.Context, nodes []string) error {
	var errs []error
	for _, name := range nodes {
		if err := r.d.Machines.RestartProxy(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// deleteProxyPods deletes the kube-proxy pods of nodes; their DaemonSet makes new ones.
func (r *Run) deleteProxyPods(ctx context.Context, nodes []string) error {
	api := r.c.client.CoreV1().Pods(metav1.NamespaceSystem)
	list, err := api.List(ctx, metav1.ListOptions{LabelSelector: proxyLabel})
	if err != nil {
		return fmt.Errorf("listing the pods of kube-proxy: %w", err)
	}
	found := 0
	for i := range list.Items {
		p := &list.Items[i]
		if !slices.Contains(nodes, p.Spec.NodeName) {
			continue
		}
		found++
		if err := api.Delete(ctx, p.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting pod %s: %w", p.Name, err)
		}
	}
	if found == 0 {
		return fmt.Errorf("no pod labelled %s in %s runs on these nodes: kube-proxy is something else here", proxyLabel, metav1.NamespaceSystem)
	}
	return nil
}

// checkEvents finds out before anything is deployed what would fail in the middle of the run.
func (l *layout) checkEvents(d Deployment) error {
	for i, e := range d.Scenario.Spec.Events {
		for _, at := range []struct{ field, node string }{
			{"cordon", e.Cordon}, {"uncordon", e.Uncordon}, {"drain", e.Drain}, {"killNode", e.KillNode}, {"restartKubeProxy", e.RestartKubeProxy},
		} {
			if at.node == "" || at.field == "restartKubeProxy" && at.node == allNodes {
				continue
			}
			if err := l.checkEventNode(d, at.field, at.node); err != nil {
				return fmt.Errorf("spec.events[%d].%s: %w", i, at.field, err)
			}
		}
	}
	return nil
}

func (l *layout) checkEventNode(d Deployment, field, name string) error {
	n, err := l.resolve(name)
	switch {
	case err != nil:
		return err
	case field == "restartKubeProxy" && n.external:
		return fmt.Errorf("no kube-proxy runs on node %s, which is set apart for external clients", n.name)
	case field != "killNode":
		return nil
	case d.Machines == nil:
		return errors.New("only the lab can take the power from a node: podskew run --cluster lab")
	}
	for _, a := range l.agents {
		if a.node == n.name {
			return fmt.Errorf("client %s stands on node %s, and what it measured would die with it: write another node in the client's node", a.client, n.name)
		}
	}
	return nil
}

// endCordons takes the cordons away that a run has left.
func (c *Cluster) endCordons(ctx context.Context, run string) error {
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("looking for nodes that run %s has cordoned: %w", run, c.explain(ctx, namespaceOf(run), err))
	}
	var errs []error
	for i := range list.Items {
		n := &list.Items[i]
		if n.Annotations[annotationCordoned] != run {
			continue
		}
		if err := c.patchNode(ctx, n.Name, nil, nil); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("uncordoning node %s, which run %s has cordoned: %w", n.Name, run, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Run) isKilled(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.killed[node]
}
