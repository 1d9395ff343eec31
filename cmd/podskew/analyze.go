package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/ingest"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

func (e *env) analyzeCommand() *cobra.Command {
	var o analyzeOptions
	cmd := &cobra.Command{
		Use:   "analyze RUN|FILE|- | --counts N,N,...",
		Short: "Analyze a recorded run again, a log, or plain counts, offline",
		Long: `Analyze a recorded run again: a run's folder, a record's file, or a record on standard input (-).
Nothing is sent anywhere and the same record gives the same report on every machine. A record that
was cut (kill -9, a full disk) is analyzed up to its last whole line.

Plain counts per pod are analyzed too, given with --counts or on standard input: lines as "sort | uniq -c"
prints them, or one line per answer that names the pod. Each count is taken as one independent connection.

So are access logs (nginx, Envoy, Istio, HAProxy, Caddy and other JSON), results of k6, vegeta and fortio, "kubectl logs
--prefix" and tables. The format is found out; the fields that matter are found out or named.`,
		Example: `  podskew analyze runs/d4u8k1… -o json
  zcat runs/d4u8k1…/record.jsonl.gz | podskew analyze -
  podskew analyze --counts 60,10,7,3 --backends 7
  for i in $(seq 100); do curl -s http://web/hostname; done | sort | uniq -c | podskew analyze -
  kubectl logs --prefix -l app=web | podskew analyze -
  podskew analyze access.log --log-format '$remote_addr $status $upstream_addr'`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.listed, o.said = cmd.Flags().Changed("counts"), cmd.Flags().Changed("backends")
			if len(args) == 0 && !o.listed {
				return &exitError{err: errors.New("what is to be analyzed?"), code: exitUsage, hint: "usage: " + cmd.UseLine()}
			}
			return e.analyze(args, &o)
		},
	}
	o.out.flag(cmd)
	cmd.Flags().StringVar(&o.counts, "counts", "", "plain counts, one per pod: 60,10,7,3")
	cmd.Flags().IntVar(&o.backends, "backends", 0, "how many pods there are, for counts and logs: those that never answered included")
	o.log.flags(cmd)
	return cmd
}

// analyzeOptions are the flags of analyze.
type analyzeOptions struct {
	out          outputs
	counts       string
	backends     int
	log          ingestOptions
	listed, said bool // --counts and --backends are there
}

func (e *env) analyze(args []string, o *analyzeOptions) error {
	switch {
	case o.said && o.backends < 1:
		return usageError("--backends %d: at least 1", o.backends)
	case o.listed && len(args) > 0:
		return usageError("--counts and %q: give one of the two", args[0])
	case o.listed && o.log.given():
		return usageError("--counts are no log: the flags that say how to read one do not go with them")
	case o.listed:
		in, err := analyze.ParseCountList(o.counts)
		if err != nil {
			return &exitError{err: fmt.Errorf("--counts: %w", err), code: exitUsage, hint: "for example: podskew analyze --counts 60,10,7,3"}
		}
		return analyzeCounts(e, in, o.backends, &o.out)
	case args[0] == "-":
		describeInput(e)
		return e.analyzeData(e.stdin, "standard input", o)
	}
	info, err := os.Stat(args[0])
	if err != nil || info.IsDir() {
		return e.analyzeRun(args[0], o)
	}
	f, err := os.Open(args[0])
	if err != nil {
		return usageError("%w", err)
	}
	defer func() { _ = f.Close() }()
	return e.analyzeData(f, args[0], o)
}

// analyzeData analyzes a stream of bytes: a record, what another tool recorded, or plain counts.
func (e *env) analyzeData(in io.Reader, name string, o *analyzeOptions) error {
	input := bufio.NewReaderSize(in, 64<<10)
	head, _ := input.Peek(64 << 10)
	_, found := ingest.Detect(head)
	switch isRecord := looksLikeRecord(input); {
	case o.log.given() || found && !isRecord || !isRecord && bytes.HasPrefix(head, []byte("{")): // which says what is missing
		return e.analyzeLog(input, name, o.backends, &o.log, &o.out)
	case isRecord || in != e.stdin: // any file could be taken for a list of pods: counts come from standard input
		if o.said {
			return errBackendsKnown()
		}
		rec, err := readRecord(input, name)
		if err != nil {
			return err
		}
		return e.reportOn(rec, nil, &o.out)
	}
	counts, err := readCounts(input, name)
	if err != nil {
		return err
	}
	return analyzeCounts(e, counts, o.backends, &o.out)
}

// analyzeRun analyzes a run's folder.
func (e *env) analyzeRun(arg string, o *analyzeOptions) error {
	if o.said {
		return errBackendsKnown()
	}
	rec, s, err := loadRun(e, arg)
	if err != nil {
		return err
	}
	return e.reportOn(rec, s, &o.out)
}

func errBackendsKnown() error {
	return usageError("--backends is for counts and logs: a record knows its backends")
}

func (e *env) reportOn(rec *record.Record, s *scenarios.Scenario, out *outputs) error {
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
}

func (o *outputs) flag(cmd *cobra.Command) {
	cmd.Flags().VarP(o, "output", "o", "report as "+strings.Join(formats(), ", ")+", on stdout or to a file: json=report.json, or report.json; may be repeated")
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
