package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/analyze"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// written returns what write writes.
func written(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func text(t *testing.T, r *analyze.Report, opts TextOptions) string {
	t.Helper()
	return written(t, func(w io.Writer) error { return Text(w, r, opts) })
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestGoldenReports(t *testing.T) {
	reports := fixtures()
	reports["drawn"] = drawn()
	for _, name := range slices.Sorted(maps.Keys(reports)) {
		r := reports[name]
		t.Run(name, func(t *testing.T) {
			golden(t, name+".txt", text(t, r, TextOptions{}))
			golden(t, name+".json", written(t, func(w io.Writer) error { return JSON(w, r) }))
			golden(t, name+".md", written(t, func(w io.Writer) error { return Markdown(w, r) }))
			golden(t, name+".xml", written(t, func(w io.Writer) error { return JUnit(w, r) }))
			golden(t, name+".csv", written(t, func(w io.Writer) error { return CSV(w, r) }))
			golden(t, name+".prom", written(t, func(w io.Writer) error { return Prometheus(w, r) }))
			golden(t, name+".html", written(t, func(w io.Writer) error { return HTML(w, r) }))
		})
	}
	t.Run("wide, in colour, on a narrow page", func(t *testing.T) {
		golden(t, "wide.txt", text(t, etpLocal(), TextOptions{Width: 60, Color: true, Wide: true}))
	})
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// TestTextFitsThePage holds for every report, whatever is in it.
func TestTextFitsThePage(t *testing.T) {
	reports := slices.Collect(maps.Values(fixtures()))
	for seed := range uint64(24) {
		reports = append(reports, scramble(seed))
	}
	for i, r := range reports {
		for _, opts := range []TextOptions{{}, {Width: 40}, {Width: 61, Wide: true}, {Width: 200, Wide: true}} {
			page := text(t, r, opts)
			limit := opts.Width
			if limit == 0 {
				limit = 80
			}
			checkPage(t, page, limit)
			opts.Color = true
			if colored := text(t, r, opts); sgr.ReplaceAllString(colored, "") != page {
				t.Errorf("report %d: colour changes more than colour", i)
			}
			if t.Failed() {
				t.Fatalf("report %d at width %d:\n%s", i, limit, page)
			}
		}
	}
}

func checkPage(t *testing.T, page string, limit int) {
	t.Helper()
	for line := range strings.SplitSeq(strings.TrimSuffix(page, "\n"), "\n") {
		if w := width(line); w > limit {
			t.Errorf("%d columns wide: %q", w, line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("ends in a blank: %q", line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }) {
			t.Errorf("holds what a terminal would act on: %q", line)
		}
	}
	if !strings.HasSuffix(page, "\n") {
		t.Error("does not end in a line end")
	}
}

func TestColorOnlyWhenAsked(t *testing.T) {
	if page := text(t, keepalive(), TextOptions{}); strings.Contains(page, "\x1b") {
		t.Error("colour without asking")
	}
	if page := text(t, keepalive(), TextOptions{Color: true}); !strings.Contains(page, "\x1b[33;1m") {
		t.Error("no colour for a warning")
	}
}

func TestWideShowsEveryRow(t *testing.T) {
	short, wide := text(t, crowd(), TextOptions{}), text(t, crowd(), TextOptions{Wide: true})
	for _, pod := range []string{"b5-00000", "b5-00059"} {
		if !strings.Contains(short, pod) {
			t.Errorf("the short report lacks %s at an end of the table", pod)
		}
	}
	if strings.Contains(short, "b5-00030") {
		t.Error("the short report has a row from the middle")
	}
	if !strings.Contains(wide, "b5-00030") {
		t.Error("the wide report lacks a row from the middle")
	}
}

func TestShortenAllKeepsNamesApart(t *testing.T) {
	rows := []struct {
		name  string
		names []string
	}{
		{"pods of a Deployment", []string{"echo-7d9f6c8b5-abcde", "echo-7d9f6c8b5-fghij", "echo-7d9f6c8b5-klmno"}},
		{"names that differ at the beginning", []string{"a-very-long-name-for-a-pod", "b-very-long-name-for-a-pod", "c-very-long-name-for-a-pod"}},
		{"names that differ in the middle only", []string{"front-of-the-name-1-back-of-the-name", "front-of-the-name-2-back-of-the-name"}},
		{"a short name like the short form of a long one", []string{"aaaaa…bbbbbb", "aaaaaccccccccccccccbbbbbb"}},
		{"wide characters", []string{"日本語日本語日本語日本語1", "日本語日本語日本語日本語2"}},
		{"numbers at the beginning and the end", []string{"1-xxxxxxxxxxxxxxxxxxxxxxxx-1", "1-xxxxxxxxxxxxxxxxxxxxxxxx-2", "2-xxxxxxxxxxxxxxxxxxxxxxxx-1", "2-xxxxxxxxxxxxxxxxxxxxxxxx-2"}},
	}
	for _, row := range rows {
		for columns := 8; columns <= 30; columns++ {
			short := shortenAll(row.names, columns)
			for i, s := range short {
				if width(s) > columns {
					t.Errorf("%s: %q is %d columns wide, want at most %d", row.name, s, width(s), columns)
				}
				if width(row.names[i]) <= columns && s != row.names[i] && distinct(row.names, row.names) && row.name != "a short name like the short form of a long one" {
					t.Errorf("%s: %q was changed to %q though it fits %d columns", row.name, row.names[i], s, columns)
				}
			}
			if !distinct(row.names, short) {
				t.Errorf("%s: %q are the same in %d columns", row.name, short, columns)
			}
		}
	}
}

func TestWrap(t *testing.T) {
	rows := []struct {
		name, text string
		columns    int
		want       []string
	}{
		{"breaks between words", "one two three", 8, []string{"one two", "three"}},
		{"breaks a long word", "abcdefghij", 4, []string{"abcd", "efgh", "ij"}},
		{"counts wide characters twice", "日本語", 4, []string{"日本", "語"}},
		{"does not part a number from its unit", "takes 12" + nbsp + "ms", 8, []string{"takes", "12" + nbsp + "ms"}},
		{"makes line ends blanks", "a\nb\tc", 10, []string{"a b c"}},
		{"gives nothing for nothing", " \n", 10, nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, wrap(row.text, row.columns)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	rows := []struct{ got, want string }{
		{integer(0), "0"},
		{integer(-1234567), "-1,234,567"},
		{count(1, "request"), "1 request"},
		{count(1000, "client address"), "1,000 client addresses"},
		{decimal(5.2), "5.2"},
		{decimal(0.0134), "0.013"},
		{decimal(1234.5), "1,235"},
		{decimal(1.4e-12), "1.4e-12"},
		{decimal(math.NaN()), "–"},
		{percent(0.16667), "16.7" + nbsp + "%"},
		{percent(math.Inf(1)), "–"},
		{percentRange(analyze.Range{0.1, 0.25}), "10.0–25.0" + nbsp + "%"},
		{seconds(0.00081), "810" + nbsp + "µs"},
		{seconds(0.00099999), "1.00" + nbsp + "ms"},
		{seconds(0.0999), "99.9" + nbsp + "ms"},
		{seconds(0.99999), "1.0" + nbsp + "s"},
		{seconds(3600), "3,600" + nbsp + "s"},
		{probability(0.31), "p" + nbsp + "=" + nbsp + "0.31"},
		{probability(0.004123), "p" + nbsp + "=" + nbsp + "0.00412"},
		{probability(0.00012), "p" + nbsp + "=" + nbsp + "0.00012"},
		{probability(1e-9), "p" + nbsp + "<" + nbsp + "0.0001"},
	}
	for _, row := range rows {
		if row.got != row.want {
			t.Errorf("got %q, want %q", row.got, row.want)
		}
	}
}

func TestBar(t *testing.T) {
	rows := []struct {
		name            string
		share, expected float64
		chance          analyze.Range
		want            string
	}{
		{"a share above its range", 1, 0.5, analyze.Range{0.4, 0.6}, "█████┃████"},
		{"a share below its range", 0.1, 0.5, analyze.Range{0.4, 0.6}, "█   ·┃    "},
		{"nothing where nothing is expected", 0, 0, analyze.Range{}, "          "},
		{"something where nothing is expected", 0.3, 0, analyze.Range{}, "███       "},
	}
	for _, row := range rows {
		if got := bar(row.share, row.expected, row.chance, 1, 10); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	finding := func(code analyze.Code, severity analyze.Severity, byDesign bool) analyze.Finding {
		return analyze.Finding{Code: code, Severity: severity, ByDesign: byDesign, Summary: "so it is; for this reason"}
	}
	result := func(passed ...bool) (results []analyze.ExpectationResult) {
		for _, p := range passed {
			results = append(results, analyze.ExpectationResult{Passed: p})
		}
		return results
	}
	rows := []struct {
		name         string
		findings     []analyze.Finding
		expectations []analyze.ExpectationResult
		want         string
	}{
		{"nothing found", nil, nil, "There is no finding."},
		{"only remarks", []analyze.Finding{finding(analyze.CrossNodeHops, analyze.Info, false), finding(analyze.Balanced, analyze.Info, false)}, result(true), "No fault was found. Balanced: so it is. The expectation holds."},
		{"a fault goes before what is by design", []analyze.Finding{finding(analyze.ConnectionPinning, analyze.Warning, true), finding(analyze.UnexplainedSkew, analyze.Warning, false)}, result(true, true), "UnexplainedSkew: so it is. One more finding of weight is below. Both expectations hold."},
		{"an error goes before a warning", []analyze.Finding{finding(analyze.UnexplainedSkew, analyze.Warning, false), finding(analyze.NoEndpoints, analyze.Error, true)}, result(true, false, false), "NoEndpoints: so it is. One more finding of weight is below. 2 of 3 expectations do not hold."},
	}
	for _, row := range rows {
		r := &analyze.Report{Streams: make([]analyze.Stream, 1), Findings: row.findings, Expectations: row.expectations}
		if diff := cmp.Diff(row.want, verdict(r)); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
	}
}

func TestJSONHoldsNoNumberThatIsNotFinite(t *testing.T) {
	r := keepalive()
	r.Streams[0].Skew.CV = math.NaN()
	r.Streams[0].Test.SmallestFactor = math.Inf(1)
	r.Findings[1].Evidence = map[string]any{"b": []any{math.Inf(-1)}, "a": math.NaN()}
	out := written(t, func(w io.Writer) error { return JSON(w, r) })
	var back analyze.Report
	if err := json.Unmarshal([]byte(out), &back); err != nil {
		t.Fatal(err)
	}
	if cv := back.Streams[0].Skew.CV; cv != 0 {
		t.Errorf("cv is %g, want 0", cv)
	}
	if f := back.Streams[0].Test.SmallestFactor; f != math.MaxFloat64 {
		t.Errorf("smallestFactor is %g, want the largest number", f)
	}
	want := "Numbers that are not finite were replaced: streams[0].skew.cv, streams[0].test.smallestFactor, findings[1].evidence.a, findings[1].evidence.b[0]."
	if diff := cmp.Diff(want, back.Notes[len(back.Notes)-1]); diff != "" {
		t.Error(diff)
	}
	if !math.IsNaN(r.Streams[0].Skew.CV) || len(r.Notes) != 1 {
		t.Error("the report itself was changed")
	}
	if page := text(t, r, TextOptions{}); strings.Contains(page, "NaN") || strings.Contains(page, "Inf") {
		t.Errorf("the text shows what is no number:\n%s", page)
	}
}

func TestJSONHasTheListsOfTheContract(t *testing.T) {
	r := empty()
	r.Streams = make([]analyze.Stream, 1)
	out := written(t, func(w io.Writer) error { return JSON(w, r) })
	if strings.Contains(out, "null") {
		t.Errorf("a list is missing:\n%s", out)
	}
	for _, key := range []string{`"refused": 0`, `"timeout": 0`, `"backends": []`, `"findings": []`} {
		if !strings.Contains(out, key) {
			t.Errorf("%s is missing", key)
		}
	}
}

// TestEveryFormatIsStable renders each report twice and reads the machine formats back.
func TestEveryFormatIsStable(t *testing.T) {
	formats := everyFormat()
	for seed := range uint64(15) {
		r := scramble(seed)
		for name, format := range formats {
			first := written(t, func(w io.Writer) error { return format(w, r) })
			if second := written(t, func(w io.Writer) error { return format(w, r) }); first != second {
				t.Errorf("report %d as %s differs when written again", seed, name)
			}
			var err error
			switch name {
			case "json":
				var v any
				err = json.Unmarshal([]byte(first), &v)
			case "junit":
				err = xml.Unmarshal([]byte(first), new(junitSuites))
			}
			if err != nil {
				t.Errorf("report %d as %s cannot be read back: %v", seed, name, err)
			}
		}
	}
}

func TestWriteErrorsAreReported(t *testing.T) {
	broken, w := io.Pipe()
	if err := broken.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"text": Text(w, keepalive(), TextOptions{}), "json": JSON(w, keepalive()), "markdown": Markdown(w, keepalive()), "junit": JUnit(w, keepalive()),
		"csv": CSV(w, keepalive()), "prometheus": Prometheus(w, keepalive()), "html": HTML(w, keepalive()), "schema": Schema(w),
	} {
		if err == nil {
			t.Errorf("%s: no error from a broken pipe", name)
		}
	}
}

func TestKeyWords(t *testing.T) {
	rows := map[string]string{"maxOverMean": "max/mean", "connections": "connections", "sourceIP": "source IP", "lifetimeSeconds": "lifetime seconds", "podIPs": "pod IPs", "p": "p", "IPv4Only": "IPv4 only", "": ""}
	for key, want := range rows {
		if got := keyWords(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}
