package analyze_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/analyze"
)

func counted(t *testing.T, list string, backends int) *analyze.CountsReport {
	t.Helper()
	in, err := analyze.ParseCountList(list)
	if err != nil {
		t.Fatal(err)
	}
	r, err := analyze.Counts(in, backends)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The figures are those reported with the incidents the counts are from, and of scipy and exact arithmetic where more
// digits are given.
func TestCountsOfIncidents(t *testing.T) {
	for _, c := range []struct {
		name, counts       string
		x2, chi2, cv, gini float64
		jain, most, eff    float64
		combined, deff     float64 // combined 0: below 1e-4
		direction          string
		hotBound           float64
	}{
		{"DNS servers behind a Service", "60,10,7,3,6,4,10", 173.7, 7.379620899687932e-35, 1.318, .534, .365, 4.20, 3.88, 0, 10.3, "over", 4.5e-25},
		{"two pods, even", "530,470", 3.6, .0577795711, .060, .030, .996, 1.06, 2.00, .08724821328, .5426, "over", .0620231951},
		{"two pods, uneven", "873,127", 556.516, 4.814e-123, .746, .373, .642, 1.746, 1.46, 1.69362041e-137, 83.9, "over", 1.7e-137},
		{"three pods, one cold", "13,2,12", 8.2222222, .0163896, .552, .272, .767, 1.44, 2.47, .009386070847, .893, "cold", .257},
	} {
		r := counted(t, c.counts, 0)
		for name, pair := range map[string][3]float64{
			"X²": {r.Single.Test.Statistic, c.x2, 1e-6}, "χ² p": {r.Single.ChiSquareP, c.chi2, 1e-3}, "CV": {r.Skew.CV, c.cv, 1e-3},
			"Gini": {r.Skew.Gini, c.gini, 2e-3}, "Jain": {r.Skew.Jain, c.jain, 2e-3}, "max/mean": {r.Skew.MaxOverMean, c.most, 4e-3},
			"effective": {r.Skew.EffectiveBackends, c.eff, 3e-3}, "design effect": {r.DesignEffect, c.deff, 5e-3},
			"hot bound": {r.Single.HotBound, c.hotBound, 0.3},
		} {
			if math.Abs(pair[0]-pair[1]) > pair[2]*pair[1] {
				t.Errorf("%s: %s %.6g, want %.6g", c.name, name, pair[0], pair[1])
			}
		}
		if got := r.Single.Test.P; c.combined > 0 && math.Abs(got-c.combined) > 1e-9*c.combined || c.combined == 0 && got >= 1e-4 {
			t.Errorf("%s: combined p %.12g, want %.12g", c.name, got, c.combined)
		}
		if got := r.Single.Test.Direction; got != c.direction {
			t.Errorf("%s: direction %s, want %s", c.name, got, c.direction)
		}
	}
	if r := counted(t, "349,17,4,0,0,0,0,0", 0); math.Abs(r.DesignEffect-123) > 0.5 || r.Skew.IdleBackends != 5 {
		t.Errorf("one worker takes all: design effect %v, %d idle, want 123 and 5", r.DesignEffect, r.Skew.IdleBackends)
	}
}

func TestCountsSayWhatTheyAreTakenAs(t *testing.T) {
	for _, c := range []struct {
		name, counts string
		backends     int
		wants        []string
	}{
		{"chance explains", "34,30,36", 0, []string{"If everything counted is a connection of its own, chance explains them", "--backends N", "round robin"}},
		{"many per connection", "60,10,7,3,6,4,10", 7, []string{"chance does not explain them", "carried 10.3 or more"}},
		{"one cold", "13,2,12", 3, []string{"chance hardly explains them: the pod with 2 has too few"}},
		{"whole connections", "300,100,200", 0, []string{"As 6 connections of 100 requests each they would be nothing unusual", "multiples of 100"}},
		{"one pod and nobody knows how many there are", "600", 0, []string{"nothing to test"}},
		{"one pod of three", "600", 3, []string{"chance does not explain them", "As 1 connection of 600 requests"}},
		{"silent pods", "25,22,20", 4, []string{"1 pod never answered"}},
		{"nothing known of the order", "50,50", 2, []string{"One answer a line"}},
	} {
		r := counted(t, c.counts, c.backends)
		text := r.Summary + "\n" + strings.Join(r.Notes, "\n")
		for _, want := range c.wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in:\n%s", c.name, want, text)
			}
		}
	}
}

func TestCountsDoNotDependOnOrder(t *testing.T) {
	a, b := counted(t, "60,10,7,3,6,4,10", 9), counted(t, "10,4,6,3,7,10,60", 9)
	slices.Reverse(b.Counts)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("(-first +reversed):\n%s", diff)
	}
}

func TestCountsRefuse(t *testing.T) {
	for name, in := range map[string]struct {
		tallies  []analyze.Tally
		backends int
	}{
		"nothing":                         {nil, 3},
		"only zeroes":                     {[]analyze.Tally{{"a", 0}, {"b", 0}}, 0},
		"more pods than there are":        {[]analyze.Tally{{"a", 1}, {"b", 1}}, 1},
		"more pods than a Service can be": {[]analyze.Tally{{"a", 1}}, analyze.MaxModelBackends + 1},
	} {
		if _, err := analyze.Counts(analyze.CountInput{Tallies: in.tallies}, in.backends); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestParseCounts(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []analyze.Tally
		order      []int
		repeated   int
	}{
		{"uniq -c", "     60 pod-a\n     10 pod-b\n", []analyze.Tally{{"pod-a", 60}, {"pod-b", 10}}, nil, 0},
		{"name first", "pod-a 60\npod-b\t10\npod-c: 5\npod-d=4\npod-e,3\n", []analyze.Tally{{"pod-a", 60}, {"pod-b", 10}, {"pod-c", 5}, {"pod-d", 4}, {"pod-e", 3}}, nil, 0},
		{"bare numbers, no last line end", "60\n10\r\n\n7", []analyze.Tally{{"", 60}, {"", 10}, {"", 7}}, nil, 0},
		{"a heading", "POD REQUESTS\npod-a 60\npod-b 10\n", []analyze.Tally{{"pod-a", 60}, {"pod-b", 10}}, nil, 0},
		{"a heading of one word", "count\n60\n10\n", []analyze.Tally{{"", 60}, {"", 10}}, nil, 0},
		{"addresses", "12 10.0.0.1\n7 10.0.0.2:8080\n", []analyze.Tally{{"10.0.0.1", 12}, {"10.0.0.2:8080", 7}}, nil, 0},
		{"names of several words", "12 Hostname: pod-a\n7 Hostname: pod-b\n", []analyze.Tally{{"Hostname: pod-a", 12}, {"Hostname: pod-b", 7}}, nil, 0},
		{"uniq -c without sort", "1 a\n2 b\n3 a\n", []analyze.Tally{{"a", 4}, {"b", 2}}, nil, 1},
		{"answers", "pod-a\npod-b\npod-a\n", []analyze.Tally{{"pod-a", 2}, {"pod-b", 1}}, []int{0, 1, 0}, 0},
	} {
		got, err := analyze.ParseCounts(strings.NewReader(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(analyze.CountInput{Tallies: c.want, Order: c.order, Repeated: c.repeated}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestParseCountsNamesTheLine(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "\n \n", "nothing was read"},
		{"words", "hello world\n", `line 1: "hello world" holds no count`},
		{"two lines of words", "hello world\nand more\n", `line 2: "and more" holds no count`},
		{"a line without its number", "60 a\nb\n", `line 2: "b"`},
		{"a line without its name", "60 a\n7\n", "line 2"},
		{"a number that is none", "60 a\n-3 b\n", `line 2: "-3 b": "-3" is no count`},
		{"a count among answers", "a\nb\n3 c\n", "line 3"},
		{"a fraction", "60.5\n1 a\n2 b\n0.5 c\n", "line 4"},
		{"too large", "60 a\n99999999999999999999 b\n", "line 2"},
		{"too much", "1000000000 a\n1000000000 b\n", "divide"},
		{"only zeroes", "0 a\n0 b\n", "all counts are 0"},
	} {
		_, err := analyze.ParseCounts(strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := analyze.ParseCounts(strings.NewReader("")); !errors.Is(err, analyze.ErrNoCounts) {
		t.Errorf("empty input: %v", err)
	}
}

// The order of answers shows what their counts cannot.
func TestOrderOfAnswers(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"in turn", strings.Repeat("a\nb\nc\n", 10), "Pods answer in turn, as round robin does: 27 of 27"},
		{"in runs", strings.Repeat("a\n", 10) + strings.Repeat("b\n", 10) + strings.Repeat("c\n", 10), "Answers come in runs: 27"},
		{"at random", "a\nc\nb\nb\na\na\nc\na\nb\nc\nc\na\nb\nb\na\nc\nb\na\na\nb\nc\nc\n", "Their order is that of independent choices"},
	} {
		in, err := analyze.ParseCounts(strings.NewReader(c.text))
		if err != nil {
			t.Fatal(err)
		}
		r, err := analyze.Counts(in, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.Summary, c.want) {
			t.Errorf("%s: %q, want %q", c.name, r.Summary, c.want)
		}
	}
}

func FuzzParseCounts(f *testing.F) {
	for _, seed := range []string{"60 a\n10 b\n", "a 60\n", "1\n2\n", "a\nb\na\n", "NAME COUNT\na 1\n", "\x1f\x8b", "{", "1 a\n-1 b\n", "9999999999999999999999 a\n", "a:1\nb:2", "\u00a01\u00a0x\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in, err := analyze.ParseCounts(strings.NewReader(text))
		if err != nil {
			return
		}
		lines, total := strings.Count(text, "\n")+1, 0
		for _, tally := range in.Tallies {
			if tally.Count < 0 {
				t.Fatalf("count %d", tally.Count)
			}
			total += tally.Count
		}
		if len(in.Tallies) == 0 || len(in.Tallies) > lines || total < 1 || len(in.Order) > lines {
			t.Fatalf("%d lines, %d backends, %d in all, %d in order", lines, len(in.Tallies), total, len(in.Order))
		}
		for _, at := range in.Order {
			if at < 0 || at >= len(in.Tallies) {
				t.Fatalf("answer by backend %d of %d", at, len(in.Tallies))
			}
		}
		if total > 100 || len(in.Tallies) > 4 {
			return // a report of these costs more than it shows
		}
		if _, err := analyze.Counts(in, 0); err != nil {
			t.Errorf("%d backends parsed, and no report: %v", len(in.Tallies), err)
		}
	})
}
