// Command podskew-pod is the program inside podskew's pods: the echo server that says who answered, and the agent that
// drives load. It does without client-go, so that the one image, built FROM scratch, stays small.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is stamped by the Makefile.
var version = ""

func main() {
	os.Exit(run())
}

// run returns the exit code: 2 for wrong usage, 1 for everything else that fails.
func run() int {
	running := false
	root := newRootCommand(&running)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "podskew-pod:", err)
	if !running {
		fmt.Fprintf(os.Stderr, "Run '%s --help' for usage.\n", root.CommandPath())
		return 2
	}
	return 1
}

// newRootCommand returns the whole command line; running is set once flags and arguments were found right.
func newRootCommand(running *bool) *cobra.Command {
	root := &cobra.Command{
		Use:               "podskew-pod",
		Short:             "The roles inside podskew's pods",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { *running = true },
	}
	root.AddCommand(newEchoCommand(), newAgentCommand(), newVersionCommand())
	return root
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "podskew-pod", toolVersion())
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
