package report

import (
	"strings"
)

// style is how a line looks on a terminal that has colours.
type style string

// The styles, by their SGR parameters.
const (
	plain  style = ""
	bold   style = "1"
	faint  style = "2"
	red    style = "31;1"
	yellow style = "33;1"
	green  style = "32"
)

// page collects lines that are never wider than the page.
type page struct {
	out   strings.Builder
	width int
	color bool
}

// line writes one line. What does not fit is cut: callers wrap and lay out before, this is the last fence.
func (p *page) line(s style, text string) {
	text = strings.TrimRight(strings.ReplaceAll(text, nbsp, " "), " ")
	if width(text) > p.width {
		text, _ = head(text, p.width-1)
		text += "…"
	}
	if p.color && s != plain && text != "" {
		indent := len(text) - len(strings.TrimLeft(text, " "))
		text = text[:indent] + "\x1b[" + string(s) + "m" + text[indent:] + "\x1b[0m"
	}
	p.out.WriteString(text)
	p.out.WriteByte('\n')
}

// blank writes an empty line.
func (p *page) blank() { p.out.WriteByte('\n') }

// heading starts a section.
func (p *page) heading(text string) {
	p.blank()
	p.line(bold, clean(text))
}

// text writes wrapped text. The first line begins with first; the others are indented as far.
func (p *page) text(s style, first, text string) {
	indent := strings.Repeat(" ", width(first))
	for i, line := range wrap(text, p.width-width(first)) {
		if i > 0 {
			first = indent
		}
		p.line(s, first+line)
	}
}

// table writes a table, indented.
func (p *page) table(t *table) error {
	const indent = "  "
	lines, err := t.lines(p.width - len(indent))
	if err != nil {
		return err
	}
	for i, line := range lines {
		s := plain
		if i == 0 {
			s = faint
		}
		p.line(s, indent+line)
	}
	return nil
}
