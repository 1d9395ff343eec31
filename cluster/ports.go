package cluster

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1ac "k8s.io/client-go/applyconfigurations/discovery/v1"

	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/podskew/podskew/scenarios"
)

// port is one that every echo pod serves on and that the Service under test has.
type port struct {
	name      string
	transport corev1.Protocol
	service   int32
	pod       int32
}

// echoPorts are the defaults of podskew-pod echo.
func echoPorts() []port {
	return []port{
		{"http", corev1.ProtocolTCP, 80, 8080}, // HTTP/1.1, HTTP/2, gRPC and WebSocket in clear text, and echo's own pages
		{"https", corev1.ProtocolTCP, 443, 8443},
		{"tcp", corev1.ProtocolTCP, 9000, 9000},
		{"udp", corev1.ProtocolUDP, 80, 8080},
	}
}

// httpPort is the one that probes, pages and the canary use.
func httpPort() port { return echoPorts()[0] }

// portFor is the port that a client's protocol is served on.
func portFor(c scenarios.Client) port {
	name := "http"
	switch {
	case c.TLS:
		name = "https"
	case c.Protocol == scenarios.ProtocolTCP:
		name = "tcp"
	case c.Protocol == scenarios.ProtocolUDP:
		name = "udp"
	}
	for _, p := range echoPorts() {
		if p.name == name {
			return p
		}
	}
	return httpPort()
}

func (p port) onService() *corev1ac.ServicePortApplyConfiguration {
	return corev1ac.ServicePort().WithName(p.name).WithProtocol(p.transport).
		WithPort(p.service).WithTargetPort(intstr.FromInt32(p.pod))
}

func (p port) onContainer() *corev1ac.ContainerPortApplyConfiguration {
	return corev1ac.ContainerPort().WithName(p.name).WithProtocol(p.transport).WithContainerPort(p.pod)
}

func (p port) onSlice() *discoveryv1ac.EndpointPortApplyConfiguration {
	return discoveryv1ac.EndpointPort().WithName(p.name).WithProtocol(p.transport).WithPort(p.pod)
}

// nodePort is the port of every node that leads to p of the Service; 0: it has none.
func (p port) nodePort(s *corev1.Service) int32 {
	for _, have := range s.Spec.Ports {
		if have.Port == p.service && have.Protocol == p.transport {
			return have.NodePort
		}
	}
	return 0
}
