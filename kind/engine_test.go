package kind

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDetectSaysWhyNoEngineAnswers(t *testing.T) {
	tests := map[string]struct {
		prepare      func(t *testing.T)
		prefer       string
		what, remedy string
	}{
		"nothing is installed": {
			func(t *testing.T) { t.Helper(); t.Setenv("PATH", t.TempDir()) }, "",
			"no container engine answers (docker: not installed; podman: not installed)", "install Docker or Podman",
		},
		"the daemon is down": {
			func(t *testing.T) { t.Helper(); fakeOnPath(t) }, "",
			"docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock", "systemctl start docker",
		},
		"podman under docker's name": {
			func(t *testing.T) { t.Helper(); write(t, fakeOnPath(t), "info", `{"host":{"cgroupVersion":"v2"}}`) }, "docker",
			"docker: no Docker daemon behind it", "",
		},
		"an engine kind has and podskew has not": {
			func(t *testing.T) { t.Helper(); fakeOnPath(t) }, "nerdctl", "\"nerdctl\" is not one that podskew drives", "docker and podman",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.prepare(t)
			_, err := Detect(t.Context(), test.prefer)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.What, test.what) || !strings.Contains(e.Remedy, test.remedy) {
				t.Errorf("Detect says %#v", err)
			}
		})
	}
}

func TestDetectTakesWhatAnswers(t *testing.T) {
	e, _ := newEngine(t)
	want := &Engine{Name: "docker", CgroupV1: true, Root: "/var/lib/docker", Hostname: "elsewhere", Kernel: "6.1", Network: "kind"}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("docker (-want +got):\n%s", diff)
	}
	// docker's daemon is down, podman answers
	bin := t.TempDir()
	script := "#!/bin/sh\necho '{\"host\":{\"cgroupVersion\":\"v2\",\"hostname\":\"here\",\"kernel\":\"6.12\",\"security\":{\"rootless\":true}},\"store\":{\"graphRoot\":\"/home/u/c\"}}'\n"
	if err := os.WriteFile(filepath.Join(bin, "podman"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", fakePath(t)+":"+bin)
	e, err := Detect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	want = &Engine{Name: "podman", Rootless: true, Root: "/home/u/c", Hostname: "here", Kernel: "6.12", Network: "kind"}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("podman (-want +got):\n%s", diff)
	}
}

func fakePath(t *testing.T) string {
	t.Helper()
	fakeOnPath(t)
	return os.Getenv("PATH")
}

func TestFindImageTakesATagThatWasCarriedOver(t *testing.T) {
	e, engine := newEngine(t)
	if got := e.FindImage(t.Context(), DefaultImage); got != "" {
		t.Errorf("no image is here, and it is called %q", got)
	}
	tag, _, _ := strings.Cut(DefaultImage, "@")
	write(t, engine, "images", tag)
	if got := e.FindImage(t.Context(), DefaultImage); got != tag {
		t.Errorf("a loaded image is called %q, want %q", got, tag)
	}
	write(t, engine, "images", tag+"\n"+DefaultImage)
	if got := e.FindImage(t.Context(), DefaultImage); got != DefaultImage {
		t.Errorf("a pulled image is called %q, want the digest, too", got)
	}
}

func TestPullSaysWhatToDoWithoutANetwork(t *testing.T) {
	tests := map[string]struct{ registry, images, what, remedy string }{
		"no network":                {"", "", "cannot be pulled: Error response from daemon: dial tcp: lookup registry-1.docker.io: no such host", "docker load -i node.tar"},
		"a registry that is silent": {"silent", "", "no answer from the registry within 300ms", "--cluster lab"},
		"another image is here":     {"", "kindest/node:v1.35.8", "the node image kindest/node:v1.36.4 is not here", "kindest/node:v1.35.8) choose one with --node-image"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e, engine := newEngine(t, strings.Fields(test.images)...)
			write(t, engine, "registry", test.registry)
			within := 10 * time.Second
			if test.registry == "silent" {
				within = 300 * time.Millisecond
			}
			p, err := e.StartPull(t.Context(), DefaultImage, within)
			var told *Error
			if p != nil || !errors.As(err, &told) || !strings.Contains(told.What, test.what) || !strings.Contains(told.Remedy, test.remedy) {
				t.Errorf("StartPull says %#v", err)
			}
		})
	}
}

func TestPullBringsTheImage(t *testing.T) {
	e, engine := newEngine(t)
	write(t, engine, "registry", "answers")
	p, err := e.StartPull(t.Context(), nodeImage, 10*time.Second)
	if err == nil {
		err = p.Wait(t.Context(), nil)
	}
	if err != nil || e.FindImage(t.Context(), nodeImage) == "" {
		t.Errorf("the image did not come: %v", err)
	}
	write(t, engine, "registry", "broken")
	p, err = e.StartPull(t.Context(), nodeImage, 10*time.Second)
	if err == nil {
		err = p.Wait(t.Context(), nil)
	}
	if err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("a pull that broke off says %v", err)
	}
}

func TestInterruptedPullEnds(t *testing.T) {
	e, engine := newEngine(t)
	write(t, engine, "registry", "silent")
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	done := make(chan error, 1)
	go func() {
		_, err := e.StartPull(ctx, nodeImage, time.Minute)
		done <- err
	}()
	await(t, "the pull", func() bool { return fakeDocker{dir: engine}.called("pull") })
	cancel(interrupted)
	if err := <-done; !errors.Is(err, interrupted) {
		t.Errorf("StartPull says %v", err)
	}
}

func host(instances, watches string, free uint64) Host {
	return withBound(instances, watches, free, "000001ffffffffff")
}

func withBound(instances, watches string, free uint64, bound string) Host {
	return Host{
		Hostname: "here", Kernel: "6.12",
		Files: fstest.MapFS{
			"proc/sys/fs/inotify/max_user_instances": {Data: []byte(instances + "\n")},
			"proc/sys/fs/inotify/max_user_watches":   {Data: []byte(watches + "\n")},
			"proc/sys/kernel/cap_last_cap":           {Data: []byte("40\n")},
			"proc/1/status":                          {Data: []byte("Name:\tinit\nCapEff:\t0000000000000000\nCapBnd:\t" + bound + "\nCapAmb:\t0000000000000000\n")},
		},
		Free: func(string) (uint64, error) { return free, nil },
	}
}

func TestCheckSaysWhatStandsInTheWay(t *testing.T) {
	here := Engine{Name: "docker", Hostname: "here", Kernel: "6.12", Root: "/var/lib/docker"}
	elsewhere, v1, rootlessV1 := here, here, here
	elsewhere.Hostname = "docker-desktop"
	v1.CgroupV1 = true
	rootlessV1.CgroupV1, rootlessV1.Rootless = true, true
	const plenty = 100 << 30
	tests := map[string]struct {
		engine          Engine
		host            Host
		pulled          bool
		fatal, warnings []string
	}{
		"a good machine":                {here, host("512", "524288", plenty), true, nil, nil},
		"few instances":                 {here, host("64", "524288", plenty), false, []string{"fs.inotify.max_user_instances is 64, too low for 5 nodes"}, nil},
		"the kernel's default":          {here, host("128", "524288", plenty), false, nil, []string{"fs.inotify.max_user_instances is 128, low for 5 nodes"}},
		"few watches":                   {here, host("512", "1024", plenty), false, []string{"fs.inotify.max_user_watches is 1024, too low"}, nil},
		"a full disk":                   {here, host("512", "524288", 2<<30), false, []string{"/var/lib/docker has 2.0 GiB left, and 5 nodes need about 5 GiB"}, nil},
		"room for nodes, not for both":  {here, host("512", "524288", 6<<30), true, []string{"/var/lib/docker has 6.0 GiB left, and 5 nodes need about 8 GiB"}, nil},
		"a machine that is a container": {here, withBound("512", "524288", plenty, "000001fffeffffff"), false, []string{"docker cannot run privileged containers here"}, nil},
		"many watches, if not as many as kind recommends": {here, host("512", "192536", plenty), false, nil, nil},
		"limits of another machine":                       {elsewhere, host("1", "1", 0), true, nil, nil},
		"cgroup v1":                                       {v1, host("512", "524288", plenty), false, nil, []string{"failCgroupV1: false"}},
		"rootless under cgroup v1":                        {rootlessV1, host("512", "524288", plenty), false, []string{"rootless docker cannot"}, nil},
		"two things at once":                              {here, host("64", "1", 0), false, []string{"max_user_instances", "max_user_watches", "/var/lib/docker"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			fatal, warnings := test.engine.Check(test.host, test.pulled)
			match(t, "fatal", fatal, test.fatal)
			match(t, "warnings", warnings, test.warnings)
			for _, f := range fatal {
				if f.Remedy == "" {
					t.Errorf("no remedy for %q", f.What)
				}
			}
		})
	}
}

func match(t *testing.T, what string, got []Error, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %v, want %d", what, got, len(want))
		return
	}
	for i := range want {
		if !strings.Contains(got[i].What, want[i]) {
			t.Errorf("%s: %q, want %q in it", what, got[i].What, want[i])
		}
	}
}

func TestThisHostKnowsItself(t *testing.T) {
	h := ThisHost()
	if free, err := h.Free("/"); err != nil || free == 0 || h.Hostname == "" || h.Kernel == "" {
		t.Errorf("%+v: %d bytes free, %v", h, free, err)
	}
	if n, known := h.inotify("max_user_watches"); !known || n <= 0 {
		t.Errorf("max_user_watches: %d, %v", n, known)
	}
}

func FuzzProxyMode(f *testing.F) {
	f.Add([]byte("kind: KubeletConfiguration\n---\nkind: KubeProxyConfiguration\nmode: nftables\n"))
	f.Add([]byte("---\n\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		mode := proxyMode(text)
		if mode != "" && proxyMode([]byte("kind: KubeProxyConfiguration\nmode: nftables\n---\n"+string(text))) != "nftables" {
			t.Errorf("the first of two modes was not taken from %q", text)
		}
	})
}
