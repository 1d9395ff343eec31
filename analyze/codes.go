package analyze

// Codes returns all finding codes, by area: shares, policy, affinity, source, change, doubt.
func Codes() []Code {
	return []Code{
		Balanced, ConnectionPinning, TooFewConnections, IdleBackends, UnevenConnectionLoad, UnexplainedSkew, RoundRobin, ForeignBackend, FailingBackend, MissingEndpoint,
		LocalPolicyImbalance, TopologyImbalance, NoLocalEndpoint, NoEndpoints, StaleEndpoint,
		AffinityHeld, AffinityBroken, AffinityExpired, AffinityCapacity, AffinityPerNode, AffinityCollapse, StickyToWrongPod,
		SourceIPPreserved, SourceIPLost, HairpinSNAT, CrossNodeHops, SNATPortPressure,
		IdleAfterScaleOut, SkewAfterRestart, SlowToBalance,
		TooFewUnits, GeneratorLimited, FactsChanged, MeasurementArtefact,
	}
}
