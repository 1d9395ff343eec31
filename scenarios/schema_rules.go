package scenarios

import "maps"

// schemaRules are the bounds and sets of validation, by type and field. A test holds them against [Load].
func schemaRules() map[string]rule {
	set := func(c choice) rule { return rule{enum: c.built} }
	between := func(low, high float64) rule { return rule{low: low, high: high} }
	rules := map[string]rule{
		"Scenario.apiVersion":  {enum: []string{APIVersion}},
		"Scenario.kind":        {enum: []string{Kind}},
		"Metadata.name":        {pattern: labelPattern, longest: maxNameLength},
		"Metadata.description": {longest: maxDescriptionLength},
		"Metadata.topic":       set(topics()),
		"Requires.proxyModes":  set(proxyModes()),
		"Requires.providers":   set(providers()),
		"Requires.apis":        {pattern: apiVersionForm.String()},

		"Echo.replicas":  between(1, maxReplicas),
		"Echo.placement": {low: 0, high: maxReplicas, keys: nodePattern},
		"Echo.standby":   between(0, maxReplicas),

		"Service.name":                  {pattern: labelPattern, longest: maxNameLength},
		"Service.endpoints":             set(endpointsKinds()),
		"Service.type":                  set(serviceTypes()),
		"Service.clusterIP":             {enum: []string{"None", ""}},
		"Service.sessionAffinity":       set(sessionAffinities()),
		"Service.externalTrafficPolicy": set(trafficPolicies()),
		"Service.internalTrafficPolicy": set(trafficPolicies()),
		"Service.trafficDistribution":   set(trafficDistributions()),
		".timeoutSeconds":               between(1, maxAffinitySeconds),

		"Spec.clients":  {most: maxClientGroups},
		"Spec.services": {most: maxServices},
		"Spec.expect":   {most: maxExpectations},

		"Client.name":                  {pattern: labelPattern, longest: maxClientNameLength},
		"Client.vantage":               set(vantages()),
		"Client.target":                set(targets()),
		"Client.count":                 between(1, maxClients),
		"Client.connections":           between(1, maxConnections),
		"Client.requestsPerConnection": between(0, maxRequests),
		"Client.requests":              between(1, maxRequests),
		"Client.rate":                  between(0, maxRate),
		"Client.connectionsPerSecond":  between(0, maxRate),
		"Client.protocol":              set(protocols()),
		"Client.streamsPerConnection":  between(1, maxStreams),
		"Client.concurrency":           between(1, maxConnections),
		"Client.poolPolicy":            set(poolPolicies()),
		"Client.lifetimeJitter":        between(0, 1),
		"Client.reconnect":             set(reconnects()),
		"Client.arrivals":              set(arrivals()),
		"Client.rates":                 {most: maxRateSteps},
		"Client.sourceAddresses":       between(1, maxSourceAddresses),
		"PortRange.from":               between(1, maxPort),
		"PortRange.to":                 between(1, maxPort),
		"Client.resolve":               set(resolves()),
		"Client.resolveOrder":          set(resolveOrders()),
		"Client.grpcPolicy":            set(grpcPolicies()),
		"Client.targetNodes":           {pattern: nodePattern},
		"Session.value":                set(sessionValues()),

		"Gateway.proxy":                 set(gatewayProxies()),
		"Gateway.replicas":              between(1, maxGateways),
		"Gateway.upstream":              set(gatewayUpstreams()),
		"Gateway.policy":                set(gatewayPolicies()),
		"Gateway.keepAlive":             between(0, maxKeepAlive),
		"Gateway.type":                  set(serviceTypes()),
		"Gateway.externalTrafficPolicy": set(trafficPolicies()),

		"RateStep.rate": between(0, maxRate),

		"Event.afterRequests":                between(1, maxRequests),
		"Event.scale":                        between(0, maxReplicas),
		"ServicePatch.sessionAffinity":       set(sessionAffinities()),
		"ServicePatch.externalTrafficPolicy": set(trafficPolicies()),
		"ServicePatch.internalTrafficPolicy": set(trafficPolicies()),

		"Expect.finding":      {enum: FindingCodes()},
		"Expect.noFinding":    {enum: FindingCodes()},
		"Expect.metric":       {enum: Metrics()},
		"Expect.shares":       {low: 0, high: 1, keys: nodePattern},
		"Expect.distribution": {enum: []string{"expected", "even"}},
	}
	maps.Copy(rules, meshRules())
	return rules
}

// meshRules are those of Istio's rule.
func meshRules() map[string]rule {
	return map[string]rule{
		"DestinationRule.revision":      {pattern: labelPattern, longest: maxNameLength},
		"LoadBalancer.simple":           {enum: simpleBalancers().built},
		"ConsistentHash.httpHeaderName": {pattern: headerForm.String()},
		"HTTPCookie.name":               {pattern: cookieForm.String()},
		"RingHash.minimumRingSize":      {low: 1, high: maxRingSize},
	}
}
