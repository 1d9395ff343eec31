package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

func (e *env) analyzeCommand() *cobra.Command {
	var out outputs
	cmd := &cobra.Command{
		Use:   "analyze RUN|FILE|-",
		Short: "Analyze a recorded run again, offline",
		Long: `Analyze a recorded run again: a run's folder, a record's file, or a record on standard input (-).
Nothing is sent anywhere and the same record gives the same report on every machine. A record that
was cut (kill -9, a full disk) is analyzed up to its last whole line.`,
		Example: `  podskew analyze runs/d4u8k1… -o json
  zcat runs/d4u8k1…/record.jsonl.gz | podskew analyze -`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			rec, s, err := loadRun(e, args[0])
			if err != nil {
				return err
			}
			rep, err := analyzeRecord(rec, s)
			if err != nil {
				return err
			}
			if err := out.write(e, rep); err != nil {
				return err
			}
			if !rep.Passed {
				return errExpectation
			}
			return nil
		},
	}
	out.flag(cmd)
	return cmd
}

func (o *outputs) flag(cmd *cobra.Command) {
	cmd.Flags().VarP(o, "output", "o", "report as "+strings.Join(formats(), ", ")+", on stdout or to a file: json=report.json; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoSpace))
}

// analyzeRecord judges a record by the expectations of its scenario, if there is one.
func analyzeRecord(rec *record.Record, s *scenarios.Scenario) (*analyze.Report, error) {
	var expect []analyze.Expectation
	if s != nil {
		for _, x := range s.Spec.Expect {
			expect = append(expect, expectation(x))
		}
	}
	rep, err := analyze.Analyze(rec, expect, analyze.Options{})
	if err != nil {
		return nil, &exitError{err: fmt.Errorf("analyzing the run: %w", err), code: exitUsage}
	}
	return rep, nil
}

// expectation puts one expectation of a scenario into the analyzer's words.
func expectation(x scenarios.Expect) analyze.Expectation {
	out := analyze.Expectation{
		Finding: analyze.Code(x.Finding), NoFinding: analyze.Code(x.NoFinding),
		Stream: x.Stream, Metric: x.Metric, Above: x.Above, Below: x.Below, Equals: x.Equals,
	}
	var b strings.Builder
	switch {
	case x.Finding != "":
		fmt.Fprintf(&b, "finding %s", x.Finding)
	case x.NoFinding != "":
		fmt.Fprintf(&b, "no finding %s", x.NoFinding)
	default:
		b.WriteString(x.Metric)
	}
	for _, bound := range []struct {
		word  string
		value *float64
	}{{"above", x.Above}, {"below", x.Below}, {"equals", x.Equals}} {
		if bound.value != nil {
			fmt.Fprintf(&b, " %s %g", bound.word, *bound.value)
		}
	}
	if x.Stream != "" {
		fmt.Fprintf(&b, " (%s)", x.Stream)
	}
	out.Name = b.String()
	return out
}
