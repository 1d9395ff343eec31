package cri

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Environment of the test binary when it runs itself inside a user namespace.
const (
	userNamespaceEnv = "PODSKEW_TEST_USER_NAMESPACE" // which kind
	probeEnv         = "PODSKEW_TEST_PROBE"          // the built probe

	singleID = "single id" // as an unprivileged user makes it
	idRange  = "id range"  // as root makes it
)

// TestInUserNamespace repeats the runtime's tests as the lab runs it: inside namespaces like those of a node.
func TestInUserNamespace(t *testing.T) {
	if os.Getenv(userNamespaceEnv) != "" {
		t.Skip("this is the inner run")
	}
	probe, err := buildProbe()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{singleID, idRange} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // each has its own namespaces
			host, size := os.Getuid(), 1
			if host == 0 {
				host = 23456
			}
			if kind == idRange {
				if os.Getuid() != 0 {
					t.Skip("mapping a range of ids needs root")
				}
				host, size = 300000, 65536
			}
			runInUserNamespace(t, kind, probe, host, size)
		})
	}
}

// runInUserNamespace runs the tests that need a runtime with the ids from host on as 0 to size-1.
func runInUserNamespace(t *testing.T, kind, probe string, host, size int) {
	t.Helper()
	dir := shortTempDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, host, host); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestRuntime", "-test.v", "-test.timeout=2m")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), userNamespaceEnv+"="+kind, probeEnv+"="+probe, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings:                []syscall.SysProcIDMap{{ContainerID: 0, HostID: host, Size: size}},
		GidMappings:                []syscall.SysProcIDMap{{ContainerID: 0, HostID: hostGroup(host), Size: size}},
		GidMappingsEnableSetgroups: kind == idRange,
		Credential:                 &syscall.Credential{NoSetGroups: kind != idRange},
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("inner run: %v", err)
	}
}

// hostGroup returns the group that goes with the mapped user.
func hostGroup(host int) int {
	if host == os.Getuid() {
		return os.Getgid()
	}
	return host
}

// enterTestNode completes what a node's process 1 does: a /proc of its own and a loopback interface.
func enterTestNode() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return loopbackUp()
}
