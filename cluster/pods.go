package cluster

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

const (
	podUser = 65532 // the user of the image, too

	echoGrace        = 3 * time.Second // echo serves on after SIGTERM, until its endpoint is gone everywhere, and then drains
	echoDrain        = 2 * time.Second
	echoTerminates   = 10 * time.Second // after that the kubelet kills
	agentConnections = 10_000           // an agent's own limit
	agentDeadline    = time.Minute      // beyond Expiry: an agent that did not end by itself is ended

	podInfoDir = "/etc/podinfo"
	agentDir   = "/etc/podskew"
)

// echoPod is the pod that says who answered.
func echoPod(d Deployment, zone *corev1ac.EnvVarApplyConfiguration) *corev1ac.PodSpecApplyConfiguration {
	c := podskewContainer(d, roleEcho).
		WithArgs("echo", "--grace="+echoGrace.String(), "--drain="+echoDrain.String()).
		WithEnv(identityEnv()...).WithEnv(resourceEnv(roleEcho)...).WithEnv(zone).
		WithReadinessProbe(probeEverySecond("/readyz", int(httpPort().pod))).
		WithVolumeMounts(corev1ac.VolumeMount().WithName("podinfo").WithMountPath(podInfoDir).WithReadOnly(true))
	for _, p := range echoPorts() {
		c.WithPorts(p.onContainer())
	}
	return podskewPod(c).WithRestartPolicy(corev1.RestartPolicyAlways).WithTolerations(tolerations(d)...).
		WithTerminationGracePeriodSeconds(int64(echoTerminates / time.Second)).
		WithVolumes(corev1ac.Volume().WithName("podinfo").WithDownwardAPI(corev1ac.DownwardAPIVolumeSource().WithItems(
			corev1ac.DownwardAPIVolumeFile().WithPath("labels").WithFieldRef(fieldRef("metadata.labels")),
			corev1ac.DownwardAPIVolumeFile().WithPath("annotations").WithFieldRef(fieldRef("metadata.annotations")))))
}

// agentPod is one source of load, a bare pod: what it measured dies with it, so nothing may restart it.
func agentPod(d Deployment, a agent) *corev1ac.PodApplyConfiguration {
	c := podskewContainer(d, roleAgent).
		WithArgs("agent", "--listen=:"+strconv.Itoa(a.port), "--token-file="+agentDir+"/token",
			"--targets-file="+agentDir+"/targets", "--max-lifetime="+d.Expiry.String()).
		WithArgs(a.limits()...).
		WithPorts(corev1ac.ContainerPort().WithName(httpPort().name).WithProtocol(corev1.ProtocolTCP).WithContainerPort(int32(a.port))).
		WithEnv(identityEnv()...).
		WithReadinessProbe(probeEverySecond("/healthz", a.port)).
		WithVolumeMounts(corev1ac.VolumeMount().WithName(secretName).WithMountPath(agentDir).WithReadOnly(true))
	spec := podskewPod(c).WithRestartPolicy(corev1.RestartPolicyNever).WithTolerations(tolerations(d)...).
		WithTerminationGracePeriodSeconds(1).
		WithActiveDeadlineSeconds(int64((d.Expiry + agentDeadline) / time.Second)).
		WithAffinity(onNode(a.node)).
		// Names here are whole ones: trying the search domains first would ask four times as often.
		WithDNSConfig(corev1ac.PodDNSConfig().WithOptions(corev1ac.PodDNSConfigOption().WithName("ndots").WithValue("1"))).
		WithVolumes(corev1ac.Volume().WithName(secretName).WithSecret(corev1ac.SecretVolumeSource().WithSecretName(secretName)))
	if len(a.sources) > 0 {
		mayAddAddresses(c, spec)
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
	return corev1ac.Pod(a.name, namespaceOf(d.RunID)).WithLabels(labels).WithSpec(spec)
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

// mayAddAddresses gives an agent the one capability that adding addresses to its node's interface takes. It has to be
// root for that: a container's capabilities are those of its file's owner otherwise, and the image has none.
func mayAddAddresses(c *corev1ac.ContainerApplyConfiguration, pod *corev1ac.PodSpecApplyConfiguration) {
	pod.SecurityContext.WithRunAsNonRoot(false).WithRunAsUser(0).WithRunAsGroup(0)
	c.SecurityContext.Capabilities.WithAdd("NET_ADMIN")
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
