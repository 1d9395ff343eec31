package scenarios

import (
	"fmt"
	"regexp"
)

// maxKeepAlive bounds idle connections of a gateway to its upstreams; maxGateways its pods.
const (
	maxKeepAlive = 10_000
	maxGateways  = 100
)

// headerForm is a name that every proxy takes in its configuration as it is.
var headerForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)

func gatewayProxies() choice { return choice{built: []string{ProxyCaddy, ProxyHAProxy, ProxyNginx}} }

func gatewayUpstreams() choice { return choice{built: []string{UpstreamService, UpstreamPods}} }

func gatewayPolicies() choice {
	return choice{built: []string{PolicyRoundRobin, PolicyRandom, PolicyLeastConnections, PolicySourceHash, PolicyHeaderHash, PolicyCookie}}
}

func sessionValues() choice { return choice{built: []string{SessionOwn, SessionPodIP, SessionPodName}} }

// The proxies, upstreams and policies of a gateway, and the values of a session's header.
const (
	ProxyCaddy   = "caddy"
	ProxyHAProxy = "haproxy"
	ProxyNginx   = "nginx"

	UpstreamService = "service"
	UpstreamPods    = "pods"

	PolicyRoundRobin       = "roundRobin"
	PolicyRandom           = "random"
	PolicyLeastConnections = "leastConnections"
	PolicySourceHash       = "sourceHash"
	PolicyHeaderHash       = "headerHash"
	PolicyCookie           = "cookie"

	SessionOwn     = "session"
	SessionPodIP   = "podIP"
	SessionPodName = "podName"
)

// defaultGateway gives a gateway what its file leaves out.
func defaultGateway(g *Gateway, absent func(string, ...any) bool) {
	if g == nil {
		return
	}
	if absent("spec.gateway.replicas") {
		g.Replicas = 1
	}
	if absent("spec.gateway.upstream") {
		g.Upstream = UpstreamService
	}
	if absent("spec.gateway.policy") && g.Upstream == UpstreamPods {
		g.Policy = PolicyRoundRobin
	}
	if absent("spec.gateway.type") {
		g.Type = "ClusterIP"
	}
}

// defaultSession gives a session's header what it says unless the file does.
func defaultSession(s *Session) {
	if s != nil && s.Header != "" && s.Value == "" {
		s.Value = SessionOwn
	}
}

// validateGateway checks the proxy in front, and that something goes through it.
func validateGateway(s *Scenario, p *problems) {
	const base = "spec.gateway"
	g := s.Spec.Gateway
	dialled := false
	for i := range s.Spec.Clients {
		c := &s.Spec.Clients[i]
		path := fmt.Sprintf("spec.clients[%d]", i)
		validateSession(c, path, p)
		if c.Target == TargetGateway {
			dialled = true
			validateThrough(g, c, path, p)
		}
	}
	if g == nil {
		return
	}
	if !dialled {
		p.add(base, "no client goes through it: write target: gateway at a client, or remove it")
	}
	if g.Proxy == "" {
		p.add(base+".proxy", "missing: write proxy: caddy, haproxy or nginx")
	} else {
		gatewayProxies().check(p, base+".proxy", g.Proxy)
	}
	checkRange(p, base+".replicas", g.Replicas, 1, maxGateways)
	if g.Node != "" {
		checkNodeName(p, base+".node", g.Node)
	}
	gatewayUpstreams().check(p, base+".upstream", g.Upstream)
	checkRange(p, base+".keepAlive", g.KeepAlive, 0, maxKeepAlive)
	validateGatewayPolicy(s, g, p)
	validateGatewayService(g, p)
}

// validateGatewayPolicy checks how the proxy is to choose, and whether it can.
func validateGatewayPolicy(s *Scenario, g *Gateway, p *problems) {
	const base = "spec.gateway"
	gatewayPolicies().check(p, base+".policy", g.Policy)
	switch {
	case g.Upstream == UpstreamService && p.src.has(base+".policy"):
		p.add(base+".policy", "with upstream service the proxy knows one address, and kube-proxy chooses the pod: write upstream: pods, or remove policy")
	case g.Upstream == UpstreamService && s.Spec.Service.ClusterIP == "None":
		p.add(base+".upstream", "a headless Service has no cluster IP to send requests to: write upstream: pods, or remove spec.service.clusterIP: None")
	case g.Policy == PolicyCookie && g.Proxy == ProxyNginx:
		p.add(base+".policy", "open source nginx sets no cookies for sessions: write proxy: haproxy or caddy")
	case g.SendProxyProtocol && g.Proxy == ProxyNginx:
		p.add(base+".sendProxyProtocol", "nginx sends PROXY protocol as a layer 4 proxy only: write proxy: haproxy or caddy")
	case g.SendProxyProtocol && g.KeepAlive > 0:
		p.add(base+".sendProxyProtocol", "names one client for each connection, and kept-alive connections carry several clients' requests: remove keepAlive")
	case g.Policy == PolicyRandom && g.Proxy == ProxyHAProxy:
		p.add(base+".policy", "HAProxy's random draws a place on a hash ring of which servers have unequal parts: write proxy: caddy or nginx")
	}
	switch {
	case g.Policy == PolicyHeaderHash && g.Header == "":
		p.add(base+".header", "missing: policy headerHash hashes a header's value: name the header, such as header: X-Session")
	case g.Header != "" && g.Policy != PolicyHeaderHash:
		p.add(base+".header", "only policy headerHash looks at a header: write that, or remove it")
	case g.Header != "" && !headerForm.MatchString(g.Header):
		p.add(base+".header", "%q is not the name of a header: use letters, digits and -, with a letter first, at most 64", g.Header)
	}
}

func validateGatewayService(g *Gateway, p *problems) {
	const base = "spec.gateway"
	serviceTypes().check(p, base+".type", g.Type)
	trafficPolicies().check(p, base+".externalTrafficPolicy", g.ExternalTrafficPolicy)
	if g.Type == "ClusterIP" && g.ExternalTrafficPolicy != "" {
		p.add(base+".externalTrafficPolicy", "a Service of type ClusterIP has no external traffic: write type: NodePort, or remove it")
	}
}

// validateThrough checks a client that dials the gateway.
func validateThrough(g *Gateway, c *Client, path string, p *problems) {
	if g == nil {
		p.add(path+".target", "there is no gateway: write spec.gateway, such as gateway: {proxy: haproxy}")
		return
	}
	if c.Vantage == VantageExternal && !hasNodePort(g.Type) {
		p.add(path+".target", "the gateway's cluster IP cannot be reached from outside the cluster: write spec.gateway.type: NodePort")
	}
	if c.Protocol != "" && c.Protocol != ProtocolHTTP1 {
		p.add(path+".protocol", "the gateway speaks HTTP/1.1: write protocol: http1, or another target")
	}
	if c.TLS {
		p.add(path+".tls", "the gateway has no certificate: remove it, or write another target")
	}
	if p.src.has(path + ".service") {
		p.add(path+".service", "target gateway dials the gateway's own Service: remove it")
	}
}

// validateSession checks what makes requests belong together.
func validateSession(c *Client, path string, p *problems) {
	s := c.Session
	if s == nil {
		return
	}
	path += ".session"
	switch {
	case s.Header == "" && !s.Cookie:
		p.add(path, "says nothing: write header: NAME, or cookie: true")
	case s.Header != "" && s.Cookie:
		p.add(path+".cookie", "a session goes by a header or by cookies: remove one")
	case s.Header != "" && !headerForm.MatchString(s.Header):
		p.add(path+".header", "%q is not the name of a header: use letters, digits and -, with a letter first, at most 64", s.Header)
	}
	sessionValues().check(p, path+".value", s.Value)
	if s.Value != "" && s.Header == "" {
		p.add(path+".value", "is what the header says, and none is named: write header: NAME, or remove it")
	}
	if c.Protocol != "" && c.Protocol != ProtocolHTTP1 {
		p.add(path, "only http1 clients keep sessions: write protocol: http1, or remove it")
	}
}
