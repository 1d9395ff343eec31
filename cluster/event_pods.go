package cluster

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// annotationRestarted is what "kubectl rollout restart" sets in the template of a Deployment.
const annotationRestarted = "kubectl.kubernetes.io/restartedAt"

// scale asks for so many echo pods. Only runs without a placement can be scaled.
func (r *Run) scale(ctx context.Context, replicas int) (*Done, error) {
	if r.layout.placement != nil {
		return nil, fmt.Errorf("scaling to %d: the scenario places its pods node by node; only spec.echo.replicas can be scaled", replicas)
	}
	if err := r.patchDeployments(ctx, map[string]any{"spec": map[string]any{"replicas": replicas}}); err != nil {
		return nil, fmt.Errorf("scaling to %d: %w", replicas, err)
	}
	before := r.scaled(replicas)
	return &Done{
		Event: record.Event{
			What: fmt.Sprintf("scaled echo to %d", replicas), Kind: record.EventScale, Before: strconv.Itoa(before), After: strconv.Itoa(replicas),
		},
		settled: func(v *endpointView) bool { return v.count() == replicas },
	}, nil
}

// scaled notes how many replicas were asked for, and returns how many had been.
func (r *Run) scaled(replicas int) (before int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before = r.layout.replicas; r.replicas != nil {
		before = *r.replicas
	}
	r.replicas = &replicas
	return before
}

// restart replaces the echo pods one after the other, as "kubectl rollout restart" does.
func (r *Run) restart(ctx context.Context) (*Done, error) {
	old, err := r.readyPods(ctx)
	if err != nil {
		return nil, fmt.Errorf("restarting the echo pods: %w", err)
	}
	stamp := map[string]any{annotationRestarted: time.Now().UTC().Format(time.RFC3339Nano)}
	err = r.patchDeployments(ctx, map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": stamp}}}})
	if err != nil {
		return nil, fmt.Errorf("restarting the echo pods: %w", err)
	}
	return &Done{
		Event:   record.Event{What: "restarted echo", Kind: record.EventRestart},
		settled: func(v *endpointView) bool { return v.count() >= len(old) && !v.anyOf(old) },
	}, nil
}

// deletePod deletes an echo pod with the grace that it asks for; its ReplicaSet makes another.
func (r *Run) deletePod(ctx context.Context, n int) (*Done, error) {
	old, err := r.readyPods(ctx)
	if err != nil {
		return nil, fmt.Errorf("deleting echo pod %d: %w", n, err)
	}
	pod, err := r.echoPodNumber(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("deleting an echo pod: %w", err)
	}
	err = r.c.client.CoreV1().Pods(r.Namespace()).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if err != nil {
		return nil, fmt.Errorf("deleting pod %s: %w", pod.Name, err)
	}
	return &Done{
		Event:   record.Event{What: "deleted pod " + pod.Name, Kind: record.EventDelete, Target: pod.Name},
		settled: func(v *endpointView) bool { return v.count() >= len(old) && !v.has(pod.Name) },
	}, nil
}

// setReadiness has an echo pod's readiness probe fail, or succeed again.
func (r *Run) setReadiness(ctx context.Context, want scenarios.Readiness) (*Done, error) {
	pod, err := r.echoPodNumber(ctx, want.Pod)
	if err != nil {
		return nil, fmt.Errorf("setting the readiness of an echo pod: %w", err)
	}
	if err := r.tellEcho(ctx, pod.Name, "/readyz?ready="+strconv.FormatBool(want.Ready)); err != nil {
		return nil, fmt.Errorf("setting the readiness of pod %s: %w", pod.Name, err)
	}
	after := "unready"
	if want.Ready {
		after = "ready"
	}
	return &Done{
		Event:   record.Event{What: fmt.Sprintf("pod %s says it is %s", pod.Name, after), Kind: record.EventProbe, Target: pod.Name, After: after},
		settled: func(v *endpointView) bool { return v.has(pod.Name) == want.Ready },
	}, nil
}

// setLabel gives or takes the label that the Services select by. The pod's ReplicaSet goes by other labels: the pod stays its
// own and is not replaced.
func (r *Run) setLabel(ctx context.Context, want scenarios.Label) (*Done, error) {
	pod, err := r.echoPodNumber(ctx, want.Pod)
	if err != nil {
		return nil, fmt.Errorf("labelling an echo pod: %w", err)
	}
	var value any
	event := record.Event{What: "no Service selects pod " + pod.Name, Kind: record.EventLabel, Target: pod.Name, Before: "selected", After: "not selected"}
	if want.Selected {
		value = setActive
		if inStandby(pod) {
			value = setStandby
		}
		event.What, event.Before, event.After = "the Services select pod "+pod.Name, event.After, event.Before
	}
	body, err := mergePatch(map[string]any{"metadata": map[string]any{"labels": map[string]any{labelServes: value}}})
	if err != nil {
		return nil, err
	}
	if _, err := r.c.client.CoreV1().Pods(r.Namespace()).Patch(ctx, pod.Name, types.MergePatchType, body, patchOptions()); err != nil {
		return nil, fmt.Errorf("labelling pod %s: %w", pod.Name, err)
	}
	return &Done{Event: event, settled: func(v *endpointView) bool { return v.has(pod.Name) == want.Selected }}, nil
}

// slow has an echo pod wait before each answer.
func (r *Run) slow(ctx context.Context, want scenarios.Slow) (*Done, error) {
	pod, err := r.echoPodNumber(ctx, want.Pod)
	if err != nil {
		return nil, fmt.Errorf("slowing an echo pod: %w", err)
	}
	if err := r.tellEcho(ctx, pod.Name, "/slow?delay="+want.Delay.String()); err != nil {
		return nil, fmt.Errorf("slowing pod %s: %w", pod.Name, err)
	}
	return &Done{Event: record.Event{
		What: fmt.Sprintf("pod %s waits %s before each answer", pod.Name, want.Delay), Kind: record.EventSlow, Target: pod.Name, After: want.Delay.String(),
	}}, nil
}

// tellEcho has an echo pod do what its token is needed for, through the API server.
func (r *Run) tellEcho(ctx context.Context, pod, path string) error {
	to := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:%d/proxy/%s", r.Namespace(), url.PathEscape(pod), httpPort().pod, strings.TrimPrefix(path, "/"))
	resp, err := r.c.do(ctx, http.MethodPost, to, http.Header{tokenHeader: {r.echoToken}}, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
