package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// kill ends the component of the lab whose command line contains all the words.
func kill(t *testing.T, l *lab, words ...string) {
	t.Helper()
	for _, pid := range tracesOf(t, l).pids {
		line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err == nil && containsAll(string(line), words) {
			id, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(id, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no process of the lab with %q", words)
}

func containsAll(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}

// TestADeadComponentEndsTheLab kills parts of labs and looks at what is said about it.
func TestADeadComponentEndsTheLab(t *testing.T) {
	tests := []struct {
		name    string
		process []string // words of its command line
		says    string
		logs    string // a part of its log
	}{
		{"kube-proxy", []string{"__kube-proxy"}, "kube-proxy of node worker killed by signal 9", "Using nftables Proxier"},
		{"the API server", []string{"__kube-apiserver"}, "kube-apiserver ended: signal: killed", "controller"},
		{"the supervisor", []string{"__super"}, "supervisor ended unexpectedly", "waiting until the nodes are ready"},
		{"a node", []string{"__node"}, "ended: signal: killed", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, options{args: []string{"--workers", "1"}})
			seen := tracesOf(t, l)
			kill(t, l, tt.process...)
			if code := l.awaitEnd(t); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if said := l.stderr.String(); !strings.Contains(said, tt.says) || !strings.Contains(said, tt.logs) {
				t.Errorf("want %q and the end of a log with %q; got\n%s", tt.says, tt.logs, said)
			}
			eventually(t, goneWithin, func() []string { return seen.left(t) })
		})
	}
}

// TestAFailureInTheBackgroundIsRemembered kills a component of a detached lab.
func TestAFailureInTheBackgroundIsRemembered(t *testing.T) {
	t.Parallel()
	requireLabs(t)
	l := &lab{runDir: filepath.Join(labDir(t, 0), "run")}
	if _, stderr, code := l.run(t, "", "up", "--workers", "1", "--detach"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	kill(t, l, "__kube-proxy")
	var status struct{ State, Problem, Log, Kubeconfig string }
	eventually(t, endTimeout, func() []string {
		out, _, _ := l.run(t, "", "status", "-o", "json")
		if err := json.Unmarshal([]byte(out), &status); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if status.State == "failed" && status.Log != "" {
			return nil
		}
		return []string{status.State}
	})
	if !strings.Contains(status.Problem, "kube-proxy of node worker") || status.Kubeconfig != "" {
		t.Errorf("status: %+v", status)
	}
	if _, stderr, code := l.run(t, "", "down"); code != 0 {
		t.Errorf("down: exit code %d\n%s", code, stderr)
	}
	if _, err := os.Stat(l.runDir); !os.IsNotExist(err) {
		t.Errorf("the run directory is left: %v", err)
	}
}

// TestADeadlineEndsTheStart gives the start less time than it can do with.
func TestADeadlineEndsTheStart(t *testing.T) {
	t.Parallel()
	l := launchLab(t, options{args: []string{"--timeout", "300ms"}})
	if code := l.awaitEnd(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if said := l.stderr.String(); !strings.Contains(said, "not ready after 300ms; it was waiting for") {
		t.Errorf("got\n%s", said)
	}
	if _, err := os.Stat(l.runDir); !os.IsNotExist(err) {
		t.Errorf("the run directory is left: %v", err)
	}
}

// TestAnInterruptEndsTheStart interrupts a lab that is not ready yet.
func TestAnInterruptEndsTheStart(t *testing.T) {
	t.Parallel()
	l := launchLab(t, options{})
	eventually(t, startTimeout, func() []string {
		if strings.Contains(l.stderr.String(), "starting the control plane") {
			return nil
		}
		return []string{l.stderr.String()}
	})
	if err := l.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := l.awaitEnd(t); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if _, err := os.Stat(l.runDir); !os.IsNotExist(err) {
		t.Errorf("the run directory is left: %v", err)
	}
}
