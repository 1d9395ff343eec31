package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/podskew/podskew/cluster"
	"github.com/podskew/podskew/kind"
)

// provided is a cluster a command may use, and what it takes to give it back.
type provided struct {
	provider   string // lab, kind or current
	kubeconfig string // path; "" for the user's own
	proxyMode  string // kube-proxy's, where podskew made the cluster; "": it has to be asked
	// nodeSubnet is the network of the nodes' addresses, where it is known.
	nodeSubnet netip.Prefix
	// disposable clusters end with the command: nothing inside them has to be removed.
	disposable bool
	// died is closed when the cluster ended by itself; reason then says why. nil if nobody can tell.
	died   <-chan struct{}
	reason func() error
	close  func(ctx context.Context) error
	// machines does to nodes what no API server can; nil: nothing does.
	machines cluster.Machines
	// sweeper removes behind a run what the one before it deployed.
	sweeper sweeper
}

// ended reports whether the cluster has ended by itself, as far as anybody can tell.
func (p *provided) ended() bool {
	select {
	case <-p.died:
		return true
	default:
		return false
	}
}

// clusterOptions are the flags that choose a cluster.
type clusterOptions struct {
	cluster    string // auto, kind, lab or current
	proxyMode  string // nftables, iptables or, with kind, ipvs; "": the cluster's own, nftables where one is made
	keep       bool
	kubeconfig string
	context    string
	nodeImage  string // what kind's nodes run
	retain     bool   // leave the nodes of a kind cluster that failed to start
	loadPod    bool   // put podskew's own image on kind's nodes; not where a run names another
}

// clusterNames are the values of --cluster, in the order help lists them.
func clusterNames() []string { return []string{"auto", "kind", "lab", "current"} }

func (o clusterOptions) validate() error {
	if !slices.Contains(clusterNames(), o.cluster) {
		return usageError("--cluster %q: write auto, kind, lab or current", o.cluster)
	}
	if o.proxyMode != "" && !slices.Contains(kind.ProxyModes(), o.proxyMode) {
		return usageError("--proxy-mode %q: write nftables, iptables or ipvs", o.proxyMode)
	}
	switch {
	case o.cluster == "current" && o.proxyMode != "":
		return usageError("--proxy-mode is for clusters podskew makes; with --cluster current it is the cluster's own")
	case o.cluster == "lab" && o.proxyMode == "ipvs":
		return usageError("--proxy-mode ipvs: the lab has nftables and iptables; kind has all three")
	}
	return nil
}

// mode is the mode of a cluster that is made.
func (o clusterOptions) mode() string { return cmp.Or(o.proxyMode, kind.ProxyModes()[0]) }

// provide gets a cluster: the one that is already up and fits, or a new one.
func (e *env) provide(ctx context.Context, st *status, o clusterOptions) (*provided, error) {
	switch o.cluster {
	case "current":
		return &provided{provider: "current", kubeconfig: o.kubeconfig, close: func(context.Context) error { return nil }}, nil
	case "kind":
		return e.provideKind(ctx, st, o)
	case "lab":
		return e.provideLab(ctx, st, o)
	}
	return e.provideAuto(ctx, st, o)
}

// provideAuto prefers what is up already, then kind where it can be had, then the lab. One line says which, and why.
func (e *env) provideAuto(ctx context.Context, st *status, o clusterOptions) (*provided, error) {
	if given := e.upLab(ctx, st, o); given != nil {
		return given, nil
	}
	plan, err := e.planAuto(ctx, st, o)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if o.proxyMode == "ipvs" {
			return nil, &exitError{err: fmt.Errorf("--proxy-mode ipvs needs kind: %w", err), code: exitEnvironment, hint: hintOf(err)}
		}
		st.note("cluster: lab, because %v", err)
		return e.provideLab(ctx, st, o)
	}
	if plan.up != nil {
		return e.useKind(ctx, st, plan.up, o)
	}
	st.note("cluster: kind, because %s", plan.why(o.nodeImage))
	return e.makeKind(ctx, st, o, plan)
}

// planAuto finds out whether kind can be had; an error says why it cannot.
func (e *env) planAuto(ctx context.Context, st *status, o clusterOptions) (*kindPlan, error) {
	engine, err := e.kindEngine(ctx)
	if err != nil {
		return nil, err
	}
	up, err := e.keptKind(ctx, st, engine, o)
	if err != nil {
		return nil, err
	}
	if up != nil {
		return &kindPlan{engine: engine, up: up}, nil
	}
	return e.planKind(ctx, o, autoWithin)
}

// labState is what `podskew-lab status -o json` says.
type labState struct {
	State      string `json:"state"` // ready, …
	Kubeconfig string `json:"kubeconfig"`
	ProxyMode  string `json:"proxyMode"`
}

func labTitle(mode string) string {
	return fmt.Sprintf("Starting the lab: 3 workers, 1 external node, kube-proxy in %s mode", mode)
}
