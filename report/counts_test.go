package report_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/report"
)

func countsReport(t *testing.T, text string, backends int) *analyze.CountsReport {
	t.Helper()
	in, err := analyze.ParseCounts(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r, err := analyze.Counts(in, backends)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Names come from outside: what a terminal or a browser would act on must not get through, and no line is too wide.
func TestCountsOfHostileNames(t *testing.T) {
	var b strings.Builder
	for i := range 30 {
		fmt.Fprintf(&b, "%d \x1b[31mpod|<b>%s_%d\n", 10+i, strings.Repeat("long", 40), i)
	}
	r := countsReport(t, b.String(), 40)
	for _, wide := range []bool{false, true} {
		var out bytes.Buffer
		if err := report.CountsText(&out, r, report.TextOptions{Wide: wide}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Error("an escape sequence got through")
		}
		for line := range strings.Lines(out.String()) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
				t.Errorf("%d columns: %q", n, line)
			}
		}
		if shown := strings.Count(out.String(), "…"); wide && shown < 30 || !wide && shown > 25 {
			t.Errorf("wide %v shows %d rows", wide, shown)
		}
	}
	var out bytes.Buffer
	if err := report.CountsMarkdown(&out, r); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "<b>") {
		t.Errorf("markup got through:\n%s", out.String())
	}
}

func TestForecastFitsAnyWidth(t *testing.T) {
	f, err := analyze.Model{Placement: make50(), Policy: "Local", Connections: 1_000_000}.Forecast()
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{0, 40, 100} {
		var out bytes.Buffer
		if err := report.ForecastText(&out, f, report.TextOptions{Width: width}); err != nil {
			t.Fatal(err)
		}
		limit := max(width, 40)
		if width == 0 {
			limit = 80
		}
		for line := range strings.Lines(out.String()) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > limit {
				t.Errorf("width %d: %d columns: %q", width, n, line)
			}
		}
		if !strings.Contains(out.String(), "1+2+3+4+5+6+7+1+2+3+4+5+…") {
			t.Errorf("width %d: the placement is not shortened:\n%s", width, out.String())
		}
	}
}

// make50 is fifty nodes with one to seven pods.
func make50() []int {
	placement := make([]int, 50)
	for i := range placement {
		placement[i] = 1 + i%7
	}
	return placement
}
