package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/scenarios"
)

func (e *env) scenariosCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scenarios",
		Short: "List and show the built-in scenarios",
		Args:  noCommand,
		RunE:  func(*cobra.Command, []string) error { return e.listScenarios() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "list",
		Short: "List the built-in scenarios",
		Args:  arguments(cobra.NoArgs),
		RunE:  func(*cobra.Command, []string) error { return e.listScenarios() },
	}, &cobra.Command{
		Use:               "show NAME",
		Short:             "Print a built-in scenario's file, to be changed and run",
		Example:           "  podskew scenarios show keepalive > mine.yaml && podskew run mine.yaml",
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := scenarios.Source(args[0])
			if err != nil {
				return &exitError{err: err, code: exitUsage, hint: "\"podskew scenarios\" lists them"}
			}
			_, err = e.stdout.Write(text)
			return err
		},
	})
	return cmd
}

func (e *env) listScenarios() error {
	width := 0
	for _, name := range scenarios.Names() {
		width = max(width, len(name))
	}
	for _, name := range scenarios.Names() {
		s, err := scenarios.Builtin(name)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(e.stdout, "%-*s  %s\n", width, name, s.Metadata.Description); err != nil {
			return err
		}
	}
	return nil
}

func completeScenarios(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return scenarios.Names(), cobra.ShellCompDirectiveDefault
}

// loadScenario reads a built-in scenario by name or a file by path. A name that is both is the
// built-in one; ./NAME is the file.
func loadScenario(arg string) (*scenarios.Scenario, error) {
	if slices.Contains(scenarios.Names(), arg) {
		return scenarios.Builtin(arg)
	}
	text, err := os.ReadFile(arg)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &exitError{
			err:  fmt.Errorf("%s: neither a built-in scenario nor a file", arg),
			code: exitUsage, hint: "built in are " + strings.Join(scenarios.Names(), ", "),
		}
	}
	if err != nil {
		return nil, usageError("%w", err)
	}
	s, err := scenarios.Load(arg, text)
	if err != nil {
		return nil, &exitError{err: err, code: exitUsage}
	}
	return s, nil
}
