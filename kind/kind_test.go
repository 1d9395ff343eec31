package kind

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kind/pkg/cluster"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const nodeImage = "kindest/node:v1.36.4"

func TestConfigIsWhatTheFilesSay(t *testing.T) {
	for _, mode := range ProxyModes() {
		got, err := Config(mode, mode == "iptables") // one of the three with cgroup v1
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", mode+".yaml")
		if *update {
			write(t, "testdata", mode+".yaml", string(got))
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", golden, diff)
		}
	}
	if _, err := Config("userspace", false); err == nil {
		t.Error("a mode that kube-proxy does not have was taken")
	}
}

// create has kind read a configuration: it parses and validates before it looks for the node image, which is not here.
func create(t *testing.T, config string) error {
	t.Helper()
	e, _ := newEngine(t)
	return e.provider(newLogger(nil, nil)).Create("podskew", cluster.CreateWithRawConfig([]byte(config)),
		cluster.CreateWithNodeImage("localhost/none:1"), cluster.CreateWithKubeconfigPath(filepath.Join(t.TempDir(), "k")))
}

func TestKindRefusesWhatItCannotRead(t *testing.T) {
	good, err := Config("nftables", false)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ from, to, want string }{
		"a field kind does not have": {"kubeProxyMode:", "proxyMode:", "unable to decode config"},
		"a mode kind does not have":  {"kubeProxyMode: nftables", "kubeProxyMode: userspace", "invalid kubeProxyMode"},
		"another version":            {"v1alpha4", "v1alpha3", "unknown apiVersion"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := create(t, strings.Replace(string(good), test.from, test.to, 1)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("kind says %v, want %q", err, test.want)
			}
		})
	}
}

// told is what a cluster's maker was told.
type told struct {
	mu   sync.Mutex
	text []string
}

func (w *told) add(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, s)
}

func options(t *testing.T, mode string, w *told) Options {
	t.Helper()
	return Options{
		Name: Name, Dir: filepath.Join(t.TempDir(), "podskew", "kind", Name), ProxyMode: mode, Image: nodeImage, Progress: w.add, Warn: w.add,
	}
}

func TestUpMakesTheClusterInEveryMode(t *testing.T) {
	for _, mode := range ProxyModes() {
		t.Run(mode, func(t *testing.T) {
			e, engine := newEngine(t, nodeImage)
			var w told
			o := options(t, mode, &w)
			c, err := e.Up(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			checkNodes(t, engine, mode)
			info, err := os.Stat(c.Kubeconfig)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("kubeconfig: %v, %v", info, err)
			}
			if _, err := os.Stat(filepath.Join(engine, "the-users-own")); !errors.Is(err, fs.ErrNotExist) {
				t.Error("the user's kubeconfig was written")
			}
			if all := strings.Join(w.text, "\n"); !strings.Contains(all, "Joining worker nodes") || strings.ContainsAny(all, "📦•✓") {
				t.Errorf("progress:\n%s", all)
			}
			checkLoad(t, c, engine)
			found, state, err := e.Find(t.Context(), Name, o.Dir)
			if err != nil || found == nil || !state.Usable() || state.ProxyMode != mode {
				t.Errorf("Find says %v, %+v, %v", found, state, err)
			}
			if err := c.Down(t.Context()); err != nil {
				t.Error(err)
			}
			nothingLeft(t, engine, o.Dir)
		})
	}
}

// checkNodes looks at what kind gave each node: the containers, and the kubeadm configuration with our patches in it.
func checkNodes(t *testing.T, engine, mode string) {
	t.Helper()
	zones := map[string]string{"worker": "=a", "worker2": "=b", "worker3": "=c"}
	for _, node := range []string{"control-plane", "worker", "worker2", "worker3", "worker4"} {
		data, err := os.ReadFile(filepath.Join(engine, "files", "podskew-"+node, "kubeadm.conf"))
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		_, join, _ := strings.Cut(text, "kind: JoinConfiguration")
		join, _, _ = strings.Cut(join, "\n---")
		external := node == "worker4"
		if !strings.Contains(text, "mode: "+mode) || !strings.Contains(text, "failCgroupV1: false") {
			t.Errorf("%s: no mode %s or no failCgroupV1:\n%s", node, mode, text)
		}
		if zone, ok := zones[node]; ok != strings.Contains(text, labelZone) || !strings.Contains(text, labelZone+zone) && ok {
			t.Errorf("%s: its zone is not %q", node, zone)
		}
		if external != strings.Contains(join, "NoSchedule") || external != strings.Contains(join, labelExternal+"=true") {
			t.Errorf("%s: set apart: want %v:\n%s", node, external, join)
		}
	}
}

func checkLoad(t *testing.T, c *Cluster, engine string) {
	t.Helper()
	if err := c.Load(t.Context(), []byte("an archive")); err != nil {
		t.Fatal(err)
	}
	archives, err := filepath.Glob(filepath.Join(engine, "files", "*", "image.tar"))
	if err != nil || len(archives) != nodeCount() {
		t.Fatalf("%d nodes got the image, %v", len(archives), err)
	}
	for _, a := range archives {
		if data, err := os.ReadFile(a); string(data) != "an archive" {
			t.Errorf("%s: %q, %v", a, data, err)
		}
	}
}

// nothingLeft looks for containers, the network, and the files down to the folder that was there before.
func nothingLeft(t *testing.T, engine, dir string) {
	t.Helper()
	f := fakeDocker{dir: engine}
	if left := f.nodes(); len(left) > 0 || f.has("network") {
		t.Errorf("left: nodes %v, network %v", left, f.has("network"))
	}
	if entries, err := os.ReadDir(filepath.Dir(filepath.Dir(filepath.Dir(dir)))); err != nil || len(entries) > 0 {
		t.Errorf("left: files %v, %v", entries, err)
	}
}

func TestNothingIsLeftOfAClusterThatFails(t *testing.T) {
	tests := map[string]struct{ fail, want string }{
		"a node does not start":        {"run --name podskew-worker2", "scripted failure of run"}, // before worker3 does
		"the control plane fails":      {"kubeadm init", "failed to init node with kubeadm"},
		"a worker does not join":       {"podskew-worker3 kubeadm join", "failed to join node with kubeadm"},
		"a worker never becomes ready": {"--for=condition=Ready", "not every node became ready"},
		"the network cannot be made":   {"network create", "failed to ensure docker network"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e, engine := newEngine(t, nodeImage)
			write(t, engine, "fail", test.fail)
			write(t, engine, "slow", "run --name podskew-worker3")
			o := options(t, "nftables", &told{})
			_, err := e.Up(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "scripted failure") {
				t.Errorf("Up says %v, want %q and the command's words", err, test.want)
			}
			if e.cluster(o.Name, o.Dir, newLogger(nil, nil)).starting() {
				t.Error("a node is still being started, and would be left")
			}
			nothingLeft(t, engine, o.Dir)
		})
	}
}

func TestInterruptedUpLeavesNothing(t *testing.T) {
	for _, at := range []string{"run --name podskew-worker3", "kubeadm init", "--for=condition=Ready"} {
		t.Run(at, func(t *testing.T) {
			e, engine := newEngine(t, nodeImage)
			ctx, cancel := context.WithCancelCause(t.Context())
			interrupted := errors.New("interrupted")
			write(t, engine, "slow", at)
			o := options(t, "nftables", &told{})
			done := make(chan error, 1)
			go func() {
				_, err := e.Up(ctx, o)
				done <- err
			}()
			await(t, "the call that is interrupted", func() bool { return fakeDocker{dir: engine}.called(at) })
			cancel(interrupted)
			if err := <-done; !errors.Is(err, interrupted) {
				t.Errorf("Up says %v", err)
			}
			nothingLeft(t, engine, o.Dir)
		})
	}
}

func (f fakeDocker) called(call string) bool { return strings.Contains(f.read("log"), call) }

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never seen: %s", what)
		}
	}
}

func TestRetainKeepsWhatFailedForALook(t *testing.T) {
	e, engine := newEngine(t, nodeImage)
	write(t, engine, "fail", "kubeadm init")
	o := options(t, "nftables", &told{})
	o.Retain = true
	if _, err := e.Up(t.Context(), o); err == nil || !strings.Contains(err.Error(), "cluster down --provider kind") {
		t.Errorf("Up says %v", err)
	}
	if left := (fakeDocker{dir: engine}).nodes(); len(left) != nodeCount() {
		t.Errorf("kept: %v", left)
	}
	c, state, err := e.Find(t.Context(), Name, o.Dir)
	if err != nil || c == nil {
		t.Fatalf("Find says %v, %v", c, err)
	}
	t.Log(state)
	if err := c.Down(t.Context()); err != nil {
		t.Error(err)
	}
	nothingLeft(t, engine, o.Dir)
}

func TestANetworkOthersUseStays(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, engine string){
		"it was there before":        func(t *testing.T, engine string) { t.Helper(); write(t, engine, "network", "kind") },
		"another container is in it": func(t *testing.T, engine string) { t.Helper(); write(t, engine, "neighbour", "") },
	} {
		t.Run(name, func(t *testing.T) {
			e, engine := newEngine(t, nodeImage)
			prepare(t, engine)
			c, err := e.Up(t.Context(), options(t, "nftables", &told{}))
			if err == nil {
				err = c.Down(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if f := (fakeDocker{dir: engine}); !f.has("network") || len(f.nodes()) > 0 {
				t.Errorf("the network is there: %v, nodes: %v", f.has("network"), f.nodes())
			}
		})
	}
}

func TestFindTellsAClusterThatCannotBeUsed(t *testing.T) {
	e, engine := newEngine(t, nodeImage)
	o := options(t, "iptables", &told{})
	if c, _, err := e.Find(t.Context(), Name, o.Dir); c != nil || err != nil {
		t.Fatalf("before there is one: %v, %v", c, err)
	}
	c, err := e.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	if _, state, err := e.Find(t.Context(), Name, o.Dir); err != nil || !state.Usable() {
		t.Errorf("a lost kubeconfig: %v, %v", state, err)
	}
	if _, err := os.Stat(c.Kubeconfig); err != nil {
		t.Errorf("the kubeconfig was not written again: %v", err)
	}
	write(t, engine, "fail", "/readyz")
	if _, state, _ := e.Find(t.Context(), Name, o.Dir); state.Usable() || state.String() != "the API server does not answer" {
		t.Errorf("a dead API server: %v", state)
	}
	write(t, engine, "fail", "")
	write(t, engine, "stopped", "")
	if _, state, _ := e.Find(t.Context(), Name, o.Dir); state.Usable() || state.String() != "0 of 5 nodes run" {
		t.Errorf("after the machine was started anew: %v", state)
	}
}

func TestOnlyADeadMakersClusterIsAnOrphan(t *testing.T) {
	e, engine := newEngine(t, nodeImage)
	o := options(t, "nftables", &told{})
	o.Name, o.Dir = Name+"-x1", filepath.Join(filepath.Dir(o.Dir), Name+"-x1")
	c, err := e.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if names, err := e.List(); err != nil || !cmp.Equal(names, []string{Name + "-x1"}) {
		t.Errorf("List says %v, %v", names, err)
	}
	if orphan := e.Orphan(o.Name, o.Dir); orphan != nil {
		t.Error("a cluster in use was called an orphan")
	}
	if _, err := e.Up(t.Context(), o); !errors.Is(err, ErrBusy) {
		t.Errorf("a second maker was told %v", err)
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	if orphan := e.Orphan("podskew-x2", filepath.Join(filepath.Dir(o.Dir), "podskew-x2")); orphan != nil {
		t.Error("a cluster that is not ours was called an orphan")
	}
	orphan := e.Orphan(o.Name, o.Dir)
	if orphan == nil {
		t.Fatal("the cluster of a dead maker was not found")
	}
	if err := orphan.Down(t.Context()); err != nil {
		t.Error(err)
	}
	nothingLeft(t, engine, o.Dir)
}

func TestDefaultImageIsPinned(t *testing.T) {
	tag, digest, found := strings.Cut(DefaultImage, "@sha256:")
	if !found || len(digest) != 64 || !strings.HasPrefix(tag, "kindest/node:v1.36.") {
		t.Errorf("the default node image is %s", DefaultImage)
	}
}

func ExampleState() {
	fmt.Println(State{Nodes: 5, Running: 5, ProxyMode: "nftables", Ready: true})
	fmt.Println(State{Nodes: 3, Running: 3, ProxyMode: "nftables", Ready: true})
	// Output:
	// ready, kube-proxy in nftables mode, 5 nodes
	// 3 nodes instead of 5
}
