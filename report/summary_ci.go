package report

import (
	"encoding/csv"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// junitSeries is the document of several runs.
type junitSeries struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

// SummaryJUnit writes the series as JUnit XML: a test suite per run, and in it a test case per expectation. A run that was
// skipped, broke or did not run has one test case that says so.
func SummaryJUnit(w io.Writer, s *Summary) error {
	out := junitSeries{Name: "podskew", Time: places(max(s.Seconds, 0), 3)}
	for i := range s.Runs {
		suite := junitOf(&s.Runs[i])
		out.Tests += suite.Tests
		out.Failures += suite.Failures
		out.Errors += suite.Errors
		out.Skipped += suite.Skipped
		out.Suites = append(out.Suites, suite)
	}
	return writeXML(w, out)
}

// junitOf is the suite of one run of a series.
func junitOf(r *SummaryRun) junitSuite {
	suite := junitSuite{}
	if r.Report != nil {
		suite = newJUnitSuite(r.Report)
	}
	suite.Name = "podskew " + r.name()
	class := strings.ReplaceAll(suite.Name, " ", ".")
	for i := range suite.Cases {
		suite.Cases[i].Class = class
	}
	suite.Time = places(max(r.Seconds, 0), 3)
	problem := &junitProblem{Message: clean(r.Detail), Text: clean(r.Detail)}
	switch r.Outcome {
	case Skipped, NotRun:
		suite.Cases = append(suite.Cases, junitCase{Class: class, Name: "the scenario runs", Skipped: problem})
		suite.Skipped++
	case Broken, Interrupted:
		suite.Cases = append(suite.Cases, junitCase{Class: class, Name: "the scenario runs", Error: problem})
		suite.Errors++
	default:
	}
	suite.Tests = len(suite.Cases)
	return suite
}

// SummaryMarkdown writes the series for the summary page of a CI job: the verdict, a table, and what did not pass.
func SummaryMarkdown(w io.Writer, s *Summary) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## podskew: %s\n\n| scenario | kube-proxy | outcome | seconds | |\n|---|---|---|--:|---|\n", escape(summaryVerdict(s)))
	for i := range s.Runs {
		r := &s.Runs[i]
		outcome := string(r.Outcome)
		if r.Outcome == Failed || r.Outcome == Broken || r.Outcome == Interrupted {
			outcome = strong(outcome)
		}
		seconds := none
		if r.Seconds > 0 {
			seconds = places(r.Seconds, 1)
		}
		first, _, _ := strings.Cut(r.Detail, "\n")
		if r.Outcome == Failed {
			first = r.what()
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", escape(r.Scenario), escape(orNone(r.ProxyMode)), outcome, seconds, escape(first))
	}
	for i := range s.Runs {
		markdownFailures(&b, &s.Runs[i])
	}
	if len(s.Notes) > 0 {
		b.WriteString("\n### Notes\n\n")
	}
	for _, note := range s.Notes {
		fmt.Fprintf(&b, "- %s\n", escape(note))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the series as Markdown: %w", err)
	}
	return nil
}

// markdownFailures is what there is to say of a run that failed.
func markdownFailures(b *strings.Builder, r *SummaryRun) {
	bad := r.failures()
	if len(bad) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n", escape(r.name()))
	for _, e := range bad {
		fmt.Fprintf(b, "- %s: %s\n", strong(e.Name), escape(e.Detail))
	}
	for _, f := range bySeverity(r.Report.Findings) {
		fmt.Fprintf(b, "- %s: %s\n", escape(findingTitle(f)), escape(f.Summary))
	}
	if r.Folder != "" {
		fmt.Fprintf(b, "- folder: %s\n", escape(r.Folder))
	}
}

// SummaryCSV writes what [CSV] writes of each run, under one head, with a last column for kube-proxy's mode.
func SummaryCSV(w io.Writer, s *Summary) error {
	out := csv.NewWriter(w)
	rows := [][]string{append(csvHead(), "proxy_mode")}
	for i := range s.Runs {
		if rep := s.Runs[i].Report; rep != nil {
			for _, row := range csvRows(rep) {
				rows = append(rows, append(row, csvText(s.Runs[i].ProxyMode)))
			}
		}
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("writing the series as CSV: %w", err)
	}
	return nil
}

// SummaryPrometheus writes the outcomes of the series in Prometheus' text exposition format. What each run measured is in
// the run's own report: a thousand series of it under one timestamp would say little.
func SummaryPrometheus(w io.Writer, s *Summary) error {
	e := &exposition{}
	e.family("podskew_series_duration_seconds", "How long the series took.")
	e.sample("podskew_series_duration_seconds", s.Seconds)
	e.family("podskew_series_runs", "Runs of the series by outcome.")
	for _, o := range Outcomes() {
		e.sample("podskew_series_runs", float64(s.Counts[o]), label{"outcome", string(o)})
	}
	e.family("podskew_series_run_passed", "1 if every expectation of the run holds, 0 if not; skipped runs are left out.")
	seen := map[[2]string]int{}
	for i := range s.Runs {
		r := &s.Runs[i]
		if r.Outcome == Skipped || r.Outcome == NotRun {
			continue
		}
		key := [2]string{labelText(r.Scenario), labelText(r.ProxyMode)}
		seen[key]++
		e.sample("podskew_series_run_passed", truth(r.Outcome == Passed), label{"scenario", key[0]}, label{"proxy_mode", key[1]},
			label{"number", fmt.Sprint(seen[key])})
	}
	if !s.Start.IsZero() {
		e.family("podskew_series_start_timestamp_seconds", "When the series started, as Unix time.")
		e.sample("podskew_series_start_timestamp_seconds", float64(s.Start.UnixMilli())/1000)
	}
	if _, err := io.WriteString(w, e.out.String()); err != nil {
		return fmt.Errorf("writing the series for Prometheus: %w", err)
	}
	return nil
}
