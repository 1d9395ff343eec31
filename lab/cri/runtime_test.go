package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// probeImage is the image of the tests: testdata/probe.
const probeImage = "test.example/probe:dev"

// probeDir is the directory that buildProbe made; "" if it made none.
var probeDir string

// buildProbe builds the static test program once per test binary.
var buildProbe = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(probeEnv); path != "" {
		return path, nil // built by the parent test
	}
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return "", err
	}
	probeDir = dir
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "probe")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the probe: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		panic(serveUntilKilled(dir))
	}
	if os.Getenv(userNamespaceEnv) != "" {
		if err := enterTestNode(); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if probeDir != "" {
		os.RemoveAll(probeDir)
	}
	os.Exit(code)
}

// harness is a served runtime and its client.
type harness struct {
	t       *testing.T
	server  *Server
	client  runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
	network *fakeNetwork
	state   string
	logs    string
	stop    func()
}

// fakeNetwork gives each pod an address on its loopback interface and remembers what is attached.
type fakeNetwork struct {
	mu       sync.Mutex
	last     byte
	attached map[string]netip.Addr
	fail     error // of Attach
}

func (n *fakeNetwork) Attach(_ context.Context, id string, ns *os.File) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	addr := netip.AddrFrom4([4]byte{10, 99, 0, n.last})
	n.attached[id] = addr
	if n.fail != nil {
		return nil, n.fail
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		return nil, err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	ip, err := netlink.ParseAddr(addr.String() + "/32")
	if err != nil {
		return nil, err
	}
	return []netip.Addr{addr}, h.AddrAdd(lo, ip)
}

func (n *fakeNetwork) Detach(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.attached, id)
	return nil
}

func (n *fakeNetwork) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.attached)
}

// newHarness serves a runtime for the test; it skips where containers cannot be made.
func newHarness(t *testing.T) *harness {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making namespaces needs root here; TestInUserNamespace covers the unprivileged case")
	}
	probe, err := buildProbe()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h := &harness{
		t: t, state: filepath.Join(dir, "state"), logs: filepath.Join(dir, "logs"),
		network: &fakeNetwork{attached: map[string]netip.Addr{}},
	}
	if err := os.Mkdir(h.state, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(shortTempDir(t), "cri.sock")
	h.server, err = New(Options{
		Socket: socket, StateDir: h.state, NodeName: "node1", Network: h.network,
		Images: []Image{{
			Name: probeImage, Files: map[string]string{"/probe": probe}, Entrypoint: []string{"/probe"}, UID: 65532,
		}},
		IgnoreUser: os.Getenv(userNamespaceEnv) == singleID,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.server.starter.env = append(h.server.starter.env, "GORACE=atexit_sleep_ms=0") // a second for each command
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-served:
			if err != nil {
				t.Errorf("serving: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server did not end")
		}
	})
	t.Cleanup(h.stop)
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	h.client, h.images = runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)
	return h
}

// shortTempDir returns a directory for a socket, whose path may have no more than 107 bytes.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cri") //nolint:usetesting // the test's own directory has a longer name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// podConfig is a pod with a network of its own.
func (h *harness) podConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Uid: name + "-uid", Namespace: "default"},
		Hostname:     name,
		LogDirectory: filepath.Join(h.logs, name),
		DnsConfig: &runtimeapi.DNSConfig{
			Servers: []string{"10.79.0.10"}, Searches: []string{"svc.cluster.local"}, Options: []string{"ndots:5"},
		},
		Labels: map[string]string{"pod": name},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

// runPod runs a sandbox and fails the test if it cannot.
func (h *harness) runPod(config *runtimeapi.PodSandboxConfig) string {
	h.t.Helper()
	resp, err := h.client.RunPodSandbox(h.t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		h.t.Fatalf("running a sandbox: %v", err)
	}
	return resp.PodSandboxId
}

// containerConfig is a container of the probe with the arguments.
func containerConfig(args ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "main"},
		Image:    &runtimeapi.ImageSpec{Image: probeImage},
		Args:     args,
		LogPath:  "main/0.log",
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
			MaskedPaths:      []string{"/proc/kcore", "/proc/keys", "/proc/scsi", "/proc/absent"},
			ReadonlyPaths:    []string{"/proc/sys", "/proc/bus"},
		}},
	}
}

// create creates a container and returns its id; the log directory is the kubelet's to make.
func (h *harness) create(pod string, config *runtimeapi.ContainerConfig) string {
	h.t.Helper()
	sb := h.server.sandbox(pod)
	if err := os.MkdirAll(filepath.Dir(filepath.Join(sb.config.LogDirectory, config.LogPath)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	resp, err := h.client.CreateContainer(h.t.Context(), &runtimeapi.CreateContainerRequest{
		PodSandboxId: pod, Config: config, SandboxConfig: sb.config,
	})
	if err != nil {
		h.t.Fatalf("creating a container: %v", err)
	}
	return resp.ContainerId
}

// start creates and starts a container.
func (h *harness) start(pod string, config *runtimeapi.ContainerConfig) string {
	h.t.Helper()
	id := h.create(pod, config)
	if _, err := h.client.StartContainer(h.t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		h.t.Fatalf("starting a container: %v", err)
	}
	return id
}

// status returns the status of a container.
func (h *harness) status(id string) *runtimeapi.ContainerStatus {
	h.t.Helper()
	resp, err := h.client.ContainerStatus(h.t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		h.t.Fatalf("container status: %v", err)
	}
	return resp.Status
}

// exited waits for the end of a container and returns its status.
func (h *harness) exited(id string) *runtimeapi.ContainerStatus {
	h.t.Helper()
	c, err := h.server.container(id)
	if err != nil {
		h.t.Fatal(err)
	}
	select {
	case <-c.exited:
	case <-time.After(20 * time.Second):
		h.t.Fatal("the container did not end")
	}
	return h.status(id)
}

// logLines returns the log of a container without times: "stdout F text".
func (h *harness) logLines(id string) []string {
	h.t.Helper()
	data, err := os.ReadFile(h.status(id).LogPath)
	if err != nil {
		h.t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		stamp, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
			h.t.Errorf("log entry %q has no time: %v", line, err)
		}
		lines = append(lines, rest)
	}
	return lines
}

// waitLog waits until the log of a container holds the text.
func (h *harness) waitLog(id, text string) {
	h.t.Helper()
	eventually(h.t, func() error {
		if lines := strings.Join(h.logLines(id), "\n"); !strings.Contains(lines, text) {
			return fmt.Errorf("the log has no %q:\n%s", text, lines)
		}
		return nil
	})
}

// eventually repeats the check until it passes.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// inside is what the probe's report says.
type inside struct {
	PID                                    int
	UID, GID                               int
	Groups                                 []int
	Cwd, Hostname                          string
	Env, Args, Addrs                       []string
	CapBnd, CapEff, CapPrm, CapInh, CapAmb string
	NoNewPrivs                             string
	Terminal                               bool
	Files                                  map[string]string
}

// report runs the probe to its end and returns what it saw.
func (h *harness) report(pod string, config *runtimeapi.ContainerConfig) inside {
	h.t.Helper()
	id := h.start(pod, config)
	status := h.exited(id)
	lines := h.logLines(id)
	if status.ExitCode != 0 || len(lines) == 0 {
		h.t.Fatalf("the report ended with %d (%s): %v", status.ExitCode, status.Message, lines)
	}
	var text strings.Builder
	for _, line := range lines {
		text.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "stdout P "), "stdout F "))
	}
	return readReport(h.t, text.String())
}

// readReport decodes the probe's report.
func readReport(t *testing.T, text string) inside {
	t.Helper()
	var seen inside
	if err := json.Unmarshal([]byte(text), &seen); err != nil {
		t.Fatalf("reading the report %q: %v", text, err)
	}
	return seen
}

// execSync runs a command in a container.
func (h *harness) execSync(id string, timeout int64, cmd ...string) (*runtimeapi.ExecSyncResponse, error) {
	return h.client.ExecSync(h.t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: cmd, Timeout: timeout})
}

var errInjected = errors.New("injected failure")
