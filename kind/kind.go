// Package kind makes clusters of containers with kind, through its library: no kind binary is needed. A cluster has its
// own name and its own kubeconfig file; the user's kubeconfig is never touched. Whatever fails or is interrupted on the
// way leaves nothing behind: no containers, no network that was not there before, no files.
package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/exec"
)

// Name is the cluster that stays up. Clusters made for one run are called Name-something.
const Name = "podskew"

const (
	readyWithin  = 3 * time.Minute
	deleteWithin = time.Minute
	// retryDelete is how often nodes are deleted while kind, which cannot be told to stop, still makes new ones.
	retryDelete = 500 * time.Millisecond
	settleEvery = 100 * time.Millisecond
)

// Options say which cluster to make.
type Options struct {
	Name      string // Name, or Name-something
	Dir       string // the cluster's own folder for its kubeconfig; made by Up, removed by Down
	ProxyMode string // one of ProxyModes
	Image     string // a node image that is here
	Retain    bool   // leave the nodes of a cluster that failed to start, for a look at them
	// Progress and Warn get what happens, in a few words; nil: nobody wants to know. They must allow concurrent calls.
	Progress, Warn func(string)
}

// Cluster is a kind cluster that Up made or Find found.
type Cluster struct {
	Name       string
	Kubeconfig string // path of the cluster's own kubeconfig, mode 0600
	dir        string
	engine     *Engine
	provider   *cluster.Provider
	lock       *os.File // held by who made the cluster, until Release or Down; nil for a cluster that was found
}

// made is what has to be known to take a cluster away without a trace.
type made struct {
	Network bool `json:"network"` // the engine's network was made for this cluster
}

// ErrBusy means that another process is making, or using, the cluster of this name.
var ErrBusy = errors.New("another podskew holds the cluster")

// Up makes a cluster and waits until all its nodes are ready. If that fails, or ctx ends, everything of it is removed.
func (e *Engine) Up(ctx context.Context, o Options) (*Cluster, error) {
	config, err := Config(o.ProxyMode, e.CgroupV1)
	if err != nil {
		return nil, err
	}
	c := e.cluster(o.Name, o.Dir, newLogger(o.Progress, o.Warn))
	if err := c.reserve(ctx); err != nil {
		return nil, err
	}
	err = c.create(ctx, config, o)
	if err == nil {
		err = c.ready(ctx, o.Progress)
	}
	if err == nil {
		return c, nil
	}
	if o.Retain && ctx.Err() == nil {
		return nil, fmt.Errorf("%w\nthe nodes are kept (\"%s logs %s-control-plane\"); \"podskew cluster down --provider kind\" removes them", errors.Join(err, c.Release()), e.Name, c.Name)
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteWithin)
	defer cancel()
	c.settle(clean)
	return nil, errors.Join(err, c.Down(clean))
}

// settle waits until no node is being started any more. When one fails to start, kind returns while the engine is still
// starting others, which would be there after everything was deleted. Two looks in a row have to find none: between
// two nodes there may be a moment without a process.
func (c *Cluster) settle(ctx context.Context) {
	for quiet := 0; quiet < 2; quiet++ {
		if c.starting() {
			quiet = -1
		}
		select {
		case <-time.After(settleEvery):
		case <-ctx.Done():
			return
		}
	}
}

// starting reports whether a process on this machine starts a node of the cluster.
func (c *Cluster) starting() bool {
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		line, err := os.ReadFile(path)
		if err == nil && bytes.Contains(line, []byte("\x00run\x00--name\x00"+c.Name+"-")) {
			return true
		}
	}
	return false
}

func (e *Engine) cluster(name, dir string, l *logger) *Cluster {
	return &Cluster{Name: name, Kubeconfig: filepath.Join(dir, "kubeconfig"), dir: dir, engine: e, provider: e.provider(l)}
}

// reserve makes the cluster's folder and takes its lock, and notes what else is going to be made.
func (c *Cluster) reserve(ctx context.Context) (err error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("making the folder for the kubeconfig: %w", err)
	}
	if c.lock, err = lock(c.dir); err != nil {
		return err
	}
	_ = os.Remove(c.Kubeconfig + ".lock") // kind's, of a process that was killed: the lock is ours
	data, err := json.Marshal(made{Network: !c.engine.hasNetwork(ctx)})
	if err == nil {
		err = os.WriteFile(filepath.Join(c.dir, "made.json"), data, 0o600)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("noting what is made: %w", err), c.removeDir())
	}
	return nil
}

// lock takes the lock in a cluster's folder, which ends with the process that holds it, however it ends.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the cluster: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w (%s)", ErrBusy, dir)
	}
	return f, nil
}

// create runs kind. kind cannot be told to stop, so when ctx ends its nodes are deleted until it gives up by itself.
func (c *Cluster) create(ctx context.Context, config []byte, o Options) error {
	var err error // read after done
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = c.provider.Create(c.Name,
			cluster.CreateWithRawConfig(config), cluster.CreateWithNodeImage(o.Image), cluster.CreateWithKubeconfigPath(c.Kubeconfig),
			cluster.CreateWithWaitForReady(readyWithin), cluster.CreateWithRetain(true)) // what is left is ours to delete
	}()
	select {
	case <-done:
		if cause := context.Cause(ctx); err != nil && cause != nil {
			return cause
		}
		return explain(err)
	case <-ctx.Done():
	}
	for {
		_ = c.provider.Delete(c.Name, c.Kubeconfig) // that of Down, afterwards, counts
		select {
		case <-done:
			return context.Cause(ctx)
		case <-time.After(retryDelete):
		}
	}
}

// ready waits for every node; kind itself waits for the control plane only.
func (c *Cluster) ready(ctx context.Context, progress func(string)) error {
	if progress != nil {
		progress("Waiting for the workers")
	}
	_, err := c.kubectl(ctx, readyWithin, "wait", "--for=condition=Ready", "node", "--all", fmt.Sprintf("--timeout=%ds", int(readyWithin.Seconds())))
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	if err != nil {
		return fmt.Errorf("not every node became ready: %w", err)
	}
	return nil
}

// kubectl runs kubectl on the control plane, which has one.
func (c *Cluster) kubectl(ctx context.Context, within time.Duration, args ...string) ([]byte, error) {
	full := []string{"exec", c.Name + "-control-plane", "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"}
	return run(ctx, within, c.engine.Name, append(full, args...)...)
}

// explain adds to kind's error the last of what the command that failed had said, and cuts the command short: the one
// that starts a node has forty arguments.
func explain(err error) error {
	if err == nil {
		return nil
	}
	failed := exec.RunErrorForError(err)
	if failed == nil {
		return err
	}
	const few, enough = 4, 12
	text := err.Error()
	if len(failed.Command) > few+1 {
		text = strings.Replace(text, failed.PrettyCommand(), strings.Join(failed.Command[:few], " ")+" …", 1)
	}
	lines := strings.Split(string(failed.Output), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "" })
	for _, line := range lines[max(0, len(lines)-enough):] {
		text += "\n  " + strings.TrimRight(line, "\r ")
	}
	return errors.New(text)
}

// Release lets go of a cluster that is to stay up.
func (c *Cluster) Release() error {
	if c.lock == nil {
		return nil
	}
	f := c.lock
	c.lock = nil
	return f.Close()
}

// Down removes the nodes, the network if it was made for the cluster and nobody else uses it, and the cluster's folder.
// It is no error if there is nothing to remove.
func (c *Cluster) Down(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- c.provider.Delete(c.Name, c.Kubeconfig) }()
	select {
	case err := <-done:
		if err != nil {
			return errors.Join(fmt.Errorf("deleting the nodes of %s: %w", c.Name, explain(err)), c.Release())
		}
	case <-ctx.Done():
		// The command that hangs is the engine's; it ends with it or with us.
		return errors.Join(fmt.Errorf("deleting the nodes of %s: %w", c.Name, context.Cause(ctx)), c.Release())
	}
	var m made
	if data, err := os.ReadFile(filepath.Join(c.dir, "made.json")); err == nil {
		_ = json.Unmarshal(data, &m) // no answer means that the network stays
	}
	var err error
	if m.Network {
		err = c.engine.removeNetwork(ctx)
	}
	return errors.Join(err, c.removeDir())
}

func (c *Cluster) removeDir() error {
	err := errors.Join(os.RemoveAll(c.dir), c.Release())
	_ = os.Remove(filepath.Dir(c.dir)) // if it is empty now
	_ = os.Remove(filepath.Dir(filepath.Dir(c.dir)))
	return err
}

func (e *Engine) hasNetwork(ctx context.Context) bool {
	_, err := run(ctx, engineWithin, e.Name, "network", "inspect", "--format", "{{.Name}}", e.Network)
	return err == nil
}

// removeNetwork removes kind's network unless a container, running or not, is still in it.
func (e *Engine) removeNetwork(ctx context.Context) error {
	if !e.hasNetwork(ctx) {
		return nil
	}
	users, err := run(ctx, engineWithin, e.Name, "ps", "-a", "--quiet", "--filter", "network="+e.Network)
	if err == nil && len(strings.Fields(string(users))) > 0 {
		return nil
	}
	if err == nil {
		_, err = run(ctx, engineWithin, e.Name, "network", "rm", e.Network)
	}
	if err != nil {
		return fmt.Errorf("removing the network %s: %w", e.Network, err)
	}
	return nil
}

// List names the clusters of podskew that the engine has nodes of, sorted.
func (e *Engine) List() ([]string, error) {
	names, err := e.provider(newLogger(nil, nil)).List()
	if err != nil {
		return nil, fmt.Errorf("listing kind's clusters: %w", explain(err))
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n != Name && !strings.HasPrefix(n, Name+"-") })
	slices.Sort(names)
	return names, nil
}
