package main_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCommandsInTheDocs runs every command that README.md and docs/ show after a "$ " prompt, a block at a time, from
// the root of the repository as a reader would.
func TestCommandsInTheDocs(t *testing.T) {
	c := newCLI(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // a block that failed may have left its lab up
		down := exec.Command(filepath.Join(c.bin, "podskew-lab"), "down")
		down.Env = c.env
		_ = down.Run()
	})
	ran := 0
	for _, page := range append([]string{filepath.Join(root, "README.md")}, pages...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range consoleBlocks(string(text)) {
			ran++
			t.Run(filepath.Base(page), func(t *testing.T) {
				if strings.Contains(block, "kubectl") && !have("kubectl") {
					t.Skip("kubectl is not installed:\n" + block)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, "sh", "-e", "-c", block)
				cmd.Dir, cmd.Env = root, c.env
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s\n%s", err, block, out)
				}
			})
		}
	}
	if ran == 0 {
		t.Error("the docs show no commands")
	}
}

func have(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// consoleBlocks returns the commands of each ```console block of a page, one per line.
func consoleBlocks(page string) []string {
	var blocks []string
	var block strings.Builder
	inside := false
	for line := range strings.Lines(page) {
		switch {
		case strings.HasPrefix(line, "```console"):
			inside = true
			block.Reset()
		case inside && strings.HasPrefix(line, "```"):
			inside = false
			blocks = append(blocks, block.String())
		case inside:
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				block.WriteString(command)
			}
		}
	}
	return blocks
}
