package main_test

import (
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// checkPinned makes sure that every connection of a stream was open from the start to the end, and that all it carried
// came from one pod.
func checkPinned(t *testing.T, rec *record.Record, stream string, connections int) {
	t.Helper()
	requests := 0
	rows := rowsOf(rec, stream)
	for _, c := range rows {
		if len(c.Others) > 0 || c.Backend == "" || c.Error != "" || c.Closed > 0 && c.Closed < rec.End.Seconds-1 {
			t.Errorf("connection %s/%d did not stay with one pod: %+v", c.Agent, c.ID, c)
		}
		requests += c.Requests
	}
	if len(rows) != connections || requests < 100*connections {
		t.Errorf("%d requests on %d connections, want %d with some hundred each", requests, len(rows), connections)
	}
}

func rowsOf(rec *record.Record, stream string) []record.Connection {
	return slices.DeleteFunc(slices.Clone(rec.Connections), func(c record.Connection) bool { return c.Stream != stream })
}

// checkEnds makes sure that clients and pods counted the same, connection by connection.
func checkEnds(t *testing.T, rep *analyze.Report) {
	t.Helper()
	b := rep.BothEnds
	if b == nil {
		t.Error("the pods were not asked what they counted")
		return
	}
	if !b.ByConnection || b.OnlyClients != 0 || b.Agreeing != b.Connections || b.Missing != 0 || b.Surplus != 0 || b.Truncated != 0 || b.Connections == 0 {
		t.Errorf("clients and pods do not agree: %+v", *b)
	}
}

func checkDriver(t *testing.T, rec *record.Record, stream, driver string) {
	t.Helper()
	n := 0
	for _, g := range rec.Generators {
		if g.Stream != stream {
			continue
		}
		n++
		if g.Driver != driver || g.Seconds <= 0 {
			t.Errorf("the load of %s came from %+v, want driver %s", g.Agent, g, driver)
		}
	}
	if n == 0 {
		t.Errorf("no agent of %s says anything about itself", stream)
	}
}

func checkHTTP2(t *testing.T, rep *analyze.Report, rec *record.Record) {
	t.Helper()
	wants(t, rep, analyze.ConnectionPinning)
	checkPinned(t, rec, "web", 2)
	checkDriver(t, rec, "web", "http2")
}

func checkGRPC(t *testing.T, rep *analyze.Report, rec *record.Record) {
	t.Helper()
	wants(t, rep, analyze.ConnectionPinning)
	checkPinned(t, rec, "web", 2)
	checkDriver(t, rec, "web", "grpc")
}

func checkWebSocket(t *testing.T, rep *analyze.Report, rec *record.Record) {
	t.Helper()
	wants(t, rep, analyze.ConnectionPinning)
	checkPinned(t, rec, "web", 4)
	checkDriver(t, rec, "web", "websocket")
}

func checkUDP(t *testing.T, rep *analyze.Report, rec *record.Record) {
	t.Helper()
	wants(t, rep, analyze.ConnectionPinning)
	checkPinned(t, rec, "fixed", 2)
	checkDriver(t, rec, "fixed", "udp")
	for _, c := range rowsOf(rec, "fresh") {
		if c.Requests > 1 {
			t.Errorf("%d datagrams from port %s", c.Requests, c.Local)
		}
	}
}

// checkRoundRobin makes sure that each channel has a connection to every pod and that calls are dealt to them evenly.
func checkRoundRobin(t *testing.T, rep *analyze.Report, rec *record.Record) {
	t.Helper()
	reached := map[string]map[string]int{}
	for _, c := range rowsOf(rec, "web") {
		if reached[c.Agent] == nil {
			reached[c.Agent] = map[string]int{}
		}
		reached[c.Agent][c.Backend] += c.Requests
	}
	for agent, pods := range reached {
		most, least := slices.Max(slices.Collect(maps.Values(pods))), slices.Min(slices.Collect(maps.Values(pods)))
		if len(pods) != 6 || most > 2*least {
			t.Errorf("the calls of %s went to %v", agent, pods)
		}
	}
	if len(reached) != 2 {
		t.Errorf("%d clients, want 2", len(reached))
	}
	checkDriver(t, rec, "web", "grpc")
	checkDirect(t, rec, "web")
	if n := len(rep.Streams[0].Backends); n != 6 {
		t.Errorf("%d backends in the report", n)
	}
}

// checkDirect makes sure that the pods that were dialled are those that answered: nothing stood in between.
func checkDirect(t *testing.T, rec *record.Record, stream string) {
	t.Helper()
	podOf := map[string]string{}
	for _, p := range rec.Facts.Pods {
		for _, ip := range p.IPs {
			podOf[ip] = p.Name
		}
	}
	for _, c := range rowsOf(rec, stream) {
		to := c.Dialled
		if to == "" {
			to = c.Address
		}
		at, err := netip.ParseAddrPort(to)
		if err != nil || c.Backend != "" && podOf[at.Addr().String()] != c.Backend {
			t.Fatalf("connection %s/%d dialled %q, and %s answered", c.Agent, c.ID, to, c.Backend)
		}
	}
}

func checkHeadless(t *testing.T, _ *analyze.Report, rec *record.Record) {
	t.Helper()
	checkDirect(t, rec, "often")
	checkDirect(t, rec, "once")
	dialled := map[string]bool{}
	for _, c := range rowsOf(rec, "once") {
		dialled[c.Dialled] = true
	}
	if len(dialled) != 1 {
		t.Errorf("the client that resolved once dialled %v", dialled)
	}
}

func checkOpenLoop(t *testing.T, rep *analyze.Report, rec *record.Record) {
	t.Helper()
	wants(t, rep, analyze.ConnectionPinning)
	for _, g := range rec.Generators {
		sent := 0
		for _, tally := range rec.Tallies {
			if tally.Stream == g.Stream {
				sent += tally.Requests
			}
		}
		if g.Intended == 0 || g.Intended != sent+g.Dropped {
			t.Errorf("%s: %d requests were due, %d were sent, %d never", g.Agent, g.Intended, sent, g.Dropped)
		}
		if n := g.Lateness.Count(); n != uint64(sent) {
			t.Errorf("%s says of %d of %d requests how late they were", g.Agent, n, sent)
		}
	}
	if len(rec.Generators) != 2 {
		t.Errorf("%d generators", len(rec.Generators))
	}
}

func checkSources(t *testing.T, rep *analyze.Report, rec *record.Record) {
	t.Helper()
	wants(t, rep, analyze.AffinityHeld, analyze.SourceIPPreserved)
	own := map[string]bool{}
	for _, ip := range rec.Streams[0].Agents[0].IPs {
		own[ip] = true
	}
	local, seen := map[string]bool{}, map[string]bool{}
	for _, c := range rec.Connections {
		local[host(c.Local)], seen[host(c.Observed)] = true, true
	}
	if len(own) != 64 || !maps.Equal(own, local) || !maps.Equal(own, seen) {
		t.Errorf("%d addresses were planned, connections left from %d, pods saw %d", len(own), len(local), len(seen))
	}
	if a := rep.Streams[0].Affinity; a == nil || a.Clients != 64 || a.Held != 64 {
		t.Errorf("affinity %+v: want 64 clients, all of them held", a)
	}
}

func host(hostPort string) string {
	at, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return hostPort
	}
	return at.Addr().String()
}

// ownScenario writes a scenario file and runs it.
func (c *cli) ownScenario(t *testing.T, text string) (*analyze.Report, *record.Record) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, "own.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return c.scenario(t, "own.yaml")
}

const everyTarget = `apiVersion: podskew.dev/v1alpha1
kind: Scenario
metadata: {name: targets, description: A load balancer and pods by their own addresses.}
spec:
  echo: {replicas: 6}
  service: {type: LoadBalancer}
  clients:
    - {name: outside, vantage: external, target: loadBalancer, connections: 8, requestsPerConnection: 1, requests: 600}
    - {name: inside, target: loadBalancer, tls: true, connections: 4, requestsPerConnection: 1, requests: 200}
    - {name: node, vantage: node, node: worker2, target: nodePort, targetNodes: [worker], protocol: http2, tls: true, connections: 4, requestsPerConnection: 10, requests: 400}
    - {name: pods, target: podIP, protocol: tcp, connections: 6, requestsPerConnection: 1, requests: 600}
    - {name: turnover, target: clusterIP, protocol: grpc, tls: true, connections: 2, connectionsPerSecond: 20, duration: 2s, thinkTime: 1ms}
`

func TestEveryTargetOnTheLab(t *testing.T) {
	c := newCLI(t)
	c.lab(t, "nftables")
	rep, rec := c.ownScenario(t, everyTarget)
	checkEnds(t, rep)
	checkDirect(t, rec, "pods")
	for stream, want := range map[string]int{"outside": 600, "inside": 200, "node": 40, "pods": 600} {
		if n := len(rowsOf(rec, stream)); n != want {
			t.Errorf("%s: %d connections, want %d", stream, n, want)
		}
	}
	for _, tally := range rec.Tallies {
		if len(tally.Errors) > 0 {
			t.Errorf("%s: errors %v", tally.Stream, tally.Errors)
		}
	}
	byPod := map[string]int{}
	for _, row := range rowsOf(rec, "pods") {
		byPod[row.Backend]++
	}
	for pod, n := range byPod {
		if n != 100 || len(byPod) != 6 {
			t.Errorf("pod %s was dialled %d times, one of %d: want 600 connections dealt to six in turn", pod, n, len(byPod))
		}
	}
	if n := len(rowsOf(rec, "turnover")); n < 20 || n > 60 {
		t.Errorf("%d connections at 20 new ones per second for 2 s, and 2 to begin with", n)
	}
	if ips := rec.Facts.Services[0].LoadBalancerIPs; len(ips) != 1 || !strings.HasPrefix(rec.Streams[0].Addresses[0].HostPort, ips[0]+":") {
		t.Errorf("the load balancer has %v, dialled was %+v", ips, rec.Streams[0].Addresses)
	}
}

const manyRequests = `apiVersion: podskew.dev/v1alpha1
kind: Scenario
metadata: {name: many, description: A hundred thousand requests.}
spec:
  echo: {replicas: 6}
  service: {type: ClusterIP}
  clients:
    - {name: kept, target: clusterIP, connections: 16, requests: 85000}
    - {name: fresh, target: clusterIP, connections: 8, requestsPerConnection: 1, requests: 15000}
`

// TestBothEndsAgree compares what clients and pods counted of a hundred thousand requests, and then takes something out
// of the record.
func TestBothEndsAgree(t *testing.T) {
	c := newCLI(t)
	c.lab(t, "nftables")
	rep, rec := c.ownScenario(t, manyRequests)
	checkEnds(t, rep)
	if b := rep.BothEnds; b != nil && (b.Requests != 100_000 || b.PodRequests != 100_000 || b.Connections != 15_016 || b.OnlyPods != 0) {
		t.Errorf("want 100,000 requests on 15,016 connections at both ends: %+v", *b)
	}
	if slices.Contains(codes(rep), analyze.MeasurementArtefact) {
		t.Errorf("findings %v", codes(rep))
	}
	for name, lose := range map[string]func(*record.Record){
		"a connection of many requests":   func(r *record.Record) { r.Connections = withoutFirst(r.Connections, "kept") },
		"a connection of one request":     func(r *record.Record) { r.Connections = withoutFirst(r.Connections, "fresh") },
		"a request in the tallies":        func(r *record.Record) { r.Tallies[0].Requests--; r.Tallies[0].Latency = lessOne(r.Tallies[0].Latency) },
		"a request in a connection's row": func(r *record.Record) { r.Connections[0].Requests-- },
	} {
		t.Run("without "+name, func(t *testing.T) {
			lossy := *rec
			lossy.Connections, lossy.Tallies = slices.Clone(rec.Connections), slices.Clone(rec.Tallies)
			lose(&lossy)
			if rep := c.analyzed(t, &lossy); !slices.Contains(codes(rep), analyze.MeasurementArtefact) {
				t.Errorf("nobody misses it: %+v", *rep.BothEnds)
			}
		})
	}
	t.Run("with nothing taken out", func(t *testing.T) {
		if rep := c.analyzed(t, rec); slices.Contains(codes(rep), analyze.MeasurementArtefact) {
			t.Errorf("findings %v", codes(rep))
		}
	})
}

func withoutFirst(rows []record.Connection, stream string) []record.Connection {
	at := slices.IndexFunc(rows, func(c record.Connection) bool { return c.Stream == stream })
	return slices.Delete(rows, at, at+1)
}

// lessOne takes one answer out of a histogram.
func lessOne(h record.Histogram) record.Histogram {
	h.Buckets = slices.Clone(h.Buckets)
	h.Buckets[0].Count--
	if h.Buckets[0].Count == 0 {
		h.Buckets = h.Buckets[1:]
	}
	return h
}

// analyzed writes a record and has podskew analyze it.
func (c *cli) analyzed(t *testing.T, rec *record.Record) *analyze.Report {
	t.Helper()
	file := filepath.Join(t.TempDir(), "record.jsonl.gz")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := record.Write(f, rec); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return reportOf(t, c.ok(t, "analyze", file, "-o", "json").stdout)
}

// TestSourceAddressesAreTakenAway looks at the external node while a run has addresses there, and after it.
func TestSourceAddressesAreTakenAway(t *testing.T) {
	c := newCLI(t)
	c.lab(t, "iptables")
	addresses := func() int {
		cmd := exec.Command(filepath.Join(c.bin, "podskew-lab"), "exec", "external", "--", "ip", "-4", "-o", "addr", "show", "dev", "eth0")
		cmd.Env = c.env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.Count(string(out), "inet ")
	}
	before := addresses()
	c.scenario(t, "source-addresses")
	if after := addresses(); before != 1 || after != before {
		t.Errorf("the external node had %d addresses before the run, and has %d after it", before, after)
	}
}
