package report

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// Of a matrix at most this many rows and columns are written out; a larger one is drawn.
const (
	maxWrittenClients  = 24
	maxWrittenBackends = 12
)

// matrixChart shows which client was served by which pod: darker is more of the client's requests.
type matrixChart struct {
	figure
	Written *htmlTable // a small one: its cells are coloured
	Grid    *grid      // a large one
	Table   htmlTable  // its numbers
}

// grid is a drawing of coloured cells.
type grid struct {
	Height     int
	Cells      []gridCell
	Rows, Cols string // what they are
}

type gridCell struct {
	X, Width  string
	Y, Height int
	Class     string
	Words     string
}

func newMatrixChart(id string, s *analyze.Stream) *matrixChart {
	m := s.Matrix
	if m == nil || len(m.Clients) == 0 || len(m.Backends) == 0 {
		return nil
	}
	c := &matrixChart{figure: figure{
		id + "-matrix", "matrix", "Which client was served by which pod",
		"A row is a client, a column a pod; the darker a cell, the larger the pod's part of that client's requests. Empty: none.",
	}}
	table := matrixTable(s)
	if len(m.Clients) <= maxWrittenClients && len(m.Backends) <= maxWrittenBackends {
		c.Written = &table
		return c
	}
	c.Table, c.Grid = table, matrixGrid(m)
	return c
}

// groupName names one thing, or the first and last of several; what both begin with is written once.
func groupName(g analyze.Group) string {
	first, last := clean(g.Name), clean(g.Last)
	if g.Size <= 1 {
		return first
	}
	common := 0
	for common < min(len(first), len(last)) && first[common] == last[common] {
		common++
	}
	if cut := strings.LastIndexAny(last[:common], "-. "); cut > 0 {
		last = last[cut+1:]
	}
	return fmt.Sprintf("%s … %s (%s)", first, last, integer(g.Size))
}

func sum(row []int) int {
	total := 0
	for _, n := range row {
		total += n
	}
	return total
}

// heat is the class of a cell: 0, empty, to 5.
func heat(part, largest float64) string {
	if part <= 0 || largest <= 0 {
		return "h0"
	}
	return "h" + strconv.Itoa(min(5, 1+int(5*part/largest*0.999)))
}

// largestPart is the largest part of a client's requests that one column has.
func largestPart(m *analyze.Matrix) float64 {
	largest := 0.0
	for _, row := range m.Requests {
		total := float64(max(sum(row), 1))
		for _, n := range row {
			largest = max(largest, float64(n)/total)
		}
	}
	return largest
}

func matrixTable(s *analyze.Stream) htmlTable {
	m := s.Matrix
	t := htmlTable{Caption: "Requests by client and pod, as parts of the client's own", Head: []htmlCell{{Text: "client"}}}
	names := make([]string, len(m.Backends))
	for k, g := range m.Backends {
		names[k] = groupName(g)
	}
	if len(names) == len(s.Backends) {
		names = shortPods(s)
	}
	for _, name := range names {
		t.Head = append(t.Head, htmlCell{Text: name, Right: true, Class: "pod"})
	}
	t.Head = append(t.Head, htmlCell{Text: "requests", Right: true})
	largest := largestPart(m)
	for i, g := range m.Clients {
		total := sum(m.Requests[i])
		row := []htmlCell{{Text: groupName(g), Class: "name"}}
		for _, n := range m.Requests[i] {
			part := float64(n) / float64(max(total, 1))
			cell := htmlCell{Right: true, Class: heat(part, largest)}
			if n > 0 {
				cell.Text = percent(part)
			}
			row = append(row, cell)
		}
		t.Rows = append(t.Rows, append(row, htmlCell{Text: integer(total), Right: true}))
	}
	return t
}

func matrixGrid(m *analyze.Matrix) *grid {
	height := max(6, min(16, 480/len(m.Clients)))
	g := &grid{
		Height: height * len(m.Clients),
		Rows:   fmt.Sprintf("%s, by name from the top", count(members(m.Clients), "client")),
		Cols:   fmt.Sprintf("%s, the largest share at the left", count(members(m.Backends), "pod")),
	}
	largest, width := largestPart(m), 1/float64(len(m.Backends))
	for i, row := range m.Requests {
		total := float64(max(sum(row), 1))
		for k, n := range row {
			if n == 0 {
				continue
			}
			part := float64(n) / total
			g.Cells = append(g.Cells, gridCell{
				X: pct(float64(k) * width), Width: pct(width), Y: i * height, Height: height, Class: heat(part, largest),
				Words: fmt.Sprintf("%s → %s: %s, %s", groupName(m.Clients[i]), groupName(m.Backends[k]), percent(part), count(n, "request")),
			})
		}
	}
	return g
}

func members(groups []analyze.Group) int {
	n := 0
	for _, g := range groups {
		n += g.Size
	}
	return n
}
