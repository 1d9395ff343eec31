package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// Streams says what is dialled by whom: one stream per client of the scenario, in its order, with totals summed over
// the client's agents. Every call returns a copy of its own.
func (r *Run) Streams() []record.Stream {
	out := slices.Clone(r.streams)
	for i := range out {
		out[i].Addresses = slices.Clone(out[i].Addresses)
		out[i].Agents = slices.Clone(out[i].Agents)
		out[i].Rates = slices.Clone(out[i].Rates)
		if ports := out[i].SourcePorts; ports != nil {
			out[i].SourcePorts = new(*ports)
		}
		for j := range out[i].Agents {
			out[i].Agents[j].IPs = slices.Clone(out[i].Agents[j].IPs)
		}
	}
	return out
}

func (r *Run) planStreams() ([]record.Stream, error) {
	var out []record.Stream
	for i, c := range r.d.Scenario.Spec.Clients {
		s, err := r.planStream(c)
		if err != nil {
			return nil, fmt.Errorf("spec.clients[%d] (%s): %w", i, c.Name, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func (r *Run) planStream(c scenarios.Client) (record.Stream, error) {
	addresses, err := r.addresses(c)
	count := max(c.Count, 1)
	s := record.Stream{
		ID: c.Name, Client: c.Name, Vantage: string(c.Vantage), Target: string(c.Target), Service: r.streamService(c),
		Addresses: addresses, Protocol: cmp.Or(c.Protocol, scenarios.ProtocolHTTP1), TLS: c.TLS,
		Connections: c.Connections * count, RequestsPerConnection: c.RequestsPerConnection,
		Requests: c.Requests * count, Duration: c.Duration.Seconds(), Rate: c.Rate * float64(count), Arrivals: c.Arrivals,
		ConnectTimeout: c.ConnectTimeout.Seconds(), Timeout: c.Timeout.Seconds(),
		Concurrency: c.Concurrency * count, StreamsPerConnection: c.StreamsPerConnection, PoolPolicy: c.PoolPolicy,
		ConnectionLifetime: c.ConnectionLifetime.Seconds(), LifetimeJitter: c.LifetimeJitter, ThinkTime: c.ThinkTime.Seconds(),
		ConnectionsPerSecond: c.ConnectionsPerSecond * float64(count), Reconnect: c.Reconnect,
		Resolve: c.Resolve, ResolveOrder: c.ResolveOrder, GRPCPolicy: c.GRPCPolicy,
		WarmUp: r.d.Scenario.Spec.WarmUp.Seconds(), ZipfExponent: c.ZipfExponent,
	}
	if own := c.Session; own != nil {
		s.Session = &record.StreamSession{Header: own.Header, Value: own.Value, Cookie: own.Cookie}
	}
	if ports := c.SourcePorts; ports != nil {
		s.SourcePorts = &record.PortRange{From: ports.From, To: ports.To}
	}
	for _, step := range c.Rates {
		s.Rates = append(s.Rates, record.RateStep{At: step.At.Seconds(), Rate: step.Rate * float64(count), Ramp: step.Ramp})
	}
	s.Agents = agentRefs(r.agentsOf(c))
	return s, err
}

// agentRefs says of agents what streams do.
func agentRefs(agents []agent) []record.AgentRef {
	var out []record.AgentRef
	for _, a := range agents {
		ref := record.AgentRef{Name: a.name, Node: a.node}
		for _, ip := range a.sources {
			ref.IPs = append(ref.IPs, ip.String())
		}
		out = append(out, ref)
	}
	return out
}

// standAt fills in the addresses of the agents, known once their pods run. Those that were given some leave from these
// only.
func (r *Run) standAt(ips map[string][]string) {
	for i := range r.streams {
		for j := range r.streams[i].Agents {
			if a := &r.streams[i].Agents[j]; a.IPs == nil {
				a.IPs = ips[a.Name]
			}
		}
	}
}
