package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// csvHead names the columns; more may be added at the end.
func csvHead() []string {
	return []string{
		"run", "scenario", "stream", "vantage", "target", "pod", "node", "eligible", "requests", "connections", "share", "expectedShare",
		"connectionShare", "chanceShareLow", "chanceShareHigh", "p50", "p99",
	}
}

// CSV writes a row for each pod of each stream (RFC 4180, lines end in a line feed). Shares are fractions, latencies seconds.
// A text that a spreadsheet would take for a formula begins with an apostrophe.
func CSV(w io.Writer, r *analyze.Report) error {
	out := csv.NewWriter(w)
	rows := append([][]string{csvHead()}, csvRows(r)...)
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("writing the report as CSV: %w", err)
	}
	return nil
}

// csvRows has a row per stream and pod.
func csvRows(r *analyze.Report) [][]string {
	var rows [][]string
	for i := range r.Streams {
		s := &r.Streams[i]
		for _, b := range s.Backends {
			rows = append(rows, []string{
				csvText(r.Run.ID), csvText(r.Run.Scenario), csvText(s.Client), csvText(s.Vantage), csvText(s.Target), csvText(b.Pod), csvText(b.Node),
				strconv.FormatBool(b.Eligible), strconv.Itoa(b.Requests), strconv.Itoa(b.Connections), csvNumber(b.Share), csvNumber(b.ExpectedShare),
				csvNumber(b.ConnectionShare), csvNumber(b.ChanceShare[0]), csvNumber(b.ChanceShare[1]), csvNumber(b.P50), csvNumber(b.P99),
			})
		}
	}
	return rows
}

// csvText keeps a name from being run as a formula by what opens the file.
func csvText(s string) string {
	s = strings.ReplaceAll(clean(s), nbsp, " ")
	if s != "" && strings.ContainsRune("=+-@", rune(s[0])) {
		return "'" + s
	}
	return s
}

// csvNumber writes a number that every reader takes, nothing where there is none.
func csvNumber(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return ""
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}
