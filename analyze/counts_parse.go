package analyze

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Tally is how often one backend was counted.
type Tally struct {
	Name  string // "" where only numbers were given
	Count int
}

// CountInput is plain counts as somebody has them, before anything is made of them.
type CountInput struct {
	Tallies []Tally // in order of first appearance
	// Order holds, if the input was one answer per line, the index into Tallies of each line. Only then is it known in which
	// order backends answered.
	Order    []int
	Repeated int // lines that named a backend a second time, as uniq -c prints without sort
}

// Limits of plain counts.
const (
	maxCountLines = 20_000_000
	maxCountTotal = 1_000_000_000
	maxCountNames = 100_000
)

// ErrNoCounts is returned for input without any line.
var ErrNoCounts = errors.New("no counts: nothing was read")

// ParseCounts reads counts per backend, one backend a line: as uniq -c prints them ("  60 pod-a"), the other way round
// ("pod-a 60", also with a tab, comma, colon or equals sign between), or bare numbers. The number is on the same side of
// every line; a line of words before the first with a number is a heading. Lines that hold one name each and no number are
// answers, and are counted. Errors name the line.
func ParseCounts(r io.Reader) (CountInput, error) {
	c := counter{index: map[string]int{}}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 64<<10), 1<<20)
	for scanner.Scan() {
		if c.lines++; c.lines > maxCountLines {
			return CountInput{}, fmt.Errorf("more than %d lines", maxCountLines)
		}
		if err := c.line(scanner.Text()); err != nil {
			return CountInput{}, fmt.Errorf("line %d: %w", c.lines, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return CountInput{}, fmt.Errorf("reading line %d: %w", c.lines+1, err)
	}
	return c.finish()
}

// ParseCountList reads counts as they are given on a command line: 60,10,7,3.
func ParseCountList(s string) (CountInput, error) {
	var in CountInput
	for _, field := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		n, err := parseCount(field)
		if err != nil {
			return CountInput{}, err
		}
		in.Tallies = append(in.Tallies, Tally{Count: n})
	}
	return in, in.check()
}

// side is where a line has its number.
type side int

const (
	undecided side = iota
	answers1
	bare
	before
	after
)

// counter reads lines.
type counter struct {
	in    CountInput
	index map[string]int // of a name in Tallies
	side  side
	lines int
	head  []string // lines of words until the side is known; each may be a heading or an answer
}

func (c *counter) line(text string) error {
	fields := strings.FieldsFunc(text, isSeparator)
	if len(fields) == 0 {
		return nil
	}
	if c.side == undecided || c.side == answers1 {
		s := sideOf(fields)
		if s == answers1 && len(fields) == 1 {
			return c.answer(fields[0])
		}
		if s == answers1 { // several words and no number: a heading, or no counts at all
			if c.side == answers1 || len(c.head) > 0 {
				return fmt.Errorf("%q holds no count", clip(text))
			}
			c.head = append(c.head, text)
			return nil
		}
		if c.side == answers1 && len(c.in.Order) > 1 {
			return fmt.Errorf("%q has a count, the lines before it have none", clip(text))
		}
		c.in, c.index = CountInput{}, map[string]int{} // the one word before it was a heading
		c.side = s
	}
	return c.counted(text, fields)
}

// isSeparator says what may stand between a name and a number. A colon is also part of addresses, so it separates only at
// the end of a name, where strings.TrimSuffix takes it.
func isSeparator(r rune) bool {
	switch r {
	case ' ', '\t', '\r', ',', ';', '=', '|', '\v', '\f', '\u00a0':
		return true
	default:
		return false
	}
}

func sideOf(fields []string) side {
	_, first := parseCount(fields[0])
	_, last := parseCount(fields[len(fields)-1])
	switch {
	case len(fields) == 1 && first == nil:
		return bare
	case len(fields) > 1 && first == nil:
		return before
	case len(fields) > 1 && last == nil:
		return after
	default:
		return answers1
	}
}

func (c *counter) answer(name string) error {
	c.side = answers1
	at, err := c.named(name)
	if err != nil {
		return err
	}
	c.in.Tallies[at].Count++
	c.in.Order = append(c.in.Order, at)
	return nil
}

func (c *counter) named(name string) (int, error) {
	if at, ok := c.index[name]; ok {
		return at, nil
	}
	if len(c.in.Tallies) >= maxCountNames {
		return 0, fmt.Errorf("more than %d backends", maxCountNames)
	}
	c.index[name] = len(c.in.Tallies)
	c.in.Tallies = append(c.in.Tallies, Tally{Name: strings.Clone(name)})
	return c.index[name], nil
}

// counted takes a line that has its number where the lines before have theirs.
func (c *counter) counted(text string, fields []string) error {
	number, name := fields[0], fields[1:]
	if c.side == after {
		number, name = fields[len(fields)-1], fields[:len(fields)-1]
	}
	n, err := parseCount(number)
	if err != nil {
		return fmt.Errorf("%q: %w", clip(text), err)
	}
	if (c.side == bare) != (len(name) == 0) {
		return fmt.Errorf("%q: either every line has a name or none has", clip(text))
	}
	if c.side == bare {
		if len(c.in.Tallies) >= maxCountNames {
			return fmt.Errorf("more than %d backends", maxCountNames)
		}
		c.in.Tallies = append(c.in.Tallies, Tally{Count: n})
		return nil
	}
	have := len(c.in.Tallies)
	at, err := c.named(strings.TrimSuffix(strings.Join(name, " "), ":"))
	if err != nil {
		return err
	}
	if at < have {
		c.in.Repeated++
	}
	c.in.Tallies[at].Count += n
	return nil
}

func (c *counter) finish() (CountInput, error) {
	if len(c.in.Tallies) == 0 && len(c.head) > 0 {
		return CountInput{}, fmt.Errorf("line 1: %q holds no count", clip(c.head[0]))
	}
	return c.in, c.in.check()
}

// check refuses what no statistics can be made of.
func (in CountInput) check() error {
	if len(in.Tallies) == 0 {
		return ErrNoCounts
	}
	total := 0
	for _, t := range in.Tallies {
		if total += t.Count; total > maxCountTotal {
			return fmt.Errorf("more than %d in all: divide the counts by something", maxCountTotal)
		}
	}
	if total == 0 {
		return errors.New("all counts are 0")
	}
	return nil
}

// parseCount reads a whole number, 0 to 10⁹.
func parseCount(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n > maxCountTotal {
		return 0, fmt.Errorf("%q is no count: write whole numbers from 0 to %d", clip(s), maxCountTotal)
	}
	return int(n), nil
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	const most = 60
	s = strings.TrimSpace(s)
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
