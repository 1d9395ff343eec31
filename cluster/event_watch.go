package cluster

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/record"
)

// endpointState is what the EndpointSlices of one Service say of a pod.
type endpointState struct {
	ready, terminating bool
	node, address      string
}

// endpointView is the endpoints of one Service, by pod.
type endpointView struct{ pods map[string]endpointState }

// viewOf reads the endpoints of a Service from slices.
func viewOf(all map[string]*discoveryv1.EndpointSlice, service string) *endpointView {
	v := &endpointView{pods: map[string]endpointState{}}
	for _, s := range all {
		if s.Labels[discoveryv1.LabelServiceName] != service {
			continue
		}
		for _, e := range s.Endpoints {
			if e.TargetRef == nil || e.TargetRef.Kind != "Pod" {
				continue
			}
			state := endpointState{ready: isSet(e.Conditions.Ready, true), terminating: isSet(e.Conditions.Terminating, false), node: text(e.NodeName)}
			if len(e.Addresses) > 0 {
				state.address = e.Addresses[0]
			}
			// A pod has an endpoint in the slices of each family and, while it moves, in two of one: ready in one is ready.
			if was, twice := v.pods[e.TargetRef.Name]; twice && was.ready {
				continue
			}
			v.pods[e.TargetRef.Name] = state
		}
	}
	return v
}

// count is how many pods are ready endpoints.
func (v *endpointView) count() (n int) {
	for _, s := range v.pods {
		if s.ready {
			n++
		}
	}
	return n
}

// has reports whether a pod is a ready endpoint.
func (v *endpointView) has(pod string) bool { return v.pods[pod].ready }

// anyOf reports whether one of these pods is a ready endpoint.
func (v *endpointView) anyOf(pods map[string]bool) bool {
	for pod := range pods {
		if v.has(pod) {
			return true
		}
	}
	return false
}

// only reports whether exactly these pods are the ready endpoints.
func (v *endpointView) only(pods map[string]bool) bool {
	for pod := range pods {
		if !v.has(pod) {
			return false
		}
	}
	return v.count() == len(pods)
}

// onNode reports whether a ready endpoint is on a node.
func (v *endpointView) onNode(node string) bool {
	for _, s := range v.pods {
		if s.ready && s.node == node {
			return true
		}
	}
	return false
}

// readyPods are the ready endpoints of the Service under test, now.
func (r *Run) readyPods(ctx context.Context) (map[string]bool, error) {
	l, err := r.c.client.DiscoveryV1().EndpointSlices(r.Namespace()).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName})
	if err != nil {
		return nil, fmt.Errorf("reading endpoint slices: %w", err)
	}
	all := map[string]*discoveryv1.EndpointSlice{}
	for _, s := range pointers(l.Items) {
		all[s.Name] = s
	}
	out := map[string]bool{}
	for _, service := range r.echoServices() {
		for pod, s := range viewOf(all, service).pods {
			if s.ready {
				out[pod] = true
			}
		}
	}
	return out, nil
}

// FollowEndpoints tells seen, until ctx ends, of every pod that becomes a ready endpoint of the Service under test, stops
// being one, or is taken away: the events of one change in order of names, all but their times. What is there when it
// begins is not told.
func (r *Run) FollowEndpoints(ctx context.Context, seen func([]record.Event)) error {
	service := r.d.Scenario.Spec.Service.Name
	if service == "" {
		service = serviceEcho
	}
	var last *endpointView
	err := follow(ctx, sliceFeed(r.c.client, r.Namespace()), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service},
		func(all map[string]*discoveryv1.EndpointSlice) (bool, error) {
			now := viewOf(all, service)
			if last != nil {
				if events := last.changes(now); len(events) > 0 {
					seen(events)
				}
			}
			last = now
			return false, nil
		})
	if err != nil && ctx.Err() != nil {
		return nil //nolint:nilerr // told to stop
	}
	return err
}

// changes are the events that lead from one view to the next.
func (v *endpointView) changes(now *endpointView) []record.Event {
	var out []record.Event
	for pod, is := range now.pods {
		was, listed := v.pods[pod]
		switch {
		case is.ready && !was.ready:
			out = append(out, record.Event{What: pod + " is a ready endpoint", Kind: record.EventReady, Target: pod})
		case !is.ready && was.ready && is.terminating:
			out = append(out, record.Event{What: pod + " is ending, no ready endpoint any more", Kind: record.EventUnready, Target: pod})
		case !is.ready && (was.ready || !listed):
			out = append(out, record.Event{What: pod + " is an endpoint that is not ready", Kind: record.EventUnready, Target: pod})
		}
	}
	for pod := range v.pods {
		if _, still := now.pods[pod]; !still {
			out = append(out, record.Event{What: pod + " is no endpoint any more", Kind: record.EventRemoved, Target: pod})
		}
	}
	slices.SortFunc(out, func(a, b record.Event) int { return strings.Compare(a.Target, b.Target) })
	return out
}

// address is one ready endpoint to answer for the canary: the first by name. ok: there is one.
func (v *endpointView) address() (ip netip.Addr, node string, ok bool) {
	for _, pod := range slices.Sorted(maps.Keys(v.pods)) {
		s := v.pods[pod]
		if addr, err := netip.ParseAddr(s.address); s.ready && err == nil {
			return addr, s.node, true
		}
	}
	return netip.Addr{}, "", false
}
