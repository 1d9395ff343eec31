package scenarios

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// maxProblems bounds what one error carries: a file with more of them is not a scenario with mistakes.
const maxProblems = 50

// Problem is one thing that is wrong with a scenario file.
type Problem struct {
	File    string // as it was passed to Load
	Line    int    // from 1; 0 without a place in the file
	Column  int    // from 1, in characters; 0 without a place in the file
	Path    string // of the field, spec.clients[0].connections; "" the file as a whole
	Message string // what is wrong and what to write instead

	text string // the line it is on
}

// String returns the problem as file:line:column: path: message, with the line and a caret under the place.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Path != "" {
		b.WriteString(": " + p.Path)
	}
	b.WriteString(": " + p.Message)
	if p.Line > 0 {
		b.WriteString("\n" + snippet(p.text, p.Line, p.Column))
	}
	return b.String()
}

// InvalidError holds everything that is wrong with one scenario file, in the order of the file.
type InvalidError struct {
	File     string
	Problems []Problem // at least one, at most 50
	More     int       // further problems that were not kept
}

// Error returns every problem with its place, after a count if there are several.
func (e *InvalidError) Error() string {
	parts := make([]string, 0, len(e.Problems)+2)
	if n := len(e.Problems) + e.More; n > 1 {
		parts = append(parts, fmt.Sprintf("%s has %d problems", e.File, n))
	}
	for _, p := range e.Problems {
		parts = append(parts, p.String())
	}
	if e.More > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", e.More))
	}
	return strings.Join(parts, "\n")
}

// position is a place in a file; the zero position is none.
type position struct{ line, column int }

// source remembers where in the file each field stands, so that a problem found long after parsing still points at its line.
type source struct {
	name  string
	lines []string
	at    map[string]position // field path → its value, or its key where the value is a mapping or a list
	set   map[string]bool     // field paths that were given a value, as opposed to a default
}

func newSource(name, text string) *source {
	return &source{
		name:  name,
		lines: strings.Split(text, "\n"),
		at:    map[string]position{"": {1, 1}},
		set:   map[string]bool{},
	}
}

// has tells whether the file gives the field a value.
func (s *source) has(path string) bool { return s != nil && s.set[path] }

// find returns the place of a field or, if it is not in the file, of the nearest field around it that is.
func (s *source) find(path string) position {
	for {
		if at, ok := s.at[path]; ok {
			return at
		}
		path = parentPath(path)
	}
}

// parentPath cuts the last field or index: spec.clients[0].name, spec.clients[0], spec.clients, spec, "".
func parentPath(path string) string {
	if strings.HasSuffix(path, `"]`) {
		return path[:max(0, strings.LastIndex(path, `["`))]
	}
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// fieldPath appends a key; keys that are not plain words are quoted, so that a node name with dots stays one step.
func fieldPath(parent, key string) string {
	plain := key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	switch {
	case !plain:
		return fmt.Sprintf("%s[%q]", parent, key)
	case parent == "":
		return key
	default:
		return parent + "." + key
	}
}

// problems collects what is wrong with one file.
type problems struct {
	src  *source
	list []Problem
	more int
}

// add notes a problem with a field at the place of the field.
func (p *problems) add(path, format string, args ...any) {
	p.addAt(p.src.find(path), path, format, args...)
}

// addAt notes a problem at a given place.
func (p *problems) addAt(at position, path, format string, args ...any) {
	if len(p.list) >= maxProblems {
		p.more++
		return
	}
	problem := Problem{File: p.src.name, Path: path, Message: fmt.Sprintf(format, args...)}
	if at.line >= 1 && at.line <= len(p.src.lines) {
		problem.Line, problem.Column, problem.text = at.line, max(1, at.column), p.src.lines[at.line-1]
	}
	p.list = append(p.list, problem)
}

// err returns the problems as an [InvalidError], or nil.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &InvalidError{File: p.src.name, Problems: p.list, More: p.more}
}

// snippetWidth is how much of a line a snippet shows, in characters.
const snippetWidth = 72

// snippet shows a line and a caret under a column. A long line is cut around the column, and characters that would move
// the caret or drive a terminal are shown as dots.
func snippet(text string, line, column int) string {
	runes := []rune(strings.TrimRight(text, " \t\r"))
	at := min(column-1, len(runes))
	var before, after string
	if over := len(runes) - snippetWidth; over > 0 {
		from := min(max(0, at-snippetWidth/2), over)
		if from > 0 {
			before = "…"
		}
		if from < over {
			after = "…"
		}
		runes, at = runes[from:from+snippetWidth], at-from
	}
	shown, pad := []rune(before), []rune(strings.Repeat(" ", len([]rune(before))))
	for i, r := range runes {
		if r != '\t' && !unicode.IsPrint(r) {
			r = '·'
		}
		shown = append(shown, r)
		if i < at {
			pad = append(pad, caretPad(r)...)
		}
	}
	return fmt.Sprintf("%6d | %s%s\n       | %s^", line, string(shown), after, string(pad))
}

// caretPad returns the blank that is as wide as r.
func caretPad(r rune) []rune {
	switch {
	case r == '\t':
		return []rune{'\t'}
	case unicode.In(r, unicode.Mn, unicode.Me):
		return nil
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana):
		return []rune("  ")
	default:
		return []rune{' '}
	}
}
