package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRoles(t *testing.T) {
	for _, name := range []string{RolePid1, RoleRemap, RoleNode, RoleEnter, RoleRun} {
		if role(name) == nil {
			t.Errorf("%s is not an early role", name)
		}
	}
	for _, name := range []string{RoleSuper, "up", "", "-test.v"} {
		if role(name) != nil {
			t.Errorf("%q is an early role", name)
		}
	}
}

func TestEmptyRunDir(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lock", "kubeconfig", "logs/etcd.log"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	EmptyRunDir(dir)
	left, err := filepath.Glob(dir + "/*")
	if err != nil || len(left) != 1 || left[0] != filepath.Join(dir, LockFile) {
		t.Errorf("left: %v, %v", left, err)
	}
	EmptyRunDir(filepath.Join(dir, "none"))
}

func TestWaitStatusInWords(t *testing.T) {
	tests := []struct {
		command  string
		code     int
		describe string
	}{
		{"exit 0", 0, "ended with exit status 0"},
		{"exit 3", 3, "ended with exit status 3"},
		{"kill -9 $$", 137, "killed by signal 9 (killed)"},
	}
	for _, tt := range tests {
		cmd := exec.Command("sh", "-c", tt.command)
		_ = cmd.Run()
		status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || exitCode(status) != tt.code || describe(status) != tt.describe {
			t.Errorf("%s: code %d, %q", tt.command, exitCode(status), describe(status))
		}
	}
}

func TestRunAllStopsAtTheFirstFailure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	err := runAll([]Command{
		{Args: []string{"tee", file}, Stdin: "text"},
		{Args: []string{"sh", "-c", "echo no such rule >&2; exit 1"}},
		{Args: []string{"rm", file}},
	})
	if err == nil || !strings.Contains(err.Error(), "no such rule") {
		t.Errorf("error %v", err)
	}
	if data, err := os.ReadFile(file); string(data) != "text" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestWriteSysctls(t *testing.T) {
	missing := Sysctl{Path: "net/no/such/setting", Value: "1"}
	if err := writeSysctls([]Sysctl{missing}); err == nil {
		t.Error("a setting that the kernel lacks is no error")
	}
	missing.Optional = true
	if err := writeSysctls([]Sysctl{missing}); err != nil {
		t.Errorf("an optional one: %v", err)
	}
}
