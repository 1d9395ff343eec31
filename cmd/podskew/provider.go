package main

import (
	"context"
	"fmt"
)

// provided is a cluster a command may use, and what it takes to give it back.
type provided struct {
	provider   string // lab, kind or current
	kubeconfig string // path; "" for the user's own
	// disposable clusters end with the command: nothing inside them has to be removed.
	disposable bool
	// died is closed when the cluster ended by itself; reason then says why. nil if nobody can tell.
	died   <-chan struct{}
	reason func() error
	close  func(ctx context.Context) error
}

// clusterOptions are the flags that choose a cluster.
type clusterOptions struct {
	cluster    string // auto, lab, kind or current
	proxyMode  string // nftables, iptables; "": the cluster's own, nftables where one is made
	keep       bool
	kubeconfig string
	context    string
}

func (o clusterOptions) validate() error {
	switch o.cluster {
	case "auto", "lab", "current":
	case "kind":
		return usageError("--cluster kind is not built yet: use lab or current")
	default:
		return usageError("--cluster %q: write auto, lab, kind or current", o.cluster)
	}
	switch o.proxyMode {
	case "", "nftables", "iptables":
	case "ipvs":
		return usageError("--proxy-mode ipvs: the lab has nftables and iptables")
	default:
		return usageError("--proxy-mode %q: write nftables or iptables", o.proxyMode)
	}
	if o.cluster == "current" && o.proxyMode != "" {
		return usageError("--proxy-mode is for clusters podskew makes; with --cluster current it is the cluster's own")
	}
	return nil
}

// provide gets a cluster: the one that is already up and fits, or a new one.
func (e *env) provide(ctx context.Context, st *status, o clusterOptions) (*provided, error) {
	switch o.cluster {
	case "current":
		return &provided{provider: "current", kubeconfig: o.kubeconfig, close: func(context.Context) error { return nil }}, nil
	case "auto":
		st.note("cluster: lab, the only kind this version makes by itself (--cluster current for your own)")
	}
	lab, err := e.findLab()
	if err != nil {
		return nil, err
	}
	if up, err := lab.running(ctx); err == nil && up != nil {
		if o.proxyMode == "" || o.proxyMode == up.ProxyMode {
			st.note("cluster: the lab that is up (%s, %s)", up.ProxyMode, up.Kubeconfig)
			return &provided{provider: "lab", kubeconfig: up.Kubeconfig, close: func(context.Context) error { return nil }}, nil
		}
		if o.keep {
			return nil, usageError("--keep-cluster: a lab with kube-proxy in %s mode is up already: \"podskew cluster down\" first", up.ProxyMode)
		}
	}
	mode := o.proxyMode
	if mode == "" {
		mode = "nftables"
	}
	if o.keep {
		return lab.keep(ctx, st, mode)
	}
	return lab.start(ctx, st, mode)
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
