package report

import (
	"fmt"
	"html/template"
	"io"
	"net/url"
	"path"
)

// SummaryHTML writes the series as one page with a link to each run's own report, which works where the page lies beside
// the folder of runs.
func SummaryHTML(w io.Writer, s *Summary) error {
	t, err := template.ParseFS(htmlFiles, "html/*.tmpl")
	if err != nil {
		return fmt.Errorf("reading the templates of the HTML report: %w", err)
	}
	return writeHTML(w, t, "summary.tmpl", newSummaryPage(s))
}

type summaryPage struct {
	Verdict, Tone, Badge string
	Runs                 []summaryPageRun
	Notes                []string
}

type summaryPageRun struct {
	Scenario, ProxyMode, Outcome, Tone, Seconds, Link string
	What                                              []string
}

func newSummaryPage(s *Summary) *summaryPage {
	p := &summaryPage{Verdict: summaryVerdict(s), Tone: "warning", Badge: "not everything ran"}
	switch {
	case s.Passed:
		p.Tone, p.Badge = "ok", "passed"
	case s.Counts[Failed]+s.Counts[Broken] > 0:
		p.Tone, p.Badge = "error", "failed"
	}
	for i := range s.Runs {
		r := &s.Runs[i]
		row := summaryPageRun{Scenario: clean(r.Scenario), ProxyMode: orNone(clean(r.ProxyMode)), Outcome: string(r.Outcome), Tone: "info", Seconds: none}
		switch r.Outcome {
		case Passed:
			row.Tone = "ok"
		case Failed, Broken, Interrupted:
			row.Tone = "error"
		default:
		}
		if r.Seconds > 0 {
			row.Seconds = places(r.Seconds, 1)
		}
		if r.Folder != "" {
			row.Link = (&url.URL{Path: path.Join(r.Folder, "report.html")}).String()
		}
		for _, e := range r.failures() {
			row.What = append(row.What, clean(e.Name+": "+e.Detail))
		}
		if len(row.What) == 0 && r.Detail != "" {
			row.What = []string{clean(r.Detail)}
		}
		p.Runs = append(p.Runs, row)
	}
	for _, note := range s.Notes {
		p.Notes = append(p.Notes, clean(note))
	}
	return p
}
