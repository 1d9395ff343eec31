package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/kind"
	"github.com/podskew/podskew/scenarios"
)

// runOptions are the flags of run.
type runOptions struct {
	clusterOptions
	foreignOptions
	out     outputs
	runsDir string
	image   string
	seed    uint64
	watch   bool
	all     bool
	matrix  matrix
}

func (e *env) runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run NAME|FILE... | --all",
		Short: "Run scenarios and report which pods got the traffic, and why",
		Long: `Run scenarios, built in (by name) or from files, one after the other on one cluster: deploy echo
pods and clients, send the load, compare who answered with what the Service's settings predict, and
remove what was deployed. The report goes to standard output; record, report and JUnit file stay in
the run's folder. Of several runs (several scenarios, --all, --matrix) each gets a line on standard
error as it ends, and standard output gets one summary of all. A scenario that needs what the cluster
does not have is skipped. Exit code, the worst of all runs: 0 every expectation holds, 1 one failed,
2 usage or invalid scenario, 3 the environment failed or nothing could run, 130 interrupted.`,
		Example: `  podskew run keepalive
  podskew run fresh affinity-clientip --proxy-mode iptables
  podskew run --all --matrix proxyMode=nftables,iptables -o text -o junit=junit.xml
  podskew run ./incident.yaml --cluster current -o text -o junit=junit.xml`,
		Args:              arguments(o.some),
		ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(o.cluster, cmd.Flags().Changed); err != nil {
				return err
			}
			return e.run(cmd.Context(), e.status(cmd), args, &o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.cluster, "cluster", "auto", "where to run: auto (kind if it can be had, else the lab), kind, lab (embedded) or current (the kubeconfig's)")
	flags.StringVar(&o.proxyMode, "proxy-mode", "", "kube-proxy's mode on a cluster made for the run: nftables, iptables or, on kind, ipvs (default nftables)")
	flags.BoolVar(&o.keep, "keep-cluster", false, "leave a cluster that was made for the run up")
	flags.StringVar(&o.nodeImage, "node-image", kind.DefaultImage, "with kind: the image of its nodes")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "with --cluster current: path of the kubeconfig (default as kubectl)")
	flags.StringVar(&o.context, "context", "", "with --cluster current: the kubeconfig context")
	flags.StringVar(&o.image, "image", "", "image of the echo pods and agents (default the one the lab carries and kind is given)")
	flags.StringVar(&o.runsDir, "runs-dir", "runs", "where the run's folder is made")
	flags.BoolVar(&o.watch, "watch", false, "show the shares per pod while the load goes on")
	flags.Uint64Var(&o.seed, "seed", 1, "seeds the simulations of the analysis")
	o.foreignFlags(cmd)
	flags.BoolVar(&o.all, "all", false, "run every built-in scenario")
	flags.Var(&o.matrix, "matrix", "run everything once for each value, on a cluster each: proxyMode=nftables,iptables")
	o.out.flag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("matrix", completeMatrix)
	_ = cmd.RegisterFlagCompletionFunc("cluster", cobra.FixedCompletions(clusterNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("proxy-mode", cobra.FixedCompletions(kind.ProxyModes(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// some wants scenarios: by name, or all of them.
func (o *runOptions) some(cmd *cobra.Command, args []string) error {
	if o.all && len(args) > 0 {
		return fmt.Errorf("--all runs every built-in scenario: leave out %s, or --all", strings.Join(args, " "))
	}
	if o.all {
		return nil
	}
	return cobra.MinimumNArgs(1)(cmd, args)
}

// run reads every scenario before anything is started, then runs them, mode by mode. What becomes of one run does not
// stop the next one, but for a cluster that is broken.
func (e *env) run(ctx context.Context, st *status, args []string, o *runOptions) (err error) {
	if err := errors.Join(o.validate(), o.matrix.check(o.clusterOptions)); err != nil {
		return err
	}
	if o.all {
		args = scenarios.Names()
	}
	list := make([]*scenarios.Scenario, len(args))
	for i, arg := range args {
		if list[i], err = loadScenario(arg); err != nil {
			return err
		}
		if err := o.admit(o.cluster, list[i]); err != nil {
			return err
		}
	}
	if o.cluster == "current" && o.image == "" {
		return &exitError{
			err:  errors.New("--cluster current needs --image: the podskew-pod image in a registry your nodes can pull from"),
			code: exitUsage, hint: "docs/own-cluster.md says how to make it",
		}
	}
	o.loadPod = o.image == ""
	return e.newSeries(st, o, list).run(ctx)
}
