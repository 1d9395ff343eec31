package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// maxRows is how many rows a long table shows unless all are asked for: the largest and the smallest half.
const maxRows = 20

// writeStream writes the numbers of one stream.
func writeStream(p *page, r *analyze.Report, s *analyze.Stream, wide bool) error {
	p.heading(fmt.Sprintf("Stream %s: %s → %s", s.Client, s.Vantage, s.Target))
	p.text(plain, "  ", streamWords(s))
	for _, write := range []func(*page, *analyze.Stream, bool) error{
		writeShares, writeLoads, writeNodes, writeSources, writeSkew,
	} {
		if err := write(p, s, wide); err != nil {
			return err
		}
	}
	p.blank()
	p.text(plain, "  ", comparedWords(r, s))
	if d := s.Decomposition; d != nil && !alone(s) {
		p.text(plain, "  ", decompositionWords(*d, unitWord(s.Test.Unit)))
	}
	if a := s.Affinity; a != nil {
		p.text(plain, "  ", affinityWords(*a))
	}
	for _, sentence := range more(r, s, wide) {
		p.text(plain, "  ", sentence)
	}
	return nil
}

// streamWords says in sentences what was sent and what came back.
func streamWords(s *analyze.Stream) string {
	text := fmt.Sprintf("%s at %s/s", count(s.Requests, "request"), decimal(s.RequestsPerSecond))
	switch n := s.RequestsPerConnection; {
	case byRequest(s) && s.Test.Untested == "":
		text += ", each a choice of its own"
	case byRequest(s):
		text += " on connections that are not told apart"
	case n == 0 && s.ConnectionLifetime > 0:
		text += fmt.Sprintf(" on %s, each replaced after %s or so", count(s.Connections, "connection"), seconds(s.ConnectionLifetime))
	case n == 0 && s.ConnectionsPerSecond > 0:
		text += fmt.Sprintf(" on %s, the oldest replaced %s times a second", count(s.Connections, "connection"), decimal(s.ConnectionsPerSecond))
	case n == 0:
		text += fmt.Sprintf(" on %s, open as long as the run lasts", count(s.Connections, "connection"))
	case n == 1:
		text += fmt.Sprintf(" on %s, a fresh one for each", count(s.Connections, "connection"))
	default:
		text += fmt.Sprintf(" on %s, each for %s", count(s.Connections, "connection"), count(n, "request"))
	}
	text += "; " + errorWords(s.Errors)
	text += fmt.Sprintf("; p50 %s, p99 %s.", seconds(s.Latency.P50), seconds(s.Latency.P99))
	if s.CrossNode > 0 {
		text += fmt.Sprintf(" %s went to a pod on another node.", count(s.CrossNode, "request"))
	}
	if s.UnknownBackend > 0 {
		what := "connection"
		if byRequest(s) {
			what = "request"
		}
		text += fmt.Sprintf(" %s got no answer, so their pods are unknown.", count(s.UnknownBackend, what))
	}
	if s.Address != "" && len(s.Nodes) == 0 { // else the nodes have a table
		text += " Dialled: " + s.Address + "."
	}
	return text
}

// byRequest tells whether requests, not connections, are what was dealt out, or taken to be.
func byRequest(s *analyze.Stream) bool { return s.Test.Unit == "request" }

// alone tells whether there is one pod only, which nothing can be compared with.
func alone(s *analyze.Stream) bool { return len(s.Backends) == 1 }

// comparedWords says what the test found or, of a single pod, that there is nothing to compare.
func comparedWords(r *analyze.Report, s *analyze.Stream) string {
	if !alone(s) {
		return testWords(s.Test, r.Run.Alpha)
	}
	b := s.Backends[0]
	return fmt.Sprintf("There is one pod that this stream can reach, %s, and nothing to compare it with: it answered %s.", b.Pod, count(b.Requests, "request"))
}

// pick returns which of n rows are shown, and how many are left out between the largest and the smallest.
func pick(n int, wide bool) (rows []int, left int) {
	if wide {
		return ends(n, n)
	}
	return ends(n, maxRows)
}

// ends returns the rows of n that are shown where most have room: those at both ends, and how many lie between.
func ends(n, most int) (rows []int, left int) {
	for i := range n {
		if n <= most || i < most/2 || i >= n-most/2 {
			rows = append(rows, i)
		}
	}
	return rows, n - len(rows)
}

// cells gives one cell per row.
func cells(rows []int, cell func(i int) string) []string {
	out := make([]string, len(rows))
	for k, i := range rows {
		out[k] = clean(cell(i))
	}
	return out
}

// shortPods gives the pods of a stream names that are short and the same in all its tables. They are shortened together,
// also those whose rows are not shown.
func shortPods(s *analyze.Stream) []string {
	const columns = 24
	names := make([]string, len(s.Backends))
	for i, b := range s.Backends {
		names[i] = clean(b.Pod)
	}
	return shortenAll(names, columns)
}

// writeShares writes who got how much, beside what the settings ask for.
func writeShares(p *page, s *analyze.Stream, wide bool) error {
	if len(s.Backends) == 0 || alone(s) {
		return nil
	}
	rows, left := pick(len(s.Backends), wide)
	pods := shortPods(s)
	scale := 0.0
	for _, b := range s.Backends {
		scale = max(scale, b.Share, b.ExpectedShare, b.ChanceShare[1])
	}
	backend := func(i int) analyze.Backend { return s.Backends[i] }
	var t table
	t.add(column{head: "pod", min: 12, cells: cells(rows, func(i int) string { return pods[i] })})
	t.add(column{head: "requests", min: 10, drop: 1, draw: func(row, w int) string {
		b := backend(rows[row])
		return bar(b.Share, b.ExpectedShare, b.ChanceShare, scale, w)
	}})
	t.add(column{head: "share", right: true, cells: cells(rows, func(i int) string { return percent(backend(i).Share) })})
	t.add(column{head: "expected", right: true, cells: cells(rows, func(i int) string { return expectedWords(backend(i)) })})
	legend := "█ requests, ┃ expected" + sinceWhen(s)
	if sharesKnown(s) {
		legend += ", · 95 % of what chance makes of the expected share"
		t.add(column{head: "by chance", right: true, drop: 2, cells: cells(rows, func(i int) string { return percentRange(backend(i).ChanceShare) })})
	}
	p.blank()
	if err := p.table(&t); err != nil {
		return err
	}
	writeLeft(p, left)
	p.text(faint, "  ", legend)
	return nil
}

// sinceWhen says of which time the expected shares are, if pods joined later that had none then.
func sinceWhen(s *analyze.Stream) string {
	joined := slices.ContainsFunc(s.Backends, func(b analyze.Backend) bool { return b.Eligible && b.ExpectedShare == 0 && b.Share > 0 })
	if !joined || sharesKnown(s) {
		return ""
	}
	return " when the load began"
}

func expectedWords(b analyze.Backend) string {
	if !b.Eligible {
		return "none"
	}
	return percent(b.ExpectedShare)
}

// writeLeft says how many rows a table leaves out.
func writeLeft(p *page, left int) {
	if left > 0 {
		p.text(faint, "  ", fmt.Sprintf("… %s between these halves are not shown", count(left, "row")))
	}
}

// writeLoads writes what each pod had to do and how fast it was.
func writeLoads(p *page, s *analyze.Stream, wide bool) error {
	if len(s.Backends) == 0 {
		return nil
	}
	rows, left := pick(len(s.Backends), wide)
	pods := shortPods(s)
	backend := func(i int) analyze.Backend { return s.Backends[i] }
	var t table
	t.add(column{head: "pod", min: 12, cells: cells(rows, func(i int) string { return pods[i] })})
	t.add(column{head: "node", min: 8, drop: 2, cells: cells(rows, func(i int) string { return backend(i).Node })})
	t.add(column{head: "requests", right: true, cells: cells(rows, func(i int) string { return integer(backend(i).Requests) })})
	if !byRequest(s) {
		t.add(column{head: "connections", right: true, cells: cells(rows, func(i int) string { return integer(backend(i).Connections) })})
	}
	t.add(column{head: "p50", right: true, drop: 1, cells: cells(rows, func(i int) string { return latency(backend(i), backend(i).P50) })})
	t.add(column{head: "p99", right: true, drop: 3, cells: cells(rows, func(i int) string { return latency(backend(i), backend(i).P99) })})
	p.blank()
	if err := p.table(&t); err != nil {
		return err
	}
	writeLeft(p, left)
	return nil
}

// latency writes a latency of a pod that has answered.
func latency(b analyze.Backend, f float64) string {
	if b.Requests == 0 {
		return none
	}
	return seconds(f)
}

// writeSkew writes the metrics, each beside what chance alone would give.
func writeSkew(p *page, s *analyze.Stream, _ bool) error {
	if len(s.Backends) == 0 || alone(s) {
		return nil
	}
	metrics := metricsOf(s)
	rows, _ := pick(len(metrics), true)
	known := chanceKnown(s)
	var t table
	t.add(column{head: "skew", cells: cells(rows, func(i int) string { return metrics[i].name })})
	t.add(column{head: "here", right: true, cells: cells(rows, func(i int) string { return places(metrics[i].value, metrics[i].places) })})
	if known {
		t.add(column{head: "by chance", right: true, cells: cells(rows, func(i int) string {
			m := metrics[i]
			return places(m.chance[0], m.places) + "–" + places(m.chance[1], m.places)
		})})
		t.add(column{head: "", drop: 1, cells: cells(rows, func(i int) string { return against(metrics[i].value, metrics[i].chance) })})
	}
	p.blank()
	return p.table(&t)
}

// against says where a value lies; the ends of a chance range are inside it, rounding included.
func against(value float64, chance analyze.Range) string {
	const rounding = 1e-9
	switch {
	case value > chance[1]+rounding:
		return "above chance"
	case value < chance[0]-rounding:
		return "below chance"
	default:
		return "within chance"
	}
}

// bar draws a share on a line of w columns that stands for 0 to scale.
func bar(share, expected float64, chance analyze.Range, scale float64, w int) string {
	if scale <= 0 || w <= 0 {
		return ""
	}
	at := func(f float64) float64 { return f / scale * float64(w) }
	mark := min(w-1, int(at(expected)))
	var b strings.Builder
	for i := range w {
		left, middle, right := float64(i), float64(i)+0.5, float64(i)+1
		switch {
		case i == mark && expected > 0:
			b.WriteRune('┃')
		case middle <= at(share):
			b.WriteRune('█')
		case right > at(chance[0]) && left < at(chance[1]):
			b.WriteRune('·')
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}
