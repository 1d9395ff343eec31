package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// With a DestinationRule the sidecars of Istio, in the clients' pods, choose the pods. The run's namespace asks for them by a
// label; Istio's injector puts them into the pods as these are made. Nothing of that is podskew's, so that what became of it is
// looked at before load starts: without sidecars kube-proxy would choose, and its choice be taken for the mesh's.
//
// The canary holds here, too: a client's sidecar hears of endpoints from Istio on one stream, and Istio reads EndpointSlices in
// order, so that a sidecar that has the canary's endpoint has the run's.

const (
	meshIstio   = "istio"
	istioProxy  = "istio-proxy" // the sidecar's container, or init container where Kubernetes knows sidecars
	ruleName    = "echo"
	ruleKind    = "DestinationRule"
	labelInject = "istio-injection"
	labelRev    = "istio.io/rev"

	// annotationNotInbound are ports whose connections the sidecar leaves alone.
	annotationNotInbound = "traffic.sidecar.istio.io/excludeInboundPorts"
)

// ruleResource is where the API server has rules.
func ruleResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "destinationrules"}
}

// ruleGrants are what a DestinationRule needs beyond what every run does.
func ruleGrants() []grant {
	r := ruleResource()
	return []grant{{group: r.Group, resource: r.Resource, verbs: []string{"create", "patch"}, why: "makes Istio's rule for the Service under test"}}
}

// meshed reports whether the run's pods are to have sidecars.
func meshed(s *scenarios.Scenario) bool { return s.Spec.DestinationRule != nil }

// injectionLabel asks Istio for sidecars in the run's namespace; "" without a rule. It is one label or the other: where both
// stand, the revision is not gone by.
func injectionLabel(s *scenarios.Scenario) (key, value string) {
	switch r := s.Spec.DestinationRule; {
	case r == nil:
		return "", ""
	case r.Revision != "":
		return labelRev, r.Revision
	}
	return labelInject, "enabled"
}

// besidesSidecar has the API server reach an agent past its sidecar, which might demand mutual TLS of it.
func besidesSidecar(s *scenarios.Scenario, a agent) map[string]string {
	if !meshed(s) {
		return nil
	}
	return map[string]string{annotationNotInbound: strconv.Itoa(a.port)}
}

// applyRule applies the scenario's rule for the Service under test.
func (r *Run) applyRule(ctx context.Context) error {
	if !meshed(r.d.Scenario) {
		return nil
	}
	_, err := r.c.dynamic.Resource(ruleResource()).Namespace(r.Namespace()).Apply(ctx, ruleName, ruleObject(r.d), applyOptions())
	if apierrors.IsNotFound(err) {
		return &LackingError{What: fmt.Sprintf("the API server has no %s in %s", ruleResource().Resource, ruleResource().GroupVersion())}
	}
	return step("destination rule "+ruleName, err)
}

// ruleObject is the scenario's rule, for the run's own Service and the run's own clients.
func ruleObject(d Deployment) *unstructured.Unstructured {
	labels := map[string]any{}
	for key, value := range runLabels(d.RunID) {
		labels[key] = value
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": ruleResource().GroupVersion().String(), "kind": ruleKind,
		"metadata": map[string]any{"name": ruleName, "namespace": namespaceOf(d.RunID), "labels": labels},
		"spec": map[string]any{
			"host":          dnsName(d.firstService(), namespaceOf(d.RunID)),
			"exportTo":      []any{"."}, // no sidecar outside the run need hear of it
			"trafficPolicy": map[string]any{"loadBalancer": loadBalancer(d.Scenario.Spec.DestinationRule.TrafficPolicy.LoadBalancer)},
		},
	}}
}

// loadBalancer is how sidecars are to choose, as Istio's API has it. Zones have no say in it, whatever the mesh has set for all
// rules: every sidecar then knows the same pods, and makes the same ring of them.
func loadBalancer(b scenarios.LoadBalancer) map[string]any {
	out := map[string]any{"localityLbSetting": map[string]any{"enabled": false}}
	if b.ConsistentHash == nil {
		out["simple"] = b.Simple
		return out
	}
	hash := map[string]any{}
	switch h := b.ConsistentHash; {
	case h.HTTPHeaderName != "":
		hash["httpHeaderName"] = h.HTTPHeaderName
	case h.HTTPCookie != nil:
		// A rule that does not say how long the cookie lives has no cookie made, and those without one go anywhere.
		hash["httpCookie"] = map[string]any{"name": h.HTTPCookie.Name, "ttl": protoSeconds(h.HTTPCookie.TTL)}
	default:
		hash["useSourceIp"] = true
	}
	if ring := b.ConsistentHash.RingHash; ring != nil {
		hash["ringHash"] = map[string]any{"minimumRingSize": int64(ring.MinimumRingSize)}
	}
	out["consistentHash"] = hash
	return out
}

// protoSeconds writes a duration as protobuf's JSON does, which knows seconds only.
func protoSeconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

// meshPolicies are Istio's simple ways of choosing, as facts name them.
func meshPolicies() map[string]string {
	return map[string]string{
		scenarios.SimpleRoundRobin: "roundRobin", scenarios.SimpleLeastRequest: "leastRequest", scenarios.SimpleRandom: "random",
	}
}

// meshFact is what facts say about the mesh; nil without one.
func (r *Run) meshFact() *record.Mesh {
	if !meshed(r.d.Scenario) {
		return nil
	}
	m := &record.Mesh{Name: meshIstio, Image: r.sidecar, Service: r.d.firstService()}
	b := r.d.Scenario.Spec.DestinationRule.TrafficPolicy.LoadBalancer
	switch h := b.ConsistentHash; {
	case h == nil:
		m.Policy = meshPolicies()[b.Simple]
	case h.HTTPHeaderName != "":
		m.Policy, m.Header = "headerHash", h.HTTPHeaderName
	case h.HTTPCookie != nil:
		m.Policy, m.Cookie = "cookieHash", h.HTTPCookie.Name
	default:
		m.Policy = "sourceHash"
	}
	return m
}

// meetSidecars takes up which sidecars the pods got. Without any the run would measure kube-proxy and report on Istio: that is
// a *LackingError. Where some pods have one and others do not, something is wrong with the injection.
func (r *Run) meetSidecars(pods []*corev1.Pod) error {
	if !meshed(r.d.Scenario) {
		return nil
	}
	var without []string
	for _, p := range pods {
		if image, ok := sidecarOf(p); ok {
			r.sidecar = image
		} else {
			without = append(without, p.Name)
		}
	}
	key, value := injectionLabel(r.d.Scenario)
	switch {
	case len(without) == 0:
		return nil
	case len(without) == len(pods):
		return &LackingError{What: fmt.Sprintf("Istio's API is installed, but the run's pods got no sidecar (container %s), so kube-proxy would choose and not the mesh: "+
			"no injector goes by the label %s=%s; an Istio with revisions wants spec.destinationRule.revision, and an ambient mesh has no sidecars", istioProxy, key, value)}
	}
	return fmt.Errorf("%d of %d pods got no sidecar (container %s): %s: see whether Istio's injector, which goes by the label %s=%s, could be reached all the time",
		len(without), len(pods), istioProxy, listed(without[:min(len(without), 5)]), key, value)
}

// sidecarOf finds Istio's container in a pod, and its image.
func sidecarOf(p *corev1.Pod) (image string, ok bool) {
	for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
		if c.Name == istioProxy {
			return c.Image, true
		}
	}
	return "", false
}

// withSidecar says of a question to the canary that went unanswered who it is in a mesh that did not know of it.
func (r *Run) withSidecar(p canaryProbe, err error) error {
	if !meshed(r.d.Scenario) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("the sidecar of %s, which chooses in kube-proxy's place, may not have heard of the run's endpoints (does Istio's control plane run?): %w", p.agent, err)
}
