package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/podskew/podskew/scenarios"
)

const (
	podUser = 65532 // the user of the image, too

	echoGrace        = 3 * time.Second // echo serves on after SIGTERM, until its endpoint is gone everywhere, and then drains
	echoDrain        = 2 * time.Second
	echoTerminates   = 10 * time.Second // after that the kubelet kills
	echoSpare        = 5 * time.Second  // between the end of draining and that
	agentConnections = 10_000           // an agent's own limit
	agentDeadline    = time.Minute      // beyond Expiry: an agent that did not end by itself is ended

	podInfoDir = "/etc/podinfo"
	agentDir   = "/etc/podskew"

	echoTokenDir = "/etc/podskew-echo" //nolint:gosec // where the token is, not the token
)

// echoPod is the pod that says who answered.
func echoPod(d Deployment, zone *corev1ac.EnvVarApplyConfiguration) *corev1ac.PodSpecApplyConfiguration {
	grace, drain := echoTimes(d.Scenario)
	c := podskewContainer(d, roleEcho).
		WithArgs("echo", "--grace="+grace.String(), "--drain="+drain.String()).
		WithEnv(identityEnv()...).WithEnv(resourceEnv(roleEcho)...).WithEnv(zone).
		WithReadinessProbe(probeEverySecond("/readyz", int(httpPort().pod))).
		WithVolumeMounts(corev1ac.VolumeMount().WithName("podinfo").WithMountPath(podInfoDir).WithReadOnly(true))
	if g := d.Scenario.Spec.Gateway; g != nil && g.SendProxyProtocol {
		c.WithArgs("--proxy-protocol")
	}
	for _, p := range echoPorts() {
		c.WithPorts(p.onContainer())
	}
	control := controlled(d.Scenario)
	if control {
		letControl(c)
	}
	pod := podskewPod(c) // which copies the container
	addInEcho(d, pod)
	if control {
		pod.WithVolumes(corev1ac.Volume().WithName(echoSecretName).WithSecret(corev1ac.SecretVolumeSource().WithSecretName(echoSecretName)))
	}
	return pod.WithRestartPolicy(corev1.RestartPolicyAlways).WithTolerations(tolerations(d)...).
		WithTerminationGracePeriodSeconds(int64(max(echoTerminates, grace+drain+echoSpare) / time.Second)).
		WithVolumes(corev1ac.Volume().WithName("podinfo").WithDownwardAPI(corev1ac.DownwardAPIVolumeSource().WithItems(
			corev1ac.DownwardAPIVolumeFile().WithPath("labels").WithFieldRef(fieldRef("metadata.labels")),
			corev1ac.DownwardAPIVolumeFile().WithPath("annotations").WithFieldRef(fieldRef("metadata.annotations")))))
}

// echoTimes are how long echo pods serve on after SIGTERM, and how long they then drain. A grace of 0 stands for a program
// that does not handle the signal: it drains nothing either.
func echoTimes(s *scenarios.Scenario) (grace, drain time.Duration) {
	switch g := s.Spec.Echo.Grace; {
	case g == nil:
		return echoGrace, echoDrain
	case *g == 0:
		return 0, 0
	default:
		return *g, echoDrain
	}
}

// controlled reports whether echo pods are told things during the run.
func controlled(s *scenarios.Scenario) bool {
	return slices.ContainsFunc(s.Spec.Events, func(e scenarios.Event) bool { return e.Readiness != nil || e.Slow != nil })
}

// letControl gives an echo pod the token of those who may change its readiness and pace. Its readiness then follows its
// probe at once: elsewhere three failures in a row are asked for, since a pod that is short of processor time for a second
// must not leave the Service in the middle of a run.
func letControl(c *corev1ac.ContainerApplyConfiguration) {
	c.WithArgs("--token-file=" + echoTokenDir + "/token").
		WithVolumeMounts(corev1ac.VolumeMount().WithName(echoSecretName).WithMountPath(echoTokenDir).WithReadOnly(true))
	c.ReadinessProbe.WithFailureThreshold(1)
}

// agentPod is one source of load, a bare pod: what it measured dies with it, so nothing may restart it.
func agentPod(d Deployment, a agent) *corev1ac.PodApplyConfiguration {
	c := agentContainer(d, a)
	spec := podskewPod(c).WithRestartPolicy(corev1.RestartPolicyNever).WithTolerations(tolerations(d)...).
		WithTerminationGracePeriodSeconds(1).
		WithActiveDeadlineSeconds(int64((d.Expiry + agentDeadline) / time.Second)).
		WithAffinity(onNode(a.node)).
		WithDNSConfig(wholeNames()).WithVolumes(agentVolume())
	if len(a.sources) > 0 {
		allow(c, spec, "NET_ADMIN") // to add addresses to its node's interface
	}
	if a.lowPorts {
		allow(c, spec, "NET_BIND_SERVICE") // the sysctl that would spare it is the node's on the node's network
	}
	if a.localPorts > 0 { // one of the kernel's parameters that every pod may have its own of
		spec.SecurityContext.WithSysctls(corev1ac.Sysctl().WithName("net.ipv4.ip_local_port_range").
			WithValue(fmt.Sprintf("%d %d", firstLocalPort, firstLocalPort+a.localPorts-1)))
	}
	if a.hostNetwork {
		spec.WithHostNetwork(true).WithDNSPolicy(corev1.DNSClusterFirstWithHostNet)
	}
	if a.external {
		spec.WithTolerations(corev1ac.Toleration().WithKey(labelExternal).WithOperator(corev1.TolerationOpExists))
	}
	if a.tolerate {
		spec.WithTolerations(anyNoSchedule())
	}
	labels := roleLabels(d.RunID, roleAgent)
	labels[labelClient] = a.client
	return corev1ac.Pod(a.name, namespaceOf(d.RunID)).WithLabels(labels).WithAnnotations(besidesSidecar(d.Scenario, a)).WithSpec(spec)
}

// limits are the flags for what an agent may do beyond its defaults.
func (a agent) limits() []string {
	var out []string
	if a.connections > agentConnections {
		out = append(out, "--max-connections="+strconv.Itoa(a.connections))
	}
	if len(a.sources) > 0 {
		out = append(out, "--add-sources")
	}
	return out
}

// allow gives an agent a capability. It has to be root for that: a container's capabilities are those of its file's owner
// otherwise, and the image has none.
func allow(c *corev1ac.ContainerApplyConfiguration, pod *corev1ac.PodSpecApplyConfiguration, capability corev1.Capability) {
	pod.SecurityContext.WithRunAsNonRoot(false).WithRunAsUser(0).WithRunAsGroup(0)
	c.SecurityContext.Capabilities.WithAdd(capability)
}

// podskewPod is what both roles share: nothing they do not need.
func podskewPod(c *corev1ac.ContainerApplyConfiguration) *corev1ac.PodSpecApplyConfiguration {
	return corev1ac.PodSpec().WithContainers(c).
		WithServiceAccountName(accountName).WithAutomountServiceAccountToken(false).WithEnableServiceLinks(false).
		WithSecurityContext(corev1ac.PodSecurityContext().
			WithRunAsNonRoot(true).WithRunAsUser(podUser).WithRunAsGroup(podUser).
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault)))
}

func podskewContainer(d Deployment, role string) *corev1ac.ContainerApplyConfiguration {
	memory := "128Mi"
	if role == roleAgent {
		memory = "512Mi" // samples
	}
	return corev1ac.Container().WithName(role).WithImage(d.Image).WithImagePullPolicy(corev1.PullPolicy(d.ImagePullPolicy)).
		WithSecurityContext(corev1ac.SecurityContext().
			WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).WithPrivileged(false).
			WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))).
		WithResources(corev1ac.ResourceRequirements().
			WithRequests(corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("24Mi")}).
			// No CPU limit: throttling would show as latency and skew that the Service has nothing to do with.
			WithLimits(corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}))
}

func probeEverySecond(path string, port int) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().WithPeriodSeconds(1).WithTimeoutSeconds(2).WithFailureThreshold(3).WithSuccessThreshold(1).
		WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromInt(port)).WithScheme(corev1.URISchemeHTTP))
}

// identityEnv tells a pod who it is. status.podIP and spec.nodeName exist in the environment only, not in volumes.
func identityEnv() []*corev1ac.EnvVarApplyConfiguration {
	var out []*corev1ac.EnvVarApplyConfiguration
	for _, v := range [][2]string{
		{"POD_NAME", "metadata.name"},
		{"POD_NAMESPACE", "metadata.namespace"},
		{"POD_UID", "metadata.uid"},
		{"POD_IP", "status.podIP"},
		{"NODE_NAME", "spec.nodeName"},
		{"HOST_IP", "status.hostIP"},
		{"SERVICE_ACCOUNT", "spec.serviceAccountName"},
	} {
		out = append(out, envField(v[0], v[1]))
	}
	return out
}

func resourceEnv(container string) []*corev1ac.EnvVarApplyConfiguration {
	var out []*corev1ac.EnvVarApplyConfiguration
	for _, v := range [][3]string{
		{"LIMITS_CPU", "limits.cpu", "1m"},
		{"LIMITS_MEMORY", "limits.memory", "1"},
		{"REQUESTS_CPU", "requests.cpu", "1m"},
		{"REQUESTS_MEMORY", "requests.memory", "1"},
	} {
		out = append(out, corev1ac.EnvVar().WithName(v[0]).WithValueFrom(corev1ac.EnvVarSource().WithResourceFieldRef(
			corev1ac.ResourceFieldSelector().WithContainerName(container).WithResource(v[1]).WithDivisor(resource.MustParse(v[2])))))
	}
	return out
}

func envField(name, path string) *corev1ac.EnvVarApplyConfiguration {
	return corev1ac.EnvVar().WithName(name).WithValueFrom(corev1ac.EnvVarSource().WithFieldRef(fieldRef(path)))
}

func fieldRef(path string) *corev1ac.ObjectFieldSelectorApplyConfiguration {
	return corev1ac.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath(path)
}

// zoneFromLabel works since Kubernetes 1.35, where binding copies the node's zone to the pod's labels. Before that
// the pod's zone is empty; the facts have the node's.
func zoneFromLabel() *corev1ac.EnvVarApplyConfiguration {
	return envField("NODE_ZONE", fmt.Sprintf("metadata.labels['%s']", labelZone))
}

func zoneLiteral(zone string) *corev1ac.EnvVarApplyConfiguration {
	return corev1ac.EnvVar().WithName("NODE_ZONE").WithValue(zone)
}
