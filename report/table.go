package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// gap is the number of blanks between columns.
const gap = 2

// column is one column of a table.
type column struct {
	head  string
	right bool // numbers: aligned at their end
	min   int  // columns it may be shortened to; 0: it is shown in full
	drop  int  // where the table is too wide even so: dropped in this order from 1; 0: never
	cells []string
	// draw gives the cell of a row at a width that is chosen when the table is laid out; cells is then unused.
	draw func(row, width int) string
}

// table is laid out to fit a width: names are shortened first, then columns are dropped.
type table struct{ columns []column }

// add appends a column.
func (t *table) add(c column) { t.columns = append(t.columns, c) }

// lines lays the table out. No line is wider than columns, and none ends in a blank.
func (t *table) lines(columns int) ([]string, error) {
	shown := t.fit(columns)
	rows := 0
	for _, c := range shown {
		rows = max(rows, len(c.cells))
	}
	header := make([]string, len(shown))
	alignment := make([]tw.Align, len(shown))
	body := make([][]string, rows)
	for i, c := range shown {
		header[i], alignment[i] = c.head, tw.AlignLeft
		if c.right {
			alignment[i] = tw.AlignRight
		}
		for row := range body {
			body[row] = append(body[row], c.cells[row])
		}
	}
	text, err := render(header, body, alignment)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		lines[i], _ = head(strings.TrimRight(line, " "), columns)
	}
	return lines, nil
}

// fit returns the columns that are shown, with the cells they show.
func (t *table) fit(columns int) []column {
	shown := slices.Clone(t.columns)
	for {
		widths, total := layout(shown)
		over := total - columns
		for over > 0 {
			widest := shrinkable(shown, widths)
			if widest < 0 {
				break
			}
			widths[widest]--
			over--
		}
		if over <= 0 || !dropOne(&shown) {
			return finish(shown, widths, -over)
		}
	}
}

// layout returns the natural width of each column and of all with the gaps between them.
func layout(columns []column) (widths []int, total int) {
	for _, c := range columns {
		w := max(width(c.head), c.min)
		if c.draw == nil {
			w = width(c.head)
			for _, cell := range c.cells {
				w = max(w, width(cell))
			}
		}
		widths = append(widths, w)
		total += w
	}
	return widths, total + gap*max(0, len(columns)-1)
}

// shrinkable returns the widest column that may still be shortened, or -1.
func shrinkable(columns []column, widths []int) int {
	widest := -1
	for i, c := range columns {
		if c.draw == nil && c.min > 0 && widths[i] > max(c.min, width(c.head)) && (widest < 0 || widths[i] > widths[widest]) {
			widest = i
		}
	}
	return widest
}

// dropOne removes the column that can best be spared, and tells whether there was one.
func dropOne(columns *[]column) bool {
	first := -1
	for i, c := range *columns {
		if c.drop > 0 && (first < 0 || c.drop < (*columns)[first].drop) {
			first = i
		}
	}
	if first < 0 {
		return false
	}
	*columns = slices.Delete(*columns, first, first+1)
	return true
}

// maxDrawing is how wide a drawn column gets.
const maxDrawing = 28

// finish shortens cells to the widths and gives what is left of the line to the drawn column.
func finish(columns []column, widths []int, left int) []column {
	rows := 0
	for _, c := range columns {
		rows = max(rows, len(c.cells))
	}
	for i := range columns {
		c := &columns[i]
		if c.draw == nil {
			c.cells = shortenAll(c.cells, widths[i])
			continue
		}
		w := min(maxDrawing, widths[i]+max(0, left))
		c.cells = make([]string, rows)
		for row := range c.cells {
			c.cells[row] = c.draw(row, w)
		}
	}
	return columns
}

// render is all that is asked of the table library: align cells in columns. Everything it would do by itself (boxes,
// upper case, wrapping, widths by locale) is off.
func render(header []string, body [][]string, alignment []tw.Align) (string, error) {
	var out strings.Builder
	padding := tw.Padding{Left: "", Right: strings.Repeat(" ", gap), Overwrite: true}
	t := tablewriter.NewTable(&out,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders: tw.BorderNone,
			Settings: tw.Settings{
				Separators: tw.SeparatorsNone,
				Lines:      tw.LinesNone,
			},
		})),
		tablewriter.WithEastAsian(tw.Off),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithHeaderAutoWrap(tw.WrapNone),
		tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithTrimSpace(tw.Off),
		tablewriter.WithAlignment(alignment),
		tablewriter.WithPadding(padding),
	)
	t.Header(header)
	if err := t.Bulk(body); err != nil {
		return "", fmt.Errorf("filling a table: %w", err)
	}
	if err := t.Render(); err != nil {
		return "", fmt.Errorf("laying out a table: %w", err)
	}
	return out.String(), nil
}
