package scenarios

import "slices"

// FindingCodes returns the codes an expectation may name, those of reports, in the order of the documentation.
func FindingCodes() []string {
	return []string{
		"Balanced", "ConnectionPinning", "TooFewConnections", "IdleBackends", "UnevenConnectionLoad", "UnexplainedSkew",
		"RoundRobin", "ForeignBackend",
		"LocalPolicyImbalance", "TopologyImbalance", "NoLocalEndpoint", "NoEndpoints", "StaleEndpoint",
		"AffinityHeld", "AffinityBroken", "AffinityExpired", "AffinityCapacity", "AffinityPerNode", "AffinityCollapse",
		"StickyToWrongPod",
		"SourceIPPreserved", "SourceIPLost", "HairpinSNAT", "CrossNodeHops",
		"IdleAfterScaleOut", "SkewAfterRestart", "SlowToBalance",
		"TooFewUnits", "GeneratorLimited", "FactsChanged", "MeasurementArtefact",
	}
}

// Metrics returns the metrics an expectation may name: those of a stream in a report.
func Metrics() []string {
	metrics := []string{
		"maxOverMean", "cv", "gini", "jain", "effectiveBackends", "idleBackends", "dispersion", "requests", "connections",
		"requestsPerSecond",
	}
	for _, kind := range []string{"refused", "timeout", "reset", "status", "dns", "parse", "other"} {
		metrics = append(metrics, "errors."+kind)
	}
	return metrics
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
			string(TargetClusterIP), string(TargetNodePort), string(TargetLoadBalancer), string(TargetHeadless), string(TargetPodIP),
		},
		notBuilt: []string{string(TargetGateway)},
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
