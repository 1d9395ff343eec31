package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/component-base/version"

	"github.com/podskew/podskew/lab/cluster"
	"github.com/podskew/podskew/lab/launch"
)

func (a *app) down() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End a lab and remove everything of it",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			was, err := launch.Down(c.Context(), a.runDir)
			if err == nil && !was {
				a.say("no lab is running with the run directory %s", a.runDir)
			}
			return err
		},
	}
}

func (a *app) status() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "status",
		Short: "Describe a lab; the exit code is 0 if it is ready",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := oneOf("-o", output, "text", "json"); err != nil {
				return usageError{err}
			}
			status, err := launch.Inspect(c.Context(), a.runDir)
			if err != nil {
				return err
			}
			if status.State != cluster.StateReady {
				a.code = exitFailed
			}
			if output == "json" {
				encoder := json.NewEncoder(a.Stdout)
				encoder.SetIndent("", "  ")
				return encoder.Encode(status)
			}
			return printStatus(a.Stdout, status)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

func printStatus(w io.Writer, s *cluster.Status) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, value)
		}
	}
	row("state", s.State)
	row("problem", s.Problem)
	row("run directory", s.RunDir)
	row("kubeconfig", s.Kubeconfig)
	row("mode", s.Mode)
	row("proxy mode", s.ProxyMode)
	for _, n := range s.Nodes {
		row("node", strings.TrimSpace(strings.Join([]string{n.Name, n.Address, n.PodCIDR, n.Zone}, " ")))
	}
	for _, c := range s.Components {
		row("component", strings.TrimSpace(strings.Join([]string{c.Name, c.State, c.Node}, " ")))
	}
	if err := table.Flush(); err != nil || s.Log == "" {
		return err
	}
	_, err := fmt.Fprintf(w, "the end of its log:\n%s", indented(s.Log))
	return err
}

func (a *app) exec() *cobra.Command {
	c := &cobra.Command{
		Use:   "exec NODE -- COMMAND [ARGS...]",
		Short: "Run a command of this machine in a node's namespaces",
		Long: `Run a command of this machine in a node's namespaces, such as "ip route", "nft list ruleset" or "conntrack -L".

NODE is a node of the cluster, or control-plane for the namespaces of the API server. The exit code is the command's.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			command := args[1:]
			if command[0] == "--" { // flags end at the node's name already, so this one is left to us
				command = command[1:]
			}
			if len(command) == 0 {
				return usageError{errors.New("exec needs a command after the node")}
			}
			dir, err := os.Getwd()
			if err != nil {
				dir = "/"
			}
			ctx, signals := notifySignals(c.Context())
			defer signals.stop()
			a.code, err = launch.Exec(ctx, a.runDir, cluster.ExecRequest{
				Node: args[0], Command: command, Dir: dir, Env: a.Env,
			}, [3]*os.File{a.Stdin, a.Stdout, a.Stderr})
			if err != nil && ctx.Err() != nil {
				return errInterrupted
			}
			return err
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}

func (a *app) preflight() *cobra.Command {
	var proxyMode, mode string
	c := &cobra.Command{
		Use:   "preflight",
		Short: "Find out whether this machine can run a lab, and what is missing",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := oneOf("--proxy-mode", proxyMode, cluster.NFTables, cluster.IPTables); err != nil {
				return usageError{err}
			}
			chosen, findings, err := launch.Preflight(c.Context(), launch.Mode(mode), proxyMode)
			if unfit, ok := errors.AsType[*launch.UnfitError](err); ok {
				a.code = exitEnvironment
				a.printFindings(a.Stdout, unfit.Findings)
				return nil
			}
			if err != nil {
				return err
			}
			a.printFindings(a.Stdout, findings)
			fmt.Fprintf(a.Stdout, "this machine can run a lab: %s\n", chosen)
			return nil
		},
	}
	c.Flags().StringVar(&proxyMode, "proxy-mode", cluster.NFTables, "mode of kube-proxy: nftables or iptables")
	c.Flags().StringVar(&mode, "mode", string(launch.Auto), "rights to run with: auto, rootless, userns or root")
	return c
}

func (a *app) printFindings(w io.Writer, findings []launch.Finding) {
	for _, f := range findings {
		mark := "ok     "
		switch {
		case f.Problem != "" && f.Required:
			mark = "missing"
		case f.Problem != "":
			mark = "note   "
		}
		line := mark + "  " + f.What
		if f.Problem != "" {
			line += ": " + f.Problem
		}
		fmt.Fprintln(w, line)
		if f.Remedy != "" && f.Problem != "" {
			fmt.Fprintf(w, "         %s\n", f.Remedy)
		}
	}
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the lab, of Kubernetes and of the Go toolchain",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.Stdout, "podskew-lab %s with Kubernetes %s (%s %s/%s)\n",
				a.Version, version.Get().GitVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
