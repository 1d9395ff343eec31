package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/podskew/podskew/analyze"
)

// aSeries has a run of every outcome.
func aSeries() *Summary {
	passed := keepalive()
	passed.Passed, passed.Expectations = true, passed.Expectations[:0]
	failed := keepalive()
	failed.Passed = false
	failed.Expectations = []analyze.ExpectationResult{
		{Name: "finding ConnectionPinning of web", Passed: true, Detail: "present"},
		{Name: "finding SourceIPPreserved of outside", Detail: "absent: pods saw 10.77.0.11 (receiving-node) in 600 of 600 requests"},
		{Name: "errors.timeout of outside above 0", Detail: "0 is not above 0"},
	}
	s := &Summary{
		Tool: "v0.1.0", Start: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Seconds: 61.24,
		Notes: []string{"the lab ended in the middle of the run: the series goes on with a new cluster"},
		Runs: []SummaryRun{
			{Scenario: "keepalive", Provider: "lab", ProxyMode: "nftables", Outcome: Passed, Seconds: 7.42, Folder: "runs/d4u8k1", Report: passed},
			{Scenario: "a-scenario-with-a-name-that-nobody-would-choose", Provider: "lab", ProxyMode: "nftables", Outcome: Failed, Seconds: 11, Folder: "runs/d4u8k2", Report: failed},
			{
				Scenario: "affinity-capacity", Provider: "lab", ProxyMode: "nftables", Outcome: Skipped,
				Detail: "it needs kube-proxy in iptables mode, here it is in nftables mode",
			},
			{Scenario: "etp-local", Provider: "lab", ProxyMode: "iptables", Outcome: Broken, Seconds: 3.1, Detail: "the lab ended in the middle of the run:\n  podskew-lab: killed"},
			{Scenario: "fresh", Provider: "lab", ProxyMode: "iptables", Outcome: Interrupted, Seconds: 1.5, Folder: "runs/d4u8k3", Detail: "it was interrupted", Report: keepalive()},
			{Scenario: "udp-pinning", ProxyMode: "iptables", Outcome: NotRun, Detail: "the series was interrupted"},
		},
	}
	s.Count()
	return s
}

// renderers of a series, by the ending of their golden file.
func seriesFormats() map[string]func(io.Writer, *Summary) error {
	return map[string]func(io.Writer, *Summary) error{
		"txt":  func(w io.Writer, s *Summary) error { return SummaryText(w, s, TextOptions{Width: 80}) },
		"json": SummaryJSON, "xml": SummaryJUnit, "md": SummaryMarkdown, "html": SummaryHTML, "csv": SummaryCSV, "prom": SummaryPrometheus,
	}
}

func TestGoldenSeries(t *testing.T) {
	for ending, render := range seriesFormats() {
		var out bytes.Buffer
		if err := render(&out, aSeries()); err != nil {
			t.Fatal(err)
		}
		golden(t, "series."+ending, out.String())
	}
}

func TestSeriesFitsTheTerminal(t *testing.T) {
	for _, columns := range []int{40, 60, 80, 200} {
		var out bytes.Buffer
		if err := SummaryText(&out, aSeries(), TextOptions{Width: columns}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if w := width(strings.TrimRight(line, "\n")); w > columns {
				t.Errorf("%d columns of %d: %s", w, columns, line)
			}
		}
		for _, want := range []string{"the series goes on with a new cluster", "SourceIPPreserved", "podskew analyze runs/d4u8k2"} {
			if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
				t.Errorf("at %d columns nothing says %q:\n%s", columns, want, out.String())
			}
		}
	}
}

func TestLineOfARun(t *testing.T) {
	s := aSeries()
	for i, want := range []string{
		"✓ [ 1/10] keepalive (nftables): passed (7.4s)\n",
		`✗ [ 2/10] a-scenario-with-a-name-that-nobody-would-choose (nftables): failed (1…
    finding SourceIPPreserved of outside: absent: pods saw 10.77.0.11
    (receiving-node) in 600 of 600 requests
    errors.timeout of outside above 0: 0 is not above 0
    podskew analyze runs/d4u8k2
`,
		"- [ 3/10] affinity-capacity (nftables): skipped\n    it needs kube-proxy in iptables mode, here it is in nftables mode\n",
		"✗ [ 4/10] etp-local (iptables): error (3.1s)\n    the lab ended in the middle of the run:\n",
		"✗ [ 5/10] fresh (iptables): interrupted (1.5s)\n    it was interrupted\n",
		"- [ 6/10] udp-pinning (iptables): not run\n    the series was interrupted\n",
	} {
		if diff := cmp.Diff(want, SummaryLine(&s.Runs[i], i+1, 10, 80)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestSeriesPasses only if something was learned and nothing was left out.
func TestSeriesPasses(t *testing.T) {
	for _, row := range []struct {
		name     string
		outcomes []Outcome
		want     bool
	}{
		{"all passed", []Outcome{Passed, Passed}, true},
		{"one skipped", []Outcome{Passed, Skipped}, true},
		{"all skipped", []Outcome{Skipped}, false},
		{"one failed", []Outcome{Passed, Failed}, false},
		{"one broken", []Outcome{Passed, Broken}, false},
		{"one not run", []Outcome{Passed, NotRun}, false},
		{"none at all", nil, false},
	} {
		s := &Summary{}
		for _, o := range row.outcomes {
			s.Runs = append(s.Runs, SummaryRun{Outcome: o})
		}
		if s.Count(); s.Passed != row.want {
			t.Errorf("%s: passed %v", row.name, s.Passed)
		}
	}
}

// TestSeriesForPrograms reads each format with a library that knows it.
func TestSeriesForPrograms(t *testing.T) {
	s := aSeries()
	s.Runs[0].Report.Streams[0].Skew.CV = math.NaN()
	var out bytes.Buffer
	if err := SummaryJSON(&out, s); err != nil {
		t.Fatal(err)
	}
	var back Summary
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if back.Counts[Failed] != 1 || back.Counts[Passed] != 1 || len(back.Runs) != 6 || back.Runs[1].Report.Run.ID != s.Runs[1].Report.Run.ID || back.Runs[2].Report != nil {
		t.Errorf("read back: %+v", back.Counts)
	}
	out.Reset()
	if err := SummaryJUnit(&out, s); err != nil {
		t.Fatal(err)
	}
	var suites junitSeries
	if err := xml.Unmarshal(out.Bytes(), &suites); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%d suites, %d tests, %d failures, %d errors, %d skipped", len(suites.Suites), suites.Tests, suites.Failures, suites.Errors, suites.Skipped)
	if want := "6 suites, 9 tests, 2 failures, 2 errors, 2 skipped"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	out.Reset()
	if err := SummaryCSV(&out, s); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 1+3*6 || rows[0][len(rows[0])-1] != "proxy_mode" || rows[1][len(rows[1])-1] != "nftables" {
		t.Errorf("%d rows (%v)", len(rows), err)
	}
	out.Reset()
	if err := SummaryPrometheus(&out, s); err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(&out)
	if err != nil || len(families["podskew_series_runs"].GetMetric()) != len(Outcomes()) || len(families["podskew_series_run_passed"].GetMetric()) != 4 {
		t.Errorf("%d families (%v)", len(families), err)
	}
}
