package cri

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestRuntimeReadOnlyRoot(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	config := containerConfig("report", "+/x", "+/etc/x", "+/tmp/x", "+/cache/x", "+/dev/shm/x")
	security(config).ReadonlyRootfs = true
	security(config).RunAsUser = &runtimeapi.Int64Value{Value: 0}
	config.Mounts = []*runtimeapi.Mount{{HostPath: t.TempDir(), ContainerPath: "/cache"}}
	want := map[string]string{
		"+/x":         "error: open /x: read-only file system",
		"+/etc/x":     "error: open /etc/x: read-only file system",
		"+/tmp/x":     "error: open /tmp/x: no such file or directory",
		"+/cache/x":   "ok",
		"+/dev/shm/x": "ok",
	}
	if diff := cmp.Diff(want, h.report(pod, config).Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// rights are what a container may do, as /proc/self/status shows it.
type rights struct {
	UID, GID           int
	Groups             []int
	Bounding, Eff, Amb string
	NoNewPrivs         string
}

func TestRuntimeUserAndCapabilities(t *testing.T) {
	if singleIDTest() {
		t.Skip("a single id has no other users; TestRuntimeSingleID covers it")
	}
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	const none, defaults, netAdmin = "0000000000000000", "00000000a80425fb", "0000000000001000"
	id := func(n int64) *runtimeapi.Int64Value { return &runtimeapi.Int64Value{Value: n} }
	for name, test := range map[string]struct {
		change func(*runtimeapi.LinuxContainerSecurityContext)
		want   rights
	}{
		"the image's user by default": {
			func(*runtimeapi.LinuxContainerSecurityContext) {},
			rights{65532, 65532, []int{65532}, defaults, none, none, "0"},
		},
		"root has the default capabilities": {
			func(s *runtimeapi.LinuxContainerSecurityContext) { s.RunAsUser = id(0) },
			rights{0, 0, []int{0}, defaults, defaults, none, "0"},
		},
		"another user with groups": {
			func(s *runtimeapi.LinuxContainerSecurityContext) {
				s.RunAsUser, s.RunAsGroup, s.SupplementalGroups = id(1000), id(2000), []int64{3000, 4000}
			},
			rights{1000, 2000, []int{2000, 3000, 4000}, defaults, none, none, "0"},
		},
		"a user without a group has group 0": {
			func(s *runtimeapi.LinuxContainerSecurityContext) { s.RunAsUser = id(1000) },
			rights{1000, 0, []int{0}, defaults, none, none, "0"},
		},
		"restricted: all dropped and no new privileges": {
			func(s *runtimeapi.LinuxContainerSecurityContext) {
				s.NoNewPrivs, s.Capabilities = true, &runtimeapi.Capability{DropCapabilities: []string{"ALL"}}
			},
			rights{65532, 65532, []int{65532}, none, none, none, "1"},
		},
		"root with all dropped has none": {
			func(s *runtimeapi.LinuxContainerSecurityContext) {
				s.RunAsUser, s.Capabilities = id(0), &runtimeapi.Capability{DropCapabilities: []string{"ALL"}}
			},
			rights{0, 0, []int{0}, none, none, none, "0"},
		},
		"root with one added to none": {
			func(s *runtimeapi.LinuxContainerSecurityContext) {
				s.RunAsUser = id(0)
				s.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_ADMIN"}}
			},
			rights{0, 0, []int{0}, netAdmin, netAdmin, none, "0"},
		},
		"a user other than root has what is added": {
			func(s *runtimeapi.LinuxContainerSecurityContext) {
				s.NoNewPrivs = true
				s.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"CAP_NET_ADMIN"}}
			},
			rights{65532, 65532, []int{65532}, netAdmin, netAdmin, netAdmin, "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := containerConfig("report")
			config.LogPath = strings.ReplaceAll(name, " ", "-") + "/0.log"
			test.change(security(config))
			seen := h.report(pod, config)
			got := rights{seen.UID, seen.GID, seen.Groups, seen.CapBnd, seen.CapEff, seen.CapAmb, seen.NoNewPrivs}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("rights (-want +got):\n%s", diff)
			}
			// A command in the container has the same.
			config.Args = []string{"wait"}
			id := h.start(pod, config)
			resp, err := h.execSync(id, 20, "/probe", "report")
			if err != nil {
				t.Fatal(err)
			}
			seen = readReport(t, string(resp.Stdout))
			got = rights{seen.UID, seen.GID, seen.Groups, seen.CapBnd, seen.CapEff, seen.CapAmb, seen.NoNewPrivs}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("rights of a command (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRuntimeSingleID(t *testing.T) {
	if !singleIDTest() {
		t.Skip("for the inner run with a single id")
	}
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	for name, test := range map[string]struct {
		user     int64
		add      []string
		eff, amb string
	}{
		"root keeps the default capabilities": {0, nil, "00000000a80425fb", "0000000000000000"},
		"another user has none":               {65532, nil, "0000000000000000", "0000000000000000"},
		"another user has what is added":      {65532, []string{"NET_ADMIN"}, "0000000000001000", "0000000000001000"},
	} {
		t.Run(name, func(t *testing.T) {
			config := containerConfig("wait")
			config.LogPath = strings.ReplaceAll(name, " ", "-") + "/0.log"
			security(config).RunAsUser = &runtimeapi.Int64Value{Value: test.user}
			security(config).SupplementalGroups = []int64{3000}
			security(config).Capabilities = &runtimeapi.Capability{AddCapabilities: test.add}
			id := h.start(pod, config)
			resp, err := h.execSync(id, 20, "/probe", "report")
			if err != nil {
				t.Fatal(err)
			}
			config.Args, config.LogPath = []string{"report"}, strings.ReplaceAll(name, " ", "-")+"/1.log"
			for what, seen := range map[string]inside{"container": h.report(pod, config), "command": readReport(t, string(resp.Stdout))} {
				if seen.UID != 0 || seen.CapEff != test.eff || seen.CapAmb != test.amb {
					t.Errorf("%s: user %d, capabilities %s, ambient %s", what, seen.UID, seen.CapEff, seen.CapAmb)
				}
			}
			if u := h.status(id).User.Linux; u.Uid != 0 {
				t.Errorf("status says user %d", u.Uid)
			}
		})
	}
}

func TestRuntimePrivileged(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	config := containerConfig("report", "/proc/kcore")
	security(config).Privileged, security(config).MaskedPaths, security(config).ReadonlyPaths = true, nil, nil
	security(config).RunAsUser = &runtimeapi.Int64Value{Value: 0}
	seen := h.report(pod, config)
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status), "CapBnd:\t"+seen.CapEff+"\n") {
		t.Errorf("a privileged container has capabilities %s, the node:\n%s", seen.CapEff, status)
	}
}

func TestCapabilities(t *testing.T) {
	const all = ^capabilitySet(0)
	defaults, _, err := capabilityBits(defaultCapabilities())
	if err != nil {
		t.Fatal(err)
	}
	const netAdmin, netRaw = capabilitySet(1 << 12), capabilitySet(1 << 13)
	for name, test := range map[string]struct {
		ask  *runtimeapi.Capability
		want grantedCapabilities
	}{
		"nothing asked for": {nil, grantedCapabilities{bounding: defaults}},
		"one added":         {&runtimeapi.Capability{AddCapabilities: []string{"net_admin"}}, grantedCapabilities{defaults | netAdmin, netAdmin}},
		"one dropped":       {&runtimeapi.Capability{DropCapabilities: []string{"CAP_NET_RAW"}}, grantedCapabilities{bounding: defaults &^ netRaw}},
		"all dropped":       {&runtimeapi.Capability{DropCapabilities: []string{"ALL"}}, grantedCapabilities{}},
		"all added":         {&runtimeapi.Capability{AddCapabilities: []string{"all"}}, grantedCapabilities{bounding: all}},
		"all added but one": {
			&runtimeapi.Capability{AddCapabilities: []string{"ALL"}, DropCapabilities: []string{"NET_RAW"}},
			grantedCapabilities{bounding: all &^ netRaw},
		},
		"one added to none": {
			&runtimeapi.Capability{AddCapabilities: []string{"NET_ADMIN"}, DropCapabilities: []string{"ALL"}},
			grantedCapabilities{netAdmin, netAdmin},
		},
		"added and dropped is dropped": {
			&runtimeapi.Capability{AddCapabilities: []string{"NET_ADMIN"}, DropCapabilities: []string{"NET_ADMIN"}},
			grantedCapabilities{bounding: defaults},
		},
	} {
		got, err := capabilities(&runtimeapi.LinuxContainerSecurityContext{Capabilities: test.ask})
		if err != nil || got != test.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, test.want)
		}
	}
}
