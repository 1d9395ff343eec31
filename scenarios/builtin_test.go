package scenarios

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBuiltinScenarios(t *testing.T) {
	if n := len(Names()); n < 13 {
		t.Errorf("%d built-in scenarios: some are missing", n)
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			s, err := Builtin(name)
			if err != nil {
				t.Fatal(err)
			}
			if s.Metadata.Name != name {
				t.Errorf("metadata.name is %q, want the name of the file", s.Metadata.Name)
			}
			if len(s.Spec.Expect) == 0 {
				t.Error("a built-in scenario expects something")
			}
			description, err := Describe(name)
			if err != nil || description == "" || !strings.HasSuffix(description, ".") || len(description) > 100 {
				t.Errorf("description %q (%v), want one short sentence", description, err)
			}
			source, err := Source(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range commentProblems(HeadComment(source), s.Metadata.Links) {
				t.Error(problem)
			}
		})
	}
}

var (
	linkForm = regexp.MustCompile(`^(https://\S+|[\w.-]+/[\w.-]+#[0-9]+)$`)
	sentence = regexp.MustCompile(`[.?:]\)?$`)
)

// commentProblems says what is missing of the four parts that stand before every built-in scenario: what it asks or shows,
// in a paragraph of its own; how that comes about, and the picture to expect, below it; and in metadata where somebody met
// it.
func commentProblems(paragraphs, links []string) []string {
	var out []string
	words := func(list []string) int { return len(strings.Fields(strings.Join(list, " "))) }
	switch {
	case len(paragraphs) < 2:
		return []string{"the file begins with a comment: a paragraph that says what is asked or shown, then the mechanism and the expected picture"}
	case words(paragraphs[:1]) > 60:
		out = append(out, "the first paragraph of the comment is the question or its answer in a sentence or two, not the mechanism")
	case words(paragraphs[1:]) < 25:
		out = append(out, "the comment says too little of the mechanism and the expected picture")
	}
	for _, p := range paragraphs {
		if !sentence.MatchString(p) {
			out = append(out, fmt.Sprintf("a paragraph of the comment does not end like a sentence: %q", p))
		}
	}
	if len(links) == 0 {
		out = append(out, "metadata.links names no incident or documentation")
	}
	for _, link := range links {
		if !linkForm.MatchString(link) {
			out = append(out, fmt.Sprintf("link %q is neither https://... nor owner/repository#number", link))
		}
	}
	return out
}

func TestCommentsOfBuiltinScenariosAreWhole(t *testing.T) {
	mechanism := strings.Repeat("Because it is so. ", 8) + "One pod gets all."
	for _, row := range []struct {
		name       string
		paragraphs []string
		links      []string
		problems   int
	}{
		{"all four parts", []string{"Is it so?", mechanism}, []string{"kubernetes/kubernetes#38456", "https://example.com/a"}, 0},
		{"no comment", nil, []string{"a/b#1"}, 1},
		{"no mechanism", []string{"Is it so?"}, []string{"a/b#1"}, 1},
		{"a mechanism in five words", []string{"Is it so?", "Yes, it is so indeed."}, []string{"a/b#1"}, 1},
		{"a question as long as an answer", []string{strings.Repeat("word ", 61) + ".", mechanism}, []string{"a/b#1"}, 1},
		{"no link", []string{"Is it so?", mechanism}, nil, 1},
		{"a link to nothing, and a line cut off", []string{"Is it so?", mechanism, "and then"}, []string{"see the issue"}, 2},
	} {
		if got := commentProblems(row.paragraphs, row.links); len(got) != row.problems {
			t.Errorf("%s: %d problems %q, want %d", row.name, len(got), got, row.problems)
		}
	}
}

// TestBuiltinLoadIsEven holds what the expected shares rest on: slots deal out evenly to the nodes that are dialled.
func TestBuiltinLoadIsEven(t *testing.T) {
	for _, name := range []string{"etp-cluster", "etp-local", "source-addresses", "etp-local-uneven", "etp-local-even", "etp-local-drop", "affinity-local-policy"} {
		s, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		c := s.Spec.Clients[0]
		if n := len(c.TargetNodes); n == 0 || c.Connections%n != 0 || c.Requests%c.Connections != 0 {
			t.Errorf("%s: %d requests on %d connections do not deal out evenly to %d nodes", name, c.Requests, c.Connections, n)
		}
	}
}

func TestUnknownBuiltin(t *testing.T) {
	_, err := Builtin("keepalife")
	if err == nil {
		t.Fatal("there is a scenario of that name")
	}
	want := `there is no built-in scenario "keepalife": did you mean keepalive?`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	if _, err := Source("a-name-unlike-any-other"); err == nil || err.Error() != `there is no built-in scenario "a-name-unlike-any-other"` {
		t.Error(err)
	}
}

func TestNamesOfCodesAndMetricsAreUnique(t *testing.T) {
	for _, names := range [][]string{FindingCodes(), Metrics()} {
		sorted := slices.Sorted(slices.Values(names))
		if compact := slices.Compact(slices.Clone(sorted)); len(compact) != len(names) {
			t.Errorf("a name is listed twice in %v", sorted)
		}
	}
}
