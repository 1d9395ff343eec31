package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// patchService changes settings of a Service.
func (r *Run) patchService(ctx context.Context, patch scenarios.ServicePatch) (*Done, error) {
	name := cmp.Or(patch.Service, r.d.Scenario.Spec.Service.Name, serviceEcho)
	was, err := r.c.client.CoreV1().Services(r.Namespace()).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading service %s: %w", name, err)
	}
	body, err := mergePatch(map[string]any{"spec": servicePatch(patch)})
	if err != nil {
		return nil, err
	}
	is, err := r.c.client.CoreV1().Services(r.Namespace()).Patch(ctx, name, types.MergePatchType, body, patchOptions())
	if err != nil {
		return nil, fmt.Errorf("changing service %s: %w", name, err)
	}
	before, after := changedSettings(was, is)
	return &Done{
		Event: record.Event{
			What: fmt.Sprintf("set %s of Service %s", cmp.Or(after, "the same"), name), Kind: record.EventPolicy, Target: name, Before: before, After: after,
		},
		settled: func(*endpointView) bool { return true }, service: true,
	}, nil
}

// servicePatch is the spec of a merge patch with the settings that are given.
func servicePatch(patch scenarios.ServicePatch) map[string]any {
	spec := map[string]any{}
	for field, value := range map[string]string{
		"sessionAffinity": patch.SessionAffinity, "externalTrafficPolicy": patch.ExternalTrafficPolicy,
		"internalTrafficPolicy": patch.InternalTrafficPolicy, "trafficDistribution": patch.TrafficDistribution,
	} {
		if value != "" {
			spec[field] = value
		}
	}
	if patch.TrafficDistribution == "none" {
		spec["trafficDistribution"] = nil
	}
	switch c := patch.SessionAffinityConfig; {
	case patch.SessionAffinity == "None":
		spec["sessionAffinityConfig"] = nil
	case c != nil:
		spec["sessionAffinityConfig"] = map[string]any{"clientIP": map[string]any{"timeoutSeconds": c.ClientIP.TimeoutSeconds}}
	}
	return spec
}

// changedSettings lists the settings that differ, as they were and as they are: "internalTrafficPolicy: Local".
func changedSettings(was, is *corev1.Service) (before, after string) {
	var old, now []string
	a, b := serviceFact(was), serviceFact(is)
	note := func(field, x, y string) {
		if x != y {
			old, now = append(old, field+": "+cmp.Or(x, "none")), append(now, field+": "+cmp.Or(y, "none"))
		}
	}
	seconds := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	note("sessionAffinity", a.SessionAffinity, b.SessionAffinity)
	note("timeoutSeconds", seconds(a.AffinitySeconds), seconds(b.AffinitySeconds))
	note("externalTrafficPolicy", a.ExternalTrafficPolicy, b.ExternalTrafficPolicy)
	note("internalTrafficPolicy", a.InternalTrafficPolicy, b.InternalTrafficPolicy)
	note("trafficDistribution", a.TrafficDistribution, b.TrafficDistribution)
	return strings.Join(old, ", "), strings.Join(now, ", ")
}

// swap has the Services select the other set of pods, each with one patch.
func (r *Run) swap(ctx context.Context) (*Done, error) {
	from, to := setActive, setStandby
	if r.serving() == setStandby {
		from, to = to, from
	}
	pods, err := r.echoPodList(ctx)
	if err != nil {
		return nil, fmt.Errorf("swapping the pods: %w", err)
	}
	wanted := map[string]bool{}
	for _, p := range pods {
		if p.Labels[labelServes] == to && podReady(p) {
			wanted[p.Name] = true
		}
	}
	body, err := mergePatch(map[string]any{"spec": map[string]any{"selector": map[string]any{labelServes: to}}})
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range r.echoServices() {
		if _, err := r.c.client.CoreV1().Services(r.Namespace()).Patch(ctx, name, types.MergePatchType, body, patchOptions()); err != nil {
			errs = append(errs, fmt.Errorf("changing service %s: %w", name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("swapping the pods: %w", err)
	}
	r.mu.Lock()
	r.swapped = to == setStandby
	r.mu.Unlock()
	return &Done{
		Event: record.Event{
			What: fmt.Sprintf("the Services select %d other pods", len(wanted)), Kind: record.EventSwap, Before: from, After: to,
		},
		settled: func(v *endpointView) bool { return v.only(wanted) },
	}, nil
}

// echoServices are the names of the Services that select echo pods.
func (r *Run) echoServices() []string {
	spec := &r.d.Scenario.Spec
	out := []string{}
	for i, s := range append([]scenarios.Service{spec.Service}, spec.Services...) {
		name := s.Name
		if i == 0 {
			name = cmp.Or(name, serviceEcho)
		}
		if s.Endpoints == "" {
			out = append(out, name)
		}
	}
	return out
}
