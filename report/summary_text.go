package report

import (
	"fmt"
	"io"
	"strings"
)

// SummaryText writes the series for people: a line per run, then everything that did not pass with its reason, then the
// verdict, which is last so that a terminal shows it.
func SummaryText(w io.Writer, s *Summary, opts TextOptions) error {
	p := newPage(opts)
	if err := p.table(summaryTable(s)); err != nil {
		return fmt.Errorf("writing the series: %w", err)
	}
	for _, group := range []struct {
		head    string
		style   style
		outcome Outcome
	}{
		{"Failed", red, Failed},
		{"Broken: the environment failed, nothing was learned", red, Broken},
		{"Interrupted", yellow, Interrupted},
		{"Skipped", plain, Skipped},
	} {
		p.troubles(s, group.head, group.style, group.outcome)
	}
	p.notRun(s)
	if len(s.Notes) > 0 {
		p.heading("Notes")
	}
	for _, note := range s.Notes {
		p.text(plain, "  - ", note)
	}
	p.blank()
	p.text(summaryStyle(s), "", summaryVerdict(s))
	if _, err := io.WriteString(w, p.out.String()); err != nil {
		return fmt.Errorf("writing the series: %w", err)
	}
	return nil
}

func newPage(opts TextOptions) *page {
	p := &page{width: opts.Width, color: opts.Color}
	if p.width == 0 {
		p.width = defaultWidth
	}
	p.width = max(p.width, minWidth)
	return p
}

func summaryTable(s *Summary) *table {
	scenario := column{head: "scenario", min: 16}
	mode := column{head: "kube-proxy", drop: 2}
	outcome := column{head: "outcome"}
	seconds := column{head: "seconds", right: true, drop: 1}
	texts := make([]string, len(s.Runs))
	what := column{head: "what failed", min: 12, draw: func(row, width int) string { return short(texts[row], width) }}
	for i := range s.Runs {
		r := &s.Runs[i]
		scenario.cells = append(scenario.cells, clean(r.Scenario))
		mode.cells = append(mode.cells, orNone(clean(r.ProxyMode)))
		outcome.cells = append(outcome.cells, strings.ToUpper(string(r.Outcome)))
		if r.Outcome == Passed || r.Outcome == Skipped || r.Outcome == NotRun {
			outcome.cells[i] = string(r.Outcome)
		}
		took := none
		if r.Seconds > 0 {
			took = places(r.Seconds, 1)
		}
		seconds.cells = append(seconds.cells, took)
		texts[i] = r.what()
		what.cells = append(what.cells, "") // drawn
	}
	t := &table{}
	for _, c := range []column{scenario, mode, outcome, seconds, what} {
		t.add(c)
	}
	return t
}

// short cuts a sentence at its end.
func short(text string, columns int) string {
	if width(text) <= columns {
		return text
	}
	first, _ := head(text, columns-1)
	return strings.TrimRight(first, " ") + "…"
}

func orNone(text string) string {
	if text == "" {
		return none
	}
	return text
}

// troubles lists the runs with this outcome, with all that is known of the reason.
func (p *page) troubles(s *Summary, heading string, as style, outcome Outcome) {
	begun := false
	for i := range s.Runs {
		if s.Runs[i].Outcome != outcome {
			continue
		}
		if !begun {
			p.heading(heading)
			begun = true
		}
		p.trouble(&s.Runs[i], as)
	}
}

// notRun gives each reason for runs that were not made a line, not each run.
func (p *page) notRun(s *Summary) {
	var reasons []string
	times := map[string]int{}
	for i := range s.Runs {
		if r := &s.Runs[i]; r.Outcome == NotRun {
			if times[r.Detail] == 0 {
				reasons = append(reasons, r.Detail)
			}
			times[r.Detail]++
		}
	}
	if len(reasons) > 0 {
		p.heading("Not run")
	}
	for _, reason := range reasons {
		p.text(plain, "  ", count(times[reason], "run")+": "+reason)
	}
}

// trouble says what is the matter with one run.
func (p *page) trouble(r *SummaryRun, as style) {
	name := r.name()
	if r.Outcome == Skipped {
		p.text(as, "  "+name+": ", r.Detail)
		return
	}
	p.text(as, "  ", name)
	bad := r.failures()
	if len(bad) == 0 {
		for line := range strings.SplitSeq(orNone(r.Detail), "\n") {
			p.text(plain, "    ", line)
		}
	}
	for _, e := range bad {
		p.text(plain, "    ", e.Name+": "+e.Detail)
	}
	if r.Folder != "" {
		p.text(faint, "    ", "podskew analyze "+r.Folder)
	}
}

// name is the scenario and where it ran.
func (r *SummaryRun) name() string {
	if r.ProxyMode == "" {
		return clean(r.Scenario)
	}
	return clean(r.Scenario + " (" + r.ProxyMode + ")")
}

// SummaryLine is what is said of a run when it has ended: a line, and the reason under it if it did not pass. Lines are at
// most columns wide. number and of count the runs of the series from 1.
func SummaryLine(r *SummaryRun, number, of, columns int) string {
	p := &page{width: max(columns, minWidth)}
	mark := map[Outcome]string{Passed: "✓", Skipped: "-", NotRun: "-"}[r.Outcome]
	if mark == "" {
		mark = "✗"
	}
	digits := len(fmt.Sprint(of))
	line := fmt.Sprintf("%s [%*d/%d] %s: %s", mark, digits, number, of, r.name(), r.Outcome)
	if r.Seconds > 0 {
		line += fmt.Sprintf(" (%ss)", places(r.Seconds, 1))
	}
	p.line(plain, line)
	switch bad := r.failures(); {
	case r.Outcome == Passed:
	case len(bad) > 0:
		for _, e := range bad {
			p.text(plain, "    ", e.Name+": "+e.Detail)
		}
		p.text(plain, "    ", "podskew analyze "+r.Folder)
	case r.Detail != "":
		first, _, _ := strings.Cut(r.Detail, "\n")
		p.text(plain, "    ", first)
	}
	return p.out.String()
}

// summaryVerdict is the series in one sentence.
func summaryVerdict(s *Summary) string {
	var parts []string
	for _, o := range Outcomes() {
		n := s.Counts[o]
		if n == 0 {
			continue
		}
		word := string(o)
		if o == Broken {
			word = "broken"
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, word))
	}
	if len(parts) == 0 {
		parts = []string{"nothing ran"}
	}
	took := places(s.Seconds, 0) + nbsp + "s"
	if minutes := int(s.Seconds) / 60; minutes > 0 {
		took = fmt.Sprintf("%d%[2]smin %[3]d%[2]ss", minutes, nbsp, int(s.Seconds)%60)
	}
	return fmt.Sprintf("%s in %s: %s.", count(len(s.Runs), "run"), took, strings.Join(parts, ", "))
}

func summaryStyle(s *Summary) style {
	switch {
	case s.Passed:
		return green
	case s.Counts[Failed]+s.Counts[Broken] > 0:
		return red
	default:
		return yellow
	}
}
