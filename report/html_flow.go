package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/podskew/podskew/analyze"
)

// flowChart draws the way of the requests: client, the address the pod saw, pod.
type flowChart struct {
	figure
	Height  int
	Columns [3][]flowNode
	Ribbons [2][]flowRibbon
	Table   htmlTable
}

// flowNode is one end of ribbons. Y and Height are in pixels.
type flowNode struct {
	Name, Note string
	Y, Height  int
	Rewritten  bool // the address is not the client's own
}

// flowRibbon connects two nodes.
type flowRibbon struct {
	Path, Words string
	Rewritten   bool
}

// flowEnd is a node while it is laid out.
type flowEnd struct {
	name, note string
	requests   int
	rewritten  bool
	y, height  float64
	in, out    float64 // how much of its height is taken by ribbons
}

// Heights of the drawing, in pixels: nodes have room for two lines of text.
const (
	flowNodeHeight = 38
	flowGap        = 6
	flowRoom       = 220 // shared among the nodes of a column by their requests
)

func newFlowChart(id string, s *analyze.Stream) *flowChart {
	if len(s.Flows) == 0 {
		return nil
	}
	c := &flowChart{figure: figure{
		id + "-flow", "flow", "Whose address the pods saw",
		"From the clients at the left through the source address that the pods saw to the pods at the right; the wider, the more requests. Orange: the address is not the client's own.",
	}}
	var columns [3]map[string]*flowEnd
	for i := range columns {
		columns[i] = map[string]*flowEnd{}
	}
	ribbons := [2]map[[2]string]int{{}, {}}
	for _, f := range s.Flows {
		names := [3]string{clean(f.Client), hopName(f), clean(f.Backend)}
		rewritten := f.Class != "client"
		for i, name := range names {
			end := columns[i][name]
			if end == nil {
				end = &flowEnd{name: name}
				columns[i][name] = end
			}
			end.requests += f.Requests
			if i == 1 {
				end.rewritten, end.note = rewritten, classWords(f.Class)
			}
		}
		ribbons[0][[2]string{names[0], names[1]}] += f.Requests
		ribbons[1][[2]string{names[1], names[2]}] += f.Requests
	}
	c.layOut(columns, ribbons)
	c.Table = flowTable(s)
	return c
}

func hopName(f analyze.Flow) string { return clean(cmp.Or(f.Hop, f.Class)) }

// layOut gives every node its place and every ribbon its path.
func (c *flowChart) layOut(columns [3]map[string]*flowEnd, ribbons [2]map[[2]string]int) {
	var sorted [3][]*flowEnd
	most := 0
	for i, column := range columns {
		for _, end := range column {
			sorted[i] = append(sorted[i], end)
		}
		slices.SortFunc(sorted[i], func(a, b *flowEnd) int {
			return cmp.Or(cmp.Compare(b.requests, a.requests), cmp.Compare(a.name, b.name))
		})
		most = max(most, len(sorted[i]))
	}
	c.Height = most*(flowNodeHeight+flowGap) + flowRoom
	for i, ends := range sorted {
		placeEnds(ends, c.Height)
		for _, end := range ends {
			c.Columns[i] = append(c.Columns[i], flowNode{
				Name: end.name, Note: nodeNote(end), Y: int(end.y), Height: int(end.height), Rewritten: end.rewritten,
			})
		}
	}
	for side := range ribbons {
		c.Ribbons[side] = connect(sorted[side], sorted[side+1], ribbons[side])
	}
}

func nodeNote(end *flowEnd) string {
	if end.note == "" {
		return integer(end.requests)
	}
	return end.note + ", " + integer(end.requests)
}

// placeEnds shares the height among the nodes: each has room for its text, the rest goes by requests.
func placeEnds(ends []*flowEnd, height int) {
	total := 0
	for _, end := range ends {
		total += end.requests
	}
	room := float64(height - len(ends)*flowNodeHeight - (len(ends)-1)*flowGap)
	y := 0.0
	for _, end := range ends {
		end.y = y
		end.height = flowNodeHeight + room*float64(end.requests)/float64(max(total, 1))
		y += end.height + flowGap
	}
}

// connect draws the ribbons between two columns, in the order of both so that they cross little.
func connect(from, to []*flowEnd, requests map[[2]string]int) []flowRibbon {
	var out []flowRibbon
	for _, a := range from {
		a.out = 0
	}
	for _, b := range to {
		b.in = 0
	}
	for _, a := range from {
		for _, b := range to {
			n := requests[[2]string{a.name, b.name}]
			if n == 0 {
				continue
			}
			left, right := a.height*float64(n)/float64(max(a.requests, 1)), b.height*float64(n)/float64(max(b.requests, 1))
			y1, y2 := a.y+a.out, b.y+b.in
			a.out += left
			b.in += right
			out = append(out, flowRibbon{
				Path:      fmt.Sprintf("M0 %[1]sC50 %[1]s 50 %[2]s 100 %[2]sV%[3]sC50 %[3]s 50 %[4]s 0 %[4]sZ", px(y1), px(y2), px(y2+right), px(y1+left)),
				Words:     fmt.Sprintf("%s → %s: %s", a.name, b.name, count(n, "request")),
				Rewritten: a.rewritten || b.rewritten,
			})
		}
	}
	return out
}

func px(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

func flowTable(s *analyze.Stream) htmlTable {
	t := htmlTable{Caption: "Every way requests took", Head: []htmlCell{
		{Text: "client"}, {Text: "the pod saw"}, {Text: "that is"}, {Text: "pod"}, {Text: "pod's node"}, {Text: "requests", Right: true},
	}}
	for _, f := range s.Flows {
		t.Rows = append(t.Rows, []htmlCell{
			{Text: clean(f.Client), Class: "name"}, {Text: hopName(f)}, {Text: classWords(f.Class)}, {Text: clean(f.Backend), Class: "name"}, {Text: clean(f.Node)}, {Text: integer(f.Requests), Right: true},
		})
	}
	return t
}
