package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/spf13/cobra"
)

func (e *env) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Start, end and show the embedded cluster",
		Long: `Start, end and show a cluster that outlives a run. Without it, every "podskew run" starts a lab of
its own and ends it; with it, runs use the one that is up.`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(e.clusterUpCommand(), e.clusterLabCommand("down", "End the cluster and remove everything of it"),
		e.clusterLabCommand("status", "Show the cluster that is up"))
	return cmd
}

func (e *env) clusterUpCommand() *cobra.Command {
	var provider, mode string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster and print its kubeconfig's path",
		Example: `  export KUBECONFIG=$(podskew cluster up)
  kubectl get nodes`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := labOnly(provider); err != nil {
				return err
			}
			o := clusterOptions{cluster: "lab", proxyMode: mode, keep: true}
			if err := o.validate(); err != nil {
				return err
			}
			up, err := e.provide(cmd.Context(), e.status(cmd), o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.stdout, up.kubeconfig)
			return err
		},
	}
	cmd.Flags().StringVar(&provider, "provider", "lab", "what makes the cluster: lab")
	cmd.Flags().StringVar(&mode, "proxy-mode", "", "kube-proxy's mode: nftables or iptables (default nftables)")
	_ = cmd.RegisterFlagCompletionFunc("proxy-mode", cobra.FixedCompletions([]string{"nftables", "iptables"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// clusterLabCommand hands a command over to podskew-lab, whose cluster it is.
func (e *env) clusterLabCommand(name, short string) *cobra.Command {
	var provider string
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := labOnly(provider); err != nil {
				return err
			}
			lab, err := e.findLab()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), labDownWithin)
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
		},
	}
	cmd.Flags().StringVar(&provider, "provider", "lab", "what made the cluster: lab")
	return cmd
}

func labOnly(provider string) error {
	switch provider {
	case "lab":
		return nil
	case "kind":
		return usageError("--provider kind is not built yet: use lab")
	}
	return usageError("--provider %q: write lab", provider)
}
