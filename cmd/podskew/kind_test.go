package main

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/podskew/podskew/kind"
)

// The engine and the lab of these tests are scripts that go by the environment: what is decided is the point here, and
// that nothing is left when the decision fails. Making a network is where every kind cluster of theirs ends.
const (
	fakeDockerScript = `#!/bin/sh
[ -n "$ENGINE" ] || { echo 'Cannot connect to the Docker daemon' >&2; exit 1; }
case "$*" in
"info "*) echo '{"ServerVersion":"29.9.2","CgroupVersion":"2","Name":"elsewhere"}' ;;
"inspect --type=image"*) [ "$NODE_IMAGE" = here ] || [ -e "$HOME/pulled" ] ;;
"pull "*) [ "$NODE_IMAGE" = pullable ] || { echo 'no such host' >&2; exit 1; }
	echo 'x: Pulling from kindest/node'; : >"$HOME/pulled" ;;
"network create"*) echo 'no address pool is left' >&2; exit 1 ;;
"network inspect"*) exit 1 ;;
"ps "*cluster=podskew' '*) [ -z "$KEPT" ] || printf 'podskew-%s\n' control-plane worker worker2 worker3 worker4 ;;
*"cat /kind/kubeadm.conf") printf 'kind: KubeProxyConfiguration\nmode: %s\n' "$KEPT" ;;
esac
`
	fakeLabScript = `#!/bin/sh
case "$1" in
status) [ -z "$LAB" ] || echo '{"state":"ready","kubeconfig":"/lab/kept","proxyMode":"'"$LAB"'"}' ;;
up) echo /lab/new; cat <&3 >/dev/null ;;
esac
`
)

// syncBuffer is a buffer for several writers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// scripted is a machine of scripts. vars: ENGINE, NODE_IMAGE (here, pullable), KEPT (a kind cluster's mode), LAB (a
// lab's mode).
func scripted(t *testing.T, vars map[string]string) (e *env, st *status, said *syncBuffer) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range map[string]string{"docker": fakeDockerScript, "podskew-lab": fakeLabScript} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	vars = maps.Clone(vars)
	vars["PATH"] = dir + string(os.PathListSeparator) + "/usr/bin" + string(os.PathListSeparator) + "/bin"
	vars["HOME"] = dir
	vars["XDG_STATE_HOME"] = filepath.Join(dir, "state")
	vars["PODSKEW_LAB"] = filepath.Join(dir, "podskew-lab")
	vars["KIND_EXPERIMENTAL_PROVIDER"] = "docker" // whatever else this machine has
	for _, name := range []string{"ENGINE", "NODE_IMAGE", "KEPT", "LAB"} {
		t.Setenv(name, vars[name])
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		t.Setenv(name, vars[name])
	}
	e = &env{getenv: os.Getenv, executable: filepath.Join(dir, "podskew")}
	if vars["KEPT"] != "" {
		kubeconfig := filepath.Join(e.kindDir(kind.Name), "kubeconfig")
		if err := errors.Join(os.MkdirAll(filepath.Dir(kubeconfig), 0o700), os.WriteFile(kubeconfig, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	said = &syncBuffer{}
	return e, &status{w: said}, said
}

func TestAutoDecides(t *testing.T) {
	kindHere := map[string]string{"ENGINE": "up", "NODE_IMAGE": "here"}
	with := func(more map[string]string) map[string]string {
		all := maps.Clone(kindHere)
		maps.Copy(all, more)
		return all
	}
	tests := map[string]struct {
		vars                 map[string]string
		mode                 string
		line                 string // what is said of the decision
		provider, kubeconfig string // "": the cluster cannot be made, for the reason in err
		err                  string
	}{
		"no engine: the lab": {
			map[string]string{}, "", "cluster: lab, because no container engine answers (docker: Cannot connect to the Docker daemon)", "lab", "/lab/new", "",
		},
		"an engine, no image and no network: the lab": {
			map[string]string{"ENGINE": "up"}, "", "cluster: lab, because the node image kindest/node:v1.36.4 is not here and cannot be pulled: no such host", "lab", "/lab/new", "",
		},
		"the image is here: kind": {
			kindHere, "", "cluster: kind, because docker answers and the node image kindest/node:v1.36.4 is here", "", "", "no address pool is left",
		},
		"the image can be pulled: kind": {
			map[string]string{"ENGINE": "up", "NODE_IMAGE": "pullable"}, "",
			"cluster: kind, because docker answers and the node image kindest/node:v1.36.4 can be pulled", "", "", "no address pool is left",
		},
		"a lab is up and fits: that one": {
			with(map[string]string{"LAB": "nftables"}), "nftables", "cluster: the lab that is up (nftables, /lab/kept)", "lab", "/lab/kept", "",
		},
		"a lab is up in another mode: kind": {
			with(map[string]string{"LAB": "iptables"}), "nftables", "cluster: kind, because", "", "", "no address pool is left",
		},
		"a kind cluster is up and fits: that one": {
			with(map[string]string{"KEPT": "ipvs"}), "ipvs", "cluster: the kind cluster that is up (ipvs, ", "kind", "state/podskew/kind/podskew/kubeconfig", "",
		},
		"a kind cluster is up in another mode: one more": {
			with(map[string]string{"KEPT": "iptables"}), "nftables", "cluster: kind, because", "", "", "no address pool is left",
		},
		"ipvs without kind: neither": {
			map[string]string{}, "ipvs", "", "", "", "--proxy-mode ipvs needs kind: no container engine answers",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e, st, said := scripted(t, test.vars)
			given, err := e.provide(t.Context(), st, clusterOptions{cluster: "auto", proxyMode: test.mode, nodeImage: kind.DefaultImage})
			if test.err != "" {
				exit, ok := errors.AsType[*exitError](err)
				if !ok || exit.code != exitEnvironment || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want exit code 3 and %q", err, test.err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if given.provider != test.provider || !strings.HasSuffix(given.kubeconfig, test.kubeconfig) {
				t.Errorf("given %s with %s", given.provider, given.kubeconfig)
			} else if err := given.close(t.Context()); err != nil {
				t.Error(err)
			}
			if lines := said.String(); !strings.Contains(lines, test.line) || strings.Count(lines, "cluster: ") > 1 {
				t.Errorf("said:\n%swant one line with %q", lines, test.line)
			}
			if left, _ := filepath.Glob(filepath.Join(e.getenv("XDG_STATE_HOME"), "podskew", "kind", "*")); test.vars["KEPT"] == "" && len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestKeptKindClusterIsNotMadeTwice(t *testing.T) {
	e, st, _ := scripted(t, map[string]string{"ENGINE": "up", "NODE_IMAGE": "here", "KEPT": "iptables"})
	o := clusterOptions{cluster: "kind", proxyMode: "nftables", nodeImage: kind.DefaultImage, keep: true}
	_, err := e.provide(t.Context(), st, o)
	if exit, ok := errors.AsType[*exitError](err); !ok || exit.code != exitUsage || !strings.Contains(err.Error(), "in iptables mode is up already") {
		t.Errorf("another mode: %v", err)
	}
	o.proxyMode = ""
	given, err := e.provide(t.Context(), st, o)
	if err != nil || given.provider != "kind" || given.disposable {
		t.Errorf("any mode: %+v, %v", given, err)
	}
}

func TestKindDirIsTheUsersOwn(t *testing.T) {
	tests := map[string]struct{ state, home, want string }{
		"the state folder":   {"/state", "/home/u", "/state/podskew/kind/x"},
		"home":               {"", "/home/u", "/home/u/.local/state/podskew/kind/x"},
		"a relative one":     {"state", "/home/u", "/home/u/.local/state/podskew/kind/x"},
		"neither of the two": {"", "", filepath.Join(os.TempDir(), "podskew-")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			vars := map[string]string{"XDG_STATE_HOME": test.state, "HOME": test.home}
			e := env{getenv: func(name string) string { return vars[name] }}
			if got := e.kindDir("x"); !strings.HasPrefix(got, test.want) {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
