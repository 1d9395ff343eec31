package report

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	gmtext "github.com/yuin/goldmark/text"

	"github.com/podskew/podskew/analyze"
)

// everyFormat renders a report in each format.
func everyFormat() map[string]func(io.Writer, *analyze.Report) error {
	return map[string]func(io.Writer, *analyze.Report) error{
		"text":       func(w io.Writer, r *analyze.Report) error { return Text(w, r, TextOptions{}) },
		"wide":       func(w io.Writer, r *analyze.Report) error { return Text(w, r, TextOptions{Wide: true, Width: 120}) },
		"json":       JSON,
		"markdown":   Markdown,
		"junit":      JUnit,
		"csv":        CSV,
		"prometheus": Prometheus,
		"html":       HTML,
	}
}

func rendered(t *testing.T, format string, r *analyze.Report) string {
	t.Helper()
	return written(t, func(w io.Writer) error { return everyFormat()[format](w, r) })
}

func testReports() map[string]*analyze.Report {
	reports := pages()
	for seed := range uint64(12) {
		reports["scramble "+strconv.FormatUint(seed, 10)] = scramble(seed)
	}
	return reports
}

// TestNoFormatActsOnHostileText looks for what a terminal, a page or a spreadsheet would act on.
func TestNoFormatActsOnHostileText(t *testing.T) {
	for _, format := range slices.Sorted(maps.Keys(everyFormat())) {
		out := rendered(t, format, hostile())
		if !utf8.ValidString(out) {
			t.Errorf("%s is not UTF-8", format)
		}
		for _, r := range out {
			if r != '\n' && r != '\u00a0' && r != '\u200b' && !unicode.IsPrint(r) {
				t.Errorf("%s holds %U", format, r)
			}
		}
		if !slices.Contains([]string{"html", "markdown", "junit"}, format) {
			continue // nothing in these is markup
		}
		for _, evil := range []string{"<script", "<img", "]]>"} {
			if strings.Contains(out, evil) {
				t.Errorf("%s holds %q", format, evil)
			}
		}
	}
}

func TestHTMLIsOnePageWithoutNetworkOrScript(t *testing.T) {
	foreign := regexp.MustCompile(`(?i)<(?:script|img|iframe|object|embed|form|base|style[^>]*[^>]style)|<link[^>]+stylesheet|@import|url\(`)
	for name, r := range testReports() {
		page := rendered(t, "html", r)
		if found := foreign.FindString(page); found != "" {
			t.Errorf("%s: the page holds %q", name, found)
		}
		if len(page) > 5<<20 {
			t.Errorf("%s: %d bytes, want at most 5 MiB", name, len(page))
		}
		if strings.Contains(page, "ZgotmplZ") {
			t.Errorf("%s: a value was refused by the template", name)
		}
		if strings.Contains(page, "NaN") && name != "hostile" {
			t.Errorf("%s: the page shows what is no number", name)
		}
	}
}

// TestHTMLIsWellFormed reads the page as XML would: every element is closed and every id is there once.
func TestHTMLIsWellFormed(t *testing.T) {
	for name, r := range testReports() {
		page := strings.TrimPrefix(rendered(t, "html", r), "<!doctype html>")
		d := xml.NewDecoder(strings.NewReader(page))
		d.Entity = xml.HTMLEntity
		ids := map[string]bool{}
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			if start, ok := token.(xml.StartElement); ok {
				for _, a := range start.Attr {
					if name := a.Name.Local; strings.HasPrefix(name, "on") || name == "src" || name == "href" && !strings.HasPrefix(a.Value, "#") && a.Value != "data:," {
						t.Errorf("%s: <%s %s=%q>", name, start.Name.Local, name, a.Value)
					}
					if a.Name.Local == "id" {
						if ids[a.Value] {
							t.Errorf("%s: id %s is there twice", name, a.Value)
						}
						ids[a.Value] = true
					}
				}
			}
		}
	}
}

// markdownOf parses GitHub's Markdown.
func markdownOf(source []byte) ast.Node {
	return goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(gmtext.NewReader(source))
}

// TestMarkdownRenders holds for every report: tables are tables, with as many cells in each row as the head has and text in
// them that is the report's; nothing becomes HTML, a link or an image that is not meant to.
func TestMarkdownRenders(t *testing.T) {
	for name, r := range testReports() {
		source := []byte(rendered(t, "markdown", r))
		tables := 0
		err := ast.Walk(markdownOf(source), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			if !entering {
				return ast.WalkContinue, nil
			}
			switch n := n.(type) {
			case *ast.HTMLBlock, *ast.RawHTML, *ast.Link, *ast.AutoLink, *ast.Image, *ast.CodeBlock, *ast.FencedCodeBlock, *ast.CodeSpan:
				t.Errorf("%s: %s in the page: %.80s", name, n.Kind(), source)
				return ast.WalkStop, nil
			case *extast.Table:
				tables++
				for row := n.FirstChild(); row != nil; row = row.NextSibling() {
					if row.ChildCount() != len(n.Alignments) {
						t.Errorf("%s: a row of %d cells in a table of %d columns", name, row.ChildCount(), len(n.Alignments))
					}
				}
			}
			return ast.WalkContinue, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, s := range r.Streams {
			want += int(truth(len(s.Backends) > 0)) + int(truth(len(s.Sources) > 0)) + int(truth(len(s.Nodes) > 0))
		}
		want += int(truth(len(r.Expectations) > 0))
		if tables < want {
			t.Errorf("%s: %d tables, want at least %d", name, tables, want)
		}
		var page bytes.Buffer
		if err := goldmark.New(goldmark.WithExtensions(extension.GFM)).Convert(source, &page); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(page.String(), "<td>|") || strings.Contains(page.String(), "<p>|") {
			t.Errorf("%s: a table fell apart", name)
		}
	}
}

// junitShape is the grammar CI systems agree on: which attributes and children each element may have.
var junitShape = map[string]struct{ attributes, children []string }{
	"testsuites": {nil, []string{"testsuite"}},
	"testsuite":  {[]string{"name", "tests", "failures", "errors", "time", "timestamp"}, []string{"testcase", "system-out"}},
	"testcase":   {[]string{"classname", "name"}, []string{"failure", "error", "system-out"}},
	"failure":    {[]string{"message"}, nil},
	"error":      {[]string{"message"}, nil},
	"system-out": {nil, nil},
}

// strictJUnit reads JUnit XML and says what is wrong with it.
func strictJUnit(data string) (counts map[string]int, err error) {
	d := xml.NewDecoder(strings.NewReader(data))
	counts = map[string]int{}
	var path []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return counts, nil
		}
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			name := token.Name.Local
			shape, known := junitShape[name]
			if !known || len(path) > 0 && !slices.Contains(junitShape[path[len(path)-1]].children, name) || len(path) == 0 && name != "testsuites" {
				return nil, errors.New("element " + name + " in " + strings.Join(path, "/"))
			}
			for _, a := range token.Attr {
				if !slices.Contains(shape.attributes, a.Name.Local) {
					return nil, errors.New("attribute " + a.Name.Local + " of " + name)
				}
				if slices.Contains([]string{"tests", "failures", "errors"}, a.Name.Local) {
					n, err := strconv.Atoi(a.Value)
					if err != nil {
						return nil, err
					}
					counts[a.Name.Local+" said"] = n
				}
			}
			counts[name]++
			path = append(path, name)
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if len(path) > 0 && junitShape[path[len(path)-1]].children != nil && strings.TrimSpace(string(token)) != "" {
				return nil, errors.New("text in " + strings.Join(path, "/"))
			}
		}
	}
}

func TestJUnitIsAcceptedByAStrictParser(t *testing.T) {
	for name, r := range testReports() {
		counts, err := strictJUnit(rendered(t, "junit", r))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if counts["testcase"] != counts["tests said"] || counts["failure"] != counts["failures said"] || counts["error"] != counts["errors said"] {
			t.Errorf("%s: the counts do not agree: %v", name, counts)
		}
		if want := len(r.Expectations); counts["testcase"] < want {
			t.Errorf("%s: %d cases for %d expectations", name, counts["testcase"], want)
		}
	}
}

func TestPrometheusAcceptsTheFile(t *testing.T) {
	t.Parallel()
	for name, r := range testReports() {
		out := rendered(t, "prometheus", r)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(out))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		seen := map[string]bool{}
		for line := range strings.Lines(out) {
			if at := strings.LastIndex(line, "} "); at > 0 {
				series := line[:at]
				if seen[series] {
					t.Errorf("%s: %s is there twice", name, series)
				}
				seen[series] = true
			}
		}
		problems, err := promlint.New(strings.NewReader(out)).Lint()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
		}
		if families["podskew_passed"] == nil || len(r.Streams) > 0 && len(families["podskew_stream_requests"].Metric) != len(r.Streams) {
			t.Errorf("%s: metrics are missing", name)
		}
	}
}

func TestCSVIsReadBack(t *testing.T) {
	for name, r := range testReports() {
		rows, err := csv.NewReader(strings.NewReader(rendered(t, "csv", r))).ReadAll()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := 1
		for _, s := range r.Streams {
			want += len(s.Backends)
		}
		if len(rows) != want {
			t.Errorf("%s: %d rows, want %d", name, len(rows), want)
		}
		for _, row := range rows[1:] {
			for k, cell := range row {
				if cell != "" && strings.ContainsRune("=+@", rune(cell[0])) {
					t.Errorf("%s: %s %q is a formula to a spreadsheet", name, rows[0][k], cell)
				}
			}
		}
	}
	rows, err := csv.NewReader(strings.NewReader(rendered(t, "csv", keepalive()))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"c9f3t2s6n88g00a1b2c3", "keepalive", "web", "pod", "clusterIP", "echo-7d9f6c8b5-x2k4z", "worker", "true", "20711", "4", "0.5023284016492845", "0.16666666666666666", "0.5", "0", "0.5", "0.00081", "0.0042"}
	if diff := cmp.Diff(want, rows[1]); diff != "" {
		t.Error(diff)
	}
}
