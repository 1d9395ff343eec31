package analyze_test

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

var update = flag.Bool("update", false, "write the records under testdata/findings and what is found in them")

// notYet are the codes that no record of today can hold, and why.
func notYet() map[analyze.Code]string {
	return map[analyze.Code]string{}
}

// specimens makes a record for each finding. What it holds is kept in testdata: the record stays the same if the simulation changes.
func specimens() map[analyze.Code]func() *record.Record {
	three := []int{1, 1, 1}
	play := func(s simulate.Scene) func() *record.Record { return s.Record }
	web := func(st simulate.Stream, placement ...int) simulate.Scene {
		st.Name = "web"
		return simulate.Scene{Seed: 7, Placement: placement, Streams: []simulate.Stream{st}}
	}
	affinity := func(clients int) simulate.Scene {
		s := web(simulate.Stream{Clients: clients, Connections: 5}, three...)
		s.AffinitySeconds = 600
		return s
	}
	outside := func(local bool, placement ...int) simulate.Scene {
		return simulate.Scene{Seed: 7, Placement: placement, ExternalLocal: local,
			Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Connections: 120}}}
	}
	hot := web(simulate.Stream{Clients: 2, Connections: 150}, three...)
	hot.Hot = 1.8
	perNode := outside(false, three...)
	perNode.AffinitySeconds, perNode.Streams[0].Clients, perNode.Streams[0].Connections = 600, 5, 6
	collapse := simulate.Scene{Seed: 2, Placement: []int{2, 1, 1, 1, 1}, AffinitySeconds: 600,
		Streams: []simulate.Stream{{Name: "web", Target: "nodePort", Clients: 20, Connections: 4, TargetNodes: []int{0}}}}
	shrinking := growing(10, math.Inf(1))
	shrinking.Placement, shrinking.Events[0] = []int{2, 2, 2}, simulate.Event{At: 3, Placement: three, Forgotten: true}
	return map[analyze.Code]func() *record.Record{
		analyze.Balanced:             play(web(simulate.Stream{Clients: 2, Connections: 150}, three...)),
		analyze.ConnectionPinning:    play(web(simulate.Stream{Clients: 2, Connections: 4, Requests: 500, Spread: 0.1}, 2, 2, 2)),
		analyze.TooFewConnections:    play(web(simulate.Stream{Clients: 2, Connections: 2, Requests: 500}, 2, 2, 2)),
		analyze.IdleBackends:         play(web(simulate.Stream{Clients: 2, Connections: 3, Requests: 100}, 2, 2, 2)),
		analyze.UnevenConnectionLoad: slowPod,
		analyze.UnexplainedSkew:      play(hot),
		analyze.RoundRobin:           func() *record.Record { return inTurn(web(simulate.Stream{Connections: 60}, three...).Record()) },
		analyze.ForeignBackend:       func() *record.Record { return strange(outside(true, 1, 3, 0).Record()) },
		analyze.FailingBackend: func() *record.Record {
			return refusing(web(simulate.Stream{Clients: 2, Connections: 150}, 2, 1, 2).Record(), "echo-b0")
		},
		analyze.MissingEndpoint:      func() *record.Record { return unlisted(web(simulate.Stream{Connections: 60}, three...).Record()) },
		analyze.LocalPolicyImbalance: play(outside(true, 1, 3)),
		analyze.TopologyImbalance:    nearPods,
		analyze.NoLocalEndpoint:      play(outside(true, 1, 1, 0)),
		analyze.NoEndpoints:          func() *record.Record { return refused(web(simulate.Stream{Connections: 40}, three...).Record()) },
		analyze.StaleEndpoint:        play(shrinking),
		analyze.AffinityHeld:         play(affinity(12)),
		analyze.AffinityBroken: func() *record.Record {
			return affinityRecord([]hop{{0, 0.01, "echo-a0"}, {1, 1.01, "echo-b0"}, {2, 2.01, "echo-b0"}})
		},
		analyze.AffinityExpired: func() *record.Record {
			rec := affinityRecord([]hop{{0, 0.01, "echo-a0"}, {1, 1.01, "echo-a0"}, {9, 9.01, "echo-b0"}})
			rec.Facts.Services[0].AffinitySeconds, rec.FactsAfter.Services[0].AffinitySeconds = 5, 5
			return rec
		},
		analyze.AffinityCapacity:  overCapacity,
		analyze.AffinityPerNode:   play(perNode),
		analyze.AffinityCollapse:  play(collapse),
		analyze.StickyToWrongPod:  wrongPods,
		analyze.SourceIPPreserved: play(web(simulate.Stream{Connections: 40}, three...)),
		analyze.SourceIPLost:      play(outside(false, three...)),
		analyze.HairpinSNAT:       func() *record.Record { return hairpin(web(simulate.Stream{Connections: 60}, three...).Record()) },
		analyze.SNATPortPressure:  rush{through: 424, first: 600, ends: 2.5}.record,
		analyze.CrossNodeHops:     play(web(simulate.Stream{Connections: 30, Requests: 3}, three...)),
		analyze.IdleAfterScaleOut: play(growing(10, math.Inf(1))),
		analyze.SkewAfterRestart:  play(restarting(60)),
		analyze.SlowToBalance:     play(growing(60, 60)),
		analyze.TooFewUnits:       play(web(simulate.Stream{Connections: 3}, three...)),
		analyze.GeneratorLimited: func() *record.Record {
			return overloaded(web(simulate.Stream{Clients: 2, Connections: 30}, three...).Record())
		},
		analyze.FactsChanged: func() *record.Record { return changed(web(simulate.Stream{Connections: 60}, three...).Record()) },
		analyze.MeasurementArtefact: func() *record.Record {
			return shared(web(simulate.Stream{Connections: 30, Requests: 4}, three...).Record())
		},
	}
}

// slowPod is a closed loop in which one pod of three answers four times slower, and its connections carry a quarter.
func slowPod() *record.Record {
	scene := simulate.Scene{Seed: 7, Placement: []int{1, 1, 1}, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 30, Requests: 40, Spread: 0.1}}}
	rec := scene.Record()
	for i := range rec.Connections {
		if c := &rec.Connections[i]; c.Backend == "echo-b0" {
			c.Requests /= 4
		}
	}
	for i := range rec.Tallies {
		t := &rec.Tallies[i]
		if t.Backend != "echo-b0" {
			continue
		}
		t.Requests, t.Latency = 0, record.Histogram{}
		for _, c := range rec.Connections {
			if c.Backend == t.Backend && c.Agent == t.Agent && int(c.Opened) == t.Second {
				t.Requests += c.Requests
			}
		}
		t.Latency.Add(1_400_000, uint64(t.Requests))
	}
	rec.Servers = nil
	return rec
}

// inTurn deals the connections out as a rotation does.
func inTurn(rec *record.Record) *record.Record {
	rec.Tallies, rec.Servers = nil, nil
	for i := range rec.Connections {
		c := &rec.Connections[i]
		c.Backend = rec.Facts.Endpoints[i%len(rec.Facts.Endpoints)].Pod
		rec.Tallies = append(rec.Tallies, record.Tally{
			Stream: c.Stream, Agent: c.Agent, Address: c.Address, Backend: c.Backend, Observed: "10.78.17.1", Second: int(c.Opened), Requests: c.Requests,
		})
	}
	return rec
}

// strange lets a pod answer that the policy excludes.
func strange(rec *record.Record) *record.Record {
	rec.Servers = nil
	for i := range rec.Connections {
		c := &rec.Connections[i]
		if c.Backend != "echo-a0" {
			continue
		}
		c.Backend = "echo-b0"
		for k := range rec.Tallies {
			t := &rec.Tallies[k]
			if t.Backend == "echo-a0" && t.Second == int(c.Opened) {
				t.Requests--
				rec.Tallies = append(rec.Tallies, record.Tally{Stream: t.Stream, Agent: t.Agent, Address: t.Address, Backend: "echo-b0", Observed: t.Observed, Second: t.Second, Requests: 1})
				break
			}
		}
		break
	}
	return rec
}

// nearPods is trafficDistribution PreferSameZone with one pod near one client and three near the other.
func nearPods() *record.Record {
	scene := simulate.Scene{Seed: 7, Placement: []int{1, 3, 2}, InternalLocal: true, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 60}}}
	rec := scene.Record() // a zone is a node here: as Local, but by hints
	for _, facts := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
		facts.Services[0].InternalTrafficPolicy, facts.Services[0].TrafficDistribution = "Cluster", "PreferSameZone"
		for i := range facts.Endpoints {
			facts.Endpoints[i].HintZones = []string{facts.Endpoints[i].Zone}
		}
	}
	return rec
}

func refused(rec *record.Record) *record.Record {
	rec.Facts.Endpoints, rec.FactsAfter.Endpoints, rec.Tallies, rec.Servers = nil, nil, nil, nil
	for i := range rec.Connections {
		c := &rec.Connections[i]
		*c = record.Connection{Stream: c.Stream, Agent: c.Agent, ID: c.ID, Address: c.Address, Opened: c.Opened, Error: record.ErrRefused}
	}
	return rec
}

func overCapacity() *record.Record {
	scene := simulate.Scene{Seed: 3, ProxyMode: "iptables", Placement: []int{1, 1}, AffinitySeconds: 600, AffinityList: 100,
		Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Clients: 400, Connections: 2, TargetNodes: []int{0}}}}
	rec := scene.Record()
	slices.SortStableFunc(rec.Connections, func(a, b record.Connection) int { return a.ID - b.ID })
	sweep(rec, 100, 3)
	return rec
}

// hairpin makes the client one of the pods, which reaches itself now and then.
func hairpin(rec *record.Record) *record.Record {
	rec.Servers = nil
	self, ip := simulate.PodName(0, 0), rec.Facts.Pods[0].IPs[0]
	rec.Streams[0].Agents[0] = record.AgentRef{Name: self, Node: simulate.NodeName(0), IPs: []string{ip}}
	for i := range rec.Connections {
		c := &rec.Connections[i]
		c.Agent, c.Local, c.Observed = self, fmt.Sprintf("%s:%d", ip, 40000+i), fmt.Sprintf("%s:%d", ip, 40000+i)
		if c.Backend == self {
			c.Observed = fmt.Sprintf("%s:%d", simulate.Gateway(0), 40000+i)
		}
	}
	for i := range rec.Tallies {
		t := &rec.Tallies[i]
		t.Agent, t.Observed = self, ip
		if t.Backend == self {
			t.Observed = simulate.Gateway(0)
		}
	}
	return rec
}

// overloaded is an open loop whose generator had no time left.
func overloaded(rec *record.Record) *record.Record {
	rec.Streams[0].Rate = 20
	for _, a := range rec.Streams[0].Agents {
		rec.Generators = append(rec.Generators, record.Generator{
			Stream: "web", Agent: a.Name, Driver: "conn", Seconds: 10, CPUSeconds: 9.9, Busy: 0.99, CPULimit: 1, Intended: 100, Dropped: 70,
		})
	}
	return rec
}

// changed adds a pod that nobody asked for.
func changed(rec *record.Record) *record.Record {
	after := rec.FactsAfter
	after.Endpoints = append(after.Endpoints, record.Endpoint{Service: simulate.Service, Address: "10.78.16.99", Pod: "echo-new", Node: "worker", Ready: true, Serving: true})
	after.Pods = append(after.Pods, record.Pod{Name: "echo-new", Role: "echo", IPs: []string{"10.78.16.99"}, Node: "worker", Ready: true})
	return rec
}

// shared lets a second pod answer on a connection, as behind a proxy.
func shared(rec *record.Record) *record.Record {
	rec.Servers = nil
	c := &rec.Connections[0]
	for _, e := range rec.Facts.Endpoints {
		if e.Pod != c.Backend {
			c.Others = map[string]int{e.Pod: 1}
		}
	}
	return rec
}

func recordOf(code analyze.Code) string {
	return filepath.Join("testdata", "findings", string(code), "record.jsonl.gz")
}
func reportOf(code analyze.Code) string {
	return filepath.Join("testdata", "findings", string(code), "report.json")
}

// TestGoldenFindings analyzes one record for each finding. -update makes the records anew and writes what is found in them.
func TestGoldenFindings(t *testing.T) {
	made := specimens()
	for _, code := range analyze.Codes() {
		t.Run(string(code), func(t *testing.T) {
			specimen, ok := made[code]
			if !ok {
				if notYet()[code] == "" {
					t.Fatal("there is no record for it, and no word on why")
				}
				return
			}
			if *update {
				writeRecord(t, recordOf(code), specimen())
			}
			r := report(t, readRecord(t, recordOf(code)))
			if !has(r, code) {
				t.Errorf("not among %v", found(r))
			}
			got := marshal(t, withoutDrawings(r)) + "\n"
			if *update {
				write(t, reportOf(code), []byte(got))
			}
			want, err := os.ReadFile(reportOf(code))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("what is found has changed; if it should have, run go test ./analyze -run TestGoldenFindings -update (-want +got):\n%s", diff)
			}
		})
	}
}

// withoutDrawings leaves out what only pictures are made from.
func withoutDrawings(r *analyze.Report) *analyze.Report {
	for i := range r.Streams {
		s := &r.Streams[i]
		s.Matrix, s.Flows, s.ConnectionRows, s.OpenConnections, s.Timeline = nil, nil, nil, nil, nil
	}
	return r
}

func writeRecord(t *testing.T, path string, rec *record.Record) {
	t.Helper()
	var buf bytes.Buffer
	if err := record.Write(&buf, rec); err != nil {
		t.Fatal(err)
	}
	write(t, path, buf.Bytes())
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readRecord(t *testing.T, path string) *record.Record {
	t.Helper()
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		t.Fatal(err)
	}
	rec, _, err := record.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// Every finding has a page, the page shows its text as it is, and the index knows it.
func TestEveryFindingIsDocumented(t *testing.T) {
	docs := filepath.Join("..", "docs")
	index, err := os.ReadFile(filepath.Join(docs, "findings.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range analyze.Codes() {
		if link := fmt.Sprintf("(findings/%s.md)", code); !strings.Contains(string(index), link) {
			t.Errorf("docs/findings.md does not link %s", link)
		}
		page, err := os.ReadFile(filepath.Join(docs, "findings", string(code)+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.HasPrefix(string(page), "# "+string(code)+"\n") {
			t.Errorf("docs/findings/%s.md has another title", code)
		}
		for _, heading := range []string{"## What it means", "## How sure it is", "## What to do", "## Example"} {
			if !strings.Contains(string(page), heading) {
				t.Errorf("docs/findings/%s.md lacks %q", code, heading)
			}
		}
		if notYet()[code] != "" {
			continue
		}
		f := finding(t, report(t, readRecord(t, recordOf(code))), code)
		if !strings.Contains(string(page), "> "+f.Summary+"\n") {
			t.Errorf("docs/findings/%s.md shows another text than the example gives: %s", code, f.Summary)
		}
	}
}
