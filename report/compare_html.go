package report

import (
	"fmt"
	"html/template"
	"io"
	"math"

	"github.com/podskew/podskew/analyze"
)

// CompareHTML writes a comparison as one page like that of [HTML], the two sides beside each other.
func CompareHTML(w io.Writer, c *analyze.Comparison) error {
	t, err := template.ParseFS(htmlFiles, "html/*.tmpl")
	if err != nil {
		return fmt.Errorf("reading the templates of the HTML report: %w", err)
	}
	return writeHTML(w, t, "compare.tmpl", newComparePage(finiteComparison(c)))
}

type comparePage struct {
	Verdict, Tone, Badge string
	Before, After        string
	Streams              []compareStream
	Notes                []string
}

type compareStream struct {
	ID, Name, Verdict, Placement string
	Rows                         []compareHTMLRow
	Shares                       *compareShares
}

type compareHTMLRow struct {
	compareRow
	Tone               string
	X, Width, Dot, Nil string // of the interval on its own scale, and where no difference is
	Drawn              bool
}

// compareShares sets the shares of the pods beside each other, busiest first.
type compareShares struct {
	figure
	Rows []compareShareRow
	Top  string
}

type compareShareRow struct{ Rank, Before, After, BeforeBar, AfterBar string }

func newComparePage(c *analyze.Comparison) *comparePage {
	p := &comparePage{
		Verdict: clean(compareVerdict(c)), Tone: changeTone(c.Verdict), Badge: clean(string(c.Verdict)), Before: runNames(c.Before), After: runNames(c.After),
	}
	for i := range c.Streams {
		s := &c.Streams[i]
		out := compareStream{ID: fmt.Sprintf("stream-%d", i+1), Name: clean(s.Stream), Verdict: clean(string(s.Verdict)), Placement: clean(exchangeWords(s))}
		for k, row := range compareRows(s) {
			html := compareHTMLRow{compareRow: row, Tone: changeTone(row.Change)}
			if k < len(s.Metrics) {
				html.draw(s.Metrics[k])
			}
			out.Rows = append(out.Rows, html)
		}
		out.Shares = newCompareShares(out.ID, s)
		p.Streams = append(p.Streams, out)
	}
	for _, note := range c.Notes {
		p.Notes = append(p.Notes, clean(note))
	}
	return p
}

func changeTone(c analyze.Change) string {
	switch c {
	case analyze.Better:
		return "ok"
	case analyze.Worse:
		return "error"
	case analyze.Mixed, analyze.Changed:
		return "warning"
	default:
		return "info"
	}
}

// draw puts the interval on a line with no difference in its middle.
func (r *compareHTMLRow) draw(m analyze.MetricComparison) {
	scale := 1.1 * math.Max(math.Max(math.Abs(m.Interval[0]), math.Abs(m.Interval[1])), math.Abs(m.Difference))
	if !(scale > 0) {
		return
	}
	at := func(f float64) float64 { return 0.5 + f/scale/2 }
	r.Drawn, r.X, r.Width, r.Dot, r.Nil = true, pct(at(m.Interval[0])), pct(math.Max(at(m.Interval[1])-at(m.Interval[0]), 0.004)), pct(at(m.Difference)), "50%"
}

func newCompareShares(id string, s *analyze.StreamComparison) *compareShares {
	if len(s.Shares) == 0 {
		return nil
	}
	top := 0.0
	for _, pair := range s.Shares {
		top = max(top, pair[0], pair[1])
	}
	c := &compareShares{Top: percent(top), figure: figure{
		id + "-shares", "shares", "Shares of the pods, the busiest first", "The upper bar is before, the lower bar after the change.",
	}}
	if top <= 0 {
		return nil
	}
	for k, pair := range s.Shares {
		c.Rows = append(c.Rows, compareShareRow{
			Rank: integer(k + 1), Before: percent(pair[0]), After: percent(pair[1]), BeforeBar: pct(pair[0] / top), AfterBar: pct(pair[1] / top),
		})
	}
	return c
}
