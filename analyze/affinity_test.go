package analyze_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
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
			if expired := strings.Contains(c.mention, "pause"); has(r, analyze.AffinityExpired) != expired || (aff.Expired > 0) != expired || (aff.Broken > 0) != c.broken {
				t.Errorf("%d expired, %d broken: %v", aff.Expired, aff.Broken, found(r))
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

func TestAffinityPerNodeIsSaid(t *testing.T) {
	scene := simulate.Scene{Seed: 2, Placement: []int{1, 1, 1}, AffinitySeconds: 600,
		Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Clients: 5, Connections: 30}}}
	r := report(t, scene.Record())
	if f := finding(t, r, analyze.AffinityPerNode); f.Evidence["addresses"] != 5 || !f.ByDesign {
		t.Errorf("%+v", f)
	}
	nodes := r.Streams[0].Affinity.ByNode
	if len(nodes) != 3 || nodes[0].Clients != 5 || nodes[0].Held != 5 || nodes[0].Port != "30080" || len(r.Streams[0].Affinity.ByClient) != 15 {
		t.Errorf("%+v", nodes)
	}
	if has(r, analyze.AffinityCollapse) || has(r, analyze.AffinityBroken) {
		t.Errorf("findings %v", found(r))
	}
}

func TestAffinityCollapse(t *testing.T) {
	// Of 20 pods on five nodes, those of four other nodes come to the first as one each.
	scene := simulate.Scene{Seed: 2, Placement: []int{2, 1, 1, 1, 1}, AffinitySeconds: 600,
		Streams: []simulate.Stream{{Name: "web", Target: "nodePort", Clients: 20, Connections: 4, TargetNodes: []int{0}}}}
	r := report(t, scene.Record())
	f := finding(t, r, analyze.AffinityCollapse)
	if f.Evidence["addresses"] != 20 || f.Evidence["sources"] != 8 || !f.ByDesign || r.Streams[0].Test.Units != 8 {
		t.Errorf("%d units; %+v", r.Streams[0].Test.Units, f)
	}
}

// A NAT in front shows where kube-proxy leaves addresses alone: what the pods saw is what kube-proxy went by.
func TestAffinityBehindANAT(t *testing.T) {
	scene := simulate.Scene{Seed: 2, Placement: []int{3, 1}, ExternalLocal: true, AffinitySeconds: 600,
		Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Clients: 12, Connections: 4, TargetNodes: []int{0}}}}
	rec := scene.Record()
	for i := range rec.Connections {
		c := &rec.Connections[i]
		c.Backend, c.Observed = "echo-a1", fmt.Sprintf("203.0.113.7:%d", 1000+i)
	}
	for i := range rec.Tallies {
		rec.Tallies[i].Backend, rec.Tallies[i].Observed = "echo-a1", "203.0.113.7"
	}
	rec.Servers = nil
	r := report(t, rec)
	f := finding(t, r, analyze.AffinityCollapse)
	if f.Evidence["addresses"] != 12 || f.Evidence["sources"] != 1 || f.ByDesign || r.Streams[0].Test.Units != 1 {
		t.Errorf("%d units; %+v", r.Streams[0].Test.Units, f)
	}
	if has(r, analyze.UnexplainedSkew) {
		t.Error("one address on one pod is no skew")
	}
}

// With more addresses than the lists of iptables mode hold, clients lose their pods; nftables mode has no such lists.
func TestAffinityCapacity(t *testing.T) {
	for _, c := range []struct {
		mode           string
		clients, limit int
		code, not      analyze.Code
	}{
		{"iptables", 400, 100, analyze.AffinityCapacity, analyze.AffinityBroken},
		{"iptables", 120, 100, analyze.AffinityHeld, analyze.AffinityCapacity},
		{"nftables", 400, 100, analyze.AffinityBroken, analyze.AffinityCapacity},
		{"iptables", 120, 20, analyze.AffinityBroken, analyze.AffinityCapacity},
	} {
		scene := simulate.Scene{Seed: 3, ProxyMode: c.mode, Placement: []int{1, 1}, AffinitySeconds: 600, AffinityList: c.limit,
			Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Clients: c.clients, Connections: 2, TargetNodes: []int{0}}}}
		rec := scene.Record()
		// All clients once, then all once more in the same order.
		slices.SortStableFunc(rec.Connections, func(a, b record.Connection) int { return a.ID - b.ID })
		sweep(rec, c.limit, scene.Seed)
		r := report(t, rec)
		if !has(r, c.code) || has(r, c.not) {
			t.Errorf("%d clients in %s mode: %v", c.clients, c.mode, found(r))
		}
		if c.code == analyze.AffinityCapacity {
			f := finding(t, r, c.code)
			held := float64(f.Evidence["returnsKept"].(int)) / float64(f.Evidence["returns"].(int))
			if want := rangeOf(t, f.Evidence["keptFractionExpected"]); held < want[0] || held > want[1] || want[1]-want[0] > 0.3 {
				t.Errorf("%.2f kept, expected %v", held, want)
			}
		}
	}
}

// sweep lets the connections, in their order, choose between the first two endpoints with lists of so many addresses.
func sweep(rec *record.Record, limit int, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	lists := [2][]string{}
	for i := range rec.Connections {
		c := &rec.Connections[i]
		c.Opened, c.Connected, c.Closed = float64(i)/1000, float64(i)/1000+0.0001, float64(i)/1000+0.0005
		at := slices.IndexFunc(lists[:], func(l []string) bool { return slices.Contains(l, c.Agent) })
		if at < 0 {
			at = rng.IntN(2)
		}
		lists[at] = append(slices.DeleteFunc(lists[at], func(a string) bool { return a == c.Agent }), c.Agent)
		if len(lists[at]) > limit {
			lists[at] = lists[at][1:]
		}
		c.Backend = rec.Facts.Endpoints[at].Pod
	}
	rec.Servers, rec.Tallies = nil, nil
}

// The timeout is estimated from pauses: those that were short enough and those that were not.
func TestAffinityTimeoutIsEstimated(t *testing.T) {
	const seconds = 4.0
	rec := affinityRecord(make([]hop, 2))
	rec.Connections = rec.Connections[:0]
	rec.Facts.Services[0].AffinitySeconds = seconds
	rng := rand.New(rand.NewPCG(9, 9))
	for client := range 30 {
		at, pod := 0.0, "echo-a0"
		for id := range 4 {
			gap := 8 * rng.Float64()
			if at += gap; gap >= seconds {
				pod = rec.Facts.Endpoints[rng.IntN(3)].Pod
			}
			rec.Connections = append(rec.Connections, record.Connection{Stream: "web", Agent: "web-0", ID: 4*client + id + 1, Address: rec.Streams[0].Addresses[0].HostPort,
				Local: fmt.Sprintf("10.78.17.%d:4000", client+1), Observed: fmt.Sprintf("10.78.17.%d:4000", client+1), Opened: at, Connected: at + 0.001, Closed: at + 0.002, Requests: 1, Backend: pod})
		}
	}
	r := report(t, rec)
	e := r.Streams[0].Affinity.Estimate
	if e == nil || e.Low >= seconds || e.High < seconds || e.High > 6 || e.Gaps != 90 {
		t.Errorf("%+v, want 4 s in between", e)
	}
	if f := finding(t, r, analyze.AffinityExpired); !strings.Contains(f.Summary, "from the pauses the timeout is above") || f.Severity != analyze.Info {
		t.Errorf("%s", f.Summary)
	}
	if has(r, analyze.AffinityBroken) {
		t.Errorf("%v", found(r))
	}
}

// When pods go, only their clients move.
func TestAffinityRemap(t *testing.T) {
	hops := []hop{{0, 0.01, "echo-a0"}, {1, 1.01, "echo-a0"}, {6, 6.01, "echo-b0"}}
	rec := affinityRecord(hops)
	rec.Events = []record.Event{{At: 7, What: "later"}, {At: 5, What: "scale to 2"}}
	for i, e := range rec.FactsAfter.Endpoints {
		if e.Pod == "echo-a0" {
			rec.FactsAfter.Endpoints[i].Ready = false
		}
	}
	m := report(t, rec).Streams[0].Affinity.Remap
	if m == nil || m.Clients != 2 || m.Moved != 1 || m.Gone != 1 || m.Before != 3 || m.After != 2 || m.Consistent <= 0 {
		t.Errorf("%+v", m)
	}
}

// A port is a memory of its own.
func TestAffinityIsPerPort(t *testing.T) {
	rec := affinityRecord([]hop{{0, 0.01, "echo-a0"}, {1, 1.01, "echo-a0"}, {2, 2.01, "echo-b0"}, {3, 3.01, "echo-b0"}})
	rec.Streams[0].Addresses = append(rec.Streams[0].Addresses, record.Address{HostPort: "10.79.0.20:81"})
	for i := range rec.Connections {
		if c := &rec.Connections[i]; c.ID > 2 {
			c.Address = "10.79.0.20:81"
		}
	}
	r := report(t, rec)
	if a := r.Streams[0].Affinity; a.Clients != 4 || a.Held != 4 || has(r, analyze.AffinityBroken) || len(a.ByNode) != 4 {
		t.Errorf("%+v", a)
	}
}

// Behind a balancer the node is not known: a change of pod may be a change of node.
func TestAffinityBehindABalancer(t *testing.T) {
	rec := affinityRecord([]hop{{0, 0.01, "echo-a0"}, {1, 1.01, "echo-b0"}})
	rec.Facts.Services[0].LoadBalancerIPs, rec.FactsAfter.Services[0].LoadBalancerIPs = []string{"10.77.9.9"}, []string{"10.77.9.9"}
	st := &rec.Streams[0]
	st.Target, st.Vantage, st.Addresses = "loadBalancer", "external", []record.Address{{HostPort: "10.77.9.9:80"}}
	for i := range rec.Connections {
		rec.Connections[i].Address = "10.77.9.9:80"
	}
	r := report(t, rec)
	if has(r, analyze.AffinityBroken) || r.Streams[0].Affinity.Held != 1 {
		t.Errorf("%v, %+v", found(r), r.Streams[0].Affinity)
	}
}
