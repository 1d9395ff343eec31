package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// bin is the folder with the three binaries. The tests here drive them as a user would; they are the
// only ones that need a lab. hack/test.sh sets the variable, so that CI cannot skip them unnoticed.
func bin(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PODSKEW_BIN")
	if dir == "" {
		t.Skip("PODSKEW_BIN is not set: make test builds the binaries and sets it")
	}
	return dir
}

// cli runs podskew in a folder of its own, with a lab of its own.
type cli struct {
	bin, dir string
	env      []string
}

func newCLI(t *testing.T) *cli {
	t.Helper()
	runtime, err := os.MkdirTemp("", "podskew-e2e-") //nolint:usetesting // socket paths must stay short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(runtime) })
	return &cli{bin: bin(t), dir: t.TempDir(), env: append(os.Environ(), "XDG_RUNTIME_DIR="+runtime)}
}

func (c *cli) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return c.commandWithin(t, 3*time.Minute, args...)
}

func (c *cli) commandWithin(t *testing.T, within time.Duration, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "podskew"), args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

type result struct {
	stdout, stderr string
	code           int
}

func finish(t *testing.T, cmd *exec.Cmd, out, errOut *bytes.Buffer) result {
	t.Helper()
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatalf("%v: %v", cmd.Args, err)
	} else if ok && exit.ExitCode() < 0 {
		return result{out.String(), errOut.String(), -1}
	}
	return result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

func (c *cli) start(t *testing.T, args ...string) (cmd *exec.Cmd, wait func() result) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd = c.command(t, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, func() result { return finish(t, cmd, &out, &errOut) }
}

// runWithin is run for what takes longer than a run.
func (c *cli) runWithin(t *testing.T, within time.Duration, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := c.commandWithin(t, within, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return finish(t, cmd, &out, &errOut)
}

func (c *cli) run(t *testing.T, args ...string) result {
	t.Helper()
	_, wait := c.start(t, args...)
	return wait()
}

func (c *cli) ok(t *testing.T, args ...string) result {
	t.Helper()
	r := c.run(t, args...)
	if r.code != 0 {
		t.Fatalf("podskew %s: exit code %d\n%s\n%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r
}

// lab starts a lab that the runs of c use, and checks at the end that it goes away.
func (c *cli) lab(t *testing.T, mode string) {
	t.Helper()
	c.ok(t, "cluster", "up", "--proxy-mode", mode)
	t.Cleanup(func() {
		cmd := exec.Command(filepath.Join(c.bin, "podskew-lab"), "down")
		cmd.Env = c.env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("ending the lab: %v\n%s", err, out)
		}
	})
}

// scenario runs a built-in scenario, on the lab that is up unless flags say otherwise, and returns its report and record.
func (c *cli) scenario(t *testing.T, name string, flags ...string) (*analyze.Report, *record.Record) {
	t.Helper()
	r := c.run(t, append([]string{"run", name, "-o", "json"}, flags...)...)
	if !strings.HasPrefix(r.stdout, "{") {
		t.Fatalf("podskew run %s: exit code %d\n%s\n%s", name, r.code, r.stdout, r.stderr)
	}
	rep := reportOf(t, r.stdout)
	if r.code != 0 || !rep.Passed {
		text := c.run(t, "analyze", filepath.Join("runs", rep.Run.ID))
		t.Errorf("podskew run %s: exit code %d, passed %v\n%s\n%s", name, r.code, rep.Passed, text.stdout, r.stderr)
	}
	again := c.run(t, "analyze", filepath.Join("runs", rep.Run.ID), "-o", "json")
	if again.stdout != r.stdout {
		t.Errorf("%s: podskew analyze says something else than podskew run did", name)
	}
	return rep, readRecord(t, filepath.Join(c.dir, "runs", rep.Run.ID))
}

func reportOf(t *testing.T, text string) *analyze.Report {
	t.Helper()
	rep := &analyze.Report{}
	if err := json.Unmarshal([]byte(text), rep); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return rep
}

// byChance reports whether a stream has a p that balanced runs draw once in a hundred (Report.Run.Alpha) by design: they are not called
// Balanced then. A fault is beyond that: over 3,000 connections one pod at 1.5 times its share has p < 1e-9.
func byChance(rep *analyze.Report) bool {
	return slices.ContainsFunc(rep.Streams, func(s analyze.Stream) bool { return s.Test.P > 1e-5 && s.Test.P <= rep.Run.Alpha })
}

func readRecord(t *testing.T, dir string) *record.Record {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "record.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rec, _, err := record.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func codes(rep *analyze.Report) []analyze.Code {
	var out []analyze.Code
	for _, f := range rep.Findings {
		out = append(out, f.Code)
	}
	return out
}

func wants(t *testing.T, rep *analyze.Report, want ...analyze.Code) {
	t.Helper()
	for _, code := range want {
		if !slices.Contains(codes(rep), code) {
			t.Errorf("no finding %s among %v", code, codes(rep))
		}
	}
}

// checkProgrammed makes sure that every node whose kube-proxy chose was known to be ready for it.
func checkProgrammed(t *testing.T, rec *record.Record) {
	t.Helper()
	programmed := map[string]bool{}
	for _, n := range rec.Facts.Cluster.Nodes {
		programmed[n.Name] = n.Proxy.Programmed
	}
	for _, s := range rec.Streams {
		if s.Target == "headless" || s.Target == "podIP" {
			continue // the client chose
		}
		var chose []string
		for _, a := range s.Agents {
			chose = append(chose, a.Node)
		}
		if s.Target == "nodePort" {
			chose = nil
			for _, a := range s.Addresses {
				if a.Node == "" { // 127.0.0.1 of the clients' nodes
					for _, agent := range s.Agents {
						chose = append(chose, agent.Node)
					}
					continue
				}
				chose = append(chose, a.Node)
			}
		}
		for _, node := range chose {
			if !programmed[node] {
				t.Errorf("the load of %s started before node %s was seen to be programmed", s.ID, node)
			}
		}
	}
}

func checkKeepalive(t *testing.T, rep *analyze.Report, rec *record.Record) {
	t.Helper()
	wants(t, rep, analyze.ConnectionPinning)
	byPod := map[string]int{}
	for _, c := range rec.Connections {
		if len(c.Others) > 0 {
			t.Errorf("connection %s/%d was answered by more than one pod", c.Agent, c.ID)
		}
		byPod[c.Backend] += c.Requests
	}
	for _, b := range rep.Streams[0].Backends {
		if b.Requests != byPod[b.Pod] {
			t.Errorf("pod %s has %d requests, its connections carried %d", b.Pod, b.Requests, byPod[b.Pod])
		}
		if b.Connections == 0 && b.Requests > 0 {
			t.Errorf("pod %s has requests without a connection", b.Pod)
		}
	}
}

func checkFresh(t *testing.T, rep *analyze.Report, rec *record.Record) {
	t.Helper()
	if !byChance(rep) {
		wants(t, rep, analyze.Balanced)
	}
	if n := rep.Streams[0].Connections; n != 3000 {
		t.Errorf("%d connections, want 3000", n)
	}
	for _, c := range rec.Connections {
		if c.Requests != 1 && c.Error == "" {
			t.Errorf("connection %s/%d carried %d requests, want 1", c.Agent, c.ID, c.Requests)
		}
	}
}

func checkAffinity(t *testing.T, rep *analyze.Report, _ *record.Record) {
	t.Helper()
	wants(t, rep, analyze.AffinityHeld)
	a := rep.Streams[0].Affinity
	if a == nil || a.Clients < 20 || a.Held != a.Clients {
		t.Errorf("affinity %+v: want at least 20 clients, all of them held", a)
	}
}

func checkCluster(t *testing.T, rep *analyze.Report, _ *record.Record) {
	t.Helper()
	wants(t, rep, analyze.SourceIPLost)
	var classes []string
	for _, s := range rep.Streams[0].Sources {
		classes = append(classes, s.Class)
	}
	for _, want := range []string{"receiving-node", "pod-gateway"} {
		if !slices.Contains(classes, want) {
			t.Errorf("no source of class %s among %v", want, classes)
		}
	}
}

func checkLocal(t *testing.T, rep *analyze.Report, _ *record.Record) {
	t.Helper()
	wants(t, rep, analyze.SourceIPPreserved, analyze.NoLocalEndpoint, analyze.LocalPolicyImbalance)
	var shares []float64
	for _, b := range rep.Streams[0].Backends {
		shares = append(shares, b.ExpectedShare)
	}
	slices.Sort(shares)
	want := []float64{1. / 6, 1. / 6, 1. / 6, .5}
	if !slices.EqualFunc(shares, want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
		t.Errorf("expected shares %v, want %v", shares, want)
	}
	empty := 0
	for _, n := range rep.Streams[0].Nodes {
		if n.Endpoints > 0 {
			continue
		}
		empty++
		if n.Answered != 0 || n.Errors[record.ErrTimeout] != n.Connections || n.Errors[record.ErrRefused] != 0 {
			t.Errorf("node %s without an endpoint: %+v: want nothing but timeouts", n.Node, n)
		}
	}
	if empty != 1 {
		t.Errorf("%d nodes without an endpoint, want 1", empty)
	}
}
