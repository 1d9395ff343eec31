package report

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/clipperhouse/displaywidth"
)

// width is how many columns s takes on a terminal. Characters of ambiguous width count as narrow whatever the locale
// says, so that a report is the same everywhere.
func width(s string) int { return displaywidth.Options{}.String(s) }

// nbsp is a blank at which no line is broken: between a number and its unit. Lines show it as a blank.
const nbsp = "\u00a0"

// clean makes text from outside (names, messages of a cluster) safe to print on a line: line ends and tabs become
// spaces, and what a terminal would act on or not show is dropped.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\u00a0':
			return r
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		default:
			return r
		}
	}, s)
	return strings.TrimSpace(s)
}

// head returns the longest beginning of s that is at most columns wide, and the rest.
func head(s string, columns int) (first, rest string) {
	used, end := 0, 0
	graphemes := displaywidth.Options{}.StringGraphemes(s)
	for graphemes.Next() {
		w := graphemes.Width()
		if used+w > columns {
			break
		}
		used += w
		end += len(graphemes.Value())
	}
	return s[:end], s[end:]
}

// tail returns the longest end of s that is at most columns wide.
func tail(s string, columns int) string {
	total, cut := width(s), 0
	graphemes := displaywidth.Options{}.StringGraphemes(s)
	for total > columns && graphemes.Next() {
		total -= graphemes.Width()
		cut += len(graphemes.Value())
	}
	return s[cut:]
}

// wrap breaks text into lines of at most columns. Words that are longer are broken where they must.
func wrap(text string, columns int) []string {
	columns = max(columns, 2) // a wide character fits
	var lines []string
	line := ""
	for word := range strings.SplitSeq(clean(text), " ") {
		if word == "" {
			continue
		}
		if line != "" && width(line)+1+width(word) <= columns {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for width(word) > columns {
			var first string
			first, word = head(word, columns)
			if first == "" { // one character wider than the line
				first, word = "?", ""
			}
			lines = append(lines, first)
		}
		line = word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// shortenAll returns the names cut to columns in the middle, where generated names differ least. Different names stay
// different: the cut moves until they are, and where no cut can keep them apart they are numbered.
func shortenAll(names []string, columns int) []string {
	for _, front := range []int{(columns - 1) / 2, (columns - 1) / 3, (columns - 1) / 5, 2 * (columns - 1) / 3, 4 * (columns - 1) / 5} {
		short := make([]string, len(names))
		for i, name := range names {
			short[i] = shorten(name, columns, front)
		}
		if distinct(names, short) {
			return short
		}
	}
	return numbered(names, columns)
}

// shorten cuts name to columns, keeping about front columns of its beginning.
func shorten(name string, columns, front int) string {
	if width(name) <= columns {
		return name
	}
	first, _ := head(name, front)
	return first + "…" + tail(name, max(0, columns-1-width(first)))
}

// numbered cuts names and tells them apart by a number at the end.
func numbered(names []string, columns int) []string {
	numbers := map[string]int{}
	short := make([]string, len(names))
	for i, name := range names {
		if _, seen := numbers[name]; !seen {
			numbers[name] = len(numbers) + 1
		}
		mark := fmt.Sprintf("…%d", numbers[name])
		first, _ := head(name, max(0, columns-width(mark)))
		short[i] = first + mark
	}
	return short
}

// distinct tells whether two names have the same short form only if they are the same.
func distinct(names, short []string) bool {
	owner := make(map[string]string, len(short))
	for i, s := range short {
		if name, taken := owner[s]; taken && name != names[i] {
			return false
		}
		owner[s] = names[i]
	}
	return true
}
