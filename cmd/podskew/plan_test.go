package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// sessionOf is a session with a scenario whose clients have two agents each, as they are after a deployment.
func sessionOf(t *testing.T, text string) *session {
	t.Helper()
	s, err := scenarios.Load("x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r := &session{scenario: s, id: "d0", start: time.Unix(1000, 0), o: &runOptions{seed: 1}}
	for _, c := range s.Spec.Clients {
		stream := record.Stream{ID: c.Name, Client: c.Name, Target: string(c.Target), Protocol: c.Protocol, Addresses: []record.Address{{HostPort: "10.79.0.9:80"}}}
		if c.Target == scenarios.TargetHeadless {
			stream.Addresses[0].HostPort = "echo.podskew-d0.svc.cluster.local:8080"
		}
		for _, name := range []string{c.Name + "-0", c.Name + "-1"} {
			agent := record.AgentRef{Name: name}
			for ip := netip.MustParseAddr("10.77.0.100"); len(agent.IPs) < max(c.SourceAddresses, 1); ip = ip.Next() {
				agent.IPs = append(agent.IPs, ip.String())
			}
			stream.Agents = append(stream.Agents, agent)
		}
		r.streams = append(r.streams, stream)
	}
	return r
}

const head = "apiVersion: podskew.dev/v1alpha1\nkind: Scenario\nmetadata: {name: x}\nspec:\n"

func TestEveryFieldOfAClientReachesThePlan(t *testing.T) {
	closed := sessionOf(t, head+`
  service: {type: NodePort}
  clients:
    - {name: web, vantage: external, target: nodePort, connections: 8, requests: 100, concurrency: 4, poolPolicy: lru, sourceAddresses: 2, sourcePorts: {from: 600, to: 610},
       connectionLifetime: 1s, lifetimeJitter: 0.5, connectionsPerSecond: 3, reconnect: immediate, tls: true, connectTimeout: 1s, timeout: 2s}
`)
	open := sessionOf(t, head+`
  service: {clusterIP: None}
  clients:
    - {name: web, target: headless, protocol: grpc, connections: 2, duration: 5s, rate: 10, arrivals: poisson, rates: [{at: 1s, rate: 20, ramp: true}],
       streamsPerConnection: 5, resolve: perConnection, resolveOrder: random, grpcPolicy: pick_first}
`)
	thinking := sessionOf(t, head+`
  warmUp: 3s
  clients: [{name: web, connections: 2, requestsPerConnection: 50, requests: 100, thinkTime: 20ms, zipfExponent: 1.5}]
`)
	for name, row := range map[string]struct {
		session *session
		want    loadgen.Plan
	}{
		"of a closed loop": {closed, loadgen.Plan{
			Addresses: []record.Address{{HostPort: "10.79.0.9:80"}}, AddressOffset: 8, Protocol: "http1", TLS: true, Connections: 8, Requests: 100,
			Concurrency: 4, PoolPolicy: "lru", ConnectionLifetime: time.Second, LifetimeJitter: 0.5, ConnectionsPerSecond: 3, Reconnect: "immediate",
			Sources: []string{"10.77.0.100", "10.77.0.101"}, SourcePorts: &record.PortRange{From: 600, To: 610}, ConnectTimeout: time.Second, Timeout: 2 * time.Second,
		}},
		"of an open loop": {open, loadgen.Plan{
			Addresses: []record.Address{{HostPort: "echo.podskew-d0.svc.cluster.local:8080"}}, AddressOffset: 2, Protocol: "grpc", Connections: 2, Duration: 5 * time.Second,
			Rate: 10, Arrivals: "poisson", Rates: []record.RateStep{{At: 1, Rate: 20, Ramp: true}}, StreamsPerConnection: 5,
			Resolve: "perConnection", ResolveOrder: "random", GRPCPolicy: "pick_first", ConnectTimeout: 2 * time.Second, Timeout: 5 * time.Second,
		}},
		"with think time and a warm-up": {thinking, loadgen.Plan{
			Addresses: []record.Address{{HostPort: "10.79.0.9:80"}}, AddressOffset: 2, Protocol: "http1", Connections: 2, Requests: 100, RequestsPerConnection: 50,
			ThinkTime: 20 * time.Millisecond, WarmUp: 3 * time.Second, ZipfExponent: 1.5, ConnectTimeout: 2 * time.Second, Timeout: 5 * time.Second,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := row.session.plan(row.session.streams[0], 1)
			if err := got.Validate(); err != nil {
				t.Errorf("the plan is not valid: %v", err)
			}
			row.want.Run, row.want.Stream, row.want.Agent, row.want.Start, row.want.Path, row.want.Seed = "d0", "web", "web-1", time.Unix(1000, 0), "/", got.Seed
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
			if other := row.session.plan(row.session.streams[0], 0); other.Seed == got.Seed {
				t.Error("two agents have one seed: their arrivals would coincide")
			}
		})
	}
}

// TestPlansOfValidScenariosAreValid holds the two lists of rules together: what a file may ask for, agents accept.
func TestPlansOfValidScenariosAreValid(t *testing.T) {
	for _, name := range scenarios.Names() {
		text, err := scenarios.Source(name)
		if err != nil {
			t.Fatal(err)
		}
		r := sessionOf(t, string(text))
		for _, s := range r.streams {
			if err := r.plan(s, 1).Validate(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, client := range []string{
		"protocol: http2, streamsPerConnection: 10, connections: 2, duration: 1s, thinkTime: 1ms, connectionsPerSecond: 1",
		"protocol: grpc, tls: true, connections: 2, requests: 10, requestsPerConnection: 2, connectionLifetime: 1s",
		"protocol: websocket, connections: 2, requests: 10, requestsPerConnection: 1, rate: 5",
		"protocol: tcp, connections: 2, requests: 10, requestsPerConnection: 1",
		"protocol: udp, connections: 2, requests: 10, requestsPerConnection: 1",
		"protocol: udp, connections: 2, duration: 1s, thinkTime: 1ms, reconnect: backoff",
		"connections: 2, concurrency: 1, poolPolicy: firstFree, requests: 10",
		"connections: 2, poolPolicy: roundRobin, duration: 1s, rate: 0.001, rates: [{at: 500ms, rate: 1000000}]",
		"connections: 2, duration: 1s, rate: 5, rates: [{at: 500ms, rate: 0}]",
	} {
		r := sessionOf(t, head+"  clients: [{name: web, "+client+"}]\n")
		if err := r.plan(r.streams[0], 0).Validate(); err != nil {
			t.Errorf("%s: %v", client, err)
		}
	}
}

func TestTheRateOfAForeignClusterIsShared(t *testing.T) {
	r := sessionOf(t, head+`
  clients:
    - {name: closed, connections: 2, duration: 1s}
    - {name: open, connections: 2, duration: 1s, rate: 100, rates: [{at: 500ms, rate: 200}], count: 2}
`)
	r.o.maxRate = 1000
	if got := r.plan(r.streams[0], 0).MaxRate; got != 300 { // 1000 less 2 × 200, for two agents
		t.Errorf("a closed loop is held to %g requests per second", got)
	}
	if p := r.plan(r.streams[1], 0); p.MaxRate != 0 || p.Rate != 100 {
		t.Errorf("an open loop has rate %g, held to %g", p.Rate, p.MaxRate)
	}
	o := &foreignOptions{maxRate: 399}
	if err := o.admit("current", r.scenario); err == nil || err.Error() != "x sends up to 400 requests per second, 399 are allowed on this cluster" {
		t.Errorf("err %v", err)
	}
	o.maxRate = 400
	if err := o.admit("current", r.scenario); err != nil {
		t.Error(err)
	}
}
