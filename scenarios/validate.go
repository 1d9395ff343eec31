package scenarios

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Bounds of what one run may ask for.
const (
	maxReplicas          = 1000
	maxClientGroups      = 100
	maxClients           = 1000 // in all groups together; each is a pod
	maxConnections       = 100_000
	maxRequests          = 1_000_000_000
	maxDuration          = 24 * time.Hour
	maxRequestTimeout    = 10 * time.Minute
	minDuration          = 100 * time.Millisecond
	minRequestTimeout    = time.Millisecond
	minLifetime          = 10 * time.Millisecond
	minRate              = 0.001     // requests per second
	maxRate              = 1_000_000 // requests, or connections, per second
	maxRateSteps         = 1000
	maxStreams           = 1000 // on one connection
	maxSourceAddresses   = 4000
	maxAffinitySeconds   = 86400 // Kubernetes' own
	maxExpectations      = 1000
	maxNameLength        = 63
	maxClientNameLength  = 40 // pods are named after clients, with a suffix
	maxDescriptionLength = 1000
)

var (
	dnsLabel     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	dnsSubdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
)

// validate notes everything in a decoded scenario that cannot be: values out of range and settings that contradict each other.
func validate(s *Scenario, p *problems) {
	validateHead(s, p)
	validateEcho(&s.Spec.Echo, p)
	validateService(&s.Spec.Service, p)
	validateClients(s, p)
	validateEvents(s, p)
	validateExpectations(s, p)
}

func validateHead(s *Scenario, p *problems) {
	requireConst(p, "apiVersion", s.APIVersion, APIVersion)
	requireConst(p, "kind", s.Kind, Kind)
	if s.Metadata.Name == "" {
		p.add("metadata.name", "missing: write a name, such as name: keepalive")
	} else {
		checkName(p, "metadata.name", s.Metadata.Name, maxNameLength)
	}
	if n := len(s.Metadata.Description); n > maxDescriptionLength {
		p.add("metadata.description", "%d bytes: at most %d", n, maxDescriptionLength)
	}
	for i, link := range s.Metadata.Links {
		if strings.TrimSpace(link) == "" {
			p.add(fmt.Sprintf("metadata.links[%d]", i), "empty: write a URL or owner/repository#number, or remove it")
		}
	}
}

func requireConst(p *problems, path, got, want string) {
	switch got {
	case want:
	case "":
		p.add(path, "missing: write %s: %s", path, want)
	default:
		p.add(path, "%q is not supported: write %s: %s", got, path, want)
	}
}

// checkName notes a name that cannot name Kubernetes objects.
func checkName(p *problems, path, name string, longest int) {
	switch {
	case len(name) > longest:
		p.add(path, "%d characters: at most %d", len(name), longest)
	case !dnsLabel.MatchString(name):
		p.add(path, "%q is not a DNS label: use lower-case letters, digits and -, with a letter or digit at both ends", name)
	}
}

// checkNodeName notes a name that no node can have.
func checkNodeName(p *problems, path, name string) {
	if len(name) > 253 || !dnsSubdomain.MatchString(name) {
		p.add(path, "%q cannot be the name of a node: use lower-case letters, digits, - and .", name)
	}
}

// checkRange notes a whole number outside low..high.
func checkRange(p *problems, path string, value, low, high int) {
	if value < low || value > high {
		p.add(path, "%d is out of range: %d to %d", value, low, high)
	}
}

// checkDuration notes a duration outside low..high.
func checkDuration(p *problems, path string, value, low, high time.Duration) {
	if value < low || value > high {
		p.add(path, "%s is out of range: %s to %s", value, shortDuration(low), shortDuration(high))
	}
}

// shortDuration drops the zero parts of a round duration: 10m, not 10m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func validateEcho(echo *Echo, p *problems) {
	const replicas, placement = "spec.echo.replicas", "spec.echo.placement"
	if p.src.has(replicas) && p.src.has(placement) {
		p.add(placement, "placement and replicas exclude each other: keep replicas to let the scheduler place the pods, or placement to place them yourself")
		return
	}
	if !p.src.has(placement) {
		checkRange(p, replicas, echo.Replicas, 1, maxReplicas)
		return
	}
	total := 0
	for _, node := range slices.Sorted(maps.Keys(echo.Placement)) {
		path := fieldPath(placement, node)
		checkNodeName(p, path, node)
		checkRange(p, path, echo.Placement[node], 0, maxReplicas)
		total += min(max(echo.Placement[node], 0), maxReplicas+1)
	}
	switch {
	case total == 0:
		p.add(placement, "places no pod: name a node and how many pods it gets, such as {worker: 1, worker2: 3}")
	case total > maxReplicas:
		p.add(placement, "%d pods in all: at most %d", total, maxReplicas)
	}
}

func validateService(svc *Service, p *problems) {
	const base = "spec.service."
	serviceTypes().check(p, base+"type", svc.Type)
	sessionAffinities().check(p, base+"sessionAffinity", svc.SessionAffinity)
	trafficPolicies().check(p, base+"internalTrafficPolicy", svc.InternalTrafficPolicy)
	trafficPolicies().check(p, base+"externalTrafficPolicy", svc.ExternalTrafficPolicy)
	trafficDistributions().check(p, base+"trafficDistribution", svc.TrafficDistribution)
	if svc.ClusterIP != "" && svc.ClusterIP != "None" {
		p.add(base+"clusterIP", "%q: leave it out to be given an address, or write None for a headless Service", svc.ClusterIP)
	}
	if svc.Type == "ClusterIP" && p.src.has(base+"externalTrafficPolicy") {
		p.add(base+"externalTrafficPolicy",
			"a Service of type ClusterIP has no external traffic: write type: NodePort, or use internalTrafficPolicy")
	}
	if svc.ClusterIP == "None" {
		validateHeadless(svc, p)
	}
	validateAffinity(svc, p)
}

func validateHeadless(svc *Service, p *problems) {
	const base = "spec.service."
	if hasNodePort(svc.Type) {
		p.add(base+"clusterIP", "a Service of type %s cannot be headless: remove clusterIP: None, or write type: ClusterIP", svc.Type)
	}
	if svc.SessionAffinity == "ClientIP" {
		p.add(base+"sessionAffinity", "has no effect on a headless Service, which no kube-proxy handles: remove it")
	}
}

func validateAffinity(svc *Service, p *problems) {
	const base = "spec.service."
	if svc.SessionAffinity != "ClientIP" {
		if p.src.has(base + "sessionAffinityConfig") {
			p.add(base+"sessionAffinityConfig", "has no effect without sessionAffinity: ClientIP: add that, or remove this")
		}
		return
	}
	checkRange(p, base+"sessionAffinityConfig.clientIP.timeoutSeconds",
		svc.SessionAffinityConfig.ClientIP.TimeoutSeconds, 1, maxAffinitySeconds)
}

func validateEvents(s *Scenario, p *problems) {
	longest := time.Duration(0)
	for i := range s.Spec.Clients {
		longest = max(longest, s.Spec.Clients[i].Duration)
	}
	for i, event := range s.Spec.Events {
		path := fmt.Sprintf("spec.events[%d]", i)
		switch {
		case !p.src.has(path + ".at"):
			p.add(path+".at", "missing: write when, such as at: 2s")
		case event.At < 0:
			p.add(path+".at", "%s is before the start", event.At)
		case longest == 0:
			p.add(path+".at", "events need a client that runs for a time: give one a duration instead of requests")
		case event.At >= longest:
			p.add(path+".at", "%s is after the end: the longest client runs for %s", event.At, longest)
		}
		if !p.src.has(path + ".scale") {
			p.add(path+".scale", "missing: write the number of pods to scale to, such as scale: 12")
			continue
		}
		if event.Scale != nil {
			checkRange(p, path+".scale", *event.Scale, 0, maxReplicas)
		}
		if p.src.has("spec.echo.placement") {
			p.add(path+".scale", "pods of a placement cannot be scaled: write spec.echo.replicas instead of placement")
		}
	}
}

// ValidateNodes checks that every node a scenario names exists. The nodes are the cluster's, by name; as kind puts the
// name of the cluster in front (podskew-worker), the end of a name after a dash is enough where it fits one node only. The
// error is an [*InvalidError] that points at the places in the file.
func ValidateNodes(s *Scenario, nodes []string) error {
	src := s.src
	if src == nil {
		src = newSource(s.Metadata.Name, "")
	}
	found := &problems{src: src}
	known := slices.Sorted(slices.Values(nodes))
	check := func(path, node string) {
		if !nodeExists(node, known) {
			found.add(path, "there is no node %q in this cluster: %s", node, instead(node, known))
		}
	}
	for _, node := range slices.Sorted(maps.Keys(s.Spec.Echo.Placement)) {
		check(fieldPath("spec.echo.placement", node), node)
	}
	for i, client := range s.Spec.Clients {
		path := fmt.Sprintf("spec.clients[%d]", i)
		if client.Node != "" {
			check(path+".node", client.Node)
		}
		for j, node := range client.TargetNodes {
			check(fmt.Sprintf("%s.targetNodes[%d]", path, j), node)
		}
	}
	return found.err()
}

func nodeExists(name string, nodes []string) bool {
	if slices.Contains(nodes, name) {
		return true
	}
	ends := 0
	for _, node := range nodes {
		if strings.HasSuffix(node, "-"+name) {
			ends++
		}
	}
	return ends == 1
}
