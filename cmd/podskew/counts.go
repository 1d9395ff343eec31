package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/report"
)

// looksLikeRecord tells a record, compressed or not, from plain counts by the beginning of the input, which it does not
// consume.
func looksLikeRecord(r *bufio.Reader) bool {
	head, _ := r.Peek(512)
	if bytes.HasPrefix(head, []byte{0x1f, 0x8b}) {
		return true
	}
	return bytes.HasPrefix(bytes.TrimLeftFunc(head, unicode.IsSpace), []byte(`{"run":`))
}

// analyzeCounts reports on plain counts.
func analyzeCounts(e *env, in analyze.CountInput, backends int, out *outputs) error {
	rep, err := analyze.Counts(in, backends)
	if err != nil {
		return &exitError{err: err, code: exitUsage}
	}
	d := documents{formats: countFormats()}
	for _, o := range out.list {
		if !slices.Contains(append(countFormats(), "wide"), o.format) {
			return usageError("plain counts cannot be written as %s: choose one of %s", o.format, strings.Join(countFormats(), ", "))
		}
		d.list = append(d.list, o)
	}
	return d.write(e, func(w io.Writer, format string, opts report.TextOptions) error {
		switch format {
		case "json":
			return report.CountsJSON(w, rep)
		case "csv":
			return report.CountsCSV(w, rep)
		case "markdown":
			return report.CountsMarkdown(w, rep)
		default:
			return report.CountsText(w, rep, opts)
		}
	})
}

func countFormats() []string { return []string{"text", "json", "csv", "markdown"} }

// readCounts reads counts from data of that name.
func readCounts(r io.Reader, name string) (analyze.CountInput, error) {
	in, err := analyze.ParseCounts(r)
	if err != nil {
		return in, &exitError{
			err: fmt.Errorf("%s: %w", name, err), code: exitUsage,
			hint: `counts are lines such as "60 pod-a", as "sort | uniq -c" prints them, or one pod's name per answer; --from says that it is a log`,
		}
	}
	return in, nil
}

// describeInput says what a terminal is waiting for.
func describeInput(e *env) {
	if f, ok := e.stdin.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			_, _ = fmt.Fprintln(e.stderr, "podskew: reading counts or a record from standard input; Ctrl-D ends it")
		}
	}
}
