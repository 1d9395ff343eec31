package report

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/podskew/podskew/analyze"
)

// rowsChart shows connections as lines over the time of the run, pod by pod; of very many, how many were open.
type rowsChart struct {
	figure
	Bands []rowBand
	Axis  []string // marks of the time axis, from its start to its end
	Left  string
	Table htmlTable
}

// rowBand holds the connections of one pod.
type rowBand struct {
	Name, Note string
	Lost       bool // connections nobody answered on
	Height     int
	Lines      []rowLine
	Cells      []gridCell // of very many connections
}

type rowLine struct {
	X, Width  string
	Y, Height int
	Words     string
}

func newRowsChart(id string, r *analyze.Report, s *analyze.Stream) *rowsChart {
	c := &rowsChart{figure: figure{ID: id + "-connections", Kind: "connections", Title: "Connections over time, by the pod they were bound to"}}
	switch {
	case len(s.ConnectionRows) > 0:
		c.lines(r, s)
	case s.OpenConnections != nil:
		c.slices(s)
	default:
		return nil
	}
	return c
}

// lines draws every connection.
func (c *rowsChart) lines(r *analyze.Report, s *analyze.Stream) {
	c.Desc = "Each line is a connection from its opening to its end, in the band of the pod that answered it."
	end := r.Run.Seconds
	for _, row := range s.ConnectionRows {
		end = max(end, row.Closed)
	}
	if end <= 0 {
		end = 1
	}
	c.Axis = timeAxis(end)
	byPod := map[string][]analyze.ConnectionRow{}
	for _, row := range s.ConnectionRows {
		byPod[row.Backend] = append(byPod[row.Backend], row)
	}
	thick := 4
	if len(s.ConnectionRows) <= 60 {
		thick = 8
	} else if len(s.ConnectionRows) > 200 {
		thick = 2
	}
	pods, left := shownPods(s)
	short := shortPods(s)
	for _, i := range pods {
		c.Bands = append(c.Bands, newRowBand(short[i], byPod[s.Backends[i].Pod], end, thick))
	}
	if left > 0 {
		c.Left = fmt.Sprintf("%s between these are not drawn.", count(left, "pod"))
	}
	if lost := byPod[""]; len(lost) > 0 {
		band := newRowBand("nobody answered", lost, end, thick)
		band.Lost = true
		c.Bands = append(c.Bands, band)
	}
	c.Table = rowsTable(s)
}

// shownPods returns the pods that get a band.
func shownPods(s *analyze.Stream) (pods []int, left int) { return ends(len(s.Backends), maxBars) }

func newRowBand(name string, rows []analyze.ConnectionRow, end float64, thick int) rowBand {
	b := rowBand{Name: name, Note: count(len(rows), "connection"), Height: max(20, len(rows)*(thick+1)+4)}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b analyze.ConnectionRow) int { return cmp.Compare(a.Opened, b.Opened) })
	for i, row := range rows {
		b.Lines = append(b.Lines, rowLine{
			X: pct(max(row.Opened, 0) / end), Width: pct(max((row.Closed-max(row.Opened, 0))/end, 0.003)), Y: 2 + i*(thick+1), Height: thick, Words: connectionWords(row),
		})
	}
	return b
}

func connectionWords(row analyze.ConnectionRow) string {
	pod := clean(row.Backend)
	if pod == "" {
		pod = "nobody"
	}
	text := fmt.Sprintf("%s #%d → %s: %s, open from %s for %s", clean(row.Agent), row.ID, pod, count(row.Requests, "request"),
		moment(row.Opened), seconds(max(row.Closed-row.Opened, 0)))
	if row.Others > 0 {
		text += fmt.Sprintf(", %s by other pods", count(row.Others, "answer"))
	}
	if row.Error != "" {
		text += ", ended: " + clean(string(row.Error))
	}
	return text
}

// moment writes an instant of the run.
func moment(f float64) string { return places(f, 2) + nbsp + "s" }

// timeAxis returns the marks of an axis from 0 to end.
func timeAxis(end float64) []string {
	var marks []string
	for i := range 5 {
		if at := end * float64(i) / 4; end < 1 {
			marks = append(marks, places(1000*at, 0)+nbsp+"ms")
		} else {
			marks = append(marks, decimal(at)+nbsp+"s")
		}
	}
	return marks
}

func rowsTable(s *analyze.Stream) htmlTable {
	t := htmlTable{Caption: "Every connection", Head: []htmlCell{
		{Text: "client"}, {Text: "number", Right: true}, {Text: "pod"}, {Text: "opened", Right: true}, {Text: "open for", Right: true},
		{Text: "requests", Right: true}, {Text: "ended"},
	}}
	for _, row := range s.ConnectionRows {
		t.Rows = append(t.Rows, []htmlCell{
			{Text: clean(row.Agent), Class: "name"}, {Text: integer(row.ID), Right: true}, {Text: cmp.Or(clean(row.Backend), none), Class: "name"}, {Text: moment(row.Opened), Right: true},
			{Text: seconds(max(row.Closed-row.Opened, 0)), Right: true}, {Text: integer(row.Requests), Right: true}, {Text: cmp.Or(clean(string(row.Error)), "as planned")},
		})
	}
	return t
}

// slices draws how many connections were open, by pod and slice of time.
func (c *rowsChart) slices(s *analyze.Stream) {
	o := s.OpenConnections
	n := 0
	for _, row := range o.Mean {
		n = max(n, len(row))
	}
	c.Desc = fmt.Sprintf("There were %s, too many to draw one by one: a cell is a pod in %s of time, and the darker it is, the more connections were open.",
		count(s.Connections, "connection"), seconds(o.Step))
	c.Axis = timeAxis(o.Step * float64(n))
	largest := 0.0
	for _, row := range o.Mean {
		largest = max(largest, slices.Max(append(row, 0)))
	}
	const height = 16
	t := htmlTable{Caption: "Connections open on average, by pod and tenth of the time", Head: []htmlCell{{Text: "pod"}}}
	for i := range 10 {
		t.Head = append(t.Head, htmlCell{Text: "from " + moment(o.Step*float64(i*n)/10), Right: true})
	}
	for k, row := range o.Mean {
		band := rowBand{Name: groupName(o.Backends[k]), Height: height}
		for i, open := range row {
			if open > 0 {
				band.Cells = append(band.Cells, gridCell{
					X: pct(float64(i) / float64(n)), Width: pct(1 / float64(n)), Height: height, Class: heat(open, largest),
					Words: fmt.Sprintf("%s, from %s: %s open", band.Name, moment(o.Step*float64(i)), decimal(open)),
				})
			}
		}
		c.Bands = append(c.Bands, band)
		t.Rows = append(t.Rows, openCells(band.Name, row))
	}
	c.Table = t
}

// openCells are the means of tenths of the time.
func openCells(name string, row []float64) []htmlCell {
	cells := []htmlCell{{Text: name, Class: "name"}}
	for i := range 10 {
		from, to := i*len(row)/10, (i+1)*len(row)/10
		mean := 0.0
		for _, open := range row[from:to] {
			mean += open / float64(to-from)
		}
		cells = append(cells, htmlCell{Text: decimal(mean), Right: true})
	}
	return cells
}
