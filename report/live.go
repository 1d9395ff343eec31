package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Live is where a run stands while it goes on.
type Live struct {
	Seconds float64 // since the load began; negative before
	Streams []LiveStream
}

// LiveStream is one stream of a run that goes on.
type LiveStream struct {
	Name        string
	Requests    int            // sent
	Errors      int            // of these, failed
	Connections int            // opened
	Backends    map[string]int // answered requests by pod; pods that have answered none may be there with 0
}

// liveBar is how many columns the bar of a pod with every answer has at most.
const liveBar = 30

// LiveFrame draws where a run stands on at most height lines of at most width columns, without control characters. Pods
// stay in the order of their names, so that nothing jumps. What there is no room for is counted in a last line.
func LiveFrame(l Live, columns, height int) []string {
	var lines []string
	for _, s := range l.Streams {
		lines = append(lines, l.streamLines(s, columns)...)
	}
	if len(lines) > height {
		left := len(lines) - max(height-1, 0)
		lines = append(lines[:max(height-1, 0)], fmt.Sprintf("… and %d more lines", left))[:height]
	}
	for i, line := range lines {
		lines[i], _ = head(line, columns)
	}
	return lines
}

func (l Live) streamLines(s LiveStream, columns int) []string {
	title := fmt.Sprintf("%s  %s requests on %s connections in %.0f s", clean(s.Name), integer(s.Requests), integer(s.Connections), max(l.Seconds, 0))
	if s.Errors > 0 {
		title += fmt.Sprintf(", %s failed", integer(s.Errors))
	}
	names := slices.SortedFunc(maps.Keys(s.Backends), cmp.Compare)
	total, most := 0, 1
	for _, n := range s.Backends {
		total += n
		most = max(most, n)
	}
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = clean(name)
	}
	const numbers = 22 // "  100.0 %  123,456,789"
	bar := min(liveBar, max(columns/3, 0))
	shown = shortenAll(shown, max(columns-numbers-bar-4, 8))
	widest := 0
	for _, name := range shown {
		widest = max(widest, width(name))
	}
	lines := []string{title}
	for i, name := range names {
		n := s.Backends[name]
		share := 0.0
		if total > 0 {
			share = 100 * float64(n) / float64(total)
		}
		drawn := (n*bar + most/2) / most
		lines = append(lines, fmt.Sprintf("  %s%s  %s%s %5.1f %% %11s", shown[i], strings.Repeat(" ", widest-width(shown[i])),
			strings.Repeat("█", drawn), strings.Repeat(" ", bar-drawn), share, integer(n)))
	}
	return lines
}
