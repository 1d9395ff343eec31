package cluster

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/podskew/podskew/scenarios"
)

// inEchoPort is where the agents inside echo pods listen, beside the ports of echo.
const inEchoPort = 8090

// inEcho reports whether clients send from inside the echo pods.
func inEcho(s *scenarios.Scenario) bool {
	return slices.ContainsFunc(s.Spec.Clients, func(c scenarios.Client) bool { return c.InEcho })
}

// agentsOf are a client's agents. Those in the echo pods are known once these run; until then one stands for all of them.
func (r *Run) agentsOf(c scenarios.Client) []agent {
	if c.InEcho {
		if r.layout.inEcho == nil {
			return []agent{{client: c.Name}}
		}
		return r.layout.inEcho
	}
	var out []agent
	for _, a := range r.layout.agents {
		if a.client == r.layout.senders[c.Name] {
			out = append(out, a)
		}
	}
	return out
}

// meetEcho takes up the agents in the echo pods, which these bring with them, and has the streams name them.
func (r *Run) meetEcho(pods []*corev1.Pod) {
	if !inEcho(r.d.Scenario) {
		return
	}
	for _, p := range pods {
		if p.Labels[labelRole] == roleEcho && !inStandby(p) {
			r.layout.inEcho = append(r.layout.inEcho, agent{name: p.Name, node: p.Spec.NodeName, port: inEchoPort})
		}
	}
	for i, c := range r.d.Scenario.Spec.Clients {
		if c.InEcho {
			r.streams[i].Agents = agentRefs(r.layout.inEcho)
		}
	}
}

// agentInEcho is the container that sends from inside an echo pod.
func agentInEcho(d Deployment) *corev1ac.ContainerApplyConfiguration {
	connections := 0
	for _, c := range d.Scenario.Spec.Clients {
		if c.InEcho {
			connections += c.Connections
		}
	}
	return agentContainer(d, agent{port: inEchoPort, connections: connections}).WithName(roleAgent)
}

// addInEcho puts an agent beside echo. Its container is ready when it listens, so that a ready pod has both.
func addInEcho(d Deployment, pod *corev1ac.PodSpecApplyConfiguration) {
	if inEcho(d.Scenario) {
		pod.WithContainers(agentInEcho(d)).WithDNSConfig(wholeNames()).WithVolumes(agentVolume())
	}
}

// inEchoNetworkPorts are the ports that the network policy admits for agents in echo pods.
func inEchoNetworkPorts(d Deployment) []intstr.IntOrString {
	if !inEcho(d.Scenario) {
		return nil
	}
	return []intstr.IntOrString{intstr.FromInt(inEchoPort)}
}

// agentContainer is the container of an agent, in whichever pod.
func agentContainer(d Deployment, a agent) *corev1ac.ContainerApplyConfiguration {
	return podskewContainer(d, roleAgent).
		WithArgs("agent", "--listen=:"+strconv.Itoa(a.port), "--token-file="+agentDir+"/token",
			"--targets-file="+agentDir+"/targets", "--max-lifetime="+d.Expiry.String()).
		WithArgs(a.limits()...).
		WithPorts(corev1ac.ContainerPort().WithName(a.portName()).WithProtocol(corev1.ProtocolTCP).WithContainerPort(int32(a.port))).
		WithEnv(identityEnv()...).
		WithReadinessProbe(probeEverySecond("/healthz", a.port)).
		WithVolumeMounts(corev1ac.VolumeMount().WithName(secretName).WithMountPath(agentDir).WithReadOnly(true))
}

// portName is the name of an agent's port, which is its pod's only one of that name.
func (a agent) portName() string {
	if a.port == inEchoPort {
		return roleAgent
	}
	return httpPort().name
}

// agentVolume holds what an agent must be told.
func agentVolume() *corev1ac.VolumeApplyConfiguration {
	return corev1ac.Volume().WithName(secretName).WithSecret(corev1ac.SecretVolumeSource().WithSecretName(secretName))
}

// wholeNames has names taken as they are: trying the search domains first would ask four times as often.
func wholeNames() *corev1ac.PodDNSConfigApplyConfiguration {
	return corev1ac.PodDNSConfig().WithOptions(corev1ac.PodDNSConfigOption().WithName("ndots").WithValue("1"))
}
