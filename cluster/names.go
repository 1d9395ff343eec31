package cluster

import (
	"hash/fnv"
	"strings"
)

// Names and labels of what a run deploys. They are part of what users see with kubectl.
const (
	fieldManager = "podskew"

	labelRun       = "podskew.dev/run"
	labelRole      = "podskew.dev/role"
	labelClient    = "podskew.dev/client"
	labelPlacement = "podskew.dev/placement"
	labelServes    = "podskew.dev/serves"   // of echo pods: which of the two sets a pod is of; Services select by it
	labelExternal  = "podskew.dev/external" // of nodes set apart for external clients; also the key of their taint
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelZone      = "topology.kubernetes.io/zone"
	labelHostname  = "kubernetes.io/hostname"

	annotationAddresses = "podskew.dev/addresses" // of nodes set apart: the range whose addresses agents may take

	annotationScenario = "podskew.dev/scenario"
	// annotationBalancerNodes is where the lab's load balancer says which nodes it deals a Service's connections to.
	annotationBalancerNodes = "podskew.dev/load-balancer-nodes"
	annotationHolder        = "podskew.dev/holder"

	// The values of labelServes. Services select the first until a swap event.
	setActive  = "active"
	setStandby = "standby"
	setNobody  = "none" // no pod has it

	roleEcho  = "echo"
	roleAgent = "agent"

	serviceEcho   = "echo"
	serviceCanary = "canary"
	// serviceCanaryName is a canary without an address, beside the other.
	serviceCanaryName = "canary-name"

	leaseName   = "run"
	accountName = "podskew"
	secretName  = "agent"

	echoSecretName = "echo"
	policyName     = "podskew"

	agentPort = 8080

	// clusterDomain is Kubernetes' default; a cluster does not tell whether it has another.
	clusterDomain = "cluster.local"
)

// dnsName is the name that a Service has inside the cluster.
func dnsName(service, namespace string) string {
	return service + "." + namespace + ".svc." + clusterDomain
}

func namespaceOf(runID string) string { return "podskew-" + runID }

// runLabels are on every object of a run.
func runLabels(runID string) map[string]string {
	return map[string]string{labelRun: runID, labelManagedBy: fieldManager}
}

func roleLabels(runID, role string) map[string]string {
	l := runLabels(runID)
	l[labelRole] = role
	return l
}

// echoSelector selects the run's echo pods and nothing else.
func echoSelector(runID string) map[string]string {
	return map[string]string{labelRun: runID, labelRole: roleEcho}
}

// serviceSelector selects the echo pods that serve. Taking labelServes away from a pod takes it out of the Services, and
// no ReplicaSet misses it: Deployments select by echoSelector.
func serviceSelector(runID string) map[string]string {
	l := echoSelector(runID)
	l[labelServes] = setActive
	return l
}

// hostPortBase is the first port of the run's host-network agents: below the NodePorts and the ephemeral ports, and
// different for most runs, since the processes of a run just removed may hold theirs for a moment longer.
func hostPortBase(runID string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(runID)) // never fails
	return 20000 + int(h.Sum32()%8000)
}

// dnsLabel turns a node's name into a part of an object's name.
func dnsLabel(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(s))
	if len(s) > 40 {
		s = s[:40]
	}
	return strings.Trim(s, "-")
}
