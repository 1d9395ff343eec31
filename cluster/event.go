package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// Done is an event that was done to the cluster, and what is to come of it.
type Done struct {
	// Event says what was done: all but when.
	Event record.Event

	settled func(*endpointView) bool // whether the endpoints show what came of it; nil: nothing does
	service bool                     // it changed a Service and no endpoints
	index   int                      // of the event in the scenario; -1: none that nodes could tell
}

// Do does one event of the run's scenario, the one with this index, to the cluster, and returns once the API server, the
// pod or the lab has taken it; what comes of it WaitEffective waits for. Of events whose node has to lose its power Power
// must be able to do that.
func (r *Run) Do(ctx context.Context, index int) (*Done, error) {
	events := r.d.Scenario.Spec.Events
	if index < 0 || index >= len(events) {
		return nil, fmt.Errorf("the scenario has no event %d", index)
	}
	e := events[index]
	do := r.action(e)
	if do == nil {
		return nil, fmt.Errorf("spec.events[%d] says not what is done", index)
	}
	done, err := do(ctx)
	if err != nil {
		return nil, r.explained(ctx, err)
	}
	if done.index = index; !canTell(e) {
		done.index = -1
	}
	return done, nil
}

// action is what does an event; nil: the event says nothing.
func (r *Run) action(e scenarios.Event) func(context.Context) (*Done, error) {
	bind := func(node string, do func(context.Context, string) (*Done, error)) func(context.Context) (*Done, error) {
		return func(ctx context.Context) (*Done, error) { return do(ctx, node) }
	}
	switch {
	case e.Scale != nil:
		return func(ctx context.Context) (*Done, error) { return r.scale(ctx, *e.Scale) }
	case e.Restart:
		return r.restart
	case e.DeletePod != nil:
		return func(ctx context.Context) (*Done, error) { return r.deletePod(ctx, *e.DeletePod) }
	case e.Readiness != nil:
		return func(ctx context.Context) (*Done, error) { return r.setReadiness(ctx, *e.Readiness) }
	case e.Label != nil:
		return func(ctx context.Context) (*Done, error) { return r.setLabel(ctx, *e.Label) }
	case e.Swap:
		return r.swap
	case e.Slow != nil:
		return func(ctx context.Context) (*Done, error) { return r.slow(ctx, *e.Slow) }
	case e.PatchService != nil:
		return func(ctx context.Context) (*Done, error) { return r.patchService(ctx, *e.PatchService) }
	case e.Cordon != "":
		return bind(e.Cordon, r.cordon)
	case e.Uncordon != "":
		return bind(e.Uncordon, r.uncordon)
	case e.Drain != "":
		return bind(e.Drain, r.drain)
	case e.KillNode != "":
		return bind(e.KillNode, r.killNode)
	case e.RestartKubeProxy != "":
		return bind(e.RestartKubeProxy, r.restartProxy)
	}
	return nil
}

// canTell reports whether nodes have something to learn of an event.
func canTell(e scenarios.Event) bool { return e.Slow == nil && e.Cordon == "" && e.Uncordon == "" }

// echoPodList lists the echo pods that are not ending, in the order that events number them by: by name, those in standby
// after the others.
func (r *Run) echoPodList(ctx context.Context) ([]*corev1.Pod, error) {
	list, err := r.c.client.CoreV1().Pods(r.Namespace()).List(ctx, metav1.ListOptions{LabelSelector: labelRole + "=" + roleEcho})
	if err != nil {
		return nil, fmt.Errorf("listing echo pods: %w", err)
	}
	out := slices.DeleteFunc(pointers(list.Items), func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
	})
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		if standbyA, standbyB := inStandby(a), inStandby(b); standbyA != standbyB {
			if standbyB {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

// inStandby reports whether a pod is one of those that only a swap selects.
func inStandby(p *corev1.Pod) bool { return p.Labels[labelPlacement] == setStandby }

// echoPodNumber is the echo pod of a number.
func (r *Run) echoPodNumber(ctx context.Context, n int) (*corev1.Pod, error) {
	pods, err := r.echoPodList(ctx)
	if err != nil {
		return nil, err
	}
	if n < 0 || n >= len(pods) {
		return nil, fmt.Errorf("there is no echo pod %d now: there are %d, counted from 0", n, len(pods))
	}
	return pods[n], nil
}

// mergePatch is a patch of nested maps; nil takes a field away.
func mergePatch(fields map[string]any) ([]byte, error) {
	body, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encoding a patch: %w", err)
	}
	return body, nil
}

// patchDeployments changes all Deployments of the echo pods that the Services select.
func (r *Run) patchDeployments(ctx context.Context, fields map[string]any) error {
	body, err := mergePatch(fields)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range echoDeployments(r.d, r.layout) {
		if o.Labels[labelServes] != r.serving() {
			continue
		}
		_, err := r.c.client.AppsV1().Deployments(r.Namespace()).Patch(ctx, *o.Name, types.MergePatchType, body, patchOptions())
		if err != nil {
			errs = append(errs, fmt.Errorf("changing deployment %s: %w", *o.Name, err))
		}
	}
	return errors.Join(errs...)
}

func patchOptions() metav1.PatchOptions { return metav1.PatchOptions{FieldManager: fieldManager} }

// serving is which of the two sets of echo pods the Services select.
func (r *Run) serving() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.swapped {
		return setStandby
	}
	return setActive
}
