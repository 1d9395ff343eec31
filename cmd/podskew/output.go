package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/report"
)

// output is one -o: a format, and a file or stdout.
type output struct {
	format string
	file   string // "": stdout
}

// outputs collects the -o flags. It is a pflag.Value.
type outputs struct{ list []output }

func (o *outputs) String() string { return "" }
func (o *outputs) Type() string   { return "FORMAT[=FILE]" }

func formats() []string {
	return []string{"text", "wide", "html", "json", "junit", "markdown", "csv", "prometheus"}
}

// formatOfFile is the format a file's ending asks for.
func formatOfFile(name string) (string, bool) {
	format, known := map[string]string{
		".txt": "text", ".json": "json", ".xml": "junit", ".md": "markdown", ".html": "html", ".htm": "html", ".csv": "csv", ".prom": "prometheus",
	}[strings.ToLower(filepath.Ext(name))]
	return format, known
}

// Set parses FORMAT, FORMAT=FILE, or a FILE whose ending tells the format.
func (o *outputs) Set(s string) error {
	format, file, _ := strings.Cut(s, "=")
	if slices.Contains(formats(), format) {
		o.list = append(o.list, output{format, file})
		return nil
	}
	if byEnding, ok := formatOfFile(s); ok {
		o.list = append(o.list, output{byEnding, s})
		return nil
	}
	return fmt.Errorf("unknown format %q: write one of %s, or FORMAT=FILE", s, strings.Join(formats(), ", "))
}

// write renders rep once per -o; without any, as text on stdout.
func (o *outputs) write(e *env, rep *analyze.Report) error {
	list := o.list
	if len(list) == 0 {
		list = []output{{format: "text"}}
	}
	var errs []error
	for _, out := range list {
		errs = append(errs, out.write(e, rep))
	}
	return errors.Join(errs...)
}

func (out output) write(e *env, rep *analyze.Report) error {
	return out.deliver(e, func(w io.Writer) error { return render(w, out.format, rep, e.textOptions(out)) })
}

// writeSummary renders a series once per -o; without any, as text on stdout.
func (o *outputs) writeSummary(e *env, s *report.Summary) error {
	list := o.list
	if len(list) == 0 {
		list = []output{{format: "text"}}
	}
	var errs []error
	for _, out := range list {
		errs = append(errs, out.deliver(e, func(w io.Writer) error { return renderSummary(w, out.format, s, e.textOptions(out)) }))
	}
	return errors.Join(errs...)
}

// deliver renders a document and takes it where it goes.
func (out output) deliver(e *env, render func(io.Writer) error) error {
	var buf bytes.Buffer
	if err := render(&buf); err != nil {
		return fmt.Errorf("writing the report as %s: %w", out.format, err)
	}
	if out.file == "" || out.file == "-" {
		if _, err := e.stdout.Write(buf.Bytes()); err != nil {
			return environmentError(fmt.Errorf("writing the report: %w", err), "")
		}
		return nil
	}
	if err := os.WriteFile(out.file, buf.Bytes(), 0o644); err != nil { //nolint:gosec // a report is for others to read
		return environmentError(fmt.Errorf("writing the report: %w", err), "")
	}
	return nil
}

func (e *env) textOptions(out output) report.TextOptions {
	opts := report.TextOptions{Width: 80, Wide: out.format == "wide"}
	if (out.file == "" || out.file == "-") && e.stdoutTerminal {
		opts.Color = e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb"
		if out.format == "wide" && e.width > 80 {
			opts.Width = e.width
		}
	}
	return opts
}

func render(w io.Writer, format string, rep *analyze.Report, opts report.TextOptions) error {
	switch format {
	case "json":
		return report.JSON(w, rep)
	case "junit":
		return report.JUnit(w, rep)
	case "markdown":
		return report.Markdown(w, rep)
	case "html":
		return report.HTML(w, rep)
	case "csv":
		return report.CSV(w, rep)
	case "prometheus":
		return report.Prometheus(w, rep)
	default:
		return report.Text(w, rep, opts)
	}
}

// renderSummary writes a series. Its wide text has the whole report of every run before the summary.
func renderSummary(w io.Writer, format string, s *report.Summary, opts report.TextOptions) error {
	switch format {
	case "json":
		return report.SummaryJSON(w, s)
	case "junit":
		return report.SummaryJUnit(w, s)
	case "markdown":
		return report.SummaryMarkdown(w, s)
	case "html":
		return report.SummaryHTML(w, s)
	case "csv":
		return report.SummaryCSV(w, s)
	case "prometheus":
		return report.SummaryPrometheus(w, s)
	}
	for i := range s.Runs {
		if rep := s.Runs[i].Report; format == "wide" && rep != nil {
			if err := report.Text(w, rep, opts); err != nil {
				return err
			}
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
	}
	return report.SummaryText(w, s, opts)
}
