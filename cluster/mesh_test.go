package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// ruled is keepalive with a DestinationRule.
func ruled(b scenarios.LoadBalancer) *scenarios.Scenario {
	s := keepalive()
	s.Spec.DestinationRule = &scenarios.DestinationRule{TrafficPolicy: scenarios.TrafficPolicy{LoadBalancer: b}}
	return s
}

func byHeader() scenarios.LoadBalancer {
	return scenarios.LoadBalancer{ConsistentHash: &scenarios.ConsistentHash{HTTPHeaderName: "X-Pod"}}
}

// inject is what Istio's injector does to pods: a sidecar in each that chosen says.
func (w *world) inject(native bool, chosen func(pod string) bool) {
	w.broken = func(p *corev1.Pod) {
		sidecar := corev1.Container{Name: "istio-proxy", Image: "docker.io/istio/proxyv2:1.28.1"}
		switch {
		case !chosen(p.Name):
		case native:
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: "istio-init"}, sidecar)
		default:
			p.Spec.Containers = append([]corev1.Container{sidecar}, p.Spec.Containers...)
		}
	}
}

func everyPod(string) bool { return true }

func TestADestinationRuleIsAppliedForTheRunsService(t *testing.T) {
	for _, native := range []bool{false, true} {
		w := newWorld(labNodes()...)
		w.inject(native, everyPod)
		r := w.deploy(t, w.cluster(t, nil), ruled(byHeader()))
		actions := w.rules.Actions()
		if len(actions) != 1 || actions[0].GetVerb() != "patch" || actions[0].GetNamespace() != "podskew-d0" || actions[0].GetResource() != ruleResource() {
			t.Fatalf("it did %+v", actions)
		}
		apply := actions[0].(k8stesting.PatchActionImpl)
		if apply.PatchOptions.FieldManager != fieldManager || apply.GetName() != "echo" {
			t.Errorf("applied %s by %q", apply.GetName(), apply.PatchOptions.FieldManager)
		}
		facts, err := r.Facts(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		want := &record.Mesh{Name: "istio", Image: "docker.io/istio/proxyv2:1.28.1", Service: "echo", Policy: "headerHash", Header: "X-Pod"}
		if diff := cmp.Diff(want, facts.Mesh); diff != "" {
			t.Errorf("facts (-want +got):\n%s", diff)
		}
		if err := r.WaitProgrammed(t.Context(), func(context.Context, string, string) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if r.isProgrammed("worker") {
			t.Error("a sidecar's answer is taken for that of kube-proxy's rules")
		}
	}
}

func TestTheRuleSaysWhatTheScenarioDoes(t *testing.T) {
	hash := func(h scenarios.ConsistentHash) scenarios.LoadBalancer {
		return scenarios.LoadBalancer{ConsistentHash: &h}
	}
	for _, tc := range []struct {
		b    scenarios.LoadBalancer
		want map[string]any
		fact record.Mesh
	}{
		{scenarios.LoadBalancer{Simple: "ROUND_ROBIN"}, map[string]any{"simple": "ROUND_ROBIN"}, record.Mesh{Policy: "roundRobin"}},
		{scenarios.LoadBalancer{Simple: "LEAST_REQUEST"}, map[string]any{"simple": "LEAST_REQUEST"}, record.Mesh{Policy: "leastRequest"}},
		{scenarios.LoadBalancer{Simple: "RANDOM"}, map[string]any{"simple": "RANDOM"}, record.Mesh{Policy: "random"}},
		{byHeader(), map[string]any{"consistentHash": map[string]any{"httpHeaderName": "X-Pod"}}, record.Mesh{Policy: "headerHash", Header: "X-Pod"}},
		{
			hash(scenarios.ConsistentHash{HTTPCookie: &scenarios.HTTPCookie{Name: "a"}, RingHash: &scenarios.RingHash{MinimumRingSize: 64}}),
			map[string]any{"consistentHash": map[string]any{"httpCookie": map[string]any{"name": "a", "ttl": "0s"}, "ringHash": map[string]any{"minimumRingSize": int64(64)}}},
			record.Mesh{Policy: "cookieHash", Cookie: "a"},
		},
		{
			hash(scenarios.ConsistentHash{HTTPCookie: &scenarios.HTTPCookie{Name: "a", TTL: 90*time.Minute + 500*time.Millisecond}}),
			map[string]any{"consistentHash": map[string]any{"httpCookie": map[string]any{"name": "a", "ttl": "5400.5s"}}},
			record.Mesh{Policy: "cookieHash", Cookie: "a"},
		},
		{hash(scenarios.ConsistentHash{UseSourceIP: true}), map[string]any{"consistentHash": map[string]any{"useSourceIp": true}}, record.Mesh{Policy: "sourceHash"}},
	} {
		d := deploymentOf(ruled(tc.b))
		tc.want["localityLbSetting"] = map[string]any{"enabled": false}
		want := map[string]any{
			"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
			"metadata": map[string]any{"name": "echo", "namespace": "podskew-d0", "labels": map[string]any{labelRun: "d0", labelManagedBy: "podskew"}},
			"spec": map[string]any{
				"host": "echo.podskew-d0.svc.cluster.local", "exportTo": []any{"."}, "trafficPolicy": map[string]any{"loadBalancer": tc.want},
			},
		}
		o := ruleObject(d)
		if diff := cmp.Diff(want, o.Object); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tc.b, diff)
		}
		o.DeepCopy() // panics on values that JSON does not have
		tc.fact.Name, tc.fact.Service = "istio", "echo"
		if diff := cmp.Diff(&tc.fact, (&Run{d: d}).meshFact()); diff != "" {
			t.Errorf("%+v: facts (-want +got):\n%s", tc.b, diff)
		}
	}
}

func TestTheNamespaceAsksForSidecars(t *testing.T) {
	for _, tc := range []struct {
		revision string
		want     map[string]string
	}{{"", map[string]string{"istio-injection": "enabled"}}, {"canary", map[string]string{"istio.io/rev": "canary"}}} {
		s := ruled(byHeader())
		s.Spec.DestinationRule.Revision = tc.revision
		d, l := completed(t, s)
		got := map[string]string{}
		for _, key := range []string{"istio-injection", "istio.io/rev"} {
			if value, ok := namespaceObject(d, l).Labels[key]; ok {
				got[key] = value
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("revision %q: %s", tc.revision, diff)
		}
		if level := namespaceObject(d, l).Labels["pod-security.kubernetes.io/enforce"]; level != "privileged" {
			t.Errorf("level %s: Istio's init container is not admitted", level)
		}
		pod := agentPod(d, agent{name: "web-0", node: "worker", port: agentPort})
		if got := pod.Annotations["traffic.sidecar.istio.io/excludeInboundPorts"]; got != "8080" {
			t.Errorf("the API server reaches an agent through its sidecar: %q", got)
		}
		if c := pod.Spec.Containers[0].SecurityContext; *c.AllowPrivilegeEscalation || !*pod.Spec.SecurityContext.RunAsNonRoot || !slices.Contains(c.Capabilities.Drop, "ALL") {
			t.Errorf("the pods themselves are let do more: %+v", c)
		}
	}
	d, l := completed(t, keepalive())
	if o := namespaceObject(d, l); o.Labels["istio-injection"] != "" || o.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Errorf("labels without a rule: %v", o.Labels)
	}
	if pod := agentPod(d, agent{name: "web-0"}); len(pod.Annotations) != 0 {
		t.Errorf("annotations without a rule: %v", pod.Annotations)
	}
}

func TestPodsWithoutSidecarsAreLacking(t *testing.T) {
	w := newWorld(labNodes()...)
	_, err := w.cluster(t, nil).Deploy(t.Context(), deploymentOf(ruled(byHeader())), nil)
	lacking, ok := errors.AsType[*LackingError](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"Istio's API is installed, but the run's pods got no sidecar", "istio-proxy", "label istio-injection=enabled", "spec.destinationRule.revision"} {
		if !strings.Contains(lacking.What, want) {
			t.Errorf("no %q in %s", want, lacking.What)
		}
	}
	if strings.Contains(lacking.What, "\n") {
		t.Errorf("more than a line: %s", lacking.What)
	}
	if did := w.did(); !slices.Contains(did, "delete namespaces/podskew-d0") || slices.Contains(did, "apply endpointslices/canary") {
		t.Errorf("it did %q", did)
	}
}

func TestPodsOfWhichSomeHaveSidecarsAreAnError(t *testing.T) {
	w := newWorld(labNodes()...)
	w.inject(false, func(pod string) bool { return pod != "web-1" })
	s := ruled(byHeader())
	s.Spec.DestinationRule.Revision = "v9"
	_, err := w.cluster(t, nil).Deploy(t.Context(), deploymentOf(s), nil)
	if _, lacking := errors.AsType[*LackingError](err); err == nil || lacking || !strings.Contains(err.Error(), "1 of 8 pods got no sidecar (container istio-proxy): web-1") || !strings.Contains(err.Error(), "istio.io/rev=v9") {
		t.Errorf("got %v", err)
	}
}

func TestAnAPIWithoutRulesIsLacking(t *testing.T) {
	w := newWorld(labNodes()...)
	w.rules.PrependReactor("patch", "destinationrules", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(ruleResource().GroupResource(), "")
	})
	_, err := w.cluster(t, nil).Deploy(t.Context(), deploymentOf(ruled(byHeader())), nil)
	if lacking, ok := errors.AsType[*LackingError](err); !ok || lacking.What != "the API server has no destinationrules in networking.istio.io/v1" {
		t.Errorf("got %v", err)
	}
}

func TestARuleTakesItsRightAndOthersDoNot(t *testing.T) {
	var more []string
	for _, r := range rights(demandOf(ruled(byHeader())))[len(rights(demandOf(keepalive()))):] {
		more = append(more, r.String())
	}
	if diff := cmp.Diff([]string{"create destinationrules.networking.istio.io", "patch destinationrules.networking.istio.io"}, more); diff != "" {
		t.Error(diff)
	}
	w, c := foreignWorld(t, func(a *authorizationv1.ResourceAttributes) bool { return a.Group == "networking.istio.io" })
	_, err := c.Deploy(t.Context(), deploymentOf(ruled(byHeader())), nil)
	missing, ok := errors.AsType[*RightsError](err)
	if !ok || len(missing.Missing) != 2 || !strings.Contains(missing.Missing[0], "makes Istio's rule for the Service under test") || len(w.did()) > 0 {
		t.Errorf("got %v, did %q", err, w.did())
	}
	with, without := RBACManifest(RBAC{DestinationRule: true}), RBACManifest(RBAC{})
	if !strings.Contains(with, "apiGroups: [\"networking.istio.io\"]\n    resources: [destinationrules]\n    verbs: [create, patch]\n") || strings.Contains(without, "istio") {
		t.Errorf("the manifests are\n%s\n%s", with, without)
	}
}

func TestASidecarThatFailsIsNamed(t *testing.T) {
	status := func(name string, s corev1.ContainerState) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{Name: name, Image: "proxyv2", State: s}}
	}
	waits := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	for _, tc := range []struct {
		status corev1.PodStatus
		want   string
		of     string
	}{
		{corev1.PodStatus{InitContainerStatuses: status("istio-init", waits("CrashLoopBackOff"))}, "container istio-init crashed", "istio-init"},
		{corev1.PodStatus{InitContainerStatuses: status("istio-proxy", waits("ErrImagePull"))}, `container istio-proxy cannot get image "proxyv2"`, "istio-proxy"},
		{corev1.PodStatus{InitContainerStatuses: status("istio-init", terminated(0, "Completed"))}, "", ""},
		{corev1.PodStatus{InitContainerStatuses: status("istio-init", terminated(255, "Error"))}, "container istio-init crashed with exit code 255", "istio-init"},
		{corev1.PodStatus{ContainerStatuses: status("istio-proxy", terminated(1, "Error"))}, "container istio-proxy crashed with exit code 1", "istio-proxy"},
		{corev1.PodStatus{ContainerStatuses: status("agent", terminated(1, "Error"))}, "crashed with exit code 1", "agent"},
	} {
		got := podTrouble(&corev1.Pod{Status: tc.status})
		if got == nil {
			got = &trouble{}
		}
		if !strings.HasPrefix(got.sentence, tc.want) || (tc.want == "") != (got.sentence == "") || got.of != tc.of {
			t.Errorf("%q of %q, want %q of %q", got.sentence, got.of, tc.want, tc.of)
		}
	}
	for _, tc := range []struct {
		status corev1.PodStatus
		want   string
	}{
		{corev1.PodStatus{InitContainerStatuses: status("istio-init", corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})}, "waits on w until container istio-init has done its part"},
		{corev1.PodStatus{ContainerStatuses: status("istio-proxy", corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})}, "runs on w, but the readiness probe of container istio-proxy does not succeed"},
		{corev1.PodStatus{ContainerStatuses: status("echo", corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})}, "runs on w, but its readiness probe does not succeed"},
	} {
		if got := podProgress(&corev1.Pod{Spec: corev1.PodSpec{NodeName: "w"}, Status: tc.status}); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
	items := []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "echo-0"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
		{Name: "istio-proxy", RestartCount: 3}, {Name: "echo", RestartCount: 1},
	}}}}
	if got := podFacts(items)[0].Restarts; got != 1 {
		t.Errorf("%d restarts: the sidecar's are not the pod's own", got)
	}
}
