package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// CountsText writes what plain counts say, for people.
func CountsText(w io.Writer, r *analyze.CountsReport, opts TextOptions) error {
	p := &page{width: max(opts.Width, minWidth), color: opts.Color}
	if opts.Width == 0 {
		p.width = defaultWidth
	}
	p.text(bold, "", countsTitle(r))
	p.blank()
	p.text(countsStyle(r), "", r.Summary)
	if err := writeCountRows(p, r, opts.Wide); err != nil {
		return err
	}
	if r.Single.Test.Method != "none" {
		if err := writeCountSkew(p, r); err != nil {
			return err
		}
		p.blank()
		p.text(plain, "  ", countsTestWords(r.Single))
	}
	if r.Whole != nil {
		p.text(plain, "  ", countsTestWords(*r.Whole))
	}
	writeRemarks(p, r.Notes)
	return flush(w, p)
}

func countsTitle(r *analyze.CountsReport) string {
	text := fmt.Sprintf("%s counted on %s", integer(r.Total), count(len(r.Counts), "pod"))
	if r.Silent > 0 {
		text += fmt.Sprintf(", none on %s", count(r.Silent, "other"))
	}
	return text
}

func countsStyle(r *analyze.CountsReport) style {
	if r.Single.Test.P <= 0.001 {
		return yellow
	}
	return plain
}

func writeCountRows(p *page, r *analyze.CountsReport, wide bool) error {
	const columns = 32
	rows, left := pick(len(r.Counts), wide)
	names := make([]string, len(r.Counts))
	scale, named := 0.0, false
	for i, row := range r.Counts {
		names[i] = clean(row.Name)
		named = named || row.Name != ""
		scale = max(scale, row.Share, row.Chance[1])
	}
	var t table
	if named {
		short := shortenAll(names, columns)
		t.add(column{head: "pod", min: 12, cells: cells(rows, func(i int) string { return short[i] })})
	}
	t.add(column{head: "count", right: true, cells: cells(rows, func(i int) string { return integer(r.Counts[i].Count) })})
	t.add(column{head: "", min: 10, drop: 1, draw: func(row, w int) string {
		c := r.Counts[rows[row]]
		return bar(c.Share, c.Expected, c.Chance, scale, w)
	}})
	t.add(column{head: "share", right: true, cells: cells(rows, func(i int) string { return percentOf(r.Counts[i].Share) })})
	t.add(column{head: "expected", right: true, cells: cells(rows, func(i int) string { return percentOf(r.Counts[i].Expected) })})
	t.add(column{head: "by chance", right: true, drop: 2, cells: cells(rows, func(i int) string { return finePercentRange(r.Counts[i].Chance) })})
	p.blank()
	if err := p.table(&t); err != nil {
		return err
	}
	writeLeft(p, left)
	return nil
}

// countsMetrics lists the metrics with the chance range of each.
func countsMetrics(r *analyze.CountsReport) []measured {
	s, c := r.Skew, r.Single.Chance
	return []measured{
		{"maxOverMean", s.MaxOverMean, c.MaxOverMean, 2},
		{"cv", s.CV, c.CV, 3},
		{"gini", s.Gini, c.Gini, 3},
		{"jain", s.Jain, c.Jain, 3},
		{"effectiveBackends", s.EffectiveBackends, c.EffectiveBackends, 2},
		{"idleBackends", float64(s.IdleBackends), c.IdleBackends, 0},
		{"dispersion", s.Dispersion, c.Dispersion, 2},
	}
}

// measured is one metric beside what chance makes of it.
type measured struct {
	name   string
	value  float64
	chance analyze.Range
	places int
}

func (m measured) rangeWords() string {
	return places(m.chance[0], m.places) + "–" + places(m.chance[1], m.places)
}

func writeCountSkew(p *page, r *analyze.CountsReport) error {
	var names, values, ranges, where []string
	for _, m := range countsMetrics(r) {
		names = append(names, metricWords(m.name))
		values = append(values, places(m.value, m.places))
		ranges = append(ranges, m.rangeWords())
		where = append(where, against(m.value, m.chance))
	}
	var t table
	t.add(column{head: "skew", cells: names})
	t.add(column{head: "here", right: true, cells: values})
	t.add(column{head: "by chance", right: true, cells: ranges})
	t.add(column{head: "", drop: 1, cells: where})
	p.blank()
	return p.table(&t)
}

// countsTestWords gives the figures of a test.
func countsTestWords(c analyze.CountsTest) string {
	t := c.Test
	what := "each a connection"
	if c.Size > 1 {
		what = fmt.Sprintf("as %s of %s", count(t.Units, "connection"), integer(c.Size))
	}
	if t.Method == "none" {
		return fmt.Sprintf("Taken %s there is nothing to test.", what)
	}
	text := fmt.Sprintf("Taken %s: X² %s, %s df, χ² %s; combined %s%s.", what, places(t.Statistic, 1), integer(t.DF), exactP(c.ChiSquareP),
		probability(t.P), methodWords(t.Method))
	if t.P < 0.001 && c.HotBound < 1e-6 {
		text += fmt.Sprintf(" That any pod gets as many by chance: %s at most.", exactP(c.HotBound))
	}
	return text + " " + visibleWords(t)
}

// exactP writes a p-value that is no simulation's, however small.
func exactP(p float64) string {
	if p == 0 {
		return "p" + nbsp + "<" + nbsp + "1e-300"
	}
	return fmt.Sprintf("p%s=%s%.2g", nbsp, nbsp, p)
}

// CountsMarkdown writes what plain counts say for the summary page of a CI job.
func CountsMarkdown(w io.Writer, r *analyze.CountsReport) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n| pod | count | share | expected | by chance |\n|---|--:|--:|--:|--:|\n", escape(countsTitle(r)), strong(r.Summary))
	for _, row := range r.Counts {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", escape(row.Name), integer(row.Count), escape(percentOf(row.Share)),
			escape(percentOf(row.Expected)), escape(finePercentRange(row.Chance)))
	}
	b.WriteString("\n| skew | here | by chance |\n|---|--:|--:|\n")
	for _, m := range countsMetrics(r) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", metricWords(m.name), places(m.value, m.places), m.rangeWords())
	}
	fmt.Fprintf(&b, "\n%s\n\n", escape(countsTestWords(r.Single)))
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "- %s\n", escape(note))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the counts as Markdown: %w", err)
	}
	return nil
}

// CountsCSV writes the counts one a row, with share, expected share and chance range.
func CountsCSV(w io.Writer, r *analyze.CountsReport) error {
	rows := [][]string{{"pod", "count", "share", "expected", "low", "high"}}
	for _, c := range r.Counts {
		rows = append(rows, []string{
			c.Name, strconv.Itoa(c.Count), rawNumber(c.Share), rawNumber(c.Expected), rawNumber(c.Chance[0]), rawNumber(c.Chance[1]),
		})
	}
	return sheetCSV(w, rows)
}

// CountsJSON writes what plain counts say as the JSON document other programs rely on.
func CountsJSON(w io.Writer, r *analyze.CountsReport) error { return encodeJSON(w, r) }
