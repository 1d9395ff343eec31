package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// CompareText writes a comparison for people: the verdict, then each stream's numbers before and after.
func CompareText(w io.Writer, c *analyze.Comparison, opts TextOptions) error {
	p := &page{width: opts.Width, color: opts.Color}
	if p.width == 0 {
		p.width = defaultWidth
	}
	p.width = max(p.width, minWidth)
	p.text(bold, "", "podskew compare")
	p.text(faint, "before: ", runNames(c.Before))
	p.text(faint, "after:  ", runNames(c.After))
	p.blank()
	p.text(changeStyle(c.Verdict), "", compareVerdict(c))
	for i := range c.Streams {
		if err := compareStreamText(p, &c.Streams[i]); err != nil {
			return fmt.Errorf("writing stream %q: %w", c.Streams[i].Stream, err)
		}
	}
	if len(c.Notes) > 0 {
		p.heading("What this comparison cannot tell")
	}
	for _, note := range c.Notes {
		p.text(plain, "  - ", note)
	}
	if _, err := io.WriteString(w, p.out.String()); err != nil {
		return fmt.Errorf("writing the comparison: %w", err)
	}
	return nil
}

// CompareJSON writes a comparison as JSON.
func CompareJSON(w io.Writer, c *analyze.Comparison) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(finiteComparison(c)); err != nil {
		return fmt.Errorf("writing the comparison as JSON: %w", err)
	}
	if _, err := w.Write(visible(out.Bytes())); err != nil {
		return fmt.Errorf("writing the comparison as JSON: %w", err)
	}
	return nil
}

// finiteComparison returns a copy of a comparison that JSON can hold.
func finiteComparison(c *analyze.Comparison) *analyze.Comparison {
	var copies copier
	out, ok := reflect.TypeAssert[analyze.Comparison](copies.value(reflect.ValueOf(*c), ""))
	if !ok {
		return c // cannot be: a copy has the type of what it copies
	}
	return &out
}

// CompareMarkdown writes a comparison for the summary of a CI job or a pull request.
func CompareMarkdown(w io.Writer, c *analyze.Comparison) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## podskew compare\n\n%s\n\nBefore: %s  \nAfter: %s\n", strong(compareVerdict(c)), escape(runNames(c.Before)), escape(runNames(c.After)))
	for i := range c.Streams {
		s := &c.Streams[i]
		fmt.Fprintf(&b, "\n### Stream %s: %s\n\n| | before | after | difference | 95 %% | change |\n|---|--:|--:|--:|--:|---|\n", escape(s.Stream), escape(string(s.Verdict)))
		for _, row := range compareRows(s) {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", escape(row.Name), escape(row.Before), escape(row.After), escape(row.Difference), escape(row.Interval), escape(row.Verdict))
		}
		fmt.Fprintf(&b, "\n%s\n", escape(exchangeWords(s)))
	}
	if len(c.Notes) > 0 {
		b.WriteString("\n### What this comparison cannot tell\n\n")
	}
	for _, note := range c.Notes {
		fmt.Fprintf(&b, "- %s\n", escape(note))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the comparison as Markdown: %w", err)
	}
	return nil
}

// runNames names the runs of a side.
func runNames(runs []analyze.Run) string {
	var names []string
	for _, r := range runs {
		name := strings.TrimSpace(r.Scenario + " " + r.ID)
		if name == "" {
			name = "unnamed"
		}
		if r.Interrupted {
			name += " (cut short)"
		}
		names = append(names, clean(name))
	}
	const most = 6
	if left := len(names) - most; left > 0 {
		names = append(names[:most], fmt.Sprintf("and %d more", left))
	}
	return strings.Join(names, ", ")
}

func changeStyle(c analyze.Change) style {
	switch c {
	case analyze.Better:
		return green
	case analyze.Worse:
		return red
	case analyze.Mixed, analyze.Changed:
		return yellow
	default:
		return plain
	}
}

// compareVerdict is the comparison in a sentence or two.
func compareVerdict(c *analyze.Comparison) string {
	var parts []string
	switch c.Verdict {
	case analyze.Better:
		parts = append(parts, "Better: the load is more even after the change.")
	case analyze.Worse:
		parts = append(parts, "Worse: the load is less even after the change.")
	case analyze.Mixed:
		parts = append(parts, "Mixed: better in one respect, worse in another.")
	case analyze.Changed:
		parts = append(parts, "Changed: connections are spread over the pods in another way than before; that it makes the load more or less even is not shown.")
	default:
		parts = append(parts, "No difference shown. That does not say that there is none.")
	}
	for i := range c.Streams {
		s := &c.Streams[i]
		if len(c.Streams) > 1 && s.Verdict == analyze.NoDifference {
			continue
		}
		for _, m := range s.Metrics {
			if m.Name == "maxOverMean" {
				parts = append(parts, fmt.Sprintf("%s: max/mean %s → %s, difference %s (95 %%: %s).", s.Stream, places(m.Before, 2), places(m.After, 2), signed(m.Difference, 2), signedRange(m.Interval, 2)))
			}
		}
	}
	const most = 6
	return strings.Join(parts[:min(len(parts), most)], " ")
}

// compareRow is a line of the table of a stream: a metric, or a number beside it that is not tested.
type compareRow struct {
	Name, Before, After, Difference, Interval, Verdict string
	Change                                             analyze.Change // "" not tested
}

// compareRows are the metrics and what else is worth knowing.
func compareRows(s *analyze.StreamComparison) []compareRow {
	var rows []compareRow
	for _, m := range s.Metrics {
		name, n := metricName(m.Name)
		rows = append(rows, compareRow{
			Name: name, Before: places(m.Before, n), After: places(m.After, n), Difference: signed(m.Difference, n), Interval: signedRange(m.Interval, n),
			Verdict: changeWords(m.Verdict), Change: m.Verdict,
		})
	}
	for i := range rows {
		if s.Metrics[i].Name == "newShare" {
			m := s.Metrics[i]
			rows[i].Before, rows[i].After, rows[i].Difference = percent(m.Before), percent(m.After), signed(100*m.Difference, 0)+nbsp+"%"
			rows[i].Interval = signedRange(analyze.Range{100 * m.Interval[0], 100 * m.Interval[1]}, 0) + nbsp + "%"
		}
	}
	a, b := s.Sides[0], s.Sides[1]
	untested := func(name, before, after, difference string) {
		rows = append(rows, compareRow{Name: name, Before: before, After: after, Difference: difference, Interval: none})
	}
	if x := s.Settling; x != nil {
		untested("balance", reachedWords(x, 0), reachedWords(x, 1), none)
	}
	untested("pods", integer(a.Backends), integer(b.Backends), signedInteger(b.Backends-a.Backends))
	untested("connections", integer(a.Connections), integer(b.Connections), signedInteger(b.Connections-a.Connections))
	untested("requests", integer(a.Requests), integer(b.Requests), signedInteger(b.Requests-a.Requests))
	untested("failed", failedPart(a), failedPart(b), none)
	untested("requests/s", decimal(a.RequestsPerSecond), decimal(b.RequestsPerSecond), relative(a.RequestsPerSecond, b.RequestsPerSecond))
	untested("p50", seconds(a.P50), seconds(b.P50), relative(a.P50, b.P50))
	untested("p99", seconds(a.P99), seconds(b.P99), relative(a.P99, b.P99))
	return rows
}

// reachedWords says how long one side took to come into balance after its last event.
func reachedWords(x *analyze.Settling, side int) string {
	switch x.Reached[side] {
	case "later":
		return "after " + seconds(x.Seconds[side])
	case "not within the run":
		return "not reached"
	case "":
		return none
	default:
		return clean(x.Reached[side])
	}
}

// changeWords is the verdict on a metric in a table.
func changeWords(c analyze.Change) string {
	if c == analyze.NoDifference {
		return "not shown"
	}
	return clean(string(c))
}

// metricName is a metric as reports name it, and its places.
func metricName(name string) (words string, n int) {
	switch name {
	case "maxOverMean":
		return "max/mean", 2
	case "cv":
		return "CV", 3
	case "gini":
		return "Gini", 3
	case "jain":
		return "Jain", 3
	case "effectiveBackends":
		return "effective pods", 2
	case "idleBackends":
		return "idle pods", 1
	case "newShare":
		return "new pods' part", 2
	default:
		return clean(name), 3
	}
}

func failedPart(s analyze.Side) string {
	if s.Requests == 0 {
		return none
	}
	return percent(float64(s.Failed) / float64(s.Requests))
}

func signed(f float64, n int) string {
	if f > 0 {
		return "+" + places(f, n)
	}
	return places(f, n)
}

func signedInteger(n int) string {
	if n > 0 {
		return "+" + integer(n)
	}
	return integer(n)
}

func signedRange(r analyze.Range, n int) string { return signed(r[0], n) + " to " + signed(r[1], n) }

// relative is how much more or less something is.
func relative(before, after float64) string {
	if !(before > 0) || math.IsInf(before, 0) || math.IsInf(after, 0) || math.IsNaN(after) {
		return none
	}
	return signed(100*(after/before-1), 0) + nbsp + "%"
}

// exchangeWords says whether connections fall otherwise.
func exchangeWords(s *analyze.StreamComparison) string {
	unit := unitWord(s.Sides[0].Unit)
	var text string
	switch p := s.Placement; {
	case p.Method == "" || p.Method == "none":
		text = "Whether " + unitPlural(unit) + " are spread over the pods in another way could not be tested."
	case p.Changed:
		text = fmt.Sprintf("%s are spread over the pods in another way than before (%s; pods matched by %s).", upper(unitPlural(unit)), probability(p.P), clean(p.Matching))
	default:
		text = fmt.Sprintf("That %s are spread over the pods in another way than before is not shown (%s; pods matched by %s).", unitPlural(unit), probability(p.P), clean(p.Matching))
	}
	for i, when := range []string{"before", "after"} {
		if !s.Sides[i].Explained {
			text += fmt.Sprintf(" Settings and chance do not explain where they went %s.", when)
		}
	}
	return text
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func compareStreamText(p *page, s *analyze.StreamComparison) error {
	p.heading(fmt.Sprintf("Stream %s: %s", s.Stream, s.Verdict))
	rows := compareRows(s)
	var t table
	column := func(head string, right bool, drop int, cell func(compareRow) string) column {
		c := column{head: head, right: right, drop: drop}
		for _, row := range rows {
			c.cells = append(c.cells, clean(cell(row)))
		}
		return c
	}
	t.add(column("", false, 0, func(r compareRow) string { return r.Name }))
	t.add(column("before", true, 0, func(r compareRow) string { return r.Before }))
	t.add(column("after", true, 0, func(r compareRow) string { return r.After }))
	t.add(column("difference", true, 0, func(r compareRow) string { return r.Difference }))
	t.add(column("95 %", true, 1, func(r compareRow) string { return r.Interval }))
	t.add(column("change", false, 2, func(r compareRow) string { return r.Verdict }))
	if err := p.table(&t); err != nil {
		return err
	}
	p.blank()
	p.text(plain, "  ", exchangeWords(s))
	p.text(faint, "  ", "95 %: where the difference lies if both are run again.")
	return nil
}
