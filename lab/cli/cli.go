// Package cli is the command line of podskew-lab.
//
// Standard output carries results only, so that scripts can capture them: the path of the kubeconfig, a status. What
// is going on is told on standard error, one line per step. Errors are one line, "podskew-lab: error: ...", with a hint
// on the next where there is a remedy.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/podskew/podskew/lab/launch"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1   // the lab failed, or there is none
	exitUsage       = 2   // unknown command, flag or value
	exitEnvironment = 3   // this machine cannot run a lab
	exitInterrupted = 130 // Ctrl-C
)

// Process is what the command line takes from the process it runs in.
type Process struct {
	Version               string   // of the binary
	Args                  []string // without the program's name
	Env                   []string
	Stdin, Stdout, Stderr *os.File
}

// app is one run of the command line.
type app struct {
	Process
	runDir string
	code   int // exit code of a command that has no error
}

// usageError is an error in what the caller typed.
type usageError struct{ error }

// Unwrap returns the error itself.
func (e usageError) Unwrap() error { return e.error }

// errInterrupted ends a command that the caller interrupted.
var errInterrupted = errors.New("interrupted")

// Main runs the command line and returns its exit code.
func Main(ctx context.Context, p Process) int {
	// Cobra offers the flags of this set with every command, and Kubernetes' packages have put one of theirs there.
	pflag.CommandLine = pflag.NewFlagSet("", pflag.ContinueOnError)
	a := &app{Process: p}
	root := a.root()
	root.SetArgs(p.Args)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		return a.report(err)
	}
	return a.code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "podskew-lab",
		Short:         "A Kubernetes cluster in network namespaces, without containers",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&a.runDir, "run-dir", launch.DefaultRunDir(a.getenv("XDG_RUNTIME_DIR")),
		"directory of the lab's files; labs with different directories run side by side")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		var err error
		a.runDir, err = filepath.Abs(a.runDir)
		return err
	}
	root.AddCommand(a.up(), a.down(), a.status(), a.exec(), a.node(), a.preflight(), a.version())
	for _, c := range root.Commands() {
		wrapped := c.Args
		c.Args = func(c *cobra.Command, args []string) error {
			if err := wrapped(c, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	return root
}

func (a *app) getenv(name string) string {
	for _, e := range a.Env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

// say writes one line of progress.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.Stderr, "podskew-lab: "+format+"\n", args...)
}

// report tells about an error and returns the exit code for it.
func (a *app) report(err error) int {
	if errors.Is(err, errInterrupted) {
		a.say("interrupted")
		return exitInterrupted
	}
	a.say("error: %v", err)
	if failed, ok := errors.AsType[*launch.FailedError](err); ok {
		if failed.Log != "" {
			fmt.Fprintf(a.Stderr, "the end of its log:\n%s", indented(failed.Log))
		}
		return exitFailed
	}
	if unfit, ok := errors.AsType[*launch.UnfitError](err); ok {
		a.printFindings(a.Stderr, unfit.Findings)
		return exitEnvironment
	}
	switch {
	case errors.Is(err, launch.ErrRunning):
		a.say("hint: end it with \"podskew-lab down --run-dir %s\", or choose another --run-dir", a.runDir)
	case errors.Is(err, launch.ErrNotRunning):
		a.say("hint: start one with \"podskew-lab up --detach --run-dir %s\"", a.runDir)
	case errors.Is(err, launch.ErrNotRunDir):
		a.say("hint: choose a --run-dir that does not exist yet")
	}
	if _, ok := errors.AsType[usageError](err); ok || strings.HasPrefix(err.Error(), "unknown command") {
		a.say("hint: see podskew-lab --help")
		return exitUsage
	}
	return exitFailed
}

// indented sets a log off from what is said about it.
func indented(log string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(log, "\n"), "\n", "\n  ") + "\n"
}
