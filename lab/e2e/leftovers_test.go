package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestNothingIsLeft ends labs in every way there is, with pods running, and looks for traces.
func TestNothingIsLeft(t *testing.T) {
	signal := func(s syscall.Signal) func(*testing.T, *lab, *os.File) {
		return func(t *testing.T, l *lab, _ *os.File) {
			t.Helper()
			if err := l.cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		end  func(t *testing.T, l *lab, parent *os.File)
		code int
	}{
		{"after SIGINT", signal(syscall.SIGINT), 130},
		{"after SIGTERM", signal(syscall.SIGTERM), 0},
		{"after kill -9", signal(syscall.SIGKILL), -1},
		{"after down", func(t *testing.T, l *lab, _ *os.File) {
			t.Helper()
			if _, stderr, code := l.run(t, "", "down"); code != 0 {
				t.Fatalf("down: exit code %d\n%s", code, stderr)
			}
		}, 0},
		{"after the end of the parent", func(t *testing.T, _ *lab, parent *os.File) {
			t.Helper()
			if err := parent.Close(); err != nil {
				t.Fatal(err)
			}
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pipe, parent, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer parent.Close()
			l := startLab(t, options{args: []string{"--workers", "1", "--parent-fd", "3"}, extra: []*os.File{pipe}})
			_ = pipe.Close()
			dir := filepath.Dir(l.runDir)
			l.runPod(t, "busy", nil)
			seen := tracesOf(t, l)
			// The lab's own process, its first and its supervisor, the control plane (5), two nodes with their kubelets and
			// one kube-proxy, and a pod.
			if len(seen.namespaces) < 10 || len(seen.pids) < 12 {
				t.Fatalf("found only %d processes and %d namespaces of the lab: the test does not look right", len(seen.pids),
					len(seen.namespaces))
			}
			tt.end(t, l, parent)
			start := time.Now()
			if code := l.awaitEnd(t); code != tt.code {
				t.Errorf("exit code %d, want %d\n%s", code, tt.code, l.stderr)
			}
			eventually(t, goneWithin, func() []string { return seen.left(t) })
			t.Logf("%s: gone %s after the end was asked for", tt.name, time.Since(start).Round(time.Millisecond))
			if tt.code == -1 {
				checkStale(t, l)
			}
			if files, _ := filepath.Glob(dir + "/*"); len(files) > 0 {
				t.Errorf("files left: %v", files)
			}
		})
	}
}

// goneWithin bounds how long anything of a lab may stay after its end.
const goneWithin = 5 * time.Second

// checkStale looks at the run directory of a lab that was killed: no key is left in it, and the next command that
// comes by removes it.
func checkStale(t *testing.T, l *lab) {
	t.Helper()
	eventually(t, goneWithin, func() []string {
		files, _ := filepath.Glob(l.runDir + "/*")
		return slicesWithout(files, l.runDir+"/lock")
	})
	out, stderr, code := l.run(t, "", "status")
	if code != 1 || !strings.Contains(out, "stopped") {
		t.Errorf("status of a killed lab: exit code %d, %s%s", code, out, stderr)
	}
}

func slicesWithout(all []string, one string) []string {
	var out []string
	for _, s := range all {
		if s != one {
			out = append(out, s)
		}
	}
	return out
}

// TestTheMachineIsUntouched compares mounts, links and files before, while and after a lab runs.
func TestTheMachineIsUntouched(t *testing.T) {
	requireLabs(t)
	outside := t.TempDir()
	before := machineState(t, outside)
	l := startLab(t, options{args: []string{"--workers", "1"}})
	if diff := cmp.Diff(before, machineState(t, outside)); diff != "" {
		t.Errorf("while a lab runs (-before +now):\n%s", diff)
	}
	l.stop(t)
	if diff := cmp.Diff(before, machineState(t, outside)); diff != "" {
		t.Errorf("after a lab (-before +now):\n%s", diff)
	}
}

// TestKilledAndStartedAgain starts a lab in the directory of one that is being killed at that moment.
func TestKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	first := startLab(t, options{args: []string{"--workers", "1"}})
	stdout, stderr, code := first.run(t, "", "up", "--workers", "1")
	if code != 1 || stdout != "" || !strings.Contains(stderr, "running with this run directory") {
		t.Errorf("a second lab in the same directory: exit code %d\n%s%s", code, stdout, stderr)
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code = first.run(t, "", "up", "--workers", "1", "--detach")
	if code != 0 || strings.TrimSpace(stdout) != filepath.Join(first.runDir, "kubeconfig") {
		t.Fatalf("starting again: exit code %d\n%s%s", code, stdout, stderr)
	}
	pid, err := os.ReadFile(filepath.Join(first.runDir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strconv.Atoi(string(pid)); err != nil {
		t.Errorf("lock: %v", err)
	}
	if _, stderr, code = first.run(t, "", "down"); code != 0 {
		t.Errorf("down: exit code %d\n%s", code, stderr)
	}
}
