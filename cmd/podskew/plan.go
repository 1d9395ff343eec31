package main

import (
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// plan is one agent's part of a stream: an equal part, since every client is alike.
func (r *session) plan(s record.Stream, i int) loadgen.Plan {
	c, agent := r.client(s.Client), s.Agents[i]
	p := loadgen.Plan{
		Run: r.id, Stream: s.ID, Agent: agent.Name, Start: r.start, Seed: seedOf(r.o.seed, sourceName(s, agent.Name)),
		Addresses: s.Addresses, AddressOffset: i * c.Connections, Path: "/", Protocol: s.Protocol, TLS: c.TLS,
		Connections: c.Connections, RequestsPerConnection: c.RequestsPerConnection,
		Requests: c.Requests, Duration: c.Duration, ConnectTimeout: c.ConnectTimeout, Timeout: c.Timeout,
		Rate: c.Rate, Arrivals: c.Arrivals,
		Concurrency: c.Concurrency, StreamsPerConnection: c.StreamsPerConnection, PoolPolicy: c.PoolPolicy,
		ConnectionLifetime: c.ConnectionLifetime, LifetimeJitter: c.LifetimeJitter, ThinkTime: c.ThinkTime,
		ConnectionsPerSecond: c.ConnectionsPerSecond, Reconnect: c.Reconnect,
		Resolve: c.Resolve, ResolveOrder: c.ResolveOrder, GRPCPolicy: c.GRPCPolicy,
		WarmUp: r.scenario.Spec.WarmUp, ZipfExponent: c.ZipfExponent,
	}
	if r.scenario.Spec.Settle > 0 {
		p.Duration += scenarios.MaxSettling // unless it is told to end
	}
	p.Session, p.Detail = s.Session, c.Target == scenarios.TargetGateway
	for _, step := range c.Rates {
		p.Rates = append(p.Rates, record.RateStep{At: step.At.Seconds(), Rate: step.Rate, Ramp: step.Ramp})
	}
	if c.SourceAddresses > 1 {
		p.Sources = agent.IPs
	}
	if ports := c.SourcePorts; ports != nil {
		p.SourcePorts = &record.PortRange{From: ports.From, To: ports.To}
	}
	if c.Rate == 0 {
		p.MaxRate = r.rateOfEach()
	}
	return p
}

// rateOfEach is a plan's part of the rate that all plans together are held to, less what those with a rate of their own
// take of it; 0: no limit.
func (r *session) rateOfEach() float64 {
	if r.o.maxRate == 0 {
		return 0
	}
	plans := 0
	for _, s := range r.streams {
		if r.client(s.Client).Rate == 0 {
			plans += len(s.Agents)
		}
	}
	left := max(r.o.maxRate-openRate(r.scenario), 1)
	return left / float64(max(plans, 1))
}

// peakRate is the most requests per second that one client with a rate of its own sends; 0: it has none.
func peakRate(c scenarios.Client) float64 {
	peak := c.Rate
	for _, step := range c.Rates {
		peak = max(peak, step.Rate)
	}
	return peak
}

// sourceName tells the streams of one agent apart. An agent that sends for one client alone is named after that.
func sourceName(s record.Stream, agent string) string {
	if number, own := strings.CutPrefix(agent, s.ID+"-"); own {
		if _, err := strconv.Atoi(number); err == nil {
			return agent
		}
	}
	return s.ID + " of " + agent
}

// seedOf gives every agent arrivals and jitter of its own, the same in every run with the seed.
func seedOf(seed uint64, agent string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(agent)) // never fails
	return seed ^ h.Sum64()
}
