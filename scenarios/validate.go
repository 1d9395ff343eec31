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
	maxWarmUp            = time.Hour
	minSettle            = 100 * time.Millisecond
	maxZipfExponent      = 10
	maxStreams           = 1000 // on one connection
	maxSourceAddresses   = 4000
	minLocalPorts        = 10     // the agent needs a few itself
	maxLocalPorts        = 32_000 // from 32768 on
	maxPort              = 65535
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
	validateRequires(s.Spec.Requires, p)
	validateEcho(&s.Spec.Echo, p)
	validateServices(s, p)
	validateClients(s, p)
	validateInEcho(s, p)
	validateWarmUp(s, p)
	validateGateway(s, p)
	validateDestinationRule(s, p)
	validateEvents(s, p)
	validateSettle(s, p)
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
	topics().check(p, "metadata.topic", s.Metadata.Topic)
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
			if node == Localhost {
				continue
			}
			check(fmt.Sprintf("%s.targetNodes[%d]", path, j), node)
		}
	}
	if g := s.Spec.Gateway; g != nil && g.Node != "" {
		check("spec.gateway.node", g.Node)
	}
	checkEventNodes(s, check)
	for i, e := range s.Spec.Expect {
		for _, node := range slices.Sorted(maps.Keys(e.Shares)) {
			if node != NewPods {
				check(fieldPath(fmt.Sprintf("spec.expect[%d].shares", i), node), node)
			}
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
