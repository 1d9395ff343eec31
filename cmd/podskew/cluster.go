package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/kind"
)

// providers are the values of --provider.
func providers() []string { return []string{"lab", "kind"} }

func (e *env) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Start, end and show a cluster that stays",
		Long: `Start, end and show a cluster that outlives a run: the embedded lab, or one made with kind. Without it,
every "podskew run" starts a cluster of its own and ends it; with it, runs use the one that is up.`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(e.clusterUpCommand(),
		e.clusterOtherCommand("down", "End the cluster and remove everything of it", e.kindDown),
		e.clusterOtherCommand("status", "Show the cluster that is up", func(ctx context.Context, _ *status) error { return e.kindStatus(ctx) }))
	return cmd
}

func (e *env) clusterUpCommand() *cobra.Command {
	var provider string
	o := clusterOptions{keep: true, loadPod: true}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster and print its kubeconfig's path",
		Example: `  export KUBECONFIG=$(podskew cluster up)
  kubectl get nodes
  podskew cluster up --provider kind --proxy-mode ipvs`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkProvider(provider); err != nil {
				return err
			}
			for _, flag := range []string{"image", "retain"} {
				if provider != "kind" && cmd.Flags().Changed(flag) {
					return usageError("--%s is for --provider kind", flag)
				}
			}
			o.cluster = provider
			if err := o.validate(); err != nil {
				return err
			}
			st := e.status(cmd)
			up, err := e.provide(cmd.Context(), st, o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.stdout, up.kubeconfig)
			return err
		},
	}
	cmd.Flags().StringVar(&provider, "provider", "lab", "what makes the cluster: lab or kind")
	cmd.Flags().StringVar(&o.proxyMode, "proxy-mode", "", "kube-proxy's mode: nftables, iptables or, on kind, ipvs (default nftables)")
	cmd.Flags().StringVar(&o.nodeImage, "image", kind.DefaultImage, "with kind: the image of its nodes")
	cmd.Flags().BoolVar(&o.retain, "retain", false, "with kind: leave the nodes of a cluster that failed to start, for a look at them")
	_ = cmd.RegisterFlagCompletionFunc("provider", cobra.FixedCompletions(providers(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("proxy-mode", cobra.FixedCompletions(kind.ProxyModes(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// clusterOtherCommand hands a command over to whose cluster it is: podskew-lab, or the given function for kind.
func (e *env) clusterOtherCommand(name, short string, onKind func(context.Context, *status) error) *cobra.Command {
	var provider string
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkProvider(provider); err != nil {
				return err
			}
			if provider == "kind" {
				return onKind(cmd.Context(), e.status(cmd))
			}
			return e.labCommand(cmd.Context(), name)
		},
	}
	cmd.Flags().StringVar(&provider, "provider", "lab", "what made the cluster: lab or kind")
	_ = cmd.RegisterFlagCompletionFunc("provider", cobra.FixedCompletions(providers(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (e *env) labCommand(ctx context.Context, name string) error {
	lab, err := e.findLab()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, labDownWithin)
	defer cancel()
	child := exec.CommandContext(ctx, lab.path, name) //nolint:gosec // our own binary
	child.Stdout, child.Stderr = e.stdout, e.stderr
	err = child.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &exitError{err: fmt.Errorf("podskew-lab %s: %w", name, err), code: max(exit.ExitCode(), exitExpectation)}
	}
	if err != nil {
		return environmentError(fmt.Errorf("podskew-lab %s: %w", name, err), "")
	}
	return nil
}

func checkProvider(provider string) error {
	if !slices.Contains(providers(), provider) {
		return usageError("--provider %q: write lab or kind", provider)
	}
	return nil
}
