package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/podskew/podskew/analyze"
)

// junitSuites is the document; only what test views of CI systems read.
type junitSuites struct {
	XMLName xml.Name   `xml:"testsuites"`
	Suite   junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Skipped   int         `xml:"skipped,attr,omitempty"`
	Time      string      `xml:"time,attr"`
	Timestamp string      `xml:"timestamp,attr,omitempty"`
	Cases     []junitCase `xml:"testcase"`
	Out       string      `xml:"system-out,omitempty"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitProblem `xml:"failure,omitempty"`
	Error   *junitProblem `xml:"error,omitempty"`
	Skipped *junitProblem `xml:"skipped,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes the report as JUnit XML: a test case per expectation, and one more in error if the run was cut short. The
// findings are the output of the suite.
func JUnit(w io.Writer, r *analyze.Report) error {
	return writeXML(w, junitSuites{Suite: newJUnitSuite(r)})
}

func newJUnitSuite(r *analyze.Report) junitSuite {
	suite := junitSuite{
		Name:     "podskew " + clean(r.Run.Scenario),
		Failures: failed(r.Expectations),
		Time:     places(finite(r).Run.Seconds, 3),
		Out:      findingLines(r.Findings),
	}
	suite.Name = strings.TrimSpace(suite.Name)
	if !r.Run.Start.IsZero() {
		suite.Timestamp = r.Run.Start.UTC().Format(time.RFC3339)
	}
	class := strings.ReplaceAll(suite.Name, " ", ".")
	for _, e := range r.Expectations {
		c := junitCase{Class: class, Name: clean(e.Name)}
		switch {
		case e.NotApplicable:
			c.Skipped = &junitProblem{Message: clean(e.Detail)}
			suite.Skipped++
		case e.Passed:
			c.Out = clean(e.Detail)
		default:
			c.Failure = &junitProblem{Message: clean(e.Detail), Text: clean(e.Name + ": " + e.Detail)}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if r.Run.Interrupted {
		suite.Errors = 1
		suite.Cases = append(suite.Cases, junitCase{
			Class: class, Name: "the run is complete",
			Error: &junitProblem{Message: "the run was cut short: what was measured is a part of it"},
		})
	}
	suite.Tests = len(suite.Cases)
	return suite
}

func writeXML(w io.Writer, document any) error {
	data, err := xml.MarshalIndent(document, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report as JUnit XML: %w", err)
	}
	if _, err := io.WriteString(w, xml.Header+string(data)+"\n"); err != nil {
		return fmt.Errorf("writing the report as JUnit XML: %w", err)
	}
	return nil
}

// findingLines gives each finding a line.
func findingLines(findings []analyze.Finding) string {
	var b strings.Builder
	for _, f := range bySeverity(findings) {
		b.WriteString("\n" + clean(findingTitle(f)+": "+f.Summary))
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}
