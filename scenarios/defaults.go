package scenarios

import (
	"fmt"
	"time"
)

// The protocols that clients speak.
const (
	ProtocolHTTP1     = "http1" // unless they say otherwise
	ProtocolHTTP2     = "http2"
	ProtocolGRPC      = "grpc"
	ProtocolWebSocket = "websocket"
	ProtocolTCP       = "tcp"
	ProtocolUDP       = "udp"
)

// Defaults of fields that are left out.
const (
	defaultReplicas        = 3
	defaultAffinitySeconds = 10800 // Kubernetes' own
	defaultConnectTimeout  = 2 * time.Second
	defaultTimeout         = 5 * time.Second
)

// setDefaults gives every field that the file leaves out the value it has without a word. A field that is there and
// zero keeps its zero, for validation to refuse.
func setDefaults(s *Scenario) {
	absent := func(format string, args ...any) bool { return !s.src.has(fmt.Sprintf(format, args...)) }
	if absent("spec.echo.replicas") && absent("spec.echo.placement") {
		s.Spec.Echo.Replicas = defaultReplicas
	}
	defaultService(&s.Spec.Service, "spec.service", absent)
	for i := range s.Spec.Services {
		defaultService(&s.Spec.Services[i], fmt.Sprintf("spec.services[%d]", i), absent)
	}
	defaultGateway(s.Spec.Gateway, absent)
	for i := range s.Spec.Clients {
		defaultSession(s.Spec.Clients[i].Session)
		defaultClient(&s.Spec.Clients[i], func(field string) bool { return absent("spec.clients[%d].%s", i, field) })
	}
	defaultInEcho(s, absent)
}

// defaultService gives the Service at a path what its file leaves out.
func defaultService(svc *Service, base string, absent func(string, ...any) bool) {
	if absent("%s.type", base) {
		svc.Type = "ClusterIP"
	}
	if absent("%s.sessionAffinity", base) {
		svc.SessionAffinity = "None"
	}
	if absent("%s.internalTrafficPolicy", base) {
		svc.InternalTrafficPolicy = "Cluster"
	}
	if absent("%s.externalTrafficPolicy", base) && hasNodePort(svc.Type) {
		svc.ExternalTrafficPolicy = "Cluster"
	}
	if svc.SessionAffinity == "ClientIP" && absent("%s.sessionAffinityConfig.clientIP.timeoutSeconds", base) {
		svc.SessionAffinityConfig = &SessionAffinityConfig{}
		svc.SessionAffinityConfig.ClientIP.TimeoutSeconds = defaultAffinitySeconds
	}
}

func defaultClient(c *Client, absent func(field string) bool) {
	if absent("vantage") {
		c.Vantage = VantagePod
	}
	if absent("target") {
		c.Target = TargetClusterIP
	}
	if absent("count") {
		c.Count = 1
	}
	if absent("connectTimeout") {
		c.ConnectTimeout = defaultConnectTimeout
	}
	if absent("timeout") {
		c.Timeout = defaultTimeout
	}
	if absent("protocol") {
		c.Protocol = ProtocolHTTP1
	}
}

// hasNodePort tells whether Services of this type get node ports, and with them an external traffic policy.
func hasNodePort(serviceType string) bool {
	return serviceType == "NodePort" || serviceType == "LoadBalancer"
}
