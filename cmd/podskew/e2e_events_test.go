package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podskew/podskew/record"
)

const eventsHead = `apiVersion: podskew.dev/v1alpha1
kind: Scenario
metadata: {name: %s}
spec:
  echo: {replicas: 3, standby: 2, grace: 1s}
  service: {type: NodePort}
  clients:
    - {name: pods, %s, connections: 2, requestsPerConnection: 1, rate: 150, duration: %s, connectTimeout: 500ms, timeout: 1s}
    - {name: outside, vantage: external, target: nodePort, connections: 2, requestsPerConnection: 1, rate: 30, duration: %[3]s}
  events:
%[4]s`

// events writes a scenario and returns its path.
func (c *cli) events(t *testing.T, name, where, duration string, lines ...string) string {
	t.Helper()
	text := fmt.Sprintf(eventsHead, name, where, duration, "    - "+strings.Join(lines, "\n    - ")+"\n")
	path := filepath.Join(c.dir, name+".yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEventsOfARun(t *testing.T) {
	c := newCLI(t)
	c.lab(t, "nftables")
	t.Run("of pods", c.eventsOfPods)
	t.Run("of Services", c.eventsOfServices)
	t.Run("of nodes", c.eventsOfNodes)
	t.Run("an interrupt undoes them", c.interruptedEvents)
}

// happened finds what was done to the cluster, in order, and fails unless it is these kinds at these times.
func happened(t *testing.T, rec *record.Record, want ...string) []record.Event {
	t.Helper()
	var done []record.Event
	for _, e := range rec.Events {
		if e.Kind != record.EventReady && e.Kind != record.EventUnready && e.Kind != record.EventRemoved {
			done = append(done, e)
		}
	}
	slices.SortStableFunc(done, func(a, b record.Event) int { return int(1e6 * (a.At - b.At)) })
	if len(done) != len(want) {
		t.Fatalf("%d events, want %d: %+v", len(done), len(want), done)
	}
	for i, e := range done {
		kind, when, _ := strings.Cut(want[i], " ")
		at, err := time.ParseDuration(when)
		if err != nil {
			t.Fatal(err)
		}
		// One event at a time: those before it may have taken a while.
		if string(e.Kind) != kind || e.At < at.Seconds() || e.At > at.Seconds()+5 {
			t.Errorf("event %d is %+v, want %s", i, e, want[i])
		}
		if e.Kind == record.EventKill {
			continue // the endpoints show it 50 s later
		}
		known := e.Kind != record.EventSlow && e.Kind != record.EventCordon
		if known && (e.Effective <= e.At || e.Effective > e.At+20) || !known && e.Effective != 0 {
			t.Errorf("event %d was effective at %v s: %+v", i, e.Effective, e)
		}
	}
	return done
}

// openedTo counts the connections to a pod that were opened in a time and answered.
func openedTo(rec *record.Record, pod string, from, to float64) (to1, others int) {
	for _, c := range rec.Connections {
		switch {
		case c.Opened < from || c.Opened >= to || c.Backend == "":
		case c.Backend == pod:
			to1++
		default:
			others++
		}
	}
	return to1, others
}

// seen finds when the endpoints showed something of a pod, from a time on.
func seen(t *testing.T, rec *record.Record, kind record.EventKind, pod string, from float64) float64 {
	t.Helper()
	for _, e := range rec.Events {
		if e.Kind == kind && e.Target == pod && e.At >= from {
			return e.At
		}
	}
	t.Errorf("the record does not say that %s became %s after %v s: %+v", pod, kind, from, rec.Events)
	return 0
}

// away checks that a pod was out of the Service between two events, as both the endpoints and the connections show.
func away(t *testing.T, rec *record.Record, out, in record.Event) {
	t.Helper()
	pod := out.Target
	if in.Target != pod {
		t.Errorf("%q and %q are of two pods", out.What, in.What)
	}
	if n, others := openedTo(rec, pod, out.Effective, in.At); n > 0 || others == 0 {
		t.Errorf("%q: %d connections to it between %v and %v s, %d to others", out.What, n, out.Effective, in.At, others)
	}
	if n, _ := openedTo(rec, pod, in.Effective, in.Effective+2); n == 0 {
		t.Errorf("%q: no connection to it after %v s", in.What, in.Effective)
	}
	if at := seen(t, rec, record.EventReady, pod, in.At); at > in.Effective {
		t.Errorf("%q: ready at %v s, effective at %v s", in.What, at, in.Effective)
	}
	if !slices.ContainsFunc(rec.FactsAfter.Pods, func(p record.Pod) bool { return p.Name == pod && p.Restarts == 0 }) {
		t.Errorf("%s was replaced: %+v", pod, rec.FactsAfter.Pods)
	}
}

func (c *cli) eventsOfPods(t *testing.T) {
	_, rec := c.scenario(t, c.events(t, "of-pods", "count: 3", "32s",
		"{at: 1s, label: {pod: 0, selected: false}}", "{at: 7s, label: {pod: 0, selected: true}}",
		"{at: 11s, readiness: {pod: 1, ready: false}}", "{at: 18s, readiness: {pod: 1, ready: true}}",
		"{at: 22s, slow: {pod: 2, delay: 40ms}}", "{at: 24s, slow: {pod: 2, delay: 0s}}", "{afterRequests: 12000, scale: 4}"))
	done := happened(t, rec, "label 1s", "label 7s", "probe 11s", "probe 18s", "slow 22s", "slow 24s", "scale 24s")
	away(t, rec, done[0], done[1])
	away(t, rec, done[2], done[3])
	if at := seen(t, rec, record.EventRemoved, done[0].Target, done[0].At); at > done[0].Effective {
		t.Errorf("removed at %v s, effective at %v s", at, done[0].Effective)
	}
	if at := seen(t, rec, record.EventUnready, done[2].Target, done[2].At); at > done[2].Effective {
		t.Errorf("unready at %v s, effective at %v s", at, done[2].Effective)
	}
	for second, slow := range map[int]bool{21: false, 23: true, 25: false} {
		if got := fastest(rec, done[4].Target, second); got >= 0.04 != slow {
			t.Errorf("in second %d the fastest answer of %s took %v s", second, done[4].Target, got)
		}
	}
}

// fastest is the shortest latency of a pod's answers to requests of one second.
func fastest(rec *record.Record, pod string, second int) float64 {
	var all record.Histogram
	for _, t := range rec.Tallies {
		if t.Backend == pod && t.Second == second {
			all.Merge(t.Latency)
		}
	}
	return all.Quantile(0)
}

func (c *cli) eventsOfServices(t *testing.T) {
	_, rec := c.scenario(t, c.events(t, "of-services", "count: 3", "16s",
		"{at: 1s, patchService: {internalTrafficPolicy: Local}}", "{at: 3s, patchService: {internalTrafficPolicy: Cluster}}",
		"{at: 4s, deletePod: 0}", "{at: 8s, swap: true}", "{at: 10s, restart: true}"))
	done := happened(t, rec, "policy 1s", "policy 3s", "delete 4s", "swap 8s", "restart 10s")
	if e := done[0]; e.Target != "echo" || e.Before != "internalTrafficPolicy: Cluster" || e.After != "internalTrafficPolicy: Local" {
		t.Errorf("%+v", e)
	}
	nodes := map[string]string{}
	for _, p := range rec.Facts.Pods {
		nodes[p.Name] = p.Node
	}
	for _, conn := range rec.Connections {
		if conn.Stream == "pods" && conn.Opened > done[0].Effective && conn.Opened < done[1].At && nodes[conn.Agent] != nodes[conn.Backend] {
			t.Errorf("with internalTrafficPolicy Local %s on %s got to %s", conn.Agent, nodes[conn.Agent], conn.Backend)
		}
		if swapped := strings.Contains(conn.Backend, "standby"); conn.Backend != "" &&
			(conn.Opened < done[3].At && swapped || conn.Opened > done[3].Effective && !swapped) {
			t.Errorf("the swap was effective at %v s, and at %v s a connection was opened to %s", done[3].Effective, conn.Opened, conn.Backend)
		}
		old := nodes[conn.Backend] != ""
		if conn.Backend != "" && conn.Opened > done[4].Effective && old {
			t.Errorf("the restart was over at %v s, and at %v s a connection was opened to %s", done[4].Effective, conn.Opened, conn.Backend)
		}
	}
	if n, _ := openedTo(rec, done[2].Target, done[2].Effective, 1e9); n > 0 {
		t.Errorf("%d connections to the deleted pod", n)
	}
}

// whole makes sure that all nodes of the lab take pods: one client stands on each.
func (c *cli) whole(t *testing.T) {
	t.Helper()
	_, rec := c.scenario(t, c.events(t, "whole", "count: 3", "1s", "{at: 0s, restartKubeProxy: all}"))
	var nodes []string
	for _, a := range rec.Streams[0].Agents {
		nodes = append(nodes, a.Node)
	}
	if slices.Sort(nodes); !slices.Equal(nodes, []string{"worker", "worker2", "worker3"}) {
		t.Errorf("clients stand on %q: a node is missing", nodes)
	}
	for _, n := range rec.FactsAfter.Cluster.Nodes {
		if !n.Ready {
			t.Errorf("node %s is not ready", n.Name)
		}
	}
}

func (c *cli) eventsOfNodes(t *testing.T) {
	_, rec := c.scenario(t, c.events(t, "of-nodes", "node: worker", "22s",
		"{at: 1s, restartKubeProxy: worker}", "{at: 3s, cordon: worker2}", "{at: 3s, scale: 5}", "{at: 7s, uncordon: worker2}",
		"{at: 8s, drain: worker3}", "{at: 20s, killNode: worker3}"))
	done := happened(t, rec, "proxy 1s", "cordon 3s", "scale 3s", "cordon 7s", "drain 8s", "kill 20s")
	before := map[string]bool{}
	for _, p := range rec.Facts.Pods {
		before[p.Name] = true
	}
	for _, p := range rec.FactsAfter.Pods {
		made := seenReady(rec, p.Name)
		if p.Role == "echo" && p.Node == "worker2" && !before[p.Name] && made > 0 && made < done[3].At {
			t.Errorf("pod %s came to worker2 while that was cordoned", p.Name)
		}
	}
	for _, conn := range rec.Connections {
		if conn.Opened > done[4].Effective && nodeOf(rec, conn.Backend) == "worker3" {
			t.Errorf("worker3 was drained at %v s, and at %v s a connection was opened to %s there", done[4].Effective, conn.Opened, conn.Backend)
		}
	}
	c.whole(t)
}

func seenReady(rec *record.Record, pod string) float64 {
	for _, e := range rec.Events {
		if e.Kind == record.EventReady && e.Target == pod {
			return e.At
		}
	}
	return 0
}

// nodeOf is where a pod was before the load, or else after it.
func nodeOf(rec *record.Record, pod string) string {
	for _, p := range slices.Concat(rec.Facts.Pods, rec.FactsAfter.Pods) {
		if p.Name == pod {
			return p.Node
		}
	}
	return ""
}

func (c *cli) interruptedEvents(t *testing.T) {
	path := c.events(t, "interrupted", "node: worker", "60s", "{at: 0s, drain: worker2}", "{at: 1s, killNode: worker3}")
	cmd := c.command(t, "run", path)
	errOut, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []byte
	interrupted := false
	for buffer := make([]byte, 1<<12); ; {
		n, err := errOut.Read(buffer)
		said = append(said, buffer[:n]...)
		if !interrupted && strings.Contains(string(said), "lost its power at") {
			interrupted = true
			_ = cmd.Process.Signal(os.Interrupt)
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d\n%s", code, said)
	}
	c.whole(t)
}
