package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// unitWord names what a Service's proxy decides once for.
func unitWord(unit string) string {
	switch unit {
	case "clientIP":
		return "client address"
	case "flow", "request":
		return unit
	default:
		return "connection"
	}
}

// unitsWord names several of them.
func unitsWord(unit string) string {
	if unit == "clientIP" {
		return "client addresses"
	}
	return unitWord(unit) + "s"
}

// testWords says what the test found, how sure it can be, and what it could not have found.
func testWords(t analyze.Test, alpha float64) string {
	unit := unitWord(t.Unit)
	if t.Untested != "" {
		return fmt.Sprintf("Nothing was tested: %s.", t.Untested)
	}
	if t.Method == "" || t.Method == "none" || t.Units == 0 {
		return joinSentences("Nothing could be tested.", neededWords(t, unit))
	}
	if alpha <= 0 {
		alpha = 0.01
	}
	judged := t.AdjustedP
	if judged < t.P || math.IsNaN(judged) { // a correction never lowers p
		judged = t.P
	}
	sure := probability(t.P) + methodWords(t.Method)
	if probability(judged) != probability(t.P) {
		sure += fmt.Sprintf("; with the other tests of this report %s", probability(judged))
	}
	verb, why := "explains", ""
	switch {
	case judged <= alpha/10:
		verb, why = "does not explain", directionWords(t)
	case judged <= alpha:
		verb, why = "hardly explains", directionWords(t)
	}
	return joinSentences(fmt.Sprintf("Chance %s where %s went (%s)%s.", verb, count(t.Units, unit), sure, why),
		fmt.Sprintf("Effect size (Cohen's w) %s.", decimal(t.EffectSize)), visibleWords(t), neededWords(t, unit))
}

func methodWords(method string) string {
	switch method {
	case "exact":
		return ", exact"
	case "monte-carlo":
		return ", by simulation"
	default:
		return ", " + clean(method)
	}
}

// directionWords says in which way the units differ from the settings.
func directionWords(t analyze.Test) string {
	switch {
	case t.Direction == "hot" && t.HotBackend != "":
		return fmt.Sprintf(": %s has more than its share", t.HotBackend)
	case t.Direction == "cold" && t.ColdBackend != "":
		return fmt.Sprintf(": %s has less than its share", t.ColdBackend)
	case t.Direction == "under":
		return ": they are more even than independent choices are"
	case t.Direction == "over":
		return ": they are less even than the settings make them"
	default:
		return ""
	}
}

func visibleWords(t analyze.Test) string {
	if t.SmallestFactor <= 0 || math.IsInf(t.SmallestFactor, 0) || math.IsNaN(t.SmallestFactor) {
		return "It could not have shown that a single pod is off its share."
	}
	return fmt.Sprintf("The smallest skew they could show is one pod at %s times its share.", decimal(t.SmallestFactor))
}

func neededWords(t analyze.Test, unit string) string {
	if t.UnitsNeeded <= 0 {
		return ""
	}
	return fmt.Sprintf("To see one pod at 1.5 times its share takes %s.", count(t.UnitsNeeded, unit))
}

func decompositionWords(d analyze.Decomposition, unit string) string {
	part := func(name string, value float64) string {
		if value < -0.0005 {
			return fmt.Sprintf("%s %s (it offsets the others)", name, places(value, 3))
		}
		return fmt.Sprintf("%s %s", name, places(math.Abs(value), 3))
	}
	return fmt.Sprintf("Request skew, CV² %s, is %s + %s + %s + %s.", places(d.Total, 3), part("designed", d.Designed),
		part("placement", d.Placement), part("load per "+unit, d.LoadPerUnit), part("unexplained", d.Unexplained))
}

func affinityWords(a analyze.Affinity) string {
	text := fmt.Sprintf("Affinity: %s of %s (client address and node) kept to one pod (95 %%: %s); without affinity %s would have by chance.",
		integer(a.Held), count(a.Clients, "pair"), percentRange(a.Interval), decimal(a.ByChance))
	text += fmt.Sprintf(" %s in use", count(a.BackendsUsed, "pod"))
	if a.TimeoutSeconds > 0 {
		text += fmt.Sprintf("; the memory lasts %s s after the last connection", integer(a.TimeoutSeconds))
	}
	sentences := []string{text + "."}
	for _, part := range []struct {
		n     int
		words string
	}{
		{a.Broken, "lost their pod although it had to be remembered"}, {a.Expired, "moved after a pause longer than that"},
		{a.Raced, "opened connections at once, before there was a pod to remember"},
	} {
		if part.n > 0 {
			sentences = append(sentences, fmt.Sprintf("%s %s.", count(part.n, "pair"), part.words))
		}
	}
	if a.Sources > 0 && a.Sources < a.Addresses {
		sentences = append(sentences, fmt.Sprintf("The nodes see %s of the clients as %s.", count(a.Addresses, "address"), count(a.Sources, "address")))
	}
	if e := a.Estimate; e != nil && e.High > 0 {
		sentences = append(sentences, fmt.Sprintf("By the pauses between connections, the memory lasts more than %s and at most %s.", seconds(e.Low), seconds(e.High)))
	}
	if m := a.Remap; m != nil {
		sentences = append(sentences, fmt.Sprintf("When %s became %d, %s of %s got another pod.", count(m.Before, "pod"), m.After, integer(m.Moved), count(m.Clients, "client")))
	}
	return joinSentences(sentences...)
}

// joinSentences puts a blank between those that are there.
func joinSentences(sentences ...string) string {
	var there []string
	for _, s := range sentences {
		if s != "" {
			there = append(there, s)
		}
	}
	return strings.Join(there, " ")
}
