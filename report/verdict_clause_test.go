package report

import "testing"

func TestTheGistOfASummaryHasItsParenthesesClosed(t *testing.T) {
	for text, want := range map[string]string{
		"one thing; another": "one thing.",
		"a (b) c":            "a (b) c.",
		"they fell badly (x holds 3, y 1; p = 0.1): a reason": "they fell badly (x holds 3, y 1): a reason.",
		"x answered 39 of 300 (p = 0.6; by chance 0.1); more": "x answered 39 of 300.",
		"it was cut (a; b":      "it was cut (a.",
		"is this so?":           "is this so?",
		"":                      "",
		"nothing of ) it; all":  "nothing of ) it.",
		"two (a; b) and (c; d)": "two (a) and (c).",
	} {
		if got := gist(text); got != want {
			t.Errorf("the gist of %q is %q, want %q", text, got, want)
		}
	}
}
