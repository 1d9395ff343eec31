package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// patience is how long something that may pass by itself is looked at before it counts as a failure: an image pull
// that failed once, a node that is full while old pods end, a container runtime that is slow.
const patience = 10 * time.Second

// readyWait waits for the pods of a deployment.
type readyWait struct {
	client    kubernetes.Interface
	namespace string
	echo      int             // echo pods wanted
	agents    map[string]bool // agent pods wanted, by name
	progress  func(string)

	pods   map[string]*corev1.Pod // as last seen
	since  map[string]time.Time   // pod and sentence → when the trouble was first seen
	told   int                    // ready pods at the last progress
	refuse string                 // why a controller may not create pods, and
	when   time.Time              // since when
}

// wait returns the ready pods. Its errors say for every pod why it is not ready.
func (w *readyWait) wait(ctx context.Context) ([]*corev1.Pod, error) {
	w.since, w.told = map[string]time.Time{}, -1
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		err := follow(ctx, deploymentFeed(w.client, w.namespace), metav1.ListOptions{}, w.refused())
		if err != nil && ctx.Err() == nil {
			cancel(err)
		}
	}()
	err := follow(ctx, podFeed(w.client, w.namespace), metav1.ListOptions{}, w.look)
	cause := context.Cause(ctx)
	cancel(nil)
	<-watching
	switch {
	case err == nil:
		return slices.SortedFunc(maps.Values(w.pods), func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) }), nil
	case errors.Is(err, context.Canceled) && cause != nil && !errors.Is(cause, context.Canceled):
		return nil, cause // the other half of the wait knows better
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("the pods did not get ready in time:\n  %w", w.missing())
	}
	return nil, err
}

func (w *readyWait) look(pods map[string]*corev1.Pod) (bool, error) {
	w.pods = maps.Clone(pods)
	maps.DeleteFunc(w.pods, func(_ string, p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	echo, agents, final := 0, 0, false
	for _, p := range w.pods {
		switch {
		case !podReady(p):
			final = w.lasting(p) || final
		case p.Labels[labelRole] == roleEcho:
			echo++
		case w.agents[p.Name]:
			agents++
		}
	}
	if ready := echo + agents; ready != w.told {
		w.told = ready
		w.progress(fmt.Sprintf("%d of %d pods ready", ready, w.echo+len(w.agents)))
	}
	if final {
		return false, w.failed()
	}
	return echo == w.echo && agents == len(w.agents), nil
}

// lasting reports whether the pod's trouble is final or has lasted too long.
func (w *readyWait) lasting(p *corev1.Pod) bool {
	t := podTrouble(p)
	if t == nil {
		return false
	}
	key := string(p.UID) + t.sentence
	first, seen := w.since[key]
	if !seen {
		first = time.Now()
		w.since[key] = first
	}
	return t.final || time.Since(first) >= patience
}

// podsError carries the pods in trouble until their logs have been read.
type podsError struct {
	lines    sentences
	withLogs []*corev1.Pod
	previous map[string]bool
	of       map[string]string // pod → container whose log it is
	count    int
}

func (e *podsError) Error() string {
	if e.count == 1 {
		return e.lines.String()
	}
	return fmt.Sprintf("%d pods cannot run:\n  %s", e.count, &e.lines)
}

func (w *readyWait) failed() error {
	e := &podsError{previous: map[string]bool{}, of: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		p := w.pods[name]
		t := podTrouble(p)
		if t == nil || podReady(p) {
			continue
		}
		e.count++
		e.lines.add(name, t.sentence)
		if t.logs {
			e.withLogs = append(e.withLogs, p)
			e.previous[name], e.of[name] = t.previous, t.of
		}
	}
	return e
}

// missing says what every pod that is not ready waits for.
func (w *readyWait) missing() error {
	var lines sentences
	echo := 0
	agents := maps.Clone(w.agents)
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		p := w.pods[name]
		delete(agents, name)
		if p.Labels[labelRole] == roleEcho {
			echo++
		}
		if podReady(p) {
			continue
		}
		if t := podTrouble(p); t != nil {
			lines.add(name, t.sentence)
		} else {
			lines.add(name, podProgress(p))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(agents)) {
		lines.add(name, "is not there")
	}
	if echo < w.echo {
		lines.add("", fmt.Sprintf("the controllers have created %d of %d echo pods", echo, w.echo))
	}
	return errors.New(lines.String())
}

// refused watches for controllers that may not create pods: for quotas, limits and admission there is no pod to look at.
func (w *readyWait) refused() func(map[string]*appsv1.Deployment) (bool, error) {
	return func(all map[string]*appsv1.Deployment) (bool, error) {
		message := ""
		for _, name := range slices.Sorted(maps.Keys(all)) {
			for _, c := range all[name].Status.Conditions {
				if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
					message = fmt.Sprintf("no pods for deployment %s: %s (%s)", name, c.Message, c.Reason)
				}
			}
		}
		switch {
		case message == "":
			w.refuse = ""
		case w.refuse == "":
			w.refuse, w.when = message, time.Now()
		case time.Since(w.when) >= patience/2:
			if what := admissionSentence(message); what != "" {
				message += "\n  " + what
			}
			return false, errors.New(message)
		}
		return false, nil
	}
}

// logTail adds the end of the logs to the sentences about pods that crashed.
func (w *readyWait) logTail(ctx context.Context, err error) error {
	e, ok := errors.AsType[*podsError](err)
	if !ok {
		return err
	}
	for _, p := range e.withLogs[:min(len(e.withLogs), 3)] {
		text, err := tail(ctx, w.client, p, e.of[p.Name], e.previous[p.Name])
		if err == nil && text != "" {
			e.lines.add(p.Name, "says last: "+text)
		}
	}
	return err
}

// tail is the end of a container's log on one line; a pod's only container need not be named.
func tail(ctx context.Context, c kubernetes.Interface, p *corev1.Pod, container string, previous bool) (string, error) {
	text, err := c.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{
		Container: container, TailLines: new(int64(3)), Previous: previous,
	}).DoRaw(ctx)
	if err != nil {
		return "", err
	}
	out := strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", " | ")
	return out[max(0, len(out)-400):], nil
}

// waitEndpoints waits until the EndpointSlices of a Service list exactly the given pods, all ready, and returns
// their addresses, sorted.
func waitEndpoints(ctx context.Context, c kubernetes.Interface, namespace, service string, want []string) (addresses []netip.Addr, err error) {
	var missing, foreign []string
	err = follow(ctx, sliceFeed(c, namespace), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service},
		func(slicesOf map[string]*discoveryv1.EndpointSlice) (bool, error) {
			have, all := readyTargets(slicesOf)
			addresses = all
			missing, foreign = nil, nil
			for _, name := range want {
				if !have[name] {
					missing = append(missing, name)
				}
				delete(have, name)
			}
			foreign = slices.Sorted(maps.Keys(have))
			return len(missing) == 0 && len(foreign) == 0, nil
		})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("the endpoint slices of Service %s did not get complete in time: not listed as ready: %s; listed though not asked for: %s",
			service, listed(missing), listed(foreign))
	}
	return addresses, err
}

func readyTargets(all map[string]*discoveryv1.EndpointSlice) (pods map[string]bool, addresses []netip.Addr) {
	pods = map[string]bool{}
	for _, s := range all {
		for _, e := range s.Endpoints {
			if e.TargetRef == nil || e.Conditions.Ready == nil || !*e.Conditions.Ready {
				continue
			}
			pods[e.TargetRef.Name] = true
			for _, a := range e.Addresses[:min(len(e.Addresses), 1)] { // kube-proxy uses the first one only, too
				if ip, err := netip.ParseAddr(a); err == nil {
					addresses = append(addresses, ip)
				}
			}
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return pods, slices.Compact(addresses)
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
