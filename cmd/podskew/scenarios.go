package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/scenarios"
)

func (e *env) scenariosCommand() *cobra.Command {
	var names bool
	list := func(*cobra.Command, []string) error { return e.listScenarios(names) }
	cmd := &cobra.Command{
		Use:   "scenarios",
		Short: "List and show the built-in scenarios",
		Args:  noCommand,
		RunE:  list,
	}
	listing := &cobra.Command{
		Use:   "list",
		Short: "List the built-in scenarios by the question they belong to",
		Args:  arguments(cobra.NoArgs),
		RunE:  list,
	}
	for _, c := range []*cobra.Command{cmd, listing} {
		c.Flags().BoolVar(&names, "names", false, "nothing but the names, one per line, for scripts")
	}
	cmd.AddCommand(listing, &cobra.Command{
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
	}, &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of scenario files, for editors",
		Example: "  podskew scenarios schema > scenario.schema.json",
		Args:    arguments(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return scenarios.Schema(e.stdout) },
	})
	return cmd
}

// listWidth is what the list of scenarios fits into.
const listWidth = 80

// listScenarios writes the names, with what each shows under the question it belongs to unless only names are wanted.
func (e *env) listScenarios(only bool) error {
	var b strings.Builder
	if only {
		b.WriteString(strings.Join(scenarios.Names(), "\n") + "\n")
	} else if err := describeScenarios(&b); err != nil {
		return err
	}
	_, err := io.WriteString(e.stdout, b.String())
	return err
}

func describeScenarios(b *strings.Builder) error {
	byTopic, width := map[string][]*scenarios.Scenario{}, 0
	for _, name := range scenarios.Names() {
		s, err := scenarios.Builtin(name)
		if err != nil {
			return err
		}
		topic := scenarios.TopicOf(s)
		byTopic[topic] = append(byTopic[topic], s)
		width = max(width, len(name))
	}
	for _, topic := range scenarios.Topics() {
		if len(byTopic[topic.Name]) == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(topic.Question + "\n")
		for _, s := range byTopic[topic.Name] {
			name := s.Metadata.Name
			for _, line := range wrapWords(s.Metadata.Description, listWidth-width-4) {
				fmt.Fprintf(b, "  %-*s  %s\n", width, name, line)
				name = ""
			}
		}
	}
	return nil
}

// wrapWords breaks text into lines of at most columns, as far as its words let it. There is at least one line.
func wrapWords(text string, columns int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= columns:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
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
		hint := "\"podskew scenarios\" lists those that are built in"
		if near := scenarios.Nearest(arg); near != "" {
			hint = "did you mean " + near + "? " + hint
		}
		return nil, &exitError{
			err:  fmt.Errorf("%s: neither a built-in scenario nor a file", arg),
			code: exitUsage, hint: hint,
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
