package scenarios

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// nearest returns the candidate that word most likely stands for, or "" if none is close enough to be a slip of the hand.
func nearest(word string, candidates []string) string {
	if utf8.RuneCountInString(word) > 100 {
		return ""
	}
	best, bestDistance := "", max(2, utf8.RuneCountInString(word)/3)+1
	for _, candidate := range candidates {
		if d := editDistance(strings.ToLower(word), strings.ToLower(candidate)); d < bestDistance && d < len(candidate) {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// editDistance is the number of insertions, deletions, replacements and swaps of neighbours that turn a into b.
func editDistance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, previous, current := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(s); i++ {
		current[0] = i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous, current = previous, current, before
	}
	return previous[len(t)]
}

// instead says what to write in place of word: the nearest candidate, then all of them.
func instead(word string, candidates []string) string {
	if len(candidates) == 0 {
		return "there is none"
	}
	list := strings.Join(candidates, ", ")
	if near := nearest(word, candidates); near != "" {
		return fmt.Sprintf("did you mean %s? Allowed: %s", near, list)
	}
	return "allowed: " + list
}
