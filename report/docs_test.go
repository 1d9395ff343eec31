package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// blocks returns the lines of the fenced blocks of a page, empty ones left out.
func blocks(page, fence string) []string {
	var lines []string
	inside := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "```"+fence:
			inside = true
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside && line != "":
			lines = append(lines, line)
		}
	}
	return lines
}

func notEmpty(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestThePageWalksThroughAWholeReport holds docs/reading-a-report.md to a golden report: every line of it, in order.
func TestThePageWalksThroughAWholeReport(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "reading-a-report.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(notEmpty(text(t, keepalive(), TextOptions{})), blocks(string(page), "text")); diff != "" {
		t.Errorf("the page shows another report than testdata/keepalive.txt:\n%s", diff)
	}
	comparison, err := os.ReadFile(filepath.Join("testdata", "compare-better.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range blocks(string(page), "compare") {
		if !strings.Contains(string(comparison), line+"\n") {
			t.Errorf("the comparison has no line %q", line)
		}
	}
}
