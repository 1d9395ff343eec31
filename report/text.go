package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/podskew/podskew/analyze"
)

// TextOptions tune the text report. The zero value suits a pipe.
type TextOptions struct {
	Width int  // columns no line exceeds; 0: 80; at least 40
	Color bool // mark severity, headings and results with terminal colours
	Wide  bool // show every row of long tables and the evidence of findings
}

// Limits of the page.
const (
	defaultWidth = 80
	minWidth     = 40
)

// Text writes a report for people: the verdict, the findings with what to do about them, the numbers of each stream,
// the expectations, and what the run cannot tell.
func Text(w io.Writer, r *analyze.Report, opts TextOptions) error {
	p := &page{width: opts.Width, color: opts.Color}
	if p.width == 0 {
		p.width = defaultWidth
	}
	p.width = max(p.width, minWidth)
	writeHead(p, r)
	writeFindings(p, r, opts.Wide)
	writeEvents(p, r.Events)
	if err := writePaths(p, r); err != nil {
		return fmt.Errorf("writing the paths: %w", err)
	}
	for i := range r.Streams {
		if folded(r, opts.Wide) {
			p.blank()
			p.text(faint, "  ", fmt.Sprintf("The %d streams and their findings one by one: -o wide, and the HTML and JSON reports.", len(r.Streams)))
			break
		}
		if err := writeStream(p, r, &r.Streams[i], opts.Wide); err != nil {
			return fmt.Errorf("writing stream %q: %w", r.Streams[i].Client, err)
		}
	}
	if text := bothEndsWords(r.BothEnds); text != "" {
		p.blank()
		p.text(plain, "", text)
	}
	writeExpectations(p, r)
	writeNotes(p, r.Notes)
	if _, err := io.WriteString(w, p.out.String()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// writeHead writes what was run and the verdict on it.
func writeHead(p *page, r *analyze.Report) {
	p.text(bold, "", title(r))
	p.text(faint, "", circumstances(r))
	p.blank()
	p.text(verdictStyle(r), "", verdict(r))
}

func title(r *analyze.Report) string {
	if r.Run.Scenario == "" {
		return "podskew report"
	}
	return "podskew: " + r.Run.Scenario
}

// circumstances says where and when a run took place.
func circumstances(r *analyze.Report) string {
	var parts []string
	if words := clusterWords(r.Cluster); words != "" {
		parts = append(parts, words)
	}
	if mode := proxyMode(r.Cluster); mode != "" {
		parts = append(parts, "kube-proxy "+mode)
	}
	if n := len(r.Cluster.Nodes); n > 0 {
		parts = append(parts, count(n, "node"))
	}
	if r.Run.Seconds > 0 {
		parts = append(parts, seconds(r.Run.Seconds))
	}
	if !r.Run.Start.IsZero() && r.Run.Start.Unix() != 0 { // the data of others may hold no times
		parts = append(parts, r.Run.Start.UTC().Format(time.RFC3339))
	}
	if r.Run.ID != "" {
		parts = append(parts, "run "+r.Run.ID)
	}
	for i, part := range parts {
		parts[i] = strings.ReplaceAll(clean(part), " ", nbsp)
	}
	return strings.Join(parts, " · ")
}

// clusterWords names the cluster; "" if there is none.
func clusterWords(c analyze.ClusterInfo) string {
	if c.Provider == "imported" {
		return ""
	}
	return strings.TrimSpace(c.Provider + " " + c.Version)
}

// proxyMode is that of kube-proxy; "" where nothing is known of a cluster.
func proxyMode(c analyze.ClusterInfo) string {
	if c.ProxyMode == "unknown" && len(c.Nodes) == 0 {
		return ""
	}
	return c.ProxyMode
}

func writeFindings(p *page, r *analyze.Report, wide bool) {
	if len(r.Findings) == 0 {
		return
	}
	p.heading("Findings")
	for _, f := range bySeverity(r.Findings) {
		if folded(r, wide) && quiet(f) {
			continue
		}
		p.text(severityStyle(f.Severity), "  ", findingTitle(f))
		p.text(plain, "    ", f.Summary)
		if wide && len(f.Evidence) > 0 {
			p.text(faint, "    ", "Evidence: "+facts(f.Evidence)+".")
		}
		for _, remedy := range f.Remedies {
			p.text(plain, "    → ", remedyWords(remedy, wide))
		}
	}
	if folded(r, wide) {
		foldedFindings(p, bySeverity(r.Findings))
	}
}

// quiet reports whether a finding is no trouble: nobody has to do anything about it.
func quiet(f analyze.Finding) bool {
	return f.ByDesign || severityRank(f.Severity) >= severityRank(analyze.Info)
}

// findingTitle is the line a finding begins with: warning: ConnectionPinning (web), by design.
func findingTitle(f analyze.Finding) string {
	text := fmt.Sprintf("%s: %s", f.Severity, f.Code)
	if f.Stream != "" {
		text += " (" + f.Stream + ")"
	}
	if f.ByDesign {
		text += ", by design"
	}
	return text
}

// remedyWords is what to do. The analysis says there what it would bring; the numbers behind that are for wide pages.
func remedyWords(r analyze.Remedy, wide bool) string {
	if !wide || len(r.Predicted) == 0 {
		return r.What
	}
	return r.What + " (predicted: " + facts(r.Predicted) + ")"
}

func severityStyle(s analyze.Severity) style {
	switch s {
	case analyze.Error:
		return red
	case analyze.Warning:
		return yellow
	default:
		return plain
	}
}

// writeEvents lists what happened during the run.
func writeEvents(p *page, events []analyze.EventReport) {
	if len(events) == 0 {
		return
	}
	p.heading("Events")
	shown, left := ends(len(events), maxEvents)
	for _, i := range shown {
		p.text(plain, fmt.Sprintf("  %8s  ", moment(events[i].At)), eventWords(events[i]))
	}
	if left > 0 {
		p.text(faint, "  ", count(left, "event")+" in between not shown")
	}
}

func writeExpectations(p *page, r *analyze.Report) {
	expectations := r.Expectations
	if len(expectations) == 0 {
		return
	}
	p.heading("Expectations: " + holding(expectations))
	for _, e := range expectations {
		mark, s := "  ok    ", green
		switch {
		case e.NotApplicable:
			mark, s = "  n/a   ", faint
		case !e.Passed:
			mark, s = "  FAIL  ", red
		}
		p.text(s, mark, e.Name)
		if e.Detail != "" && (!e.Passed || !isSummary(r.Findings, e.Detail)) {
			p.text(plain, "        ", e.Detail)
		}
	}
}

// isSummary tells whether text is the summary of a finding, which the page shows already.
func isSummary(findings []analyze.Finding, text string) bool {
	return slices.ContainsFunc(findings, func(f analyze.Finding) bool { return f.Summary == text })
}

func writeNotes(p *page, notes []string) {
	if len(notes) == 0 {
		return
	}
	p.heading("What this run cannot tell")
	for _, note := range notes {
		p.text(plain, "  - ", note)
	}
}
