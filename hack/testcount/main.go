// Command testcount reads `go test -json` from standard input, prints a line a package, the output of whatever
// failed, and last the total as "N passed, N failed, N skipped". It exits 1 if anything failed or nothing passed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
	ImportPath                    string
	Elapsed                       float64
}

type counter struct {
	out                     io.Writer
	passed, failed, skipped int
	output                  map[string]*strings.Builder // of tests and packages that did not pass yet
}

func main() {
	c := &counter{out: os.Stdout, output: map[string]*strings.Builder{}}
	if err := c.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testcount:", err)
		os.Exit(1)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	if c.failed > 0 || c.passed == 0 {
		os.Exit(1)
	}
}

func (c *counter) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			_, _ = fmt.Fprintln(c.out, lines.Text()) // a build's own words
			continue
		}
		c.add(e)
	}
	return lines.Err()
}

func (c *counter) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		if c.output[key] == nil {
			c.output[key] = &strings.Builder{}
		}
		_, _ = c.output[key].WriteString(e.Output)
	case "build-output":
		_, _ = io.WriteString(c.out, e.Output)
	case "build-fail":
		c.failed++
		_, _ = fmt.Fprintf(c.out, "FAIL  %s does not build\n", e.ImportPath)
	case "pass", "skip", "fail":
		c.end(e, key)
	}
}

func (c *counter) end(e event, key string) {
	text := ""
	if b := c.output[key]; b != nil {
		text = b.String()
	}
	delete(c.output, key)
	if e.Test == "" {
		_, _ = fmt.Fprintf(c.out, "%-5s %s (%.1fs)\n", strings.ToUpper(e.Action), e.Package, e.Elapsed)
		if e.Action == "fail" {
			c.failed++
			_, _ = io.WriteString(c.out, text)
		}
		return
	}
	switch e.Action {
	case "pass":
		c.passed++
	case "skip":
		c.skipped++
		_, _ = fmt.Fprintf(c.out, "SKIP  %s %s\n%s", e.Package, e.Test, text)
	case "fail":
		c.failed++
		_, _ = fmt.Fprintf(c.out, "FAIL  %s %s\n%s", e.Package, e.Test, text)
	}
}
