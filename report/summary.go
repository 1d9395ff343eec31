package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/podskew/podskew/analyze"
)

// Outcome is what became of one run of a series.
type Outcome string

// The outcomes.
const (
	Passed      Outcome = "passed"      // every expectation holds
	Failed      Outcome = "failed"      // one does not
	Skipped     Outcome = "skipped"     // something it needs is not there: nothing is wrong
	Broken      Outcome = "error"       // the environment failed: nothing was learned about the Service
	Interrupted Outcome = "interrupted" // stopped in the middle
	NotRun      Outcome = "not run"     // the series ended before
)

// Outcomes returns all outcomes, good ones first.
func Outcomes() []Outcome { return []Outcome{Passed, Failed, Broken, Interrupted, Skipped, NotRun} }

// Summary is what came of a series of runs.
type Summary struct {
	Tool    string          `json:"tool,omitempty"` // version of podskew
	Start   time.Time       `json:"start"`          // of the series
	Seconds float64         `json:"seconds"`        // of the whole series, clusters included
	Passed  bool            `json:"passed"`         // nothing failed, broke or was left out, but for what was skipped, and something passed
	Counts  map[Outcome]int `json:"counts"`         // runs by outcome; all outcomes are named
	Notes   []string        `json:"notes"`          // what happened to the series, such as a cluster that was started anew
	Runs    []SummaryRun    `json:"runs"`           // in the order of the series
}

// SummaryRun is one run of a series.
type SummaryRun struct {
	Scenario  string  `json:"scenario"`
	Provider  string  `json:"provider,omitempty"`  // lab, kind or current; "" if there was none yet
	ProxyMode string  `json:"proxyMode,omitempty"` // kube-proxy's; "" if it is not known
	Outcome   Outcome `json:"outcome"`
	Detail    string  `json:"detail,omitempty"` // why it was skipped, broke or did not run
	Seconds   float64 `json:"seconds"`          // of the whole run, deployment and removal included
	Folder    string  `json:"folder,omitempty"` // where record and reports lie; "" if there are none
	// Report is the run's own report, as far as it came; nil if nothing was measured.
	Report *analyze.Report `json:"report,omitempty"`
}

// Count fills in what follows from the runs.
func (s *Summary) Count() {
	s.Counts = map[Outcome]int{}
	for _, o := range Outcomes() {
		s.Counts[o] = 0
	}
	for i := range s.Runs {
		s.Counts[s.Runs[i].Outcome]++
	}
	s.Passed = s.Counts[Passed] > 0 && s.Counts[Passed]+s.Counts[Skipped] == len(s.Runs)
}

// failures are the expectations of a run that do not hold. Of one that broke off they say nothing.
func (r *SummaryRun) failures() []analyze.ExpectationResult {
	if r.Report == nil || r.Outcome != Failed {
		return nil
	}
	var out []analyze.ExpectationResult
	for _, e := range r.Report.Expectations {
		if !e.Passed && !e.NotApplicable {
			out = append(out, e)
		}
	}
	return out
}

// what is the last column: what failed, in few words.
func (r *SummaryRun) what() string {
	bad := r.failures()
	switch {
	case r.Outcome == Failed && len(bad) == 1:
		return clean(bad[0].Name)
	case r.Outcome == Failed && len(bad) > 1:
		return fmt.Sprintf("%s, and %d more", clean(bad[0].Name), len(bad)-1)
	case r.Outcome == Broken:
		first, _, _ := strings.Cut(r.Detail, "\n")
		return clean(first)
	default: // the outcome says it, the reason stands below
		return ""
	}
}

// finiteSummary returns a copy whose reports JSON can hold.
func finiteSummary(s *Summary) *Summary {
	out := *s
	out.Notes = append([]string{}, s.Notes...)
	out.Runs = append([]SummaryRun{}, s.Runs...)
	for i := range out.Runs {
		if out.Runs[i].Report != nil {
			out.Runs[i].Report = finite(out.Runs[i].Report)
		}
	}
	return &out
}

// SummaryJSON writes the series as one JSON document, with the whole report of each run.
func SummaryJSON(w io.Writer, s *Summary) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(finiteSummary(s)); err != nil {
		return fmt.Errorf("writing the series as JSON: %w", err)
	}
	if _, err := w.Write(visible(out.Bytes())); err != nil {
		return fmt.Errorf("writing the series as JSON: %w", err)
	}
	return nil
}
