package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podskew/podskew/record"
)

// long is a scenario that nobody waits for: what happens to it in the middle is the point.
const long = `apiVersion: podskew.dev/v1alpha1
kind: Scenario
metadata: {name: long, description: Keep-alive connections for a minute.}
spec:
  echo: {replicas: 3}
  service: {type: ClusterIP}
  clients:
    - {name: web, vantage: pod, count: 2, target: clusterIP, connections: 3, duration: 60s}
`

// underLoad starts the long scenario and waits until its record holds answers.
func (c *cli) underLoad(t *testing.T, args ...string) (pid int, kill func(os.Signal), wait func() result, runDir func() string) {
	t.Helper()
	file := filepath.Join(c.dir, "long.yaml")
	if err := os.WriteFile(file, []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, wait := c.start(t, append([]string{"run", "long.yaml"}, args...)...)
	runDir = func() string {
		dirs, _ := filepath.Glob(filepath.Join(c.dir, "runs", "*"))
		if len(dirs) != 1 {
			return ""
		}
		return dirs[0]
	}
	until(t, 90*time.Second, "the record holds answers", func() bool {
		if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
			t.Fatalf("podskew ended: %+v", wait())
		}
		return runDir() != "" && answers(runDir()) > 0
	})
	return cmd.Process.Pid, func(s os.Signal) { _ = cmd.Process.Signal(s) }, wait, runDir
}

// answers counts the answered requests in a record that may still be written to.
func answers(dir string) int {
	data, err := os.ReadFile(filepath.Join(dir, "record.jsonl.gz"))
	if err != nil {
		return 0
	}
	rec, _, err := record.Read(bytes.NewReader(data))
	if err != nil {
		return 0
	}
	n := 0
	for _, tally := range rec.Tallies {
		if tally.Backend != "" {
			n += tally.Requests
		}
	}
	return n
}

// open counts the connections in a record that are open and were answered.
func open(dir string) int {
	data, err := os.ReadFile(filepath.Join(dir, "record.jsonl.gz"))
	if err != nil {
		return 0
	}
	rec, _, err := record.Read(bytes.NewReader(data))
	if err != nil {
		return 0
	}
	n := 0
	for _, c := range rec.Connections {
		if c.Closed == 0 && c.Requests > 0 {
			n++
		}
	}
	return n
}

func until(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// descendant finds a process below pid whose command line has all the words.
func descendant(t *testing.T, pid int, words ...string) int {
	t.Helper()
	parents := map[int]int{}
	lines := map[int]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		data, err := os.ReadFile(stat)
		if err != nil {
			continue // it ended
		}
		dir := filepath.Dir(stat)
		id, _ := strconv.Atoi(filepath.Base(dir))
		_, rest, _ := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[0] == "Z" {
			continue
		}
		parents[id], _ = strconv.Atoi(fields[1])
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		lines[id] = strings.ReplaceAll(string(cmdline), "\x00", " ")
	}
	for id, line := range lines {
		matches := true
		for _, w := range words {
			matches = matches && strings.Contains(line, w)
		}
		for up := id; matches && up > 1; up = parents[up] {
			if up == pid {
				return id
			}
		}
	}
	return 0
}

func TestCtrlCKeepsWhatWasMeasuredAndCleansUp(t *testing.T) {
	c := newCLI(t)
	c.lab(t, "nftables")
	_, kill, wait, runDir := c.underLoad(t)
	kill(os.Interrupt)
	r := wait()
	if r.code != 130 || !strings.Contains(r.stderr, "interrupted") {
		t.Errorf("exit code %d, want 130\n%s", r.code, r.stderr)
	}
	rec := readRecord(t, runDir())
	if rec.End == nil || !rec.End.Interrupted {
		t.Errorf("the record's end is %+v, want one that says interrupted", rec.End)
	}
	if len(rec.Connections) != 6 || answers(runDir()) == 0 {
		t.Errorf("the record has %d connections and %d answers, want 6 and some", len(rec.Connections), answers(runDir()))
	}
	if !strings.Contains(r.stdout, "web") {
		t.Errorf("no report of what was measured:\n%s", r.stdout)
	}
	if clean := c.ok(t, "clean"); !strings.Contains(clean.stdout, "nothing to clean") {
		t.Errorf("the interrupted run left something:\n%s", clean.stdout)
	}
}

func TestKilledPodskewLeavesARecordAndCleanRemovesTheRest(t *testing.T) {
	c := newCLI(t)
	c.lab(t, "nftables")
	_, kill, wait, runDir := c.underLoad(t)
	until(t, 30*time.Second, "the record holds the connections, which nobody closes", func() bool { return open(runDir()) == 6 })
	kill(syscall.SIGKILL)
	wait()
	if answers(runDir()) == 0 || open(runDir()) != 6 {
		t.Errorf("the record holds %d answers and %d open connections, want some and 6", answers(runDir()), open(runDir()))
	}
	if r := c.run(t, "analyze", runDir()); !strings.Contains(r.stdout, "web") {
		t.Errorf("the cut record cannot be analyzed: exit code %d\n%s\n%s", r.code, r.stdout, r.stderr)
	}
	if clean := c.ok(t, "clean"); !strings.Contains(clean.stdout, "removed podskew-"+filepath.Base(runDir())) {
		t.Errorf("clean did not remove the killed run:\n%s\n%s", clean.stdout, clean.stderr)
	}
	if clean := c.ok(t, "clean"); !strings.Contains(clean.stdout, "nothing to clean") {
		t.Errorf("the second clean found something:\n%s", clean.stdout)
	}
}

func TestKilledAgentIsNamedAndTheRestIsReported(t *testing.T) {
	c := newCLI(t)
	pid, _, wait, runDir := c.underLoad(t, "--cluster", "lab")
	victim := descendant(t, pid, "podskew-pod", "agent")
	if victim == 0 {
		t.Fatal("no agent process below podskew")
	}
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r := wait()
	if r.code != 3 || !strings.Contains(r.stderr, "web-") || !strings.Contains(r.stderr, "137") {
		t.Errorf("exit code %d, want 3 and the agent's name and exit code\n%s", r.code, r.stderr)
	}
	if rec := readRecord(t, runDir()); rec.End == nil || !rec.End.Interrupted || len(rec.Connections) != 6 {
		t.Errorf("the record has %d connections and the end %+v", len(rec.Connections), rec.End)
	}
	if !strings.Contains(r.stdout, "web") {
		t.Errorf("no report of what was measured:\n%s", r.stdout)
	}
}

func TestDeadKubeProxyEndsTheRunWithItsLog(t *testing.T) {
	c := newCLI(t)
	pid, _, wait, runDir := c.underLoad(t, "--cluster", "lab")
	victim := descendant(t, pid, "kube-proxy")
	if victim == 0 {
		t.Fatal("no kube-proxy process below podskew")
	}
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r := wait()
	if r.code != 3 || !strings.Contains(r.stderr, "kube-proxy") {
		t.Errorf("exit code %d, want 3 and a word about kube-proxy\n%s", r.code, r.stderr)
	}
	if answers(runDir()) == 0 {
		t.Error("the record holds no answers")
	}
	if left := descendant(t, os.Getpid(), "podskew-lab"); left != 0 {
		t.Errorf("process %d of the lab is left", left)
	}
}
