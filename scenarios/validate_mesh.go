package scenarios

import (
	"fmt"
	"regexp"
)

// maxRingSize is Envoy's own bound on a ring.
const maxRingSize = 8_388_608

// The simple ways in which Istio's sidecars choose, under Istio's names.
const (
	SimpleRoundRobin   = "ROUND_ROBIN"
	SimpleLeastRequest = "LEAST_REQUEST"
	SimpleRandom       = "RANDOM"
)

// cookieForm is a name that a cookie can have without quotes.
var cookieForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

func simpleBalancers() choice {
	return choice{built: []string{SimpleRoundRobin, SimpleLeastRequest, SimpleRandom}}
}

const (
	rulePath     = "spec.destinationRule"
	balancerPath = rulePath + ".trafficPolicy.loadBalancer"
)

// validateDestinationRule checks how sidecars are to choose, and that nothing else would choose instead of them.
func validateDestinationRule(s *Scenario, p *problems) {
	r := s.Spec.DestinationRule
	if r == nil {
		return
	}
	if r.Revision != "" {
		checkName(p, rulePath+".revision", r.Revision, maxNameLength)
	}
	switch b := r.TrafficPolicy.LoadBalancer; {
	case b.Simple == "" && b.ConsistentHash == nil:
		p.add(balancerPath, "says nothing: write simple: ROUND_ROBIN, or consistentHash: {httpHeaderName: NAME}")
	case b.Simple != "" && b.ConsistentHash != nil:
		p.add(balancerPath+".simple", "simple and consistentHash exclude each other: remove one")
	case b.ConsistentHash != nil:
		validateConsistentHash(b.ConsistentHash, p)
	}
	simpleBalancers().check(p, balancerPath+".simple", r.TrafficPolicy.LoadBalancer.Simple)
	validateMeshedService(s, p)
	for i := range s.Spec.Clients {
		validateMeshedClient(&s.Spec.Clients[i], fmt.Sprintf("spec.clients[%d]", i), p)
	}
	for i, e := range s.Spec.Events {
		if e.PatchService != nil {
			p.add(fmt.Sprintf("spec.events[%d].patchService", i), "sidecars choose the pods, and the Service's settings bind kube-proxy only: remove it, or spec.destinationRule")
		}
	}
}

func validateConsistentHash(h *ConsistentHash, p *problems) {
	const base = balancerPath + ".consistentHash"
	keys := 0
	for _, set := range []bool{h.HTTPHeaderName != "", h.HTTPCookie != nil, h.UseSourceIP} {
		if set {
			keys++
		}
	}
	if keys != 1 {
		p.add(base, "%d keys to hash, where one is wanted: write httpHeaderName: NAME, httpCookie: {name: NAME} or useSourceIp: true", keys)
	}
	if p.src.has(base+".useSourceIp") && !h.UseSourceIP {
		p.add(base+".useSourceIp", "false says nothing: write true, or remove it")
	}
	if h.HTTPHeaderName != "" && !headerForm.MatchString(h.HTTPHeaderName) {
		p.add(base+".httpHeaderName", "%q is not the name of a header: use letters, digits and -, with a letter first, at most 64", h.HTTPHeaderName)
	}
	if c := h.HTTPCookie; c != nil {
		if c.Name == "" {
			p.add(base+".httpCookie.name", "missing: name the cookie, such as name: session")
		} else if !cookieForm.MatchString(c.Name) {
			p.add(base+".httpCookie.name", "%q is not the name of a cookie: use letters, digits, - and _, with a letter first, at most 64", c.Name)
		}
		checkDuration(p, base+".httpCookie.ttl", c.TTL, 0, maxDuration)
	}
	if h.RingHash != nil {
		checkRange(p, base+".ringHash.minimumRingSize", h.RingHash.MinimumRingSize, 1, maxRingSize)
	}
}

// validateMeshedService refuses what only kube-proxy, or another proxy, would go by.
func validateMeshedService(s *Scenario, p *problems) {
	svc := s.Spec.Service
	if s.Spec.Gateway != nil {
		p.add(rulePath, "a gateway would choose the pods, or kube-proxy behind it, and not the clients' sidecars: remove it, or spec.gateway")
	}
	if svc.ClusterIP == "None" {
		p.add("spec.service.clusterIP", "a sidecar goes by the cluster IP that its client dials, and passes on what is sent to a pod: remove it, or spec.destinationRule")
	}
	if svc.SessionAffinity == "ClientIP" {
		p.add("spec.service.sessionAffinity", "sidecars choose the pods, and affinity binds kube-proxy only: remove it, or write spec.destinationRule with consistentHash: {useSourceIp: true}")
	}
	if svc.InternalTrafficPolicy == "Local" {
		p.add("spec.service.internalTrafficPolicy", "what sidecars make of Local depends on Istio's version: remove it, or spec.destinationRule")
	}
	if svc.TrafficDistribution != "" {
		p.add("spec.service.trafficDistribution", "what sidecars make of it depends on Istio's version: remove it, or spec.destinationRule")
	}
}

// validateMeshedClient checks that a client's requests pass a sidecar that can read them.
func validateMeshedClient(c *Client, path string, p *problems) {
	const needs = "the sidecars that choose by spec.destinationRule "
	if c.Vantage != VantagePod {
		p.add(path+".vantage", "%sare in pods with an address of their own: write vantage: pod", needs)
	}
	if c.Target != TargetClusterIP && c.Vantage == VantagePod {
		p.add(path+".target", "%sgo by the Service's cluster IP: write target: clusterIP", needs)
	}
	if c.Protocol != ProtocolHTTP1 {
		p.add(path+".protocol", "%schoose for requests of HTTP/1.1 here: write protocol: http1", needs)
	}
	if c.TLS {
		p.add(path+".tls", "%scannot read what clients encrypt: remove it; between sidecars all is encrypted anyway", needs)
	}
	if c.InEcho {
		p.add(path+".inEcho", "%sbelong to clients with pods of their own: remove it", needs)
	}
	if p.src.has(path + ".service") {
		p.add(path+".service", "spec.destinationRule is about spec.service: remove it")
	}
}
