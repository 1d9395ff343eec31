package report

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// htmlStream is one stream's part of the page. Charts that have nothing to show are nil.
type htmlStream struct {
	ID, Name, Way, Words string
	Test, Keeps          string   // sentences: the test, affinity
	More                 []string // further sentences

	Shares  *sharesChart
	Skew    *skewChart
	Matrix  *matrixChart
	Time    *timeChart
	Rows    *rowsChart
	Flow    *flowChart
	Latency *latencyChart
	Split   *splitChart
	Loads   *htmlTable
	Nodes   *htmlTable
	Sources *htmlTable
}

func newHTMLStream(r *analyze.Report, i int) *htmlStream {
	s := &r.Streams[i]
	id := "stream-" + strconv.Itoa(i+1)
	out := &htmlStream{
		ID: id, Name: clean(s.Client), Way: clean(s.Vantage + " → " + s.Target), Words: clean(streamWords(s)), Test: clean(comparedWords(r, s)),
		Shares: newSharesChart(id, s), Skew: newSkewChart(id, s), Matrix: newMatrixChart(id, s), Rows: newRowsChart(id, r, s),
		Time: newTimeChart(id, r, s),
		Flow: newFlowChart(id, s), Latency: newLatencyChart(id, s), Split: newSplitChart(id, s), Nodes: nodesTable(s), Loads: generatorTable(s), Sources: sourcesTable(s),
	}
	for _, sentence := range more(r, s, true) {
		out.More = append(out.More, clean(sentence))
	}
	if s.Affinity != nil {
		out.Keeps = clean(affinityWords(*s.Affinity))
	}
	return out
}

// figure is what every chart has: an id, what it shows and how to read it.
type figure struct {
	ID, Kind, Title, Desc string
}

// pct is a place or a length on a line, in percent of it.
func pct(share float64) string {
	if !(share > 0) { // also what is no number
		share = 0
	}
	return strconv.FormatFloat(100*min(share, 1), 'f', 2, 64) + "%"
}

// nodesTable is what became of the connections to each node's port.
func nodesTable(s *analyze.Stream) *htmlTable {
	if len(s.Nodes) == 0 {
		return nil
	}
	t := &htmlTable{Caption: "Node by node: whose port was dialled, and what came of it", Head: []htmlCell{
		{Text: "dialled"}, {Text: "address"}, {Text: "pods", Right: true}, {Text: "sent", Right: true}, {Text: "answered", Right: true}, {Text: "expected"}, {Text: "errors"},
	}}
	rows, left := ends(len(s.Nodes), maxListed)
	for _, i := range rows {
		n := s.Nodes[i]
		t.Rows = append(t.Rows, []htmlCell{
			{Text: clean(n.Node)}, {Text: clean(n.Address)}, {Text: integer(n.Endpoints), Right: true}, {Text: integer(n.Requests), Right: true},
			{Text: integer(n.Answered), Right: true}, {Text: clean(n.Expected)}, {Text: clean(errorKinds(n.Errors))},
		})
	}
	t.Left = leftWords(left, "node")
	return t
}

// sourcesTable lists the addresses the pods saw as the client.
func sourcesTable(s *analyze.Stream) *htmlTable {
	if len(s.Sources) == 0 {
		return nil
	}
	sources := gather(s.Sources)
	t := &htmlTable{Caption: "Which addresses the pods saw as the client", Head: []htmlCell{
		{Text: "seen as"}, {Text: "address"}, {Text: "of node"}, {Text: "requests", Right: true}, {Text: "to itself", Right: true}, {Text: "that is"},
	}}
	for _, source := range sources {
		t.Rows = append(t.Rows, []htmlCell{
			{Text: clean(source.Class)}, {Text: clean(source.Address)}, {Text: clean(source.Node)}, {Text: integer(source.Requests), Right: true},
			{Text: integer(source.Hairpin), Right: true}, {Text: classWords(source.Class)},
		})
	}
	return t
}

// maxListed is how many rows of a table a page holds; the JSON report has them all.
const maxListed = 1000

func leftWords(left int, thing string) string {
	if left == 0 {
		return ""
	}
	return fmt.Sprintf("%s in between left out: the JSON report has all of them", count(left, thing))
}

// generatorTable shows what the sources of load did.
func generatorTable(s *analyze.Stream) *htmlTable {
	if len(s.Generators) == 0 {
		return nil
	}
	t := &htmlTable{Caption: "The sources of load", Head: []htmlCell{
		{Text: "client"}, {Text: "driver"}, {Text: "cores used", Right: true}, {Text: "of", Right: true}, {Text: "busiest loop", Right: true}, {Text: "short of"},
	}}
	rows, left := ends(len(s.Generators), maxListed)
	for _, i := range rows {
		g := s.Generators[i]
		t.Rows = append(t.Rows, []htmlCell{
			{Text: clean(g.Agent), Class: "name"}, {Text: clean(g.Driver)}, {Text: known(g.Cores, decimal), Right: true}, {Text: known(g.Limit, decimal), Right: true},
			{Text: known(g.Busy, percent), Right: true}, {Text: cmp.Or(clean(strings.Join(g.Limits, ", ")), "nothing")},
		})
	}
	t.Left = leftWords(left, "client")
	return t
}

// serverTable shows what the pods counted themselves.
func serverTable(r *analyze.Report) *htmlTable {
	if len(r.Servers) == 0 {
		return nil
	}
	t := &htmlTable{Caption: "What the pods counted themselves", Head: []htmlCell{
		{Text: "pod"}, {Text: "requests", Right: true}, {Text: "connections", Right: true}, {Text: "cores used", Right: true}, {Text: "of", Right: true}, {Text: "at its limit"},
	}}
	rows, left := ends(len(r.Servers), maxListed)
	for _, i := range rows {
		s := r.Servers[i]
		saturated := "no"
		if s.Saturated {
			saturated = "yes"
		}
		t.Rows = append(t.Rows, []htmlCell{
			{Text: clean(s.Pod), Class: "name"}, {Text: integer(s.Requests), Right: true}, {Text: integer(s.Connections), Right: true},
			{Text: known(s.Cores, decimal), Right: true}, {Text: known(s.Limit, decimal), Right: true}, {Text: saturated},
		})
	}
	t.Left = leftWords(left, "pod")
	return t
}

// known writes a number that is 0 where it is not known.
func known(f float64, words func(float64) string) string {
	if f == 0 {
		return none
	}
	return words(f)
}
