package report

import (
	"fmt"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// verdict is the report in a few sentences: the worst that was found, in the words of the finding; how much more there
// is; and whether the expectations hold.
func verdict(r *analyze.Report) string {
	var parts []string
	if r.Run.Interrupted {
		parts = append(parts, "The run was cut short: what follows is a part of it.")
	}
	if folded(r, false) {
		parts = append(parts, pathsWords(r.Paths)+".")
	}
	parts = append(parts, mainFinding(r))
	if n := len(r.Expectations); n > 0 {
		switch bad := failed(r.Expectations); {
		case bad == 0 && n == 1:
			parts = append(parts, "The expectation holds.")
		case bad == 0 && n == 2:
			parts = append(parts, "Both expectations hold.")
		case bad == 0:
			parts = append(parts, fmt.Sprintf("All %d expectations hold.", n))
		default:
			parts = append(parts, fmt.Sprintf("%d of %s %s not hold.", bad, count(n, "expectation"), do(bad)))
		}
	}
	return strings.Join(parts, " ")
}

func do(n int) string {
	if n == 1 {
		return "does"
	}
	return "do"
}

// mainFinding states the finding that matters most and counts the others like it.
func mainFinding(r *analyze.Report) string {
	if len(r.Streams) == 0 {
		return "No traffic was measured."
	}
	f := worst(r.Findings)
	switch {
	case f == nil:
		return "There is no finding."
	case severityRank(f.Severity) == severityRank(analyze.Info):
		return "No fault was found. " + about(*f) + gist(f.Summary)
	}
	text := about(*f) + gist(f.Summary)
	more := 0
	for _, other := range r.Findings {
		if severityRank(other.Severity) < severityRank(analyze.Info) {
			more++
		}
	}
	if more > 1 {
		text += fmt.Sprintf(" %s below.", countMore(more-1))
	}
	return text
}

func countMore(n int) string {
	if n == 1 {
		return "One more finding of weight is"
	}
	return fmt.Sprintf("%d more findings of weight are", n)
}

// about names a finding and where it was made.
func about(f analyze.Finding) string {
	if f.Stream == "" {
		return string(f.Code) + ": "
	}
	return fmt.Sprintf("%s on %s: ", f.Code, f.Stream)
}

// gist is a summary up to its first semicolon, as a sentence: what follows there is detail, which the findings give.
func gist(text string) string {
	text = firstClause(clean(text))
	if text == "" || strings.ContainsAny(text[len(text)-1:], ".!?") {
		return text
	}
	return text + "."
}

// firstClause is a text up to its first semicolon that stands in no parentheses. Of a list in parentheses its first member
// stays, unless that is the p-value of a test that is explained behind it.
func firstClause(text string) string {
	depth, from := 0, 0
	for i, r := range text {
		switch {
		case r == '(':
			if depth++; depth == 1 {
				from = i
			}
		case r == ')':
			depth = max(0, depth-1)
		case r == ';' && depth == 0:
			return text[:i]
		case r == ';' && depth == 1:
			end := strings.IndexByte(text[i:], ')')
			if end < 0 {
				return text[:i]
			}
			head, rest := text[:i]+")", text[i+end+1:]
			if strings.HasPrefix(text[from:], "(p = ") {
				head = strings.TrimRight(text[:from], " ")
			}
			return firstClause(head + rest)
		}
	}
	return text
}

// worst returns the finding the verdict is about: of the highest severity; there, one that is not by design first; and
// among remarks the one that judges the shares.
func worst(findings []analyze.Finding) *analyze.Finding {
	var best *analyze.Finding
	rank := func(f *analyze.Finding) int {
		rank := 4 * severityRank(f.Severity)
		switch {
		case severityRank(f.Severity) < severityRank(analyze.Info) && f.ByDesign:
			rank += 2
		case severityRank(f.Severity) == severityRank(analyze.Info):
			rank += shareRank(f.Code)
		}
		return rank
	}
	for i := range findings {
		if f := &findings[i]; best == nil || rank(f) < rank(best) {
			best = f
		}
	}
	return best
}

// shareRank orders remarks by how directly they answer which pods get the traffic.
func shareRank(code analyze.Code) int {
	switch code {
	case analyze.ConnectionPinning, analyze.LocalPolicyImbalance, analyze.TooFewConnections, analyze.IdleBackends:
		return 0
	case analyze.AffinityHeld:
		return 1
	case analyze.Balanced:
		return 2
	default:
		return 3
	}
}

func verdictStyle(r *analyze.Report) style {
	f := worst(r.Findings)
	switch {
	case failed(r.Expectations) > 0:
		return red
	case f == nil:
		return plain
	default:
		return severityStyle(f.Severity)
	}
}
