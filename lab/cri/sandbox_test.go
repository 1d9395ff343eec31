package cri

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestRuntimeSandboxLifecycle(t *testing.T) {
	h := newHarness(t)
	before := countMounts(t)
	id := h.runPod(h.podConfig("web"))

	resp, err := h.client.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Status.Network.Ip; got != "10.99.0.1" {
		t.Errorf("pod address is %q", got)
	}
	if resp.Status.State != runtimeapi.PodSandboxState_SANDBOX_READY {
		t.Errorf("a running sandbox is %v", resp.Status.State)
	}
	h.start(id, containerConfig("wait"))

	for range 2 { // idempotent
		if _, err := h.client.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
			t.Fatal(err)
		}
	}
	resp, err = h.client.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Status.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("a stopped sandbox is %v", resp.Status.State)
	}
	if n := h.network.count(); n != 0 {
		t.Errorf("%d networks are attached after the stop", n)
	}
	_, err = h.client.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: id, Config: containerConfig("wait")})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("creating a container in a stopped sandbox: %v", err)
	}
	for range 2 {
		if _, err := h.client.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = h.client.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if status.Code(err) != codes.NotFound {
		t.Errorf("the status of a removed sandbox: %v", err)
	}
	h.checkNothingLeft(before)
}

// countMounts returns the number of mounts in this process's namespace.
func countMounts(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(data), "\n")
}

// openNamespaces returns how many namespace files this process holds.
func openNamespaces(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil &&
			(strings.HasPrefix(target, "net:") || strings.HasPrefix(target, "ipc:") || strings.HasPrefix(target, "uts:") ||
				strings.HasPrefix(target, "mnt:") || strings.HasPrefix(target, "pid:")) {
			n++
		}
	}
	return n
}

// openFiles returns how many files this process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// checkNothingLeft checks that no sandbox or container has left anything; mounts is their number before.
func (h *harness) checkNothingLeft(mounts int) {
	h.t.Helper()
	if after := countMounts(h.t); after != mounts {
		h.t.Errorf("%d mounts before, %d after", mounts, after)
	}
	if n := openNamespaces(h.t); n != 0 {
		h.t.Errorf("%d namespaces are still held", n)
	}
	if left := probes(h.t); len(left) != 0 {
		h.t.Errorf("processes are left: %v", left)
	}
	if n := h.network.count(); n != 0 {
		h.t.Errorf("%d networks are still attached", n)
	}
	for _, dir := range []string{"sandboxes", "containers"} {
		entries, err := os.ReadDir(filepath.Join(h.state, dir))
		if err != nil {
			h.t.Fatal(err)
		}
		if len(entries) != 0 {
			h.t.Errorf("%d entries are left in %s", len(entries), dir)
		}
	}
}

// probes returns the processes that still run in a container of this test.
func probes(t *testing.T) []string {
	t.Helper()
	path, err := buildProbe()
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, dir := range dirs {
		mounts, err := os.ReadFile(dir + "/mountinfo")
		if err == nil && strings.Contains(string(mounts), filepath.Base(filepath.Dir(path))+"/probe /probe ") {
			line, _ := os.ReadFile(dir + "/cmdline")
			found = append(found, dir+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func TestRuntimeFailedSandboxLeavesNothing(t *testing.T) {
	h := newHarness(t)
	before := countMounts(t)
	h.network.fail = errInjected
	_, err := h.client.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: h.podConfig("web")})
	if err == nil || !strings.Contains(err.Error(), errInjected.Error()) {
		t.Errorf("a failed network gives %v", err)
	}
	h.network.fail = nil
	config := h.podConfig("web")
	config.Linux.Sysctls = map[string]string{"net.ipv4.no_such_parameter": "1"}
	if _, err := h.client.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config}); err == nil {
		t.Error("an unknown sysctl is accepted")
	}
	list, err := h.client.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("sandboxes are left: %v, %v", list, err)
	}
	h.checkNothingLeft(before)
}

func TestRuntimeRefusesWhatItCannotDo(t *testing.T) {
	h := newHarness(t)
	namespaces := func(c *runtimeapi.PodSandboxConfig) *runtimeapi.NamespaceOption {
		return c.Linux.SecurityContext.NamespaceOptions
	}
	for name, test := range map[string]struct {
		change func(*runtimeapi.PodSandboxConfig)
		want   string
	}{
		"a shared PID namespace": {
			func(c *runtimeapi.PodSandboxConfig) { namespaces(c).Pid = runtimeapi.NamespaceMode_POD }, "shareProcessNamespace",
		},
		"a user namespace": {
			func(c *runtimeapi.PodSandboxConfig) {
				namespaces(c).UsernsOptions = &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD}
			}, "hostUsers",
		},
		"a host port": {
			func(c *runtimeapi.PodSandboxConfig) {
				c.PortMappings = []*runtimeapi.PortMapping{{ContainerPort: 80, HostPort: 8080}}
			}, "hostPort 8080",
		},
		"a sysctl of the whole machine": {
			func(c *runtimeapi.PodSandboxConfig) { c.Linux.Sysctls = map[string]string{"vm.swappiness": "1"} }, "vm.swappiness",
		},
		"a network sysctl of the node": {
			func(c *runtimeapi.PodSandboxConfig) {
				namespaces(c).Network = runtimeapi.NamespaceMode_NODE
				c.Linux.Sysctls = map[string]string{"net.core.somaxconn": "1"}
			}, "net.core.somaxconn",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := h.podConfig("web")
			test.change(config)
			_, err := h.client.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config})
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an invalid argument that names %s", err, test.want)
			}
		})
	}
}

func TestRuntimeSandboxNamespaces(t *testing.T) {
	h := newHarness(t)
	config := h.podConfig("web")
	config.Linux.Sysctls = map[string]string{"net.ipv4.ip_local_port_range": "20000 30000", "kernel.shm_rmid_forced": "1"}
	pod := h.runPod(config)
	seen := h.report(pod, containerConfig("report", "/proc/sys/net/ipv4/ip_local_port_range",
		"/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shm_rmid_forced", "/etc/hostname", "/etc/resolv.conf"))
	want := map[string]string{
		"/proc/sys/net/ipv4/ip_local_port_range":        "20000\t30000\n",
		"/proc/sys/net/ipv4/ip_unprivileged_port_start": "0\n",
		"/proc/sys/kernel/shm_rmid_forced":              "1\n",
		"/etc/hostname":                                 "web\n",
		"/etc/resolv.conf":                              "search svc.cluster.local\nnameserver 10.79.0.10\noptions ndots:5\n",
	}
	if diff := cmp.Diff(want, seen.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if seen.Hostname != "web" || !slices.Contains(seen.Addrs, "10.99.0.1/32") || !slices.Contains(seen.Addrs, "127.0.0.1/8") {
		t.Errorf("the pod sees host name %q and addresses %v", seen.Hostname, seen.Addrs)
	}

	config = h.podConfig("agent")
	config.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_NODE
	config.PortMappings = []*runtimeapi.PortMapping{{ContainerPort: 80, HostPort: 80}} // what the kubelet fills in
	host := h.runPod(config)
	seen = h.report(host, containerConfig("report", "/etc/hostname", "/proc/self/net/dev"))
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	nodeLinks, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	if seen.Hostname != hostname || seen.Files["/etc/hostname"] != "node1\n" || links(seen.Files["/proc/self/net/dev"]) != links(string(nodeLinks)) {
		t.Errorf("a host-network pod sees host name %q and links %s", seen.Hostname, links(seen.Files["/proc/self/net/dev"]))
	}
	resp, err := h.client.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: host})
	if err != nil || resp.Status.Network.Ip != "" {
		t.Errorf("a host-network pod has address %q (%v); the kubelet knows the node's", resp.GetStatus().GetNetwork().GetIp(), err)
	}
}

// links returns the interface names in /proc/net/dev.
func links(dev string) string {
	var names []string
	for line := range strings.Lines(dev) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestRuntimePodSharesMemoryAndHost(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	writer := containerConfig("report", "+/dev/shm/message")
	if seen := h.report(pod, writer); seen.Files["+/dev/shm/message"] != "ok" {
		t.Fatalf("writing shared memory: %v", seen.Files)
	}
	reader := containerConfig("report", "/dev/shm/message", "/tmp")
	reader.Metadata.Name, reader.LogPath = "reader", "reader/0.log"
	seen := h.report(pod, reader)
	if seen.Files["/dev/shm/message"] != "written inside" {
		t.Errorf("the second container sees %q", seen.Files["/dev/shm/message"])
	}
	if seen.Files["/tmp"] != "" {
		t.Errorf("the second container sees the first one's /tmp: %q", seen.Files["/tmp"])
	}
}

func TestRuntimeListFilters(t *testing.T) {
	h := newHarness(t)
	web, db := h.runPod(h.podConfig("web")), h.runPod(h.podConfig("db"))
	a := h.start(web, labelled(containerConfig("wait"), "a"))
	b := h.create(web, labelled(containerConfig("wait"), "b"))
	c := h.start(db, labelled(containerConfig("wait"), "a"))
	if _, err := h.client.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: db}); err != nil {
		t.Fatal(err)
	}
	ready := runtimeapi.PodSandboxState_SANDBOX_READY
	running, exited := runtimeapi.ContainerState_CONTAINER_RUNNING, runtimeapi.ContainerState_CONTAINER_EXITED
	for name, test := range map[string]struct {
		filter *runtimeapi.PodSandboxFilter
		want   []string
	}{
		"no filter gives all sandboxes, oldest first": {nil, []string{web, db}},
		"by id":                          {&runtimeapi.PodSandboxFilter{Id: db}, []string{db}},
		"by state":                       {&runtimeapi.PodSandboxFilter{State: &runtimeapi.PodSandboxStateValue{State: ready}}, []string{web}},
		"by label":                       {&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"pod": "db"}}, []string{db}},
		"by a label that no sandbox has": {&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"x": ""}}, nil},
	} {
		resp, err := h.client.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{Filter: test.filter})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, item := range resp.Items {
			got = append(got, item.Id)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("sandboxes %s (-want +got):\n%s", name, diff)
		}
	}
	for name, test := range map[string]struct {
		filter *runtimeapi.ContainerFilter
		want   []string
	}{
		"no filter gives all containers, oldest first": {nil, []string{a, b, c}},
		"by id":                 {&runtimeapi.ContainerFilter{Id: b}, []string{b}},
		"by sandbox":            {&runtimeapi.ContainerFilter{PodSandboxId: web}, []string{a, b}},
		"by label":              {&runtimeapi.ContainerFilter{LabelSelector: map[string]string{"name": "a"}}, []string{a, c}},
		"running ones":          {&runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: running}}, []string{a}},
		"exited ones with a":    {&runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: exited}, LabelSelector: map[string]string{"name": "a"}}, []string{c}},
		"of an unknown sandbox": {&runtimeapi.ContainerFilter{PodSandboxId: "none"}, nil},
	} {
		resp, err := h.client.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{Filter: test.filter})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, item := range resp.Containers {
			got = append(got, item.Id)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("containers %s (-want +got):\n%s", name, diff)
		}
	}
}

// labelled names the container and its log.
func labelled(c *runtimeapi.ContainerConfig, name string) *runtimeapi.ContainerConfig {
	c.Metadata.Name, c.LogPath, c.Labels = name, name+"/0.log", map[string]string{"name": name}
	return c
}

func TestRuntimeServeEndsEverything(t *testing.T) {
	h := newHarness(t)
	before := countMounts(t)
	pod := h.runPod(h.podConfig("web"))
	h.start(pod, containerConfig("stubborn"))
	h.start(pod, labelled(containerConfig("spawn"), "spawn"))
	h.stop()
	h.checkNothingLeft(before)
	if _, err := h.client.Version(context.Background(), &runtimeapi.VersionRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a request after the end gives %v", err)
	}
}
