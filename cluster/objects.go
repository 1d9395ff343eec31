package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryv1ac "k8s.io/client-go/applyconfigurations/discovery/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/podskew/podskew/scenarios"
)

// Every builder here gives the full intent: applying a smaller object as the same field manager would remove what an
// earlier apply had set. What is made once, in a namespace that is new, and never changed is created instead of applied:
// the right to patch every namespace's secrets would be one to read them.

func namespaceObject(d Deployment, l *layout) *corev1ac.NamespaceApplyConfiguration {
	level := "restricted"
	if l.hostAgents() > 0 || meshed(d.Scenario) {
		// The only level that admits pods on the nodes' network, and the init container with which Istio, without its CNI plugin,
		// leads a pod's traffic to its sidecar. podskew's own containers are what the level restricted asks for in any case.
		level = "privileged"
	}
	labels := runLabels(d.RunID)
	if key, value := injectionLabel(d.Scenario); key != "" {
		labels[key] = value
	}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		labels["pod-security.kubernetes.io/"+mode] = level
	}
	return corev1ac.Namespace(namespaceOf(d.RunID)).WithLabels(labels).WithAnnotations(map[string]string{
		annotationScenario: d.Scenario.Metadata.Name,
		annotationHolder:   d.Holder,
	})
}

// accountObject is a service account of the run's own, since the namespace's default one appears only some time after
// the namespace, and pods are refused until then.
func accountObject(d Deployment) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: runMeta(d.RunID, accountName), AutomountServiceAccountToken: new(false),
	}
}

func runMeta(runID, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: namespaceOf(runID), Labels: runLabels(runID)}
}

// echoServiceObject is the Service under test, with the scenario's fields under their own names.
func echoServiceObject(d Deployment) *corev1ac.ServiceApplyConfiguration {
	return serviceObject(d, allServices(d.Scenario)[0])
}

// serviceObject is one of the Services under test.
func serviceObject(d Deployment, s scenarios.Service) *corev1ac.ServiceApplyConfiguration {
	selector := serviceSelector(d.RunID)
	if s.Endpoints == scenarios.EndpointsNone {
		selector[labelServes] = setNobody
	}
	spec := corev1ac.ServiceSpec().WithType(serviceType(s)).WithSelector(selector)
	for _, p := range echoPorts() {
		spec.WithPorts(p.onService())
	}
	if s.ClusterIP != "" {
		spec.WithClusterIP(s.ClusterIP)
	}
	if s.SessionAffinity != "" {
		spec.WithSessionAffinity(corev1.ServiceAffinity(s.SessionAffinity))
	}
	if c := s.SessionAffinityConfig; c != nil && c.ClientIP.TimeoutSeconds > 0 {
		seconds := int32(min(c.ClientIP.TimeoutSeconds, 86400))
		spec.WithSessionAffinityConfig(corev1ac.SessionAffinityConfig().
			WithClientIP(corev1ac.ClientIPConfig().WithTimeoutSeconds(seconds)))
	}
	if s.ExternalTrafficPolicy != "" {
		spec.WithExternalTrafficPolicy(corev1.ServiceExternalTrafficPolicy(s.ExternalTrafficPolicy))
	}
	if s.InternalTrafficPolicy != "" {
		spec.WithInternalTrafficPolicy(corev1.ServiceInternalTrafficPolicy(s.InternalTrafficPolicy))
	}
	if s.TrafficDistribution != "" {
		spec.WithTrafficDistribution(s.TrafficDistribution)
	}
	return corev1ac.Service(s.Name, namespaceOf(d.RunID)).WithLabels(runLabels(d.RunID)).WithAnnotations(s.Annotations).WithSpec(spec)
}

func serviceType(s scenarios.Service) corev1.ServiceType {
	if s.Type == "" {
		return corev1.ServiceTypeClusterIP
	}
	return corev1.ServiceType(s.Type)
}

// canaryServiceObject has no selector: its endpoint is applied by Deploy once those of the echo Service are complete
// (see canary.go). It has node ports if a Service under test has, no address if none of them has one, and no policy that
// could hide it from a node.
func canaryServiceObject(d Deployment) *corev1ac.ServiceApplyConfiguration {
	t := corev1.ServiceTypeClusterIP
	if anyNodePort(d) {
		t = corev1.ServiceTypeNodePort
	}
	spec := corev1ac.ServiceSpec().WithType(t)
	onCanary(spec, d)
	if canaryHeadless(d) {
		spec.WithClusterIP(corev1.ClusterIPNone)
	}
	return corev1ac.Service(serviceCanary, namespaceOf(d.RunID)).WithLabels(runLabels(d.RunID)).WithSpec(spec)
}

// canarySliceObject points the canary Service at one echo pod.
func canarySliceObject(d Deployment, pod *corev1.Pod) *discoveryv1ac.EndpointSliceApplyConfiguration {
	_, ports := canaryPorts(d)
	return canarySlice(d, strings.Contains(pod.Status.PodIP, ":"), ports).
		WithEndpoints(discoveryv1ac.Endpoint().WithAddresses(pod.Status.PodIP).WithNodeName(pod.Spec.NodeName).
			WithConditions(discoveryv1ac.EndpointConditions().WithReady(true).WithServing(true).WithTerminating(false)).
			WithTargetRef(corev1ac.ObjectReference().WithKind("Pod").WithNamespace(pod.Namespace).WithName(pod.Name).WithUID(pod.UID)))
}

// secretObject holds what an agent must be told and nobody else may know: the token its plans must carry, and the
// only addresses it may dial, one per line.
func secretObject(runID, token string, targets []string) *corev1.Secret {
	targets = slices.Compact(slices.Sorted(slices.Values(targets)))
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: runMeta(runID, secretName), Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{"token": []byte(token), "targets": []byte(strings.Join(targets, "\n") + "\n")},
	}
}

// echoSecretObject holds what echo pods demand of those who change their readiness or pace.
func echoSecretObject(runID, token string) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: runMeta(runID, echoSecretName), Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{"token": []byte(token)},
	}
}

// echoDeployments are one Deployment for replicas, or one per node for a placement, and one for the pods in standby. The
// Services select all of them but the last.
func echoDeployments(d Deployment, l *layout) []*appsv1ac.DeploymentApplyConfiguration {
	var out []*appsv1ac.DeploymentApplyConfiguration
	if n := d.Scenario.Spec.Echo.Standby; n > 0 {
		out = append(out, deployment(d, "echo-standby", n, setStandby, map[string]string{labelPlacement: setStandby}, spreadPod(d)))
	}
	if l.placement == nil {
		return append(out, deployment(d, "echo", l.replicas, setActive, map[string]string{labelPlacement: "spread"}, spreadPod(d)))
	}
	for i, p := range l.placement {
		n := l.nodes[p.node]
		own := map[string]string{labelPlacement: strconv.Itoa(i)}
		pod := echoPod(d, zoneLiteral(n.zone)).WithAffinity(onNode(p.node)).WithTolerations(anyNoSchedule())
		out = append(out, deployment(d, fmt.Sprintf("echo-%d-%s", i, dnsLabel(p.node)), p.n, setActive, own, pod))
	}
	return out
}

func deployment(d Deployment, name string, replicas int, set string, own map[string]string, pod *corev1ac.PodSpecApplyConfiguration) *appsv1ac.DeploymentApplyConfiguration {
	selector := echoSelector(d.RunID)
	maps.Copy(selector, own)
	labels := roleLabels(d.RunID, roleEcho)
	labels[labelServes] = set
	maps.Copy(labels, own)
	return appsv1ac.Deployment(name, namespaceOf(d.RunID)).WithLabels(labels).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(int32(min(replicas, 1<<20))).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(selector)).
			WithTemplate(corev1ac.PodTemplateSpec().WithLabels(labels).WithSpec(pod)))
}

// spreadPod lets the scheduler spread replicas evenly. It is asked, not forced: a full node must not stop a run, and
// where the pods really are is a fact that is recorded.
func spreadPod(d Deployment) *corev1ac.PodSpecApplyConfiguration {
	pod := echoPod(d, zoneFromLabel()).WithAffinity(notExternal()).
		WithTopologySpreadConstraints(corev1ac.TopologySpreadConstraint().
			WithMaxSkew(1).WithTopologyKey(labelHostname).WithWhenUnsatisfiable(corev1.ScheduleAnyway).
			WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(echoSelector(d.RunID))).
			WithMatchLabelKeys("pod-template-hash"). // else the old pods of a rolling restart count, too
			WithNodeTaintsPolicy(corev1.NodeInclusionPolicyHonor))
	if len(d.NodeSelector) > 0 {
		pod.WithNodeSelector(d.NodeSelector)
	}
	return pod
}

// onNode pins a pod to a node by the node's name: its hostname label may differ.
func onNode(name string) *corev1ac.AffinityApplyConfiguration {
	return required(corev1ac.NodeSelectorTerm().WithMatchFields(corev1ac.NodeSelectorRequirement().
		WithKey("metadata.name").WithOperator(corev1.NodeSelectorOpIn).WithValues(name)))
}

func notExternal() *corev1ac.AffinityApplyConfiguration {
	return required(corev1ac.NodeSelectorTerm().WithMatchExpressions(corev1ac.NodeSelectorRequirement().
		WithKey(labelExternal).WithOperator(corev1.NodeSelectorOpDoesNotExist)))
}

func required(term *corev1ac.NodeSelectorTermApplyConfiguration) *corev1ac.AffinityApplyConfiguration {
	return corev1ac.Affinity().WithNodeAffinity(corev1ac.NodeAffinity().
		WithRequiredDuringSchedulingIgnoredDuringExecution(corev1ac.NodeSelector().WithNodeSelectorTerms(term)))
}

// anyNoSchedule is for pods whose node the scenario names: it may be a control plane.
func anyNoSchedule() *corev1ac.TolerationApplyConfiguration {
	return corev1ac.Toleration().WithOperator(corev1.TolerationOpExists).WithEffect(corev1.TaintEffectNoSchedule)
}
