// Package report shows the result of an analysis: as text for people, as JSON for programs, as Markdown for the summary
// page of a CI job and as JUnit XML for its test view. It decides nothing: every number and every judgement is the
// analysis's, here they get words, widths and an order. The same report gives the same bytes.
package report

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/podskew/podskew/analyze"
)

// bySeverity returns the findings, worst first; those of one severity keep their order.
func bySeverity(findings []analyze.Finding) []analyze.Finding {
	sorted := slices.Clone(findings)
	slices.SortStableFunc(sorted, func(a, b analyze.Finding) int {
		return cmp.Compare(severityRank(a.Severity), severityRank(b.Severity))
	})
	return sorted
}

func severityRank(s analyze.Severity) int {
	switch s {
	case analyze.Error:
		return 0
	case analyze.Warning:
		return 1
	default:
		return 2
	}
}

// applicable counts the expectations that were decided.
func applicable(expectations []analyze.ExpectationResult) int {
	n := 0
	for _, e := range expectations {
		if !e.NotApplicable {
			n++
		}
	}
	return n
}

// holding says how many expectations hold: "3 of 4 hold, 1 not applicable".
func holding(expectations []analyze.ExpectationResult) string {
	n := applicable(expectations)
	words := fmt.Sprintf("%d of %d hold", n-failed(expectations), n)
	if left := len(expectations) - n; left > 0 {
		words += fmt.Sprintf(", %d not applicable", left)
	}
	return words
}

// failed counts the expectations that do not hold.
func failed(expectations []analyze.ExpectationResult) int {
	n := 0
	for _, e := range expectations {
		if !e.Passed {
			n++
		}
	}
	return n
}
