package analyze_test

import (
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// hop is one connection of a client under affinity: when it was opened, when it was established, and where it went.
type hop struct {
	opened, connected float64
	pod               string
}

// affinityRecord is a run of one client with these connections and another that keeps its pod, at a timeout of 10 s.
func affinityRecord(hops []hop) *record.Record {
	scene := simulate.Scene{Seed: 1, Placement: []int{1, 1, 1}, AffinitySeconds: 10, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: len(hops)}}}
	rec := scene.Record()
	rec.Tallies = nil
	for i := range rec.Connections {
		c := &rec.Connections[i]
		h := hops[c.ID-1]
		c.Opened, c.Connected, c.Closed = h.opened, h.connected, h.connected+0.001
		c.Backend = "echo-c0"
		if c.Agent == "web-0" {
			c.Backend = h.pod
		}
	}
	return rec
}

func TestAffinity(t *testing.T) {
	const a, b = "echo-a0", "echo-b0"
	for _, c := range []struct {
		name    string
		hops    []hop
		gone    string // pod that is not eligible any more at the end
		held    int    // of the two clients
		broken  bool
		mention string
	}{
		{"one pod throughout", []hop{{0, 0.01, a}, {1, 1.01, a}, {2, 2.01, a}}, "", 2, false, "2 of 2 clients"},
		{"another pod within the timeout", []hop{{0, 0.01, a}, {3, 3.01, b}}, "", 1, true, "from echo-a0 to echo-b0 after 3 s"},
		{"another pod after the timeout", []hop{{0, 0.01, a}, {10, 10.01, b}, {11, 11.01, b}}, "", 1, false, "1 client moved after a pause"},
		{"each connection renews the memory", []hop{{0, 0.01, a}, {8, 8.01, a}, {16, 16.01, b}}, "", 1, true, "after 8 s"},
		{"its pod is not there any more", []hop{{0, 0.01, a}, {3, 3.01, b}}, a, 1, false, "1 of 2 clients"},
		{"two at once, before there was a memory", []hop{{0, 0.02, a}, {0.01, 0.03, b}, {1, 1.01, a}, {2, 2.01, b}}, "", 1, false, "opened connections at the same time"},
		{"two at once, then a third pod", []hop{{0, 0.02, a}, {0.01, 0.03, b}, {1, 1.01, "echo-c0"}}, "", 1, true, "to echo-c0"},
		{"back to the first pod after the memory moved on", []hop{{0, 0.01, a}, {11, 11.01, b}, {12, 12.01, a}}, "", 1, true, "from echo-b0 to echo-a0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := affinityRecord(c.hops)
			if c.gone != "" {
				for i, e := range rec.FactsAfter.Endpoints {
					if e.Pod == c.gone {
						rec.FactsAfter.Endpoints[i].Ready = false
					}
				}
			}
			r := report(t, rec)
			aff := r.Streams[0].Affinity
			if aff.Clients != 2 || aff.Held != c.held || aff.TimeoutSeconds != 10 {
				t.Errorf("%+v, want %d of 2 held", aff, c.held)
			}
			code, other := analyze.AffinityHeld, analyze.AffinityBroken
			if c.broken {
				code, other = other, code
			}
			if has(r, other) {
				t.Errorf("%s: %v", other, found(r))
			}
			if f := finding(t, r, code); !strings.Contains(f.Summary, c.mention) {
				t.Errorf("summary %q lacks %q", f.Summary, c.mention)
			}
		})
	}
}

func TestAffinityThatCouldBeLuck(t *testing.T) {
	r := report(t, affinityRecord([]hop{{0, 0.01, "echo-a0"}, {1, 1.01, "echo-a0"}}))
	if f := finding(t, r, analyze.AffinityHeld); !strings.Contains(f.Summary, "0.667 would be expected without any affinity") {
		t.Errorf("summary %q", f.Summary)
	}
}

func TestAffinityCountsClientsNotConnections(t *testing.T) {
	r := report(t, affine().Record())
	s := r.Streams[0]
	if s.Test.Unit != "clientIP" || s.Test.Units != 24 || s.Connections != 960 {
		t.Errorf("%d %s from %d connections, want 24 clientIP from 960", s.Test.Units, s.Test.Unit, s.Connections)
	}
	if s.Affinity.Clients != 24 || s.Affinity.Held != 24 || s.Affinity.Interval[1] != 1 || s.Affinity.ByChance > 1e-9 {
		t.Errorf("%+v", s.Affinity)
	}
	if has(r, analyze.ConnectionPinning) {
		t.Error("affinity is not pinning")
	}
}

// The memory is the node's: one client at three nodes is three units, and may be held to three pods.
func TestAffinityIsPerNode(t *testing.T) {
	scene := simulate.Scene{Seed: 2, Placement: []int{1, 1, 1}, AffinitySeconds: 600,
		Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Clients: 5, Connections: 30}}}
	r := report(t, scene.Record())
	if s := r.Streams[0]; s.Test.Units != 15 || s.Affinity.Clients != 15 || s.Affinity.Held != 15 {
		t.Errorf("%d units, %+v; want 5 clients at 3 nodes", s.Test.Units, s.Affinity)
	}
}

// Pods at another node's port all come under their own node's address: they share a memory.
func TestAffinityBehindTheNodesAddress(t *testing.T) {
	scene := simulate.Scene{Seed: 2, Placement: []int{1, 1}, AffinitySeconds: 600,
		Streams: []simulate.Stream{{Name: "web", Target: "nodePort", Clients: 6, Connections: 4, TargetNodes: []int{1}}}}
	r := report(t, scene.Record())
	// Three clients on the node that is dialled keep their addresses, three on the other are one.
	if s := r.Streams[0]; s.Test.Units != 4 {
		t.Errorf("%d units, want 4", s.Test.Units)
	}
}
