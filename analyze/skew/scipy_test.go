package skew

import (
	"bytes"
	"encoding/json"
	"math"
	"os/exec"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// question and reference are what goes to testdata/reference.py and what comes back.
type question struct {
	Counts         [][]int      `json:"counts"`
	Tails          [][3]float64 `json:"tails"`     // k, n, p
	Intervals      [][3]float64 `json:"intervals"` // k, n, level
	Quantiles      [][2]float64 `json:"quantiles"` // q, df
	Tables         [][2][]int   `json:"tables"`
	BinomialRanges [][3]float64 `json:"binomialRanges"` // n, p, level
}

type reference struct {
	Counts []struct {
		Chi2      float64   `json:"chi2"`
		Chi2P     float64   `json:"chi2P"`
		G         float64   `json:"g"`
		GP        float64   `json:"gP"`
		Gini      float64   `json:"gini"`
		Effective float64   `json:"effective"`
		CV        float64   `json:"cv"`
		Jain      float64   `json:"jain"`
		Exact     []float64 `json:"exact"`
	} `json:"counts"`
	Tails          [][2]float64 `json:"tails"`
	Intervals      [][2]float64 `json:"intervals"`
	Quantiles      []float64    `json:"quantiles"`
	Tables         [][3]float64 `json:"tables"`
	BinomialRanges [][2]int     `json:"binomialRanges"`
}

// python is Debian's: a python3 found on the way may be another one without scipy.
const python = "/usr/bin/python3"

func askScipy(t *testing.T, q question) reference {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import scipy, numpy").CombinedOutput(); err != nil {
		t.Skipf("needs scipy for %s (Debian: python3-scipy): %v %s", python, err, bytes.TrimSpace(out))
	}
	text, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), python, "testdata/reference.py")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var r reference
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAgreementWithScipy holds our numbers against an implementation that shares nothing with them: what is exact to nine
// digits, what is simulated within four standard errors.
func TestAgreementWithScipy(t *testing.T) {
	q := question{
		Counts: [][]int{
			{60, 10, 7, 3, 6, 4, 10},
			{530, 470},
			{873, 127},
			{13, 2, 12},
			{5, 4, 1},
			{7, 3, 0},
			{10, 10, 10},
			{22, 8},
			{102, 98, 110, 95, 91, 104, 99, 101, 97, 103},
			{349, 17, 4, 0, 0, 0, 0, 0},
			{1, 0, 0},
		},
		Tails:          [][3]float64{{5, 10, .5}, {60, 100, 1. / 7}, {0, 10, .3}, {873, 1000, .5}, {1, 1000, .001}, {3500, 10_000, 1. / 3}, {1_000_900, 10_000_000, .1}},
		Intervals:      [][3]float64{{60, 60, .95}, {59, 60, .95}, {57, 60, .95}, {0, 60, .95}, {1, 2, .99}, {350, 1000, .95}, {1, 100_000, .95}},
		Quantiles:      [][2]float64{{.99, 1}, {.99, 2}, {.99, 6}, {.999, 49}, {.95, 9999}},
		Tables:         [][2][]int{{{30, 10, 20}, {15, 25, 20}}, {{10, 12}, {100, 81}}, {{5, 5, 5, 5, 5, 5}, {50, 40, 45, 61, 52, 47}}},
		BinomialRanges: [][3]float64{{100, .5, .95}, {1000, 1. / 3, .95}, {10, 1. / 3, .95}},
	}
	r := askScipy(t, q)
	same := func(what string, got, want float64) {
		t.Helper()
		if !near(got, want, 1e-9) && math.Abs(got-want) > 1e-300 {
			t.Errorf("%s: %.15g, scipy %.15g", what, got, want)
		}
	}
	for i, counts := range q.Counts {
		want := r.Counts[i]
		loads := make([]float64, len(counts))
		for b, x := range counts {
			loads[b] = float64(x)
		}
		l := equal(t, len(counts), sum(counts))
		test, m := l.Test(counts, NewSeed("scipy"), 0), Measure(loads)
		same("X²", test.X2, want.Chi2)
		same("χ² p", test.ChiSquareP, want.Chi2P)
		same("G", likelihood(counts), want.G)
		same("G p", distuv.ChiSquared{K: float64(len(counts) - 1)}.Survival(likelihood(counts)), want.GP)
		same("CV", m.CV, want.CV)
		same("Jain", m.Jain, want.Jain)
		same("effective", m.Effective, want.Effective)
		if math.Abs(m.Gini-want.Gini) > 1e-12 {
			t.Errorf("%v: Gini %v, scipy %v", counts, m.Gini, want.Gini)
		}
		if want.Exact == nil {
			continue
		}
		for k, d := range []Direction{Over, Hot, Cold} {
			same(string(d), test.Parts[d], min(1, want.Exact[k]))
		}
		// Simulated, the same probabilities come out within their error.
		const draws = 20_000
		_, parts := l.simulate(newScorer(l).of(counts), newScorer(l), NewSeed("scipy"), draws)
		for k := range 3 {
			p := want.Exact[k]
			if se := math.Sqrt(p * (1 - p) / draws); math.Abs(parts[k]-p) > 4*se+2./draws {
				t.Errorf("%v: direction %d simulated %v, scipy %v", counts, k, parts[k], p)
			}
		}
	}
	for i, c := range q.Tails {
		k, n := int(c[0]), int(c[1])
		// For ten million units two incomplete beta functions in doubles agree to seven digits only.
		if n < 1_000_000 {
			same("upper tail", UpperTail(k, n, c[2]), r.Tails[i][0])
			same("lower tail", LowerTail(k, n, c[2]), r.Tails[i][1])
		} else if !near(UpperTail(k, n, c[2]), r.Tails[i][0], 1e-7) {
			t.Errorf("upper tail of %v: %v, scipy %v", c, UpperTail(k, n, c[2]), r.Tails[i][0])
		}
	}
	for i, c := range q.Intervals {
		got := ClopperPearson(int(c[0]), int(c[1]), c[2])
		same("Clopper–Pearson low", got[0], r.Intervals[i][0])
		same("Clopper–Pearson high", got[1], r.Intervals[i][1])
	}
	for i, c := range q.Quantiles {
		same("χ² quantile", distuv.ChiSquared{K: c[1]}.Quantile(c[0]), r.Quantiles[i])
	}
	for i, c := range q.Tables {
		got := HomogeneityTest([]Shift{{Before: c[0], After: c[1]}}, NewSeed("scipy"), 0)
		same("homogeneity X²", got.X2, r.Tables[i][0])
		same("homogeneity p", got.ChiSquareP, r.Tables[i][1])
		same("homogeneity df", got.DF, r.Tables[i][2])
	}
	for i, c := range q.BinomialRanges {
		low, high := BinomialRange(int(c[0]), c[1], c[2])
		if low != r.BinomialRanges[i][0] || high != r.BinomialRanges[i][1] {
			t.Errorf("range of %v: %d to %d, scipy %v", c, low, high, r.BinomialRanges[i])
		}
	}
}

// likelihood is the statistic G = 2 Σ x ln(x/E) for equal shares. No p-value of ours uses it: on few units its limiting
// distribution is off by a factor of four.
func likelihood(counts []int) float64 {
	expected := float64(sum(counts)) / float64(len(counts))
	var g float64
	for _, x := range counts {
		if x > 0 {
			g += 2 * float64(x) * math.Log(float64(x)/expected)
		}
	}
	return g
}
