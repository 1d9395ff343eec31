package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/scenarios"
)

// expectation puts one expectation of a scenario into the analyzer's words.
func expectation(x scenarios.Expect) analyze.Expectation {
	var effective *float64
	if x.FromEffective != nil {
		effective = new(x.FromEffective.Seconds())
	}
	return analyze.Expectation{
		Name: expectationName(x), Finding: analyze.Code(x.Finding), NoFinding: analyze.Code(x.NoFinding), Stream: x.Stream, ProxyMode: x.ProxyMode,
		Metric: x.Metric, Shares: x.Shares, Distribution: x.Distribution, Above: x.Above, Below: x.Below, Equals: x.Equals,
		From: x.From.Seconds(), To: x.To.Seconds(), FromEffective: effective, Confidence: x.Confidence,
	}
}

// expectationName is how reports name it.
func expectationName(x scenarios.Expect) string {
	var b strings.Builder
	switch {
	case x.Finding != "":
		fmt.Fprintf(&b, "finding %s", x.Finding)
	case x.NoFinding != "":
		fmt.Fprintf(&b, "no finding %s", x.NoFinding)
	case x.Distribution != "":
		fmt.Fprintf(&b, "distribution %s", x.Distribution)
	case x.Metric != "":
		b.WriteString(x.Metric)
	default:
		b.WriteString("shares")
		for i, node := range slices.Sorted(maps.Keys(x.Shares)) {
			fmt.Fprintf(&b, "%s %s %g", map[bool]string{true: ",", false: ""}[i > 0], node, x.Shares[node])
		}
	}
	for _, bound := range []struct {
		word  string
		value *float64
	}{{"above", x.Above}, {"below", x.Below}, {"equals", x.Equals}} {
		if bound.value != nil {
			fmt.Fprintf(&b, " %s %g", bound.word, *bound.value)
		}
	}
	if x.From > 0 {
		fmt.Fprintf(&b, " from %s", x.From)
	}
	if x.FromEffective != nil {
		fmt.Fprintf(&b, " from %s after the last event was known", *x.FromEffective)
	}
	if x.To > 0 {
		fmt.Fprintf(&b, " to %s", x.To)
	}
	if x.Confidence > 0 {
		fmt.Fprintf(&b, " at %g", x.Confidence)
	}
	if x.ProxyMode != "" {
		fmt.Fprintf(&b, " in %s mode", x.ProxyMode)
	}
	if x.Stream != "" {
		fmt.Fprintf(&b, " (%s)", x.Stream)
	}
	return b.String()
}
