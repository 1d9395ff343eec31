package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// timeChart shows the share of each pod over time, with the events of the run.
type timeChart struct {
	figure
	Top    string // the share at the top of a row
	Width  int    // windows: the plane of a row is Width × 100
	Rows   []timeRow
	Errors *timeRow
	Axis   []string
	Marks  []timeMark
	Table  htmlTable
}

// timeRow is one pod over time.
type timeRow struct {
	Name, Note string
	Area       string // path data
	Expected   string // of the line; "" none
	Cells      []timeCell
}

// timeCell is one window of a row, for what hovering tells.
type timeCell struct {
	X     int
	Words string
}

// timeMark is an event on the axis.
type timeMark struct {
	Number   int
	X        string // in percent of the line
	At, What string
}

// maxTimeRows is how many pods get a row.
const maxTimeRows = 24

func newTimeChart(id string, r *analyze.Report, s *analyze.Stream) *timeChart {
	l := s.Timeline
	if l == nil || l.Windows < 2 || len(l.Backends) == 0 { // one window shows nothing that the shares do not
		return nil
	}
	totals := windowTotals(l)
	top := 0.0
	for _, b := range l.Backends {
		for w, n := range b.Requests {
			if b.Pod != "" {
				top = max(top, float64(n)/max(totals[w], 1))
			}
		}
	}
	c := &timeChart{Top: percent(top), Width: l.Windows, figure: figure{
		id + "-time", "time", "Share of the requests over time",
		fmt.Sprintf("A row is a pod, its height its share of the answered requests in each %s; the top of a row is %s.", windowWords(l), percent(top)),
	}}
	if top <= 0 {
		return nil
	}
	from, length := float64(l.Start), float64(l.Windows*l.Width)
	for i := range 5 {
		c.Axis = append(c.Axis, decimal(from+length*float64(i)/4)+nbsp+"s")
	}
	c.addMarks(r, from, length)
	expected, short := map[string]float64{}, map[string]string{}
	for i, name := range shortPods(s) {
		short[s.Backends[i].Pod] = name
		if len(c.Marks) == 0 && s.Backends[i].Eligible {
			expected[s.Backends[i].Pod] = s.Backends[i].ExpectedShare
		}
	}
	rows, _ := ends(len(l.Backends), maxTimeRows)
	for _, i := range rows {
		c.Rows = append(c.Rows, newTimeRow(&l.Backends[i], short, expected, totals, top))
	}
	if left := len(l.Backends) - len(rows); left > 0 {
		c.Desc += fmt.Sprintf(" %s between these are in the table.", count(left, "pod"))
	}
	c.Errors = errorRow(l)
	c.Table = timeTable(l)
	return c
}

func windowWords(l *analyze.Timeline) string {
	if l.Width == 1 {
		return "second"
	}
	return integer(l.Width) + nbsp + "seconds"
}

// windowTotals are the answered requests of each window.
func windowTotals(l *analyze.Timeline) []float64 {
	totals := make([]float64, l.Windows)
	for _, b := range l.Backends {
		for w, n := range b.Requests {
			if w < len(totals) {
				totals[w] += float64(n)
			}
		}
	}
	return totals
}

func newTimeRow(b *analyze.TimelineBackend, short map[string]string, expected map[string]float64, totals []float64, top float64) timeRow {
	row := timeRow{Name: short[b.Pod], Note: count(sum(b.Requests), "request")}
	if b.Pod == "" {
		row.Name = "all other pods"
	} else if row.Name == "" {
		row.Name = clean(b.Pod)
	}
	var path strings.Builder
	path.WriteString("M0 100")
	for w, n := range b.Requests {
		if w >= len(totals) {
			break
		}
		share := float64(n) / math.Max(totals[w], 1)
		fmt.Fprintf(&path, "V%sH%d", height(share/top), w+1)
		row.Cells = append(row.Cells, timeCell{X: w, Words: fmt.Sprintf("%s: %s of the requests (%s)", row.Name, percent(share), integer(n))})
	}
	row.Area = path.String() + "V100Z"
	if e := expected[b.Pod]; e > 0 && e <= top {
		row.Expected = height(e / top)
	}
	return row
}

// height is a place on a line from 100, the bottom, to 0.
func height(share float64) string {
	return strconv.FormatFloat(100-100*min(max(share, 0), 1), 'f', 1, 64)
}

// errorRow shows when requests failed; nil if none did.
func errorRow(l *analyze.Timeline) *timeRow {
	failed := make([]int, l.Windows)
	for _, row := range l.Errors {
		for w, n := range row {
			if w < len(failed) {
				failed[w] += n
			}
		}
	}
	most := 0
	for _, n := range failed {
		most = max(most, n)
	}
	if most == 0 {
		return nil
	}
	row := &timeRow{Name: "errors", Note: fmt.Sprintf("%s, at most %s at a time", integer(sum(failed)), integer(most))}
	var path strings.Builder
	path.WriteString("M0 100")
	for w, n := range failed {
		fmt.Fprintf(&path, "V%sH%d", height(float64(n)/float64(most)), w+1)
		row.Cells = append(row.Cells, timeCell{X: w, Words: count(n, "error")})
	}
	row.Area = path.String() + "V100Z"
	return row
}

// addMarks puts the events of the run on the axis.
func (c *timeChart) addMarks(r *analyze.Report, from, length float64) {
	for _, e := range eventsOf(r) {
		x := (e.at - from) / length
		if x < 0 || x > 1 {
			continue
		}
		c.Marks = append(c.Marks, timeMark{Number: len(c.Marks) + 1, X: pct(x), At: moment(e.at), What: clean(e.what)})
	}
}

// event is something that happened during the run.
type event struct {
	at   float64
	what string
}

// maxEvents is how many events a drawing marks.
const maxEvents = 20

func eventsOf(r *analyze.Report) []event {
	var list []event
	for _, e := range r.Events[:min(len(r.Events), maxEvents)] {
		list = append(list, event{e.At, eventWords(e)})
	}
	return list
}

// timeTable has the requests of every pod in at most twelve stretches of time.
func timeTable(l *analyze.Timeline) htmlTable {
	const most = 12
	n := min(most, l.Windows)
	t := htmlTable{Caption: "Requests by pod, from each moment on", Head: []htmlCell{{Text: "pod"}}}
	at := func(i int) int { return i * l.Windows / n }
	for i := range n {
		t.Head = append(t.Head, htmlCell{Text: integer(l.Start+at(i)*l.Width) + nbsp + "s", Right: true})
	}
	for _, b := range l.Backends {
		name := clean(b.Pod)
		if name == "" {
			name = "all other pods"
		}
		row := []htmlCell{{Text: name, Class: "name"}}
		for i := range n {
			row = append(row, htmlCell{Text: integer(sum(b.Requests[min(at(i), len(b.Requests)):min(at(i+1), len(b.Requests))])), Right: true})
		}
		t.Rows = append(t.Rows, row)
	}
	row := []htmlCell{{Text: "max/mean, largest"}}
	for i := range n {
		largest := 0.0
		for w := at(i); w < at(i+1) && w < len(l.MaxOverMean); w++ {
			largest = max(largest, l.MaxOverMean[w])
		}
		row = append(row, htmlCell{Text: places(largest, 2), Right: true})
	}
	t.Rows = append(t.Rows, row)
	return t
}
