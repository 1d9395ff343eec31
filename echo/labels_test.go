package echo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// formatMap writes entries as the kubelet does.
func formatMap(entries map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		fmt.Fprintf(&b, "%v=%q\n", key, entries[key])
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func TestParseMap(t *testing.T) {
	tests := []struct {
		name, text string
		want       map[string]string
		malformed  int
	}{
		{"nothing", "", map[string]string{}, 0},
		{"two lines, the last without an end", "a=\"1\"\ntopology.kubernetes.io/zone=\"b\"", map[string]string{"a": "1", zoneLabel: "b"}, 0},
		{"an empty value", `a=""`, map[string]string{"a": ""}, 0},
		{"escapes", `a="line\nline \"quoted\" \\ \u00e9 \x00"`, map[string]string{"a": "line\nline \"quoted\" \\ é \x00"}, 0},
		{"an equals sign in the value", `a="b=c"`, map[string]string{"a": "b=c"}, 0},
		{"the good lines around bad ones", "a=\"1\"\nb\nc=1\n=\"2\"\nd=\"3\" \ne=\"4\"", map[string]string{"a": "1", "e": "4"}, 4},
		{"other quotes than the kubelet's", "a='b'\nc=`d`", map[string]string{}, 2},
		{"a key that comes again", "a=\"1\"\na=\"2\"", map[string]string{"a": "1"}, 1},
		{"an end of line of other systems", "a=\"1\"\r\n", map[string]string{}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, malformed := parseMap(test.text)
			if diff := cmp.Diff(test.want, got); diff != "" || malformed != test.malformed {
				t.Errorf("%d malformed, want %d (-want +got):\n%s", malformed, test.malformed, diff)
			}
		})
	}
}

// FuzzParseMap: what was parsed, written as the kubelet writes, parses to the same.
func FuzzParseMap(f *testing.F) {
	f.Add("a=\"1\"\nb=\"\\\"\\n\"")
	f.Add("a=\"1\"\na\n=\"\"")
	f.Fuzz(func(t *testing.T, text string) {
		first, malformed := parseMap(text)
		if lines := strings.Count(text, "\n") + 1; len(first)+malformed > lines {
			t.Errorf("%d entries and %d malformed from %d lines", len(first), malformed, lines)
		}
		again, malformed := parseMap(formatMap(first))
		if diff := cmp.Diff(first, again); diff != "" || malformed != 0 {
			t.Errorf("%d malformed (-first +again):\n%s", malformed, diff)
		}
	})
}

// FuzzFormattedMap: every value survives the kubelet's quoting.
func FuzzFormattedMap(f *testing.F) {
	f.Add("key", "value\n\"\\\xff")
	f.Fuzz(func(t *testing.T, key, value string) {
		if key == "" || strings.ContainsAny(key, "=\n \t\"") {
			return // no key of a label or annotation
		}
		got, malformed := parseMap(formatMap(map[string]string{key: value}))
		if malformed != 0 || got[key] != value {
			t.Errorf("%q=%q became %q, %d malformed", key, value, got, malformed)
		}
	})
}
