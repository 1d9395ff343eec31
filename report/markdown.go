package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// Markdown writes the report for the summary page of a CI job: verdict, findings, one table per stream, expectations.
func Markdown(w io.Writer, r *analyze.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n%s\n", escape(title(r)), strong(verdict(r)), escape(circumstances(r)))
	if len(r.Findings) > 0 {
		b.WriteString("\n### Findings\n\n")
	}
	for _, f := range bySeverity(r.Findings) {
		fmt.Fprintf(&b, "- %s: %s\n", strong(findingTitle(f)), escape(f.Summary))
		for _, remedy := range f.Remedies {
			fmt.Fprintf(&b, "  - %s\n", escape(remedy.What))
		}
	}
	for i := range r.Streams {
		markdownStream(&b, r, &r.Streams[i])
	}
	if len(r.Expectations) > 0 {
		b.WriteString("\n### Expectations\n\n| | expectation | observed |\n|---|---|---|\n")
	}
	for _, e := range r.Expectations {
		mark := "ok"
		if !e.Passed {
			mark = "**FAIL**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", mark, escape(e.Name), escape(e.Detail))
	}
	if len(r.Notes) > 0 {
		b.WriteString("\n### What this run cannot tell\n\n")
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "- %s\n", escape(note))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the report as Markdown: %w", err)
	}
	return nil
}

func markdownStream(b *strings.Builder, r *analyze.Report, s *analyze.Stream) {
	fmt.Fprintf(b, "\n### Stream %s\n\n%s → %s: %s\n", escape(s.Client), escape(s.Vantage), escape(s.Target), escape(streamWords(s)))
	if len(s.Backends) > 0 {
		b.WriteString("\n| pod | node | requests | connections | share | expected | by chance |\n|---|---|--:|--:|--:|--:|--:|\n")
	}
	for _, p := range s.Backends {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", escape(p.Pod), escape(p.Node), integer(p.Requests),
			integer(p.Connections), percent(p.Share), expectedWords(p), percentRange(p.ChanceShare))
	}
	if len(s.Sources) > 0 {
		b.WriteString("\n| seen as | address | of node | requests |\n|---|---|---|--:|\n")
	}
	for _, source := range s.Sources {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", escape(source.Class), escape(source.Address), escape(source.Node), integer(source.Requests))
	}
	fmt.Fprintf(b, "\n%s\n", escape(testWords(s.Test, r.Run.Alpha)))
}

// strong marks text as strong.
func strong(text string) string { return "**" + escape(text) + "**" }

// escape keeps text from being read as Markdown or HTML, and on one line.
func escape(text string) string {
	return strings.NewReplacer(
		`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "|", `\|`, "[", `\[`, "]", `\]`, "#", `\#`, "~", `\~`,
		"&", "&amp;", "<", "&lt;", ">", "&gt;",
	).Replace(strings.ReplaceAll(clean(text), nbsp, " "))
}
