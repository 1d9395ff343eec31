package cri

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// serveEnv makes the test binary a server with two containers, in the directory it names.
const serveEnv = "PODSKEW_TEST_SERVE"

// TestRuntimeKilledServer checks that no process outlives a server that was killed.
func TestRuntimeKilledServer(t *testing.T) {
	h := newHarness(t) // for its conditions; it stays empty
	before := countMounts(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^$")
	probe, err := buildProbe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), serveEnv+"="+shortTempDir(t), probeEnv+"="+probe)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "serving\n" {
		t.Fatalf("the server says %q, %v", line, err)
	}
	// Two containers, a command in one of them, and the process of the runtime that started it from inside.
	eventually(t, func() error {
		if n := len(probes(t)); n != 4 {
			return fmt.Errorf("%d processes run, want 4", n)
		}
		return nil
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, func() error {
		if left := probes(t); len(left) != 0 {
			return errors.New("processes are left: " + strings.Join(left, ", "))
		}
		return nil
	})
	h.checkNothingLeft(before)
}

// serveUntilKilled is the server of TestRuntimeKilledServer.
func serveUntilKilled(dir string) error {
	probe, err := buildProbe()
	if err != nil {
		return err
	}
	s, err := New(Options{
		Socket: dir + "/cri.sock", StateDir: dir, Network: &fakeNetwork{attached: map[string]netip.Addr{}},
		Images:     []Image{{Name: probeImage, Files: map[string]string{"/probe": probe}, Entrypoint: []string{"/probe"}, UID: 65532}},
		IgnoreUser: singleIDTest(),
	})
	if err != nil {
		return err
	}
	ctx := context.Background()
	pod, err := s.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: (&harness{logs: dir}).podConfig("web")})
	if err != nil {
		return err
	}
	var id string
	for _, user := range []int64{0, 1000} { // the kernel undoes the tie when the user changes
		config := labelled(containerConfig("stubborn"), "main")
		config.LogPath = ""
		security(config).RunAsUser = &runtimeapi.Int64Value{Value: user}
		created, err := s.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: pod.PodSandboxId, Config: config})
		if err != nil {
			return err
		}
		id = created.ContainerId
		if _, err := s.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
			return err
		}
	}
	fmt.Println("serving")
	_, err = s.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"/probe", "stubborn"}})
	return fmt.Errorf("the command ended: %w", err)
}
