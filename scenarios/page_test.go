package scenarios

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// document compares what was made with a file of the repository, or rewrites that.
func document(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what the code makes; \"make update\" writes it anew:\n%s", path, diff)
	}
}

func TestPageOfScenarios(t *testing.T) {
	var page bytes.Buffer
	if err := Page(&page); err != nil {
		t.Fatal(err)
	}
	document(t, filepath.Join("..", "docs", "scenarios.md"), page.Bytes())
	for _, name := range Names() {
		if n := strings.Count(page.String(), "\n### "+name+"\n"); n != 1 {
			t.Errorf("%s has %d sections", name, n)
		}
		if n := strings.Count(page.String(), "](#"+name+")"); n != 1 {
			t.Errorf("%s is in %d tables", name, n)
		}
	}
}

func TestHeadComment(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       []string
	}{
		{"two paragraphs", "# One\n# line.\n#\n# Two.\napiVersion: x\n# no more\n", []string{"One line.", "Two."}},
		{"line ends of Windows", "# One.\r\n#\r\n# Two.\r\na: b\r\n", []string{"One.", "Two."}},
		{"no comment", "a: b\n", nil},
		{"nothing but a comment", "#\n# One.", []string{"One."}},
	} {
		if diff := cmp.Diff(row.want, HeadComment([]byte(row.text))); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
	}
}
