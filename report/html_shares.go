package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// maxBars is how many pods get a bar of their own; of more, the ends are drawn and a curve shows all.
const maxBars = 40

// sharesChart sets shares against what the settings ask for and what chance makes of it.
type sharesChart struct {
	figure
	Rows  []shareRow
	Left  string
	Curve *curve
	Table htmlTable
	Scale string // what the right end of the bars stands for
}

// shareRow is one pod's bar.
type shareRow struct {
	Pod, Full, Share, Expected, Chance, Words string
	Bar, Tick, BandX, BandWidth               string
	HasTick, HasBand                          bool
	Tone                                      string // above, below, foreign or ""
}

// curve draws the shares of all pods of a large stream, in order.
type curve struct {
	Width                 int
	Share, Expected, Band string // path data on a plane of Width × 100
	Top                   string // the share at the top
}

func newSharesChart(id string, s *analyze.Stream) *sharesChart {
	if len(s.Backends) == 0 || alone(s) {
		return nil
	}
	scale := 0.0
	for _, b := range s.Backends {
		scale = max(scale, b.Share, b.ExpectedShare, b.ChanceShare[1])
	}
	c := &sharesChart{
		figure: figure{id + "-shares", "shares", "Share of the requests by pod", fmt.Sprintf(
			"Each bar is a pod's share of the %s; the mark is its expected share, the pale band the range that chance makes of it in 95 %% of runs.",
			count(answeredBy(s), "answered request"))},
		Scale: percent(scale),
	}
	if !sharesKnown(s) {
		c.Desc = fmt.Sprintf("Each bar is a pod's share of the %s; the mark is its expected share%s. There is no range of chance to set beside it.", count(answeredBy(s), "answered request"), sinceWhen(s))
	}
	pods := shortPods(s)
	rows, left := barRows(len(s.Backends))
	for _, i := range rows {
		c.Rows = append(c.Rows, newShareRow(s, i, pods[i], scale))
	}
	if left > 0 {
		c.Left = fmt.Sprintf("%s between these are in the curve and in the table.", count(left, "pod"))
		c.Curve = newCurve(s, scale)
	}
	c.Table = backendTable(s)
	return c
}

// barRows returns the pods that get a bar: all if they are few, else those at both ends.
func barRows(n int) (rows []int, left int) {
	if n <= maxBars {
		return ends(n, n)
	}
	return ends(n, maxRows)
}

func answeredBy(s *analyze.Stream) int {
	n := 0
	for _, b := range s.Backends {
		n += b.Requests
	}
	return n
}

func newShareRow(s *analyze.Stream, i int, short string, scale float64) shareRow {
	b := s.Backends[i]
	row := shareRow{
		Pod: short, Full: clean(b.Pod), Share: percent(b.Share), Expected: expectedWords(b), Chance: chanceWords(s, b), Tone: shareTone(b),
		Bar: pct(b.Share / scale), Tick: pct(b.ExpectedShare / scale), HasTick: b.ExpectedShare > 0,
		BandX: pct(b.ChanceShare[0] / scale), BandWidth: pct((b.ChanceShare[1] - b.ChanceShare[0]) / scale), HasBand: b.ChanceShare[1] > 0,
	}
	number := integer(b.Requests)
	if !byRequest(s) {
		number += " on " + count(b.Connections, "connection")
	}
	row.Words = fmt.Sprintf("%s: %s of the requests (%s), expected %s, by chance %s", row.Full, row.Share, number, row.Expected, row.Chance)
	if !row.HasBand {
		row.Chance = none
	}
	return row
}

// sharesKnown tells whether there are chance ranges of shares.
func sharesKnown(s *analyze.Stream) bool {
	return slices.ContainsFunc(s.Backends, func(b analyze.Backend) bool { return b.ChanceShare != analyze.Range{} })
}

// chanceWords is the range that chance makes of a pod's share, if a law of chance applies.
func chanceWords(s *analyze.Stream, b analyze.Backend) string {
	if !sharesKnown(s) {
		return none
	}
	return percentRange(b.ChanceShare)
}

// shareTone tells whether the connections of a pod lie outside its chance range; the range is of these, not of requests.
func shareTone(b analyze.Backend) string {
	switch {
	case !b.Eligible && b.Requests > 0:
		return "foreign"
	case b.ChanceShare == analyze.Range{}:
		return ""
	default:
		return toneOf(b.ConnectionShare, b.ChanceShare)
	}
}

func toneOf(value float64, chance analyze.Range) string {
	const rounding = 1e-9
	switch {
	case value > chance[1]+rounding:
		return "above"
	case value < chance[0]-rounding:
		return "below"
	default:
		return ""
	}
}

// newCurve draws steps, one per pod.
func newCurve(s *analyze.Stream, scale float64) *curve {
	c := &curve{Width: len(s.Backends), Top: percent(scale)}
	if scale <= 0 {
		return nil
	}
	y := func(share float64) string {
		return strconv.FormatFloat(100-100*min(max(share, 0)/scale, 1), 'f', 1, 64)
	}
	steps := func(value func(analyze.Backend) float64) string {
		var b strings.Builder
		for i, backend := range s.Backends {
			if i == 0 {
				b.WriteString("M0 " + y(value(backend)))
			} else {
				b.WriteString("V" + y(value(backend)))
			}
			b.WriteString("H" + strconv.Itoa(i+1))
		}
		return b.String()
	}
	c.Share = steps(func(b analyze.Backend) float64 { return b.Share }) + "V100H0Z"
	c.Expected = steps(func(b analyze.Backend) float64 { return b.ExpectedShare })
	c.Band = steps(func(b analyze.Backend) float64 { return b.ChanceShare[1] })
	var back strings.Builder
	for i, b := range slices.Backward(s.Backends) {
		back.WriteString("V" + y(b.ChanceShare[0]) + "H" + strconv.Itoa(i))
	}
	c.Band += back.String() + "Z"
	return c
}

// backendTable has every number of every pod.
func backendTable(s *analyze.Stream) htmlTable {
	t := htmlTable{Caption: "Every pod in numbers", Head: []htmlCell{
		{Text: "pod"}, {Text: "node"}, {Text: "requests", Right: true}, {Text: "connections", Right: true}, {Text: "share", Right: true},
		{Text: "expected", Right: true}, {Text: "by chance", Right: true}, {Text: "of " + unitsWord(s.Test.Unit), Right: true}, {Text: "p50", Right: true}, {Text: "p99", Right: true},
	}}
	rows, left := ends(len(s.Backends), maxListed)
	for _, i := range rows {
		b := s.Backends[i]
		t.Rows = append(t.Rows, []htmlCell{
			{Text: clean(b.Pod), Class: "name"}, {Text: clean(b.Node)}, {Text: integer(b.Requests), Right: true}, {Text: integer(b.Connections), Right: true},
			{Text: percent(b.Share), Right: true}, {Text: expectedWords(b), Right: true}, {Text: chanceWords(s, b), Right: true},
			{Text: percent(b.ConnectionShare), Right: true}, {Text: latency(b, b.P50), Right: true}, {Text: latency(b, b.P99), Right: true},
		})
	}
	if byRequest(s) {
		t.Head = slices.Delete(t.Head, 3, 4) // each request stands for itself
		for i, row := range t.Rows {
			t.Rows[i] = slices.Delete(row, 3, 4)
		}
	}
	t.Left = leftWords(left, "pod")
	return t
}
