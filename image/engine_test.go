package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inEngine says that hack/docker.sh has found an engine and runs this test with it.
const inEngine = "PODSKEW_ENGINE"

// TestInAnEngine loads the image into a real engine and runs both roles as a hardened pod would: read-only, without
// capabilities, as its own user and as one it has never heard of.
func TestInAnEngine(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no engine is started")
	}
	if os.Getenv(inEngine) == "" {
		findEngine(t)
		return
	}
	e := engine{t: t, name: fmt.Sprintf("podskew.dev/pod:test-%d", os.Getpid())}
	archive := filepath.Join(t.TempDir(), "pod.tar")
	if err := os.WriteFile(archive, write(t, podBinaries(t), Options{Name: e.name, Version: "v1", Engine: runtime.GOARCH}), 0o600); err != nil {
		t.Fatal(err)
	}
	e.docker("load", "--input", archive)
	t.Cleanup(func() { e.docker("rmi", "--force", e.name) })
	t.Run("inspect", e.inspect)
	t.Run("echo", e.echo)
	t.Run("agent", e.agent)
	t.Run("containerd", func(t *testing.T) { e.containerd(t, archive) })
}

// findEngine runs this test again with an engine, which may be a private one in namespaces of its own.
func findEngine(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "../hack/docker.sh", os.Args[0], "-test.run=^TestInAnEngine$", "-test.v", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), inEngine+"=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case failed && exit.ExitCode() == 77:
		t.Skipf("%s", out)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case !strings.Contains(string(out), "--- PASS: TestInAnEngine/agent"):
		t.Errorf("the engine was not used:\n%s", out)
	default:
		t.Logf("%s", out)
	}
}

// podBinaries are the real ones: those that make built, else built here. The other architecture comes along, so that
// the engine has something to choose from.
func podBinaries(t *testing.T) map[string]string {
	t.Helper()
	binaries := map[string]string{}
	for _, arch := range Architectures() {
		built := filepath.Join(os.Getenv("PODSKEW_BIN"), "podskew-pod")
		if _, err := os.Stat(built); err == nil && os.Getenv("PODSKEW_BIN") != "" && arch == runtime.GOARCH {
			binaries[arch] = built
			continue
		}
		path := filepath.Join(t.TempDir(), "podskew-pod-"+arch)
		cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", path, "../cmd/podskew-pod")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		binaries[arch] = path
	}
	return binaries
}

type engine struct {
	t    *testing.T
	name string
}

func (e engine) docker(args ...string) string {
	e.t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		e.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (e engine) inspect(t *testing.T) {
	e.t = t
	var images []struct {
		Architecture, Os string
		Size             int
		Config           struct {
			User   string
			Labels map[string]string
		}
	}
	if err := json.Unmarshal([]byte(e.docker("image", "inspect", e.name)), &images); err != nil {
		t.Fatal(err)
	}
	got := images[0]
	if got.Config.User != User || got.Architecture != runtime.GOARCH || got.Os != "linux" {
		t.Errorf("the engine has %+v", got)
	}
	if limit := 20_000_000; got.Size <= 0 || got.Size >= limit {
		t.Errorf("the image has %d bytes, want less than %d", got.Size, limit)
	}
	if got.Config.Labels["org.opencontainers.image.version"] != "v1" {
		t.Errorf("labels: %v", got.Config.Labels)
	}
}

// start runs a role as a hardened pod would and returns the address of its port once it is healthy.
func (e engine) start(port string, args ...string) string {
	e.t.Helper()
	hardened := []string{"run", "--detach", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--publish=127.0.0.1::" + port}
	id := e.docker(append(hardened, args...)...)
	e.t.Cleanup(func() {
		if e.t.Failed() {
			e.t.Log(e.docker("logs", id))
		}
		e.docker("rm", "--force", "--volumes", id)
	})
	address, _, _ := strings.Cut(e.docker("port", id, port+"/tcp"), "\n")
	url := "http://" + address
	ctx, cancel := context.WithTimeout(e.t.Context(), 20*time.Second)
	defer cancel()
	for {
		status, _, err := get(ctx, url+"/healthz")
		if err == nil && status == http.StatusOK {
			return url
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			e.t.Fatalf("%s is not healthy: status %d, %v", url, status, err)
		}
	}
}

func (e engine) echo(t *testing.T) {
	for name, user := range map[string]string{"as its own user": User, "as a user of the cluster's choice": "1000680000:0"} {
		t.Run(name, func(t *testing.T) {
			e := engine{t, e.name}
			args := []string{"--env=POD_NAME=echo-0", e.name, "echo"}
			if user != User {
				args = append([]string{"--user=" + user}, args...)
			}
			status, body, err := get(t.Context(), e.start("8080", args...)+"/")
			var answer struct{ Pod string }
			if err = errors.Join(err, json.Unmarshal(body, &answer)); err != nil || status != http.StatusOK || answer.Pod != "echo-0" {
				t.Errorf("status %d, %v: %s", status, err, body)
			}
		})
	}
}

func (e engine) agent(t *testing.T) {
	e.t = t
	dir := t.TempDir()
	for file, text := range map[string]string{"token": "s3cret\n", "targets": "127.0.0.1:1\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	url := e.start("8090", "--volume="+dir+":/etc/podskew:ro", e.name, "agent", "--max-lifetime=1m")
	for name, c := range map[string]struct {
		token string
		want  int
	}{"without the token": {"", http.StatusUnauthorized}, "with it": {"s3cret", http.StatusBadRequest}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/run", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Podskew-Token", c.token)
		status, body, err := do(req)
		if err != nil || status != c.want {
			t.Errorf("a plan that is empty, %s: status %d, want %d; %v: %s", name, status, c.want, err, body)
		}
	}
}

// containerd imports the archive as kind does, into the containerd of a private engine.
func (e engine) containerd(t *testing.T, archive string) {
	t.Helper()
	dir := filepath.Dir(strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://"))
	socket := filepath.Join(dir, "run", "containerd", "containerd.sock")
	if _, err := os.Stat(socket); err != nil {
		t.Skip("only into the containerd of a private engine")
	}
	if _, err := exec.LookPath("ctr"); err != nil {
		t.Skip("ctr, containerd's command line, is not installed")
	}
	ctr := []string{"--address", socket, "--namespace", "k8s.io", "images"}
	out, err := exec.CommandContext(t.Context(), "ctr", append(ctr, "import", "--all-platforms", "--digests", archive)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ctr images import: %v\n%s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), "ctr", append(ctr, "check", "name=="+e.name)...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), " complete (") || !strings.Contains(string(out), " true") { // unpacked
		t.Errorf("ctr images check: %v\n%s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), "ctr", append(ctr, "ls", "name=="+e.name)...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "linux/amd64,linux/arm64") {
		t.Errorf("ctr images ls: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func get(ctx context.Context, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	return do(req)
}

// do sends a request past any proxy of the environment: the engine is on this machine.
func do(req *http.Request) (status int, body []byte, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
