package scenarios

import "slices"

// FindingCodes returns the codes an expectation may name, those of reports, in the order of the documentation.
func FindingCodes() []string {
	return []string{
		"Balanced", "ConnectionPinning", "TooFewConnections", "IdleBackends", "UnevenConnectionLoad", "UnexplainedSkew",
		"RoundRobin", "ForeignBackend", "FailingBackend", "MissingEndpoint",
		"LocalPolicyImbalance", "TopologyImbalance", "NoLocalEndpoint", "NoEndpoints", "StaleEndpoint",
		"AffinityHeld", "AffinityBroken", "AffinityExpired", "AffinityCapacity", "AffinityPerNode", "AffinityCollapse",
		"StickyToWrongPod",
		"SourceIPPreserved", "SourceIPLost", "HairpinSNAT", "CrossNodeHops", "SNATPortPressure",
		"IdleAfterScaleOut", "SkewAfterRestart", "SlowToBalance",
		"TooFewUnits", "GeneratorLimited", "FactsChanged", "MeasurementArtefact",
	}
}

// Metrics returns the metrics an expectation may name: numbers of a stream, in the order of the documentation.
func Metrics() []string {
	metrics := []string{
		"maxOverMean", "cv", "gini", "jain", "effectiveBackends", "idleBackends", "backends", "dispersion", "requests", "connections", "openConnections",
		"requestsPerSecond", "errors.total", "failedShare",
	}
	for _, kind := range []string{"refused", "timeout", "reset", "status", "dns", "parse", "other"} {
		metrics = append(metrics, "errors."+kind)
	}
	metrics = append(metrics, "p50", "p99", "late", "dropped", "timeToBalance", "newPodShare", "deviations")
	for _, class := range []string{
		"client", "client-node", "receiving-node", "pod-gateway", "proxy-pod", "service-vip", "docker-gateway", "link-local", "loopback",
		"unknown", "unexpected",
	} {
		metrics = append(metrics, "sources."+class)
	}
	return append(metrics, "affinity.held", "sessions.held", "sessions.rightPod")
}

// choice is a field with a fixed set of values, some of which the program knows but cannot run yet.
type choice struct {
	built    []string
	notBuilt []string
}

func serviceTypes() choice {
	return choice{built: []string{"ClusterIP", "NodePort", "LoadBalancer"}}
}

func sessionAffinities() choice { return choice{built: []string{"None", "ClientIP"}} }

func trafficPolicies() choice { return choice{built: []string{"Cluster", "Local"}} }

func trafficDistributions() choice {
	return choice{built: []string{"PreferClose", "PreferSameZone", "PreferSameNode"}}
}

func vantages() choice {
	return choice{built: []string{string(VantagePod), string(VantageNode), string(VantageExternal)}}
}

func targets() choice {
	return choice{
		built: []string{
			string(TargetClusterIP), string(TargetNodePort), string(TargetLoadBalancer), string(TargetHeadless), string(TargetGateway),
			string(TargetPodIP),
		},
	}
}

func protocols() choice {
	return choice{built: []string{ProtocolHTTP1, ProtocolHTTP2, ProtocolGRPC, ProtocolWebSocket, ProtocolTCP, ProtocolUDP}}
}

func poolPolicies() choice { return choice{built: []string{"roundRobin", "lru", "mru", "firstFree"}} }

func reconnects() choice { return choice{built: []string{"backoff", "immediate"}} }

func arrivals() choice { return choice{built: []string{"constant", "poisson"}} }

func resolves() choice { return choice{built: []string{"perRun", "perConnection"}} }

func resolveOrders() choice { return choice{built: []string{"roundRobin", "random", "first"}} }

func grpcPolicies() choice { return choice{built: []string{"pick_first", "round_robin"}} }

// check notes a problem unless value is one that can be run. An empty value is the field's own default and passes.
func (c choice) check(p *problems, path, value string) {
	switch {
	case value == "" && !p.src.has(path), slices.Contains(c.built, value):
	case slices.Contains(c.notBuilt, value):
		p.add(path, "%q is not built yet; what runs today: %s", value, joinWords(c.built))
	default:
		p.add(path, "%q is not known: %s", value, instead(value, c.built))
	}
}
