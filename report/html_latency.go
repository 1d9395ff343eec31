package report

import (
	"fmt"
	"math"

	"github.com/podskew/podskew/analyze"
)

// latencyChart shows how fast each pod answered, on a logarithmic scale.
type latencyChart struct {
	figure
	Rows      []latencyRow
	Low, High string // ends of the scale
	Left      string
}

type latencyRow struct {
	Pod, P50, P99, Words string
	X, Width             string
}

func newLatencyChart(id string, s *analyze.Stream) *latencyChart {
	low, high := math.Inf(1), 0.0
	for _, b := range s.Backends {
		if b.Requests > 0 && b.P50 > 0 {
			low, high = min(low, b.P50), max(high, b.P99, b.P50)
		}
	}
	if high <= 0 {
		return nil
	}
	low, high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))
	if high <= low {
		high = 10 * low
	}
	c := &latencyChart{
		figure: figure{
			id + "-latency", "latency", "How fast the pods answered",
			"Each bar reaches from a pod's median latency (p50) to the latency that 99 % of its requests kept within (p99), on a logarithmic scale.",
		},
		Low: seconds(low), High: seconds(high),
	}
	at := func(f float64) float64 { return math.Log(max(f, low)/low) / math.Log(high/low) }
	pods := shortPods(s)
	rows, left := barRows(len(s.Backends))
	for _, i := range rows {
		b := s.Backends[i]
		row := latencyRow{Pod: pods[i], P50: latency(b, b.P50), P99: latency(b, b.P99)}
		row.Words = fmt.Sprintf("%s: p50 %s, p99 %s", clean(b.Pod), row.P50, row.P99)
		if b.Requests > 0 {
			row.X, row.Width = pct(at(b.P50)), pct(max(at(b.P99)-at(b.P50), 0.006))
		}
		c.Rows = append(c.Rows, row)
	}
	if left > 0 {
		c.Left = fmt.Sprintf("%s between these are in the table of all pods.", count(left, "pod"))
	}
	return c
}
