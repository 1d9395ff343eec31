package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/cluster"
	"github.com/podskew/podskew/kind"
)

func (e *env) cleanCommand() *cobra.Command {
	var o clusterOptions
	var all bool
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "Remove what crashed runs left in a cluster",
		Long: `Remove the namespaces of runs that ended without cleaning up (kill -9, a lost network). A run that is
alive renews a Lease in its namespace; clean leaves such runs alone, and waits a few seconds where
it cannot tell yet.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, st := cmd.Context(), e.status(cmd)
			cfg, err := e.existing(cmd, o)
			if err != nil {
				return err
			}
			if cfg == nil {
				_, err := fmt.Fprintln(e.stdout, "no cluster of podskew is up: nothing to clean (--cluster kind or current for another than the lab)")
				return err
			}
			cl, err := cluster.Connect(ctx, *cfg)
			if err != nil {
				return environmentError(err, "")
			}
			var cleaned []cluster.Cleaned
			err = st.do("Looking for what crashed runs left", func(p *step) error {
				cleaned, err = cl.Clean(ctx, cluster.CleanOptions{All: all}, func(text string) { p.update("%s", text) })
				return err
			})
			for _, c := range cleaned {
				what := "kept"
				if c.Removed {
					what = "removed"
				}
				if _, err := fmt.Fprintf(e.stdout, "%s %s: %s\n", what, c.Namespace, c.Reason); err != nil {
					return err
				}
			}
			if err != nil {
				return environmentError(err, "")
			}
			if len(cleaned) == 0 {
				_, err = fmt.Fprintln(e.stdout, "nothing to clean")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&o.cluster, "cluster", "auto", "which cluster: auto or lab (the lab that is up), kind (the cluster that is up), or current (the kubeconfig's)")
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "with --cluster current: path of the kubeconfig (default as kubectl)")
	cmd.Flags().StringVar(&o.context, "context", "", "with --cluster current: the kubeconfig context")
	cmd.Flags().BoolVar(&all, "all", false, "remove the namespaces of runs that are alive, too")
	return cmd
}

// existing says how to reach the cluster that is already there; nil if none is up.
func (e *env) existing(cmd *cobra.Command, o clusterOptions) (*cluster.Config, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.cluster == "current" {
		return &cluster.Config{Kubeconfig: o.kubeconfig, Context: o.context, Provider: "current"}, nil
	}
	if o.cluster == "kind" {
		engine, err := e.kindEngine(cmd.Context())
		if err != nil {
			return nil, err
		}
		up, _, err := engine.Find(cmd.Context(), kind.Name, e.kindDir(kind.Name))
		if err != nil || up == nil {
			return nil, err
		}
		return &cluster.Config{Kubeconfig: up.Kubeconfig, Provider: "kind"}, nil
	}
	lab, err := e.findLab()
	if err != nil {
		return nil, err
	}
	up, err := lab.running(cmd.Context())
	if err != nil || up == nil {
		return nil, nil //nolint:nilnil,nilerr // no lab is an answer; a lab that is gone answers with an error
	}
	return &cluster.Config{Kubeconfig: up.Kubeconfig, Provider: "lab"}, nil
}
