package cri

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func security(c *runtimeapi.ContainerConfig) *runtimeapi.LinuxContainerSecurityContext {
	return c.Linux.SecurityContext
}

func TestRuntimeContainerLifecycle(t *testing.T) {
	h := newHarness(t)
	before := countMounts(t)
	pod := h.runPod(h.podConfig("web"))
	config := containerConfig("wait")
	config.Labels, config.Annotations = map[string]string{"l": "1"}, map[string]string{"a": "2"}
	config.Mounts = []*runtimeapi.Mount{{HostPath: t.TempDir(), ContainerPath: "/data"}}
	id := h.create(pod, config)
	created := h.status(id)
	if created.State != runtimeapi.ContainerState_CONTAINER_CREATED || created.StartedAt != 0 || created.CreatedAt == 0 {
		t.Errorf("a created container is %v, started at %d", created.State, created.StartedAt)
	}
	start := func() error {
		_, err := h.client.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id})
		return err
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	if err := start(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("starting twice gives %v", err)
	}
	running := h.status(id)
	if running.State != runtimeapi.ContainerState_CONTAINER_RUNNING || running.StartedAt < running.CreatedAt {
		t.Errorf("a running container is %v, started at %d", running.State, running.StartedAt)
	}
	if running.LogPath != filepath.Join(h.logs, "web", "main/0.log") || len(running.Mounts) != 1 || running.ImageRef == "" ||
		running.Labels["l"] != "1" || running.Annotations["a"] != "2" || running.Image.Image != probeImage {
		t.Errorf("status lacks something: %v", running)
	}
	h.waitLog(id, "waiting")
	stop := &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 20}
	for range 2 {
		if _, err := h.client.StopContainer(t.Context(), stop); err != nil {
			t.Fatal(err)
		}
	}
	stopped := h.status(id)
	if stopped.State != runtimeapi.ContainerState_CONTAINER_EXITED || stopped.ExitCode != 0 || stopped.Reason != "Completed" ||
		stopped.FinishedAt < stopped.StartedAt {
		t.Errorf("after a graceful stop: %v", stopped)
	}
	if diff := cmp.Diff([]string{"stdout F waiting", "stdout F got terminated"}, h.logLines(id)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	for range 2 {
		if _, err := h.client.RemoveContainer(t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := h.client.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if status.Code(err) != codes.NotFound {
		t.Errorf("the status of a removed container: %v", err)
	}
	if _, err := os.Stat(stopped.LogPath); err != nil {
		t.Errorf("the log went with the container: %v", err)
	}
	if _, err := h.client.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		t.Fatal(err)
	}
	h.checkNothingLeft(before)
}

func TestRuntimeEnds(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	for name, test := range map[string]struct {
		args    []string
		signal  runtimeapi.Signal
		stop    bool
		timeout int64
		code    int32
		reason  string
	}{
		"on its own with success":          {args: []string{"print", "x"}, reason: "Completed"},
		"on its own with an exit code":     {args: []string{"exit", "3"}, code: 3, reason: "Error"},
		"killed at once without a timeout": {args: []string{"wait"}, stop: true, code: 137, reason: "Error"},
		"killed after the timeout":         {args: []string{"stubborn"}, stop: true, timeout: 1, code: 137, reason: "Error"},
		"by the pod's own stop signal": {
			args: []string{"wait"}, signal: runtimeapi.Signal_SIGUSR1, stop: true, timeout: 20, code: 10, reason: "Error",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := containerConfig(test.args...)
			config.StopSignal = test.signal
			config.LogPath = strings.ReplaceAll(name, " ", "-") + "/0.log"
			id := h.start(pod, config)
			if test.stop {
				h.waitLog(id, "F ") // signal handlers are set
				_, err := h.client.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: test.timeout})
				if err != nil {
					t.Fatal(err)
				}
			}
			if got := h.exited(id); got.ExitCode != test.code || got.Reason != test.reason {
				t.Errorf("exit code %d, reason %q; want %d, %q", got.ExitCode, got.Reason, test.code, test.reason)
			}
		})
	}
}

func TestRuntimeKillTakesAllProcesses(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	id := h.start(pod, containerConfig("spawn"))
	eventually(t, func() error {
		if n := len(probes(t)); n != 3 {
			return fmt.Errorf("%d processes run, want 3", n)
		}
		return nil
	})
	if _, err := h.client.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
	if left := probes(t); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
}

func TestRuntimeStopGivesUpWithItsCaller(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	id := h.start(pod, containerConfig("stubborn"))
	h.waitLog(id, "stubborn")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := h.client.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 1000})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("stopping gives %v", err)
	}
	if got := h.status(id).State; got != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the container is %v", got)
	}
}

func TestRuntimeStartFailures(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	for name, test := range map[string]struct {
		change func(*runtimeapi.ContainerConfig)
		want   string
	}{
		"a command that is not in PATH": {func(c *runtimeapi.ContainerConfig) { c.Command = []string{"sh"} }, "executable file not found in $PATH"},
		"a command that does not exist": {func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/bin/sh"} }, "exec /bin/sh: no such file"},
		"a command that is no program":  {func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/etc/hosts"} }, "exec /etc/hosts: permission denied"},
		"a mount that cannot be opened": {func(c *runtimeapi.ContainerConfig) {
			c.Mounts = []*runtimeapi.Mount{{HostPath: "/dev/null/x", ContainerPath: "/data"}}
		}, "/data"},
		"a log that cannot be written": {func(c *runtimeapi.ContainerConfig) { c.LogPath = "no/such/directory" }, "no/such/directory"},
	} {
		t.Run(name, func(t *testing.T) {
			config := containerConfig("wait")
			test.change(config)
			sb := h.server.sandbox(pod)
			if err := os.MkdirAll(filepath.Join(sb.config.LogDirectory, "main"), 0o755); err != nil {
				t.Fatal(err)
			}
			created, err := h.client.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: config})
			if err != nil {
				t.Fatal(err)
			}
			_, err = h.client.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: created.ContainerId})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("starting gives %v, want something with %q", err, test.want)
			}
			got := h.status(created.ContainerId)
			if got.State != runtimeapi.ContainerState_CONTAINER_EXITED || got.ExitCode != 128 || got.Reason != "StartError" ||
				!strings.Contains(got.Message, test.want) {
				t.Errorf("the container is %v, exit code %d, %q, %q", got.State, got.ExitCode, got.Reason, got.Message)
			}
		})
	}
	if left := probes(t); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
}

func TestRuntimeCreateFailures(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	for name, test := range map[string]struct {
		change func(*runtimeapi.ContainerConfig)
		code   codes.Code
		want   string
	}{
		"an unknown image": {
			func(c *runtimeapi.ContainerConfig) { c.Image.Image = "nginx:1.29" }, codes.NotFound, "test.example/probe:dev",
		},
		"an unknown capability": {
			func(c *runtimeapi.ContainerConfig) {
				security(c).Capabilities = &runtimeapi.Capability{AddCapabilities: []string{"FLY"}}
			}, codes.InvalidArgument, `"FLY"`,
		},
		"an unknown user": {
			func(c *runtimeapi.ContainerConfig) { security(c).RunAsUsername = "alice" }, codes.InvalidArgument, `"alice"`,
		},
		"a negative user": {
			func(c *runtimeapi.ContainerConfig) { security(c).RunAsUser = &runtimeapi.Int64Value{Value: -1} }, codes.InvalidArgument, "-1",
		},
		"the processes of another container": {
			func(c *runtimeapi.ContainerConfig) {
				security(c).NamespaceOptions.Pid = runtimeapi.NamespaceMode_TARGET
			},
			codes.InvalidArgument, "another container",
		},
		"mounts that show on the node": {
			func(c *runtimeapi.ContainerConfig) {
				c.Mounts = []*runtimeapi.Mount{{
					HostPath: "/", ContainerPath: "/host", Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL,
				}}
			}, codes.InvalidArgument, "/host",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := containerConfig("wait")
			test.change(config)
			_, err := h.client.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: config})
			if status.Code(err) != test.code || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %v with %q", err, test.code, test.want)
			}
		})
	}
}

func TestRuntimeMountsAndEnvironment(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	config := containerConfig("report", "/data/given", "+/data/made", "+/fixed/made", "/fixed/given", "/fixed/deep/inner",
		"/etc/hosts", "+/tmp/x", "+/made-in-root", "/new", "+/proc/sys/kernel/hostname", "/proc/kcore", "/probe-dir")
	dirs := map[string]string{"/data": t.TempDir(), "/fixed": t.TempDir(), "/fixed/deep": t.TempDir()}
	for _, dir := range dirs {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range map[string]string{"/data": "rw", "/fixed": "ro"} {
		if err := os.WriteFile(filepath.Join(dirs[path], "given"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dirs["/fixed/deep"], "inner"), []byte("deep"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dirs["/fixed"], "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("10.0.0.1 other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dirs["/data"], link); err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(t.TempDir(), "not", "there")
	config.Mounts = []*runtimeapi.Mount{
		{HostPath: dirs["/fixed/deep"], ContainerPath: "/fixed/deep"}, // before its parent
		{HostPath: dirs["/fixed"], ContainerPath: "/fixed", Readonly: true},
		{HostPath: link, ContainerPath: "/data"},
		{HostPath: hosts, ContainerPath: "/etc/hosts"},
		{HostPath: made, ContainerPath: "/new"},
	}
	config.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("1")}, {Key: "HOME", Value: []byte("/data")}}
	config.WorkingDir = "/srv/here"
	seen := h.report(pod, config)
	denied := "error: open /made-in-root: permission denied" // for the image's user; a single id is the owner
	if singleIDTest() {
		denied = "ok"
	}
	want := map[string]string{
		"/data/given":                "rw",
		"+/data/made":                "ok",
		"/fixed/given":               "ro",
		"+/fixed/made":               "error: open /fixed/made: read-only file system",
		"/fixed/deep/inner":          "deep",
		"/etc/hosts":                 "10.0.0.1 other\n",
		"+/tmp/x":                    "ok",
		"+/made-in-root":             denied,
		"/new":                       "",
		"+/proc/sys/kernel/hostname": seen.Files["+/proc/sys/kernel/hostname"],
		"/proc/kcore":                "",
		"/probe-dir":                 "error: open /probe-dir: no such file or directory",
	}
	if masked := seen.Files["/proc/kcore"]; strings.HasPrefix(masked, "error: open /proc/kcore: no such") {
		want["/proc/kcore"] = masked // this kernel has none
	}
	if diff := cmp.Diff(want, seen.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := seen.Files["+/proc/sys/kernel/hostname"]; !strings.HasPrefix(got, "error: ") {
		t.Errorf("writing a kernel parameter: %s", got)
	}
	if data, err := os.ReadFile(filepath.Join(dirs["/data"], "made")); err != nil || string(data) != "written inside" {
		t.Errorf("the node sees %q, %v", data, err)
	}
	if seen.Cwd != "/srv/here" || seen.PID != 1 {
		t.Errorf("working directory %q, process %d", seen.Cwd, seen.PID)
	}
	for _, entry := range []string{"A=1", "HOME=/data", "HOSTNAME=web", searchPath} {
		if !slices.Contains(seen.Env, entry) {
			t.Errorf("environment lacks %s: %v", entry, seen.Env)
		}
	}
	if slices.Contains(seen.Env, "HOME=/") || len(seen.Env) != 4 {
		t.Errorf("environment has more than given: %v", seen.Env)
	}
}

func singleIDTest() bool { return os.Getenv(userNamespaceEnv) == singleID }

func TestRuntimeParallelStarts(t *testing.T) {
	h := newHarness(t)
	before, files := countMounts(t), openFiles(t)
	const pods = 20
	ids := make([]string, pods)
	var starting sync.WaitGroup
	for i := range pods {
		starting.Go(func() {
			config := h.podConfig(fmt.Sprintf("pod-%d", i))
			resp, err := h.client.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config})
			if err != nil {
				t.Errorf("sandbox %d: %v", i, err)
				return
			}
			ids[i] = resp.PodSandboxId
			for _, name := range []string{"a", "b"} {
				if err := os.MkdirAll(filepath.Join(config.LogDirectory, name), 0o755); err != nil {
					t.Error(err)
				}
				created, err := h.client.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{
					PodSandboxId: resp.PodSandboxId, Config: labelled(containerConfig("wait"), name),
				})
				if err != nil {
					t.Errorf("container %d: %v", i, err)
					return
				}
				if _, err := h.client.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
					t.Errorf("starting container %d: %v", i, err)
				}
			}
		})
	}
	starting.Wait()
	if n := len(probes(t)); n != 2*pods {
		t.Errorf("%d processes run, want %d", n, 2*pods)
	}
	var removing sync.WaitGroup
	for _, id := range ids {
		removing.Go(func() {
			if _, err := h.client.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
				t.Error(err)
			}
		})
	}
	removing.Wait()
	h.checkNothingLeft(before)
	if after := openFiles(t); after > files+2 { // the client's and the server's end of the connection
		t.Errorf("%d files are open, %d were before", after, files)
	}
}

func TestRuntimeRemoveWhileRunning(t *testing.T) {
	h := newHarness(t)
	before := countMounts(t)
	pod := h.runPod(h.podConfig("web"))
	for range 5 {
		id := h.create(pod, containerConfig("stubborn"))
		var racing sync.WaitGroup
		racing.Go(func() {
			// Either it starts and is killed, or it is refused; both are fine.
			_, _ = h.client.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id})
		})
		racing.Go(func() {
			if _, err := h.client.RemoveContainer(t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
				t.Error(err)
			}
		})
		racing.Wait()
	}
	if _, err := h.client.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		t.Fatal(err)
	}
	h.checkNothingLeft(before)
}
