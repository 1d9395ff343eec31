package analyze_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// named makes clients dial the name of a headless Service: choose says which of the pods each connection goes to.
func named(scene simulate.Scene, plan func(*record.Stream), choose func(agent, nth, pods int) int) *record.Record {
	rec := scene.Record()
	st := &rec.Streams[0]
	st.Target, st.Addresses = "headless", []record.Address{{HostPort: "echo.ns.svc:8080"}}
	plan(st)
	agents, addresses := map[string]int{}, map[string]string{}
	for i, a := range st.Agents {
		agents[a.Name], addresses[a.Name] = i, a.IPs[0]
	}
	nth := make([]int, len(agents))
	pods := rec.Facts.Endpoints
	for i := range rec.Connections {
		c := &rec.Connections[i]
		a := agents[c.Agent]
		c.Address, c.Backend = st.Addresses[0].HostPort, pods[choose(a, nth[a], len(pods))].Pod
		nth[a]++
	}
	rec.Tallies, rec.Servers = nil, nil
	for _, c := range rec.Connections {
		rec.Tallies = append(rec.Tallies, record.Tally{Stream: c.Stream, Agent: c.Agent, Address: c.Address, Backend: c.Backend, Observed: addresses[c.Agent], Requests: c.Requests})
	}
	return rec
}

func inTurns(st *record.Stream)     { st.ResolveOrder = "roundRobin" }
func balancing(st *record.Stream)   { st.Protocol, st.GRPCPolicy = "grpc", "round_robin" }
func firstOnce(st *record.Stream)   { st.Resolve, st.ResolveOrder = "perRun", "first" }
func rotated(agent, nth, n int) int { return (agent + nth) % n }

func pool(connections int) simulate.Scene {
	return simulate.Scene{Seed: 7, Placement: []int{2, 2, 2}, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: connections, Requests: 40}}}
}

// aboutShares lists the findings that judge who got how much.
func aboutShares(r *analyze.Report) []string {
	var list []string
	for _, f := range found(r) {
		code := analyze.Code(strings.TrimSuffix(strings.Fields(f)[1], "*"))
		if slices.Contains([]analyze.Code{
			analyze.Balanced, analyze.ConnectionPinning, analyze.TooFewConnections, analyze.IdleBackends, analyze.UnexplainedSkew, analyze.RoundRobin, analyze.TooFewUnits,
		}, code) {
			list = append(list, f)
		}
	}
	return list
}

// Where counting decides, no finding and no number speaks of chance.
func TestChoicesThatAreNoChance(t *testing.T) {
	for _, c := range []struct {
		name string
		rec  *record.Record
		want []string // findings about shares
		says string   // a finding or a note
	}{
		{"addresses in turn", named(pool(9), inTurns, rotated), []string{"info RoundRobin web*"},
			"2 clients take 6 addresses in turn: 18 connections, 2 to 4 on each pod, as even as turns make them"},
		{"a channel that balances", named(pool(6), balancing, rotated), []string{"info RoundRobin web*"}, "2 to 2 on each pod"},
		{"fewer turns than pods", named(pool(2), inTurns, rotated), []string{"info IdleBackends web"}, "3 of 6 pods got nothing from 4 connections"},
		{"turns over a part of the pods", named(pool(30), inTurns, func(_, nth, _ int) int { return nth % 2 }), []string{"info IdleBackends web"},
			"a client opened 0 to 15. No law of chance says how much that is"},
		{"the first address, once", named(pool(20), firstOnce, func(int, int, int) int { return 2 }), []string{"warning ConnectionPinning web*"},
			"each client looks the name up once and keeps to the first address: all its connections are one choice; 40 connections of 2 clients reached 1 of 6 pods"},
		{"the first address, looked up again", named(pool(20), firstOnce, rotated), nil, "a client that keeps to one address reached 6 pods"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, c.rec)
			if diff := cmp.Diff(c.want, aboutShares(r)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			said := slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, c.says) })
			for _, f := range r.Findings {
				said = said || strings.Contains(f.Summary, c.says)
				if strings.Contains(f.Summary, "chance") {
					t.Errorf("speaks of chance: %s", f.Summary)
				}
			}
			if !said {
				t.Errorf("nothing says %q: %v, %q", c.says, r.Findings, r.Notes)
			}
			s := r.Streams[0]
			if s.Chance != (analyze.Chance{}) || s.Backends[0].ChanceShare != (analyze.Range{}) || s.Test.Untested == "" {
				t.Errorf("chance ranges %+v, %v", s.Chance, s.Backends[0].ChanceShare)
			}
		})
	}
}

// An expectation on such a stream is not set beside a chance range either.
func TestAnExpectationOnTurnsHasNoChanceRange(t *testing.T) {
	r := report(t, named(pool(9), inTurns, rotated), analyze.Expectation{Metric: "maxOverMean", Below: new(2.0)})
	if x := r.Expectations[0]; !x.Passed || strings.Contains(x.Detail, "chance") {
		t.Errorf("%+v", x)
	}
}
