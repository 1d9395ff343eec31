package echo

import (
	"strconv"
	"strings"
)

// maxMapFile bounds the files of the Downward API volume, in bytes. The API server allows 256 KiB of annotations, which
// escaping may blow up fourfold.
const maxMapFile = 2 << 20

// parseMap parses what the kubelet writes for metadata.labels or metadata.annotations: a line key="value" each, the value
// quoted as in Go. Lines that are not of this form, and keys that come again, are left out and counted.
func parseMap(text string) (entries map[string]string, malformed int) {
	entries = map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		key, quoted, _ := strings.Cut(line, "=")
		value, ok := unquote(quoted)
		if _, again := entries[key]; !ok || again || key == "" || strings.ContainsAny(key, " \t\"") {
			malformed++
			continue
		}
		entries[key] = value
	}
	return entries, malformed
}

// unquote undoes Go's double quotes, and only those.
func unquote(quoted string) (string, bool) {
	if !strings.HasPrefix(quoted, `"`) {
		return "", false
	}
	value, err := strconv.Unquote(quoted)
	return value, err == nil
}
