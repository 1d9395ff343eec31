package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/report"
)

func (e *env) compareCommand() *cobra.Command {
	var (
		out           = documents{formats: []string{"text", "html", "json", "markdown"}}
		before, after []string
		failIfWorse   bool
	)
	cmd := &cobra.Command{
		Use:   "compare BEFORE AFTER",
		Short: "Compare runs before a change with runs after it",
		Long: `Compare runs before a change with runs after it: per stream and metric before, after, the difference with
an interval, and whether that is better, worse, or no difference that the runs can show. A side is a
run's folder, a record's file or a JSON report; several are pooled, separated by commas or given with
--before and --after.`,
		Example: `  podskew compare runs/d4u8k1… runs/d4u8m7…
  podskew compare before1.json,before2.json after.json -o markdown
  podskew compare --before runs/a --before runs/b --after runs/c -o compare.html`,
		Args: arguments(cobra.MaximumNArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error {
			sides, err := compareSides(args, before, after)
			if err != nil {
				return err
			}
			c, err := e.compare(sides)
			if err != nil {
				return err
			}
			err = out.write(e, func(w io.Writer, format string, opts report.TextOptions) error {
				return renderComparison(w, format, c, opts)
			})
			if err != nil {
				return err
			}
			if failIfWorse && c.Verdict == analyze.Worse {
				return errExpectation
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&before, "before", nil, "a run before the change; may be repeated")
	flags.StringArrayVar(&after, "after", nil, "a run after the change; may be repeated")
	flags.BoolVar(&failIfWorse, "fail-if-worse", false, "exit with 1 if the verdict is worse")
	out.flag(cmd, "comparison")
	return cmd
}

// compareSides sorts what was given into before and after.
func compareSides(args, before, after []string) ([2][]string, error) {
	sides := [2][]string{before, after}
	for i, arg := range args {
		sides[i] = append(sides[i], slices.DeleteFunc(strings.Split(arg, ","), func(s string) bool { return s == "" })...)
	}
	if len(sides[0]) == 0 || len(sides[1]) == 0 {
		return sides, &exitError{
			err: errors.New("two sides are needed: runs before the change and runs after it"), code: exitUsage, hint: "for example: podskew compare runs/BEFORE runs/AFTER",
		}
	}
	return sides, nil
}

func (e *env) compare(sides [2][]string) (*analyze.Comparison, error) {
	var reports [2][]*analyze.Report
	for i, list := range sides {
		for _, path := range list {
			r, err := e.loadReport(path)
			if err != nil {
				return nil, err
			}
			reports[i] = append(reports[i], r)
		}
	}
	c, err := analyze.Compare(reports[0], reports[1])
	if err != nil {
		return nil, &exitError{err: err, code: exitUsage}
	}
	return c, nil
}

// loadReport reads a report: as it is from JSON, else by analyzing the record.
func (e *env) loadReport(path string) (*analyze.Report, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if _, err := os.Stat(filepath.Join(path, recordFile)); errors.Is(err, fs.ErrNotExist) {
			path = filepath.Join(path, reportFile) // all that is left of a run
		}
	}
	if filepath.Ext(path) == ".json" {
		return readReport(path)
	}
	rec, s, err := loadRun(e, path)
	if err != nil {
		return nil, err
	}
	return analyzeRecord(rec, s)
}

func readReport(path string) (*analyze.Report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, usageError("reading a report: %w", err)
	}
	var r analyze.Report
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&r); err != nil {
		return nil, usageError("%s: not a report: %w", path, err)
	}
	if r.Kind != "Report" || r.APIVersion != record.Version {
		return nil, usageError("%s: not a report of this version: kind %q, apiVersion %q, want Report, %q", path, r.Kind, r.APIVersion, record.Version)
	}
	return &r, nil
}

func renderComparison(w io.Writer, format string, c *analyze.Comparison, opts report.TextOptions) error {
	switch format {
	case "json":
		return report.CompareJSON(w, c)
	case "markdown":
		return report.CompareMarkdown(w, c)
	case "html":
		return report.CompareHTML(w, c)
	case "text":
		return report.CompareText(w, c, opts)
	default:
		return fmt.Errorf("no such format: %q", format)
	}
}
