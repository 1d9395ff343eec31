package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/rs/xid"

	"github.com/podskew/podskew/cluster"
	"github.com/podskew/podskew/kind"
)

const (
	// autoWithin is how long --cluster auto waits for a registry before it settles for the lab.
	autoWithin = 5 * time.Second
	// askedWithin is the same for those who asked for kind.
	askedWithin = 30 * time.Second
	// kindUpWithin bounds the whole of a start: images are there by then.
	kindUpWithin   = 10 * time.Minute
	kindDownWithin = 2 * time.Minute
	loadWithin     = 2 * time.Minute
)

// kindPlan is what is known before anything of a kind cluster is started.
type kindPlan struct {
	engine   *kind.Engine
	up       *kind.Cluster // one that is up and fits: nothing else is needed
	warnings []kind.Error
	node     string     // the node image, by the name it has here; "" while it is pulled
	pull     *kind.Pull // nil if the image is here
	pod      []byte     // the archive of podskew's own image; nil if the nodes pull it
}

// kindEngine finds the container engine, as kind's own program would.
func (e *env) kindEngine(ctx context.Context) (*kind.Engine, error) {
	engine, err := kind.Detect(ctx, e.getenv("KIND_EXPERIMENTAL_PROVIDER"))
	if err != nil {
		return nil, kindError(err)
	}
	if network := e.getenv("KIND_EXPERIMENTAL_" + strings.ToUpper(engine.Name) + "_NETWORK"); network != "" {
		engine.Network = network
	}
	return engine, nil
}

// kindError gives what stands in kind's way its exit code and its remedy.
func kindError(err error) error {
	if errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled) {
		return err
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*kind.Error](err); ok {
		return environmentError(err, e.Remedy)
	}
	if errors.Is(err, kind.ErrBusy) {
		return environmentError(err, "wait until it is done")
	}
	return environmentError(err, "")
}

// hintOf is the remedy an error comes with, "" if none.
func hintOf(err error) string {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.hint
	}
	return ""
}

// planKind checks everything a kind cluster needs of this machine, without starting or making anything but a pull of
// the node image, whose registry has answered within the given time.
func (e *env) planKind(ctx context.Context, o clusterOptions, within time.Duration) (*kindPlan, error) {
	engine, err := e.kindEngine(ctx)
	if err != nil {
		return nil, err
	}
	p := &kindPlan{engine: engine}
	p.node = engine.FindImage(ctx, o.nodeImage)
	fatal, warnings := engine.Check(kind.ThisHost(), p.node == "")
	if len(fatal) > 0 {
		return nil, inTheWay(fatal)
	}
	p.warnings = warnings
	if o.loadPod {
		if p.pod, err = e.podImage([]string{runtime.GOARCH}, cluster.DefaultImage); err != nil {
			return nil, err
		}
	}
	if p.node == "" {
		if p.pull, err = engine.StartPull(ctx, o.nodeImage, within); err != nil {
			return nil, kindError(err)
		}
	}
	return p, nil
}

// inTheWay says all that stands in the way at once, and all remedies.
func inTheWay(fatal []kind.Error) error {
	var what, remedies []string
	for _, f := range fatal {
		what, remedies = append(what, f.What), append(remedies, f.Remedy)
	}
	return environmentError(errors.New(strings.Join(what, "; ")), strings.Join(remedies, "; "))
}

// why says in a few words what speaks for kind.
func (p *kindPlan) why(image string) string {
	tag, _, _ := strings.Cut(image, "@")
	if p.pull != nil {
		return fmt.Sprintf("%s answers and the node image %s can be pulled", p.engine.Name, tag)
	}
	return fmt.Sprintf("%s answers and the node image %s is here", p.engine.Name, tag)
}

// keptKind returns the cluster that "podskew cluster up --provider kind" left, if it is whole and fits; nil if there is
// none. With keep, one that is in the way is an error.
func (e *env) keptKind(ctx context.Context, st *status, engine *kind.Engine, o clusterOptions) (*kind.Cluster, error) {
	up, state, err := engine.Find(ctx, kind.Name, e.kindDir(kind.Name))
	if err != nil {
		return nil, kindError(err)
	}
	switch {
	case up == nil:
		return nil, nil //nolint:nilnil // no cluster is an answer
	case state.Usable() && (o.proxyMode == "" || o.proxyMode == state.ProxyMode):
		st.note("cluster: the kind cluster that is up (%s, %s)", state.ProxyMode, up.Kubeconfig)
		return up, nil
	case o.keep && state.Usable():
		return nil, usageError("a kind cluster with kube-proxy in %s mode is up already: \"podskew cluster down --provider kind\" first", state.ProxyMode)
	case o.keep:
		return nil, environmentError(fmt.Errorf("the kind cluster %s is there, but %v", kind.Name, state), "\"podskew cluster down --provider kind\" removes it")
	}
	return nil, nil //nolint:nilnil // it does not fit: the run gets one of its own beside it
}

// provideKind gets a kind cluster for those who asked for one.
func (e *env) provideKind(ctx context.Context, st *status, o clusterOptions) (*provided, error) {
	engine, err := e.kindEngine(ctx)
	if err != nil {
		return nil, err
	}
	up, err := e.keptKind(ctx, st, engine, o)
	if err != nil {
		return nil, err
	}
	if up != nil {
		return e.useKind(ctx, st, up, o)
	}
	plan, err := e.planKind(ctx, o, askedWithin)
	if err != nil {
		return nil, err
	}
	return e.makeKind(ctx, st, o, plan)
}

// useKind makes the kept cluster ready for this podskew: its image may be newer than the one there.
func (e *env) useKind(ctx context.Context, st *status, up *kind.Cluster, o clusterOptions) (*provided, error) {
	if o.loadPod {
		pod, err := e.podImage([]string{runtime.GOARCH}, cluster.DefaultImage)
		if err == nil {
			err = loadPod(ctx, st, up, pod)
		}
		if err != nil {
			return nil, err
		}
	}
	return &provided{provider: "kind", kubeconfig: up.Kubeconfig, close: func(context.Context) error { return nil }}, nil
}

func loadPod(ctx context.Context, st *status, up *kind.Cluster, pod []byte) error {
	return st.do("Loading "+cluster.DefaultImage+" on the nodes", func(*step) error {
		ctx, cancel := context.WithTimeout(ctx, loadWithin)
		defer cancel()
		if err := up.Load(ctx, pod); err != nil {
			return kindError(causeOr(ctx, err))
		}
		return nil
	})
}

// makeKind makes a cluster: one that stays, under its well-known name, or one that ends with the run.
func (e *env) makeKind(ctx context.Context, st *status, o clusterOptions, plan *kindPlan) (*provided, error) {
	for _, w := range plan.warnings {
		st.note("warning: %s%s", w.What, suffix(w.Remedy))
	}
	if plan.pull != nil {
		err := st.do("Pulling the node image", func(p *step) error {
			return plan.pull.Wait(ctx, func(line string) { p.update("%s", line) })
		})
		if err != nil {
			return nil, kindError(err)
		}
		plan.node = plan.engine.FindImage(ctx, o.nodeImage)
	}
	name := kind.Name
	if !o.keep {
		name += "-" + xid.New().String()
	}
	mode := o.mode()
	var up *kind.Cluster
	err := st.do(fmt.Sprintf("Starting kind: 3 workers, 1 external node, kube-proxy in %s mode", mode), func(p *step) (err error) {
		ctx, cancel := context.WithTimeout(ctx, kindUpWithin)
		defer cancel()
		up, err = plan.engine.Up(ctx, kind.Options{
			Name: name, Dir: e.kindDir(name), ProxyMode: mode, Image: plan.node, Retain: o.retain,
			Progress: func(text string) { p.update("%s", text) }, Warn: func(text string) { st.note("kind: %s", text) },
		})
		if err == nil {
			p.update("")
		}
		return err
	})
	if err != nil {
		return nil, kindError(fmt.Errorf("starting kind: %w", err))
	}
	given := e.givenKind(st, up, o)
	if plan.pod == nil {
		return given, nil
	}
	if err := loadPod(ctx, st, up, plan.pod); err != nil {
		if o.retain {
			return nil, errors.Join(err, up.Release())
		}
		return nil, errors.Join(err, downKind(context.WithoutCancel(ctx), st, up))
	}
	return given, nil
}

func (e *env) givenKind(st *status, up *kind.Cluster, o clusterOptions) *provided {
	given := &provided{provider: "kind", kubeconfig: up.Kubeconfig, proxyMode: o.mode()}
	if o.keep {
		given.close = func(context.Context) error {
			st.note("cluster: kept: export KUBECONFIG=%s; \"podskew cluster down --provider kind\" ends it", up.Kubeconfig)
			return up.Release()
		}
		return given
	}
	given.disposable = true
	given.close = func(ctx context.Context) error { return downKind(ctx, st, up) }
	return given
}

func downKind(ctx context.Context, st *status, up *kind.Cluster) error {
	return st.do("Deleting the kind cluster "+up.Name, func(*step) error {
		ctx, cancel := context.WithTimeout(ctx, kindDownWithin)
		defer cancel()
		if err := up.Down(ctx); err != nil {
			return environmentError(err, "\"podskew cluster down --provider kind\" removes what is left")
		}
		return nil
	})
}

// kindDir is the folder of a kind cluster's kubeconfig. It is among the user's state, not in the runtime folder, since
// the cluster outlives the session that made it.
func (e *env) kindDir(name string) string {
	base := filepath.Join(os.TempDir(), "podskew-"+strconv.Itoa(os.Getuid()))
	if state := e.getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		base = filepath.Join(state, "podskew")
	} else if home := e.getenv("HOME"); filepath.IsAbs(home) {
		base = filepath.Join(home, ".local", "state", "podskew")
	}
	return filepath.Join(base, "kind", name)
}

// kindDown ends the cluster that was kept, and those of runs that were killed before they could end theirs.
func (e *env) kindDown(ctx context.Context, st *status) error {
	engine, err := e.kindEngine(ctx)
	if err != nil {
		return err
	}
	names, err := engine.List()
	if err != nil {
		return kindError(err)
	}
	removed := 0
	for _, name := range names {
		var up *kind.Cluster
		if name == kind.Name {
			up, _, err = engine.Find(ctx, name, e.kindDir(name))
		} else {
			up = engine.Orphan(name, e.kindDir(name))
		}
		if err == nil && up != nil {
			err = downKind(ctx, st, up)
			removed++
		}
		if err != nil {
			return kindError(err)
		}
	}
	if removed == 0 {
		st.note("no kind cluster of podskew is up")
	}
	return nil
}

// kindStatus shows the clusters of podskew. None that is ready is exit code 1, as with the lab.
func (e *env) kindStatus(ctx context.Context) error {
	engine, err := e.kindEngine(ctx)
	if err != nil {
		return err
	}
	names, err := engine.List()
	if err != nil {
		return kindError(err)
	}
	ready := false
	for _, name := range names {
		up, state, err := engine.Find(ctx, name, e.kindDir(name))
		if err != nil {
			return kindError(err)
		}
		if up == nil {
			continue
		}
		ready = ready || state.Usable()
		if _, err := fmt.Fprintf(e.stdout, "%s: %v\n", name, state); err != nil {
			return err
		}
		if state.Usable() {
			if _, err := fmt.Fprintf(e.stdout, "  kubeconfig %s\n", up.Kubeconfig); err != nil {
				return err
			}
		}
	}
	if !ready {
		return &exitError{err: errors.New("no kind cluster of podskew is ready"), code: exitExpectation, hint: "\"podskew cluster up --provider kind\" makes one"}
	}
	return nil
}
