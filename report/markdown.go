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
	if len(r.Events) > 0 {
		b.WriteString("\n### Events\n\n")
	}
	for _, e := range r.Events[:min(len(r.Events), maxEvents)] {
		fmt.Fprintf(&b, "- %s: %s\n", escape(moment(e.At)), escape(eventWords(e)))
	}
	markdownPaths(&b, r)
	for i := range r.Streams {
		markdownStream(&b, r, &r.Streams[i])
	}
	if len(r.Expectations) > 0 {
		b.WriteString("\n### Expectations\n\n| | expectation | observed |\n|---|---|---|\n")
	}
	for _, e := range r.Expectations {
		mark := "ok"
		switch {
		case e.NotApplicable:
			mark = "n/a"
		case !e.Passed:
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
	if len(s.Backends) > 0 && !alone(s) {
		markdownShares(b, s)
	}
	if len(s.Nodes) > 0 {
		b.WriteString("\n| dialled | address | pods | sent | answered | expected | errors |\n|---|---|--:|--:|--:|---|---|\n")
	}
	rows, left := ends(len(s.Nodes), maxMarkdownRows)
	for _, i := range rows {
		n := s.Nodes[i]
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", escape(n.Node), escape(n.Address), integer(n.Endpoints), integer(n.Requests),
			integer(n.Answered), escape(n.Expected), escape(errorKinds(n.Errors)))
	}
	markdownLeft(b, left)
	if len(s.Sources) > 0 {
		b.WriteString("\n| seen as | address | of node | requests |\n|---|---|---|--:|\n")
	}
	for _, source := range gather(s.Sources) {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", escape(source.Class), escape(source.Address), escape(source.Node), integer(source.Requests))
	}
	fmt.Fprintf(b, "\n%s\n", escape(comparedWords(r, s)))
	for _, sentence := range more(r, s, false) {
		fmt.Fprintf(b, "\n%s\n", escape(sentence))
	}
}

// markdownShares writes who got how much.
func markdownShares(b *strings.Builder, s *analyze.Stream) {
	b.WriteString("\n| pod | node | requests | connections | share | expected | by chance |\n|---|---|--:|--:|--:|--:|--:|\n")
	rows, left := ends(len(s.Backends), maxMarkdownRows)
	for _, i := range rows {
		p := s.Backends[i]
		connections := integer(p.Connections)
		if byRequest(s) {
			connections = none
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", escape(p.Pod), escape(p.Node), integer(p.Requests),
			connections, percent(p.Share), expectedWords(p), chanceWords(s, p))
	}
	markdownLeft(b, left)
}

// strong marks text as strong.
func strong(text string) string { return "**" + escape(text) + "**" }

// escape keeps text from being read as Markdown or HTML, from becoming a link or a mention of somebody, and on one line.
func escape(text string) string {
	text = strings.ReplaceAll(clean(text), nbsp, " ")
	start := ""
	if at := listMark(text); at >= 0 { // else a list or a heading
		start, text = text[:at]+`\`+text[at:at+1], text[at+1:]
	}
	return start + strings.NewReplacer(
		`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "|", `\|`, "[", `\[`, "]", `\]`, "#", `\#`, "~", `\~`, "!", `\!`, "$", `\$`,
		"&", "&amp;", "<", "&lt;", ">", "&gt;", "://", `\://`, "www.", `www\.`, "WWW.", `WWW\.`, "@", "@\u200b",
	).Replace(text)
}

// listMark returns where text begins like an item of a list, a rule or the line under a heading; -1 if it does not.
func listMark(text string) int {
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	mark, rest := text[digits:], ""
	if mark == "" {
		return -1
	}
	mark, rest = mark[:1], mark[1:]
	alone := rest == "" || rest[0] == ' '
	switch {
	case digits > 0 && (mark == "." || mark == ")") && alone, digits == 0 && mark == "+" && alone, digits == 0 && mark == "-" && (alone || rest[0] == '-'), digits == 0 && mark == "=":
		return digits
	default:
		return -1
	}
}

// maxMarkdownRows is how many rows of a table a page of Markdown shows; the places that show it have limits.
const maxMarkdownRows = 60

func markdownLeft(b *strings.Builder, left int) {
	if left > 0 {
		fmt.Fprintf(b, "\n%s between these halves are not shown.\n", count(left, "row"))
	}
}
