package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// ForecastText writes a forecast for people.
func ForecastText(w io.Writer, f *analyze.Forecast, opts TextOptions) error {
	p := &page{width: max(opts.Width, minWidth), color: opts.Color}
	if opts.Width == 0 {
		p.width = defaultWidth
	}
	p.text(bold, "", forecastTitle(f))
	rows := forecastShares(f, opts.Wide)
	var t table
	t.add(column{head: "pods", right: true, cells: rows.column(0)})
	if f.Model.Policy == "Local" {
		t.add(column{head: "on", min: 8, cells: rows.column(1)})
	}
	t.add(column{head: "each expected", right: true, cells: rows.column(2)})
	t.add(column{head: "95 % by chance", right: true, cells: rows.column(3)})
	p.blank()
	if err := p.table(&t); err != nil {
		return err
	}
	writeLeft(p, rows.left)
	if err := writeMeasures(p, f); err != nil {
		return err
	}
	p.blank()
	for _, sentence := range forecastWords(f) {
		p.text(plain, "  ", sentence)
	}
	writeRemarks(p, f.Notes)
	return flush(w, p)
}

// writeRemarks writes what goes for a result as a whole.
func writeRemarks(p *page, notes []string) {
	if len(notes) > 0 {
		p.blank()
	}
	for _, note := range notes {
		p.text(faint, "  - ", note)
	}
}

// flush writes a page out.
func flush(w io.Writer, p *page) error {
	if _, err := io.WriteString(w, p.out.String()); err != nil {
		return fmt.Errorf("writing the text: %w", err)
	}
	return nil
}

func forecastTitle(f *analyze.Forecast) string {
	m := f.Model
	text := count(m.Connections, "connection") + " over " + count(m.Backends, "pod")
	if m.Policy == "Local" {
		text += " (" + placementWords(m.Placement) + "), policy Local"
	}
	if m.Clients > 0 {
		text += fmt.Sprintf(", ClientIP affinity, %s", count(m.Clients, "client address"))
	}
	if m.Requests > m.Connections {
		text += fmt.Sprintf(", %s", count(m.Requests, "request"))
	}
	return text
}

// placementWords lists the pods of each node.
func placementWords(placement []int) string {
	const most = 12
	var parts []string
	for i, pods := range placement {
		if i == most {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, integer(pods))
	}
	return strings.Join(parts, "+")
}

// sheet is some rows of cells.
type sheet struct {
	rows [][]string
	left int // rows that are not shown
}

func (g sheet) column(i int) []string {
	out := make([]string, len(g.rows))
	for k, row := range g.rows {
		out[k] = row[i]
	}
	return out
}

func forecastShares(f *analyze.Forecast, wide bool) sheet {
	rows, left := pick(len(f.Shares), wide)
	g := sheet{left: left}
	for _, i := range rows {
		s := f.Shares[i]
		g.rows = append(g.rows, []string{integer(s.Pods), s.Node, percentOf(s.Expected), finePercentRange(s.Chance)})
	}
	return g
}

// percentOf writes a fraction as a percentage with as many places as a small share needs.
func percentOf(f float64) string {
	if f > 0 && f < 0.01 {
		return decimal(100*f) + nbsp + "%"
	}
	return percent(f)
}

func finePercentRange(r analyze.Range) string {
	if r[1] > 0 && r[1] < 0.01 {
		return decimal(100*r[0]) + "–" + decimal(100*r[1]) + nbsp + "%"
	}
	return percentRange(r)
}

// metricWords names a metric of the analysis.
func metricWords(name string) string {
	switch name {
	case "maxOverMean":
		return "max/mean"
	case "cv":
		return "CV"
	case "gini":
		return "Gini"
	case "jain":
		return "Jain"
	case "effectiveBackends":
		return "effective pods"
	case "idleBackends":
		return "idle pods"
	case "dispersion":
		return "dispersion X²/df"
	default:
		return keyWords(name)
	}
}

func writeMeasures(p *page, f *analyze.Forecast) error {
	var names, means, ranges []string
	for _, m := range f.Metrics {
		names = append(names, metricWords(m.Name))
		mean, chance := measureWords(m)
		means, ranges = append(means, mean), append(ranges, chance)
	}
	var t table
	t.add(column{head: "skew by chance alone", cells: names})
	t.add(column{head: "mean", right: true, cells: means})
	t.add(column{head: "95 % of runs", right: true, cells: ranges})
	p.blank()
	return p.table(&t)
}

// measureWords writes the mean of a metric and its range, in columns that line up.
func measureWords(m analyze.Measure) (mean, chance string) {
	digits := 3
	switch m.Name {
	case "maxOverMean", "effectiveBackends", "dispersion":
		digits = 2
	case "idleBackends":
		return sized(m.Mean, 2), sized(m.Chance[0], 0) + "–" + sized(m.Chance[1], 0)
	}
	return sized(m.Mean, digits), sized(m.Chance[0], digits) + "–" + sized(m.Chance[1], digits)
}

// sized writes f with some places, or as a whole number from 1,000 on.
func sized(f float64, digits int) string {
	if f >= 1000 {
		return decimal(f)
	}
	return places(f, digits)
}

// often writes the probability of something that happens in runs.
func often(f float64) string {
	switch {
	case f > 0 && f < 0.00001:
		return "fewer than 1 in 100,000"
	case f < 1 && f >= 0.9995:
		return "more than 99.9" + nbsp + "%"
	case f < 1 && f >= 0.99:
		return places(100*f, 1) + nbsp + "%"
	default:
		return decimal(100*f) + nbsp + "%"
	}
}

// forecastWords answers in sentences what a run could show and what would even it out.
func forecastWords(f *analyze.Forecast) []string {
	if !f.Free {
		return []string{"kube-proxy has no choice here: chance plays no part."}
	}
	unit, d := unitWord(f.Unit), f.Detection
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	say("Some pod gets nothing in %s of such runs.", often(f.SomeIdle))
	if d.SmallestFactor == 0 {
		say("%s cannot show a hot pod, however hot.", count(f.Units, unit))
	} else {
		say("A test at %s finds a pod with %s times its share in %s of such runs, a cooler one more rarely.",
			decimal(d.Alpha), decimal(d.SmallestFactor), often(d.Power))
	}
	switch {
	case d.HotUnits == 0 && d.HotPower == 0:
		say("No pod can have %s times its share.", decimal(d.Hot))
	case d.HotUnits > f.Units:
		say("It finds one with %s times its share in %s; from %s on in %s.", decimal(d.Hot), often(d.HotPower), count(d.HotUnits, unit), often(d.Power))
	default:
		say("It finds one with %s times its share in %s.", decimal(d.Hot), often(d.HotPower))
	}
	if e := f.Even; e.Units > 0 {
		say("From %s on, max/mean is at most %s in %s of runs.", count(e.Units, unit), decimal(e.MaxOverMean), often(e.Level))
	}
	return out
}

// ForecastMarkdown writes a forecast for the summary page of a CI job.
func ForecastMarkdown(w io.Writer, f *analyze.Forecast) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n| pods | on | each expected | 95 %% by chance |\n|--:|---|--:|--:|\n", escape(forecastTitle(f)))
	for _, row := range forecastShares(f, true).rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", escape(row[0]), escape(row[1]), escape(row[2]), escape(row[3]))
	}
	b.WriteString("\n| skew by chance alone | mean | 95 % of runs |\n|---|--:|--:|\n")
	for _, m := range f.Metrics {
		mean, chance := measureWords(m)
		fmt.Fprintf(&b, "| %s | %s | %s |\n", escape(metricWords(m.Name)), mean, chance)
	}
	b.WriteString("\n")
	for _, sentence := range append(forecastWords(f), f.Notes...) {
		fmt.Fprintf(&b, "- %s\n", escape(sentence))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the forecast as Markdown: %w", err)
	}
	return nil
}

// ForecastCSV writes a forecast as rows of quantity, value and 95 % range; ranges are empty where there are none.
func ForecastCSV(w io.Writer, f *analyze.Forecast) error {
	rows := [][]string{{"quantity", "value", "low", "high"}}
	plainRow := func(name string, value float64) { rows = append(rows, []string{name, rawNumber(value), "", ""}) }
	for _, s := range f.Shares {
		name := "share"
		if s.Node != "" {
			name += " on " + s.Node
		}
		rows = append(rows, []string{name, rawNumber(s.Expected), rawNumber(s.Chance[0]), rawNumber(s.Chance[1])})
	}
	for _, m := range f.Metrics {
		rows = append(rows, []string{m.Name, rawNumber(m.Mean), rawNumber(m.Chance[0]), rawNumber(m.Chance[1])})
	}
	plainRow("someIdle", f.SomeIdle)
	plainRow("maxShare", f.MaxShare)
	plainRow("smallestFactor", f.Detection.SmallestFactor)
	plainRow("hotPower", f.Detection.HotPower)
	plainRow("hotUnits", float64(f.Detection.HotUnits))
	plainRow("evenUnits", float64(f.Even.Units))
	return sheetCSV(w, rows)
}

// rawNumber writes f as a program reads it.
func rawNumber(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func sheetCSV(w io.Writer, rows [][]string) error {
	if err := csv.NewWriter(w).WriteAll(rows); err != nil {
		return fmt.Errorf("writing CSV: %w", err)
	}
	return nil
}

// ForecastJSON writes a forecast as the JSON document other programs rely on.
func ForecastJSON(w io.Writer, f *analyze.Forecast) error { return encodeJSON(w, f) }

// encodeJSON writes any of the analysis's results as indented JSON. Their numbers are finite.
func encodeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}
