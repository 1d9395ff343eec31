package analyze

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// judge makes the findings of a report.
type judge struct {
	rec      *record.Record
	family   *family
	subjects []*subject
	findings []Finding
	notes    []string
	ends     *BothEnds
	servers  []ServerLoad
	snat     map[snatKey]*snatUse // made when first asked for
}

// conclude runs all checks. Each looks at one thing and adds what it finds; Balanced comes last as it depends on the others.
func (j *judge) conclude() {
	for _, s := range j.subjects {
		for _, check := range []func(*subject){
			j.noEndpoints, j.noLocalEndpoint, j.localPolicy, j.topology, j.foreign,
			j.unexplained, j.pinning, j.oneAddress, j.tooFewConnections, j.unevenLoad, j.inTurn, j.turns, j.idle, j.tooFewUnits,
			j.changes, j.staleEndpoints,
			j.affinityHeld, j.affinityBroken, j.sessionsHeld, j.sources, j.hairpin, j.crossNode, j.snatPressure, j.artefacts, j.doubts,
		} {
			check(s)
		}
		j.balanced(s)
	}
	j.pooledSkew()
	j.missingEndpoints()
	j.factsChanged()
	j.runNotes()
	j.sort()
}

// add keeps a finding, with empty evidence and remedies where it has none.
func (j *judge) add(f Finding) {
	if f.Evidence == nil {
		f.Evidence = map[string]any{}
	}
	if f.Remedies == nil {
		f.Remedies = []Remedy{}
	}
	for i := range f.Remedies {
		if f.Remedies[i].Predicted == nil {
			f.Remedies[i].Predicted = map[string]any{}
		}
	}
	j.findings = append(j.findings, f)
}

func (j *judge) note(format string, args ...any) {
	j.notes = append(j.notes, fmt.Sprintf(format, args...))
}

// worse reports whether a stream has a finding of one of the codes that is above info.
func (j *judge) worse(stream string, codes ...Code) bool {
	return slices.ContainsFunc(j.findings, func(f Finding) bool {
		return f.Stream == stream && f.Severity != Info && slices.Contains(codes, f.Code)
	})
}

// sort puts the gravest first, then keeps the order of streams and checks.
func (j *judge) sort() {
	rank := func(s Severity) int { return slices.Index([]Severity{Error, Warning, Info}, s) }
	slices.SortStableFunc(j.findings, func(a, b Finding) int { return cmp.Compare(rank(a.Severity), rank(b.Severity)) })
}

// seed is for a simulation that belongs to one stream.
func (j *judge) seed(s *subject, purpose string) skew.Seed {
	return runSeed(j.rec, s.plan.ID, purpose)
}

// Figures in sentences.

func percent(x float64) string { return figure(100*x) + " %" }

// figure prints three significant digits, and all digits of what is larger.
func figure(x float64) string {
	if math.Abs(x) >= 1000 {
		return strconv.FormatFloat(math.Round(x), 'f', -1, 64)
	}
	s := strconv.FormatFloat(x, 'g', 3, 64)
	if v, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(v) >= 0.001 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return s
}

// tiny prints a probability that may be too small for a number.
func tiny(p float64) string {
	if p < 1e-300 {
		return "< 1e-300"
	}
	return figure(p)
}

func milliseconds(seconds float64) string { return figure(1000*seconds) + " ms" }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func span2(r skew.Range) string { return figure(r[0]) + " to " + figure(r[1]) }

// listed joins names, the first few of many.
func listed(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// pText is a trial's p-value in words, as exact as its method allows.
func (f *family) pText(t *trial) string {
	text := "p = " + figure(t.result.P)
	if floor := 4 / float64(t.result.Draws+1); t.result.Method == skew.MonteCarlo && t.result.P <= floor {
		// Four directions share the simulated outcomes, so this is as small as it gets.
		text = fmt.Sprintf("p ≤ %s (χ² alone: %s)", figure(floor), tiny(t.result.ChiSquareP))
	}
	if m := f.size(); m > 1 {
		text += fmt.Sprintf(", %s adjusted for %d tests", figure(t.p), m)
	}
	return text
}
