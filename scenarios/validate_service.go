package scenarios

import (
	"cmp"
	"fmt"
	"slices"
)

// maxServices bounds the Services of a scenario, spec.service not counted: every node programs all of them.
const maxServices = 50

// EndpointsNone is a Service whose selector selects no pod.
const EndpointsNone = "none"

// Localhost among the targetNodes of a client stands for 127.0.0.1 of the node the client is on.
const Localhost = "localhost"

// serviceNames that runs need for Services of their own.
func reservedServices() []string { return []string{"canary", "canary-name", "gateway", "echo-pods"} }

func endpointsKinds() choice { return choice{built: []string{EndpointsNone}} }

// serviceName is the name of spec.service.
func serviceName(svc *Service) string { return cmp.Or(svc.Name, "echo") }

// ServiceNames are the names of all Services of a scenario, that of spec.service first.
func ServiceNames(s *Scenario) []string {
	out := []string{serviceName(&s.Spec.Service)}
	for i := range s.Spec.Services {
		out = append(out, s.Spec.Services[i].Name)
	}
	return out
}

// serviceOf is the Service that a client dials, and its path; nil if there is none of that name.
func serviceOf(s *Scenario, c *Client) (svc *Service, path string) {
	if c.Service == "" || c.Service == serviceName(&s.Spec.Service) {
		return &s.Spec.Service, "spec.service"
	}
	for i := range s.Spec.Services {
		if s.Spec.Services[i].Name == c.Service {
			return &s.Spec.Services[i], fmt.Sprintf("spec.services[%d]", i)
		}
	}
	return nil, ""
}

// validateServices checks every Service, and that somebody dials those besides spec.service.
func validateServices(s *Scenario, p *problems) {
	validateService(&s.Spec.Service, "spec.service", p)
	if n := len(s.Spec.Services); n > maxServices {
		p.add("spec.services", "%d Services: at most %d", n, maxServices)
		return
	}
	names := []string{serviceName(&s.Spec.Service)}
	for i := range s.Spec.Services {
		svc, path := &s.Spec.Services[i], fmt.Sprintf("spec.services[%d]", i)
		validateService(svc, path, p)
		switch {
		case svc.Name == "":
			p.add(path+".name", "missing: write a name, for clients to say service: NAME; spec.service alone needs none")
		case slices.Contains(names, svc.Name):
			p.add(path+".name", "%q is the name of another Service already", svc.Name)
		case !slices.ContainsFunc(s.Spec.Clients, func(c Client) bool { return c.Service == svc.Name }):
			p.add(path, "no client dials it: write service: %s at a client, or remove it", svc.Name)
		}
		names = append(names, svc.Name)
	}
}

// validateService checks one Service by itself. base is its path.
func validateService(svc *Service, base string, p *problems) {
	if svc.Name != "" {
		checkName(p, base+".name", svc.Name, maxNameLength)
	}
	if slices.Contains(reservedServices(), svc.Name) {
		p.add(base+".name", "%s is the name of a Service that podskew makes itself: write another", svc.Name)
	}
	endpointsKinds().check(p, base+".endpoints", svc.Endpoints)
	serviceTypes().check(p, base+".type", svc.Type)
	sessionAffinities().check(p, base+".sessionAffinity", svc.SessionAffinity)
	trafficPolicies().check(p, base+".internalTrafficPolicy", svc.InternalTrafficPolicy)
	trafficPolicies().check(p, base+".externalTrafficPolicy", svc.ExternalTrafficPolicy)
	trafficDistributions().check(p, base+".trafficDistribution", svc.TrafficDistribution)
	if svc.ClusterIP != "" && svc.ClusterIP != "None" {
		p.add(base+".clusterIP", "%q: leave it out to be given an address, or write None for a headless Service", svc.ClusterIP)
	}
	if svc.Type == "ClusterIP" && p.src.has(base+".externalTrafficPolicy") {
		p.add(base+".externalTrafficPolicy",
			"a Service of type ClusterIP has no external traffic: write type: NodePort, or use internalTrafficPolicy")
	}
	if svc.ClusterIP == "None" {
		validateHeadless(svc, base, p)
	}
	validateAffinity(svc, base, p)
	validateAnnotations(svc.Annotations, base+".annotations", p)
}

func validateHeadless(svc *Service, base string, p *problems) {
	if hasNodePort(svc.Type) {
		p.add(base+".clusterIP", "a Service of type %s cannot be headless: remove clusterIP: None, or write type: ClusterIP", svc.Type)
	}
	if svc.SessionAffinity == "ClientIP" {
		p.add(base+".sessionAffinity", "has no effect on a headless Service, which no kube-proxy handles: remove it")
	}
}

func validateAffinity(svc *Service, base string, p *problems) {
	if svc.SessionAffinity != "ClientIP" {
		if p.src.has(base + ".sessionAffinityConfig") {
			p.add(base+".sessionAffinityConfig", "has no effect without sessionAffinity: ClientIP: add that, or remove this")
		}
		return
	}
	checkRange(p, base+".sessionAffinityConfig.clientIP.timeoutSeconds",
		svc.SessionAffinityConfig.ClientIP.TimeoutSeconds, 1, maxAffinitySeconds)
}
