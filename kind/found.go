package kind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"
	"sigs.k8s.io/yaml"
)

// answersWithin bounds the question whether a cluster that should be up is.
const answersWithin = 10 * time.Second

// State is what Find found.
type State struct {
	Nodes, Running int
	ProxyMode      string // "" if it cannot be told, as the control plane does not run
	Ready          bool   // the API server answers
}

// Usable reports whether the cluster is the one Up makes, whole and answering.
func (s State) Usable() bool {
	return s.Nodes == nodeCount() && s.Running == s.Nodes && s.Ready && s.ProxyMode != ""
}

// String says it in a few words.
func (s State) String() string {
	switch {
	case s.Usable():
		return fmt.Sprintf("ready, kube-proxy in %s mode, %d nodes", s.ProxyMode, s.Nodes)
	case s.Running < s.Nodes:
		return fmt.Sprintf("%d of %d nodes run", s.Running, s.Nodes)
	case s.Nodes != nodeCount():
		return fmt.Sprintf("%d nodes instead of %d", s.Nodes, nodeCount())
	}
	return "the API server does not answer"
}

// Find returns a cluster that is there, nil if none of that name is. Its kubeconfig is written again if it is gone.
func (e *Engine) Find(ctx context.Context, name, dir string) (*Cluster, State, error) {
	var s State
	all, err := e.nodes(ctx, name, "-a")
	if err != nil || len(all) == 0 {
		return nil, s, err
	}
	running, err := e.nodes(ctx, name)
	if err != nil {
		return nil, s, err
	}
	c := e.cluster(name, dir, newLogger(nil, nil))
	s.Nodes, s.Running = len(all), len(running)
	if out, err := run(ctx, answersWithin, e.Name, "exec", name+"-control-plane", "cat", "/kind/kubeadm.conf"); err == nil {
		s.ProxyMode = proxyMode(out)
	}
	if s.Running == s.Nodes && s.ProxyMode != "" {
		_, err := c.kubectl(ctx, answersWithin, "get", "--raw=/readyz")
		s.Ready = err == nil
	}
	if !s.Usable() {
		return c, s, context.Cause(ctx)
	}
	return c, s, c.restoreKubeconfig()
}

func (c *Cluster) restoreKubeconfig() error {
	if _, err := os.Stat(c.Kubeconfig); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("making the folder for the kubeconfig: %w", err)
	}
	if err := c.provider.ExportKubeConfig(c.Name, c.Kubeconfig, false); err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", c.Name, explain(err))
	}
	return nil
}

// nodes lists the node containers of a cluster; with "-a" also those that do not run.
func (e *Engine) nodes(ctx context.Context, name string, flags ...string) ([]string, error) {
	args := append([]string{"ps"}, flags...)
	out, err := run(ctx, engineWithin, e.Name, append(args, "--filter", "label=io.x-k8s.kind.cluster="+name, "--format", "{{.Names}}")...)
	if err != nil {
		return nil, fmt.Errorf("listing the nodes of %s: %w", name, err)
	}
	return strings.Fields(string(out)), nil
}

// proxyMode reads kube-proxy's mode from what kubeadm was told.
func proxyMode(kubeadm []byte) string {
	for doc := range bytes.SplitSeq(kubeadm, []byte("\n---")) {
		var k struct{ Kind, Mode string }
		if yaml.Unmarshal(doc, &k) == nil && k.Kind == "KubeProxyConfiguration" {
			return k.Mode
		}
	}
	return ""
}

// Load puts an image archive on every node, as a pull would.
func (c *Cluster) Load(ctx context.Context, archive []byte) error {
	list, err := c.provider.ListNodes(c.Name)
	if err != nil {
		return fmt.Errorf("listing the nodes of %s: %w", c.Name, explain(err))
	}
	if len(list) == 0 {
		return fmt.Errorf("the cluster %s has no nodes", c.Name)
	}
	var g errgroup.Group
	for _, n := range list {
		g.Go(func() error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if err := nodeutils.LoadImageArchive(n, bytes.NewReader(archive)); err != nil {
				return fmt.Errorf("loading the image on %s: %w", n, explain(err))
			}
			return nil
		})
	}
	return g.Wait()
}

// Orphan returns a cluster whose maker is gone: it was made for one run, in a folder of ours, and nobody holds its lock
// any more. nil if somebody does, or if it is not ours.
func (e *Engine) Orphan(name, dir string) *Cluster {
	if _, err := os.Stat(filepath.Join(dir, "made.json")); err != nil {
		return nil
	}
	held, err := lock(dir)
	if err != nil {
		return nil
	}
	c := e.cluster(name, dir, newLogger(nil, nil))
	c.lock = held
	return c
}
