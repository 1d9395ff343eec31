package report

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark/ast"
	extast "github.com/yuin/goldmark/extension/ast"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// better is keep-alive against fresh connections.
func better() *analyze.Comparison {
	metric := func(name string, before, after, low, high float64, verdict analyze.Change) analyze.MetricComparison {
		return analyze.MetricComparison{Name: name, Before: before, After: after, Difference: after - before, Interval: analyze.Range{low, high}, Verdict: verdict}
	}
	return &analyze.Comparison{
		APIVersion: record.Version, Kind: "Comparison", Before: []analyze.Run{run("keepalive", 5)}, After: []analyze.Run{run("fresh", 5), run("fresh", 6)},
		Verdict: analyze.Better, Notes: []string{"other is in no run after the change."},
		Streams: []analyze.StreamComparison{{
			Stream: "web", Verdict: analyze.Better,
			Sides: [2]analyze.Side{
				{Runs: 1, Requests: 41230, Connections: 8, Unit: "connection", Units: 8, Backends: 6, RequestsPerSecond: 8229.5, P50: 0.00083, P99: 0.0045, Explained: true},
				{Runs: 2, Requests: 6000, Failed: 12, Connections: 6000, Unit: "connection", Units: 6000, Backends: 6, RequestsPerSecond: 3000, P50: 0.001, P99: 0.004},
			},
			Metrics: []analyze.MetricComparison{
				metric("maxOverMean", 3.01, 1.04, -2.6, -0.4, analyze.Better), metric("cv", 1.06, 0.03, -1.2, -0.33, analyze.Better),
				metric("gini", 0.55, 0.02, -0.6, -0.15, analyze.Better), metric("jain", 0.47, 0.999, 0.1, 0.6, analyze.Better),
				metric("effectiveBackends", 3.31, 5.99, 0.3, 3.3, analyze.Better), metric("idleBackends", 2, 0, -3, 0, analyze.NoDifference),
			},
			Placement: analyze.PlacementTest{Matching: "rank", Method: "monte-carlo", P: 0.31, Threshold: 0.04},
			Shares:    [][2]float64{{0.5, 0.17}, {0.25, 0.168}, {0.12, 0.167}, {0.12, 0.166}, {0, 0.165}, {0, 0.164}},
		}},
	}
}

func comparisons() map[string]*analyze.Comparison {
	same := better()
	same.Verdict, same.Notes, same.Streams[0].Verdict = analyze.NoDifference, nil, analyze.NoDifference
	same.Streams[0].Placement = analyze.PlacementTest{Matching: "identity", Method: "none", P: 1}
	for i := range same.Streams[0].Metrics {
		m := &same.Streams[0].Metrics[i]
		m.After, m.Difference, m.Interval, m.Verdict = m.Before, 0, analyze.Range{-1, 1}, analyze.NoDifference
	}
	return map[string]*analyze.Comparison{"compare-better": better(), "compare-same": same}
}

// hostileComparison has in its texts what could break a page.
func hostileComparison() *analyze.Comparison {
	r, c := hostile(), better()
	evil := r.Notes[0]
	c.Before[0].Scenario, c.After[0].ID, c.Streams[0].Stream, c.Notes[0] = evil, evil, evil, evil
	c.Verdict, c.Streams[0].Verdict, c.Streams[0].Metrics[1].Name, c.Streams[0].Metrics[1].Verdict = analyze.Change(evil), analyze.Change(evil), evil, analyze.Change(evil)
	c.Streams[0].Placement.Matching, c.Streams[0].Sides[0].Unit = evil, evil
	c.Streams[0].Metrics[0].Difference, c.Streams[0].Metrics[0].Interval = math.Inf(1), analyze.Range{math.NaN(), 1e300}
	return c
}

func comparisonFormats() map[string]func(io.Writer, *analyze.Comparison) error {
	return map[string]func(io.Writer, *analyze.Comparison) error{
		"txt":  func(w io.Writer, c *analyze.Comparison) error { return CompareText(w, c, TextOptions{}) },
		"json": CompareJSON, "md": CompareMarkdown, "html": CompareHTML,
	}
}

func TestGoldenComparisons(t *testing.T) {
	for name, c := range comparisons() {
		for ending, format := range comparisonFormats() {
			golden(t, name+"."+ending, written(t, func(w io.Writer) error { return format(w, c) }))
		}
	}
}

func TestComparisonsOfHostileText(t *testing.T) {
	c := hostileComparison()
	checkPage(t, written(t, func(w io.Writer) error { return CompareText(w, c, TextOptions{Width: 60}) }), 60)
	var back analyze.Comparison
	if err := json.Unmarshal([]byte(written(t, func(w io.Writer) error { return CompareJSON(w, c) })), &back); err != nil {
		t.Error(err)
	}
	page := written(t, func(w io.Writer) error { return CompareHTML(w, c) })
	if strings.Contains(page, "<script") || strings.Contains(page, "<img") || strings.Contains(page, "ZgotmplZ") {
		t.Error("the page holds what it should not")
	}
	for name, c := range map[string]*analyze.Comparison{"hostile": c, "better": better()} {
		source := []byte(written(t, func(w io.Writer) error { return CompareMarkdown(w, c) }))
		tables := 0
		err := ast.Walk(markdownOf(source), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			switch n := n.(type) {
			case *ast.HTMLBlock, *ast.RawHTML, *ast.Link, *ast.AutoLink, *ast.Image, *ast.CodeSpan, *ast.CodeBlock:
				t.Errorf("%s: %s", name, n.Kind())
			case *extast.Table:
				for row := n.FirstChild(); entering && row != nil; row = row.NextSibling() {
					if row.ChildCount() != 6 {
						t.Errorf("%s: a row of %d cells", name, row.ChildCount())
					}
				}
				tables++
			}
			return ast.WalkContinue, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if tables != 2 { // entered and left
			t.Errorf("%s: there is no table", name)
		}
	}
}

func TestComparisonsFitThePage(t *testing.T) {
	for name, c := range comparisons() {
		for _, width := range []int{40, 80, 200} {
			page := written(t, func(w io.Writer) error { return CompareText(w, c, TextOptions{Width: width}) })
			checkPage(t, page, width)
			if colored := written(t, func(w io.Writer) error { return CompareText(w, c, TextOptions{Width: width, Color: true}) }); sgr.ReplaceAllString(colored, "") != page {
				t.Errorf("%s: colour changes more than colour", name)
			}
		}
	}
}

func TestCompareVerdictNamesTheNumbers(t *testing.T) {
	want := "Better: the load is more even after the change. web: max/mean 3.01 → 1.04, difference -1.97 (95 %: -2.60 to -0.40)."
	if diff := cmp.Diff(want, compareVerdict(better())); diff != "" {
		t.Error(diff)
	}
}

// TestComparisonsInABrowser opens the page as the other pages are.
func TestComparisonsInABrowser(t *testing.T) {
	ctx := browser(t)
	dir := pagesDir(t)
	var seen console
	seen.listen(ctx, t)
	all := comparisons()
	all["compare-hostile"] = hostileComparison()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		file := filepath.Join(dir, name+".html")
		if err := os.WriteFile(file, []byte(written(t, func(w io.Writer) error { return CompareHTML(w, all[name]) })), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, width := range []int64{1280, 390} {
			for _, scheme := range []string{"light", "dark"} {
				found := open(ctx, t, file, width, scheme, fmt.Sprintf("%s-%d-%s.png", strings.TrimSuffix(file, ".html"), width, scheme))
				if found.Charts["differences"] == 0 || found.Charts["shares"] == 0 {
					t.Errorf("%s: charts are missing: %v", name, found.Charts)
				}
				found.Charts = nil
				want := inspection{Title: "podskew compare", Focusable: found.Focusable, Dark: scheme == "dark", Contrast: []string{}, Unlabelled: []string{}, Anchors: []string{}}
				if diff := cmp.Diff(want, found); diff != "" {
					t.Errorf("%s, %d pixels, %s: %s", name, width, scheme, diff)
				}
				for _, problem := range seen.take() {
					t.Errorf("%s: console: %s", name, problem)
				}
			}
		}
	}
}
