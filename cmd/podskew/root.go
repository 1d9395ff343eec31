package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is stamped by the Makefile.
var version = ""

// main runs the command line and returns the process's exit code.
func (e *env) main(ctx context.Context) int {
	root := e.rootCommand()
	root.SetArgs(e.args)
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	return exitCode(ctx, e.stderr, root.ExecuteContext(ctx))
}

func (e *env) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "podskew",
		Short: "Which pods get their Service's traffic, and why",
		Long: `podskew drives real traffic at echo pods behind a Kubernetes Service, compares who answered
with what the Service's own settings predict, and explains every deviation with numbers and a
remedy. It never calls chance a fault, and never calls a fault chance.`,
		Example: `  podskew run keepalive                # on the embedded lab: no Docker, no cluster needed
  podskew run ./incident.yaml -o json --cluster current
  podskew analyze runs/d4u8k1…         # the same analysis again, offline
  podskew predict --backends 3 --connections 10
  podskew scenarios`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().BoolP("quiet", "q", false, "no progress on stderr")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{err: err, code: exitUsage, hint: fmt.Sprintf("%q lists the flags", cmd.CommandPath()+" --help")}
	})
	root.AddCommand(e.runCommand(), e.analyzeCommand(), e.compareCommand(), e.scenariosCommand(), e.clusterCommand(), e.cleanCommand(), e.imageCommand(), e.rbacCommand(), e.predictCommand(), e.loadCommand(), e.versionCommand())
	return root
}

// noCommand refuses words that are no command, with the command that was probably meant.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usageError("unknown command %q for %q", args[0], cmd.CommandPath())
	if e, ok := errors.AsType[*exitError](err); ok {
		e.hint = fmt.Sprintf("%q lists the commands", cmd.CommandPath()+" --help")
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			e.hint = fmt.Sprintf("did you mean %q?", cmd.CommandPath()+" "+near[0])
		}
	}
	return err
}

// arguments turns cobra's complaints about positional arguments into usage errors that name the usage line.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &exitError{err: err, code: exitUsage, hint: "usage: " + cmd.UseLine()}
		}
		return nil
	}
}

func (e *env) status(cmd *cobra.Command) *status {
	quiet, _ := cmd.Flags().GetBool("quiet")
	return &status{w: e.stderr, terminal: e.stderrTerminal, quiet: quiet}
}

func (e *env) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(e.stdout, "podskew", toolVersion())
			return err
		},
	}
}

// toolVersion is the stamped version, else what the module was built as.
func toolVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
