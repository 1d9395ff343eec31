package analyze

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// CountsReport is what plain counts per backend can and cannot say.
type CountsReport struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"` // "CountsReport"
	Total      int          `json:"total"`
	Backends   int          `json:"backends"` // as said, or as many as were counted
	Said       bool         `json:"said"`     // how many backends there are was said, not taken from the counts
	Silent     int          `json:"silent"`   // backends that were not counted at all
	Counts     []CountRow   `json:"counts"`   // in the order of the input
	Skew       Skew         `json:"skew"`
	Single     CountsTest   `json:"single"`          // each count taken as one independent connection
	Whole      *CountsTest  `json:"whole,omitempty"` // the counts taken as whole connections of equal size; nil unless they look like it
	Order      *CountsOrder `json:"order,omitempty"` // of the answers; nil unless they were given one by one
	// DesignEffect is how many of what was counted each independent connection must have carried on average for chance to
	// explain the counts at 0.01; below 1 it explains them as they are.
	DesignEffect float64  `json:"designEffect"`
	Summary      string   `json:"summary"`
	Notes        []string `json:"notes"`
}

// CountRow is one backend.
type CountRow struct {
	Name     string  `json:"name"` // "" where only numbers were given
	Count    int     `json:"count"`
	Share    float64 `json:"share"`
	Expected float64 `json:"expected"` // share
	Chance   Range   `json:"chance"`   // 95 % of the share, each count being one connection
}

// CountsTest is the test of counts taken as connections of a size.
type CountsTest struct {
	Size       int     `json:"size"` // counts per connection
	Test       Test    `json:"test"` // AdjustedP is P: there is no other test
	ChiSquareP float64 `json:"chiSquareP"`
	HotBound   float64 `json:"hotBound"` // no backend is as hot as the hottest by chance with more than this probability
	Chance     Chance  `json:"chance"`
}

// CountsOrder says what the order of answers shows that their counts cannot.
type CountsOrder struct {
	Lag         int     `json:"lag"`         // backends
	Matches     int     `json:"matches"`     // answers by the backend that answered Lag answers before
	Trials      int     `json:"trials"`      // answers that have such a predecessor
	Turns       float64 `json:"turns"`       // probability of at least as many by independent choices: small in round robin
	Repeats     int     `json:"repeats"`     // answers by the backend of the answer just before
	Runs        float64 `json:"runs"`        // probability of at least as many: small where answers share connections
	Alternation float64 `json:"alternation"` // probability of at most as many
	P           float64 `json:"p"`           // of all three together
}

// Counts says how uneven plain counts are and whether chance explains them, each being taken as one independent
// connection, and what else is in them. backends is how many pods there are; 0: those that were counted. The same counts
// give the same report, in whatever order.
func Counts(in CountInput, backends int) (*CountsReport, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	switch {
	case backends != 0 && backends < len(in.Tallies):
		return nil, fmt.Errorf("%d backends were counted, more than the %d there are said to be", len(in.Tallies), backends)
	case backends > MaxModelBackends:
		return nil, fmt.Errorf("%d backends: at most %d", backends, MaxModelBackends)
	}
	r := &CountsReport{
		APIVersion: record.Version, Kind: countsKind, Said: backends > 0,
		Backends: max(backends, len(in.Tallies)), Silent: max(0, backends-len(in.Tallies)), Notes: []string{},
	}
	counts := make([]int, r.Backends)
	for i, t := range in.Tallies {
		counts[i] = t.Count
		r.Total += t.Count
	}
	slices.SortFunc(counts, func(a, b int) int { return b - a }) // names must not matter
	r.measure(counts)
	r.Single = r.test(counts, 1)
	if size := wholeSize(counts); size > 1 && in.Order == nil { // the order of answers tells more
		r.Whole = new(r.test(divided(counts, size), size))
	}
	r.rows(in)
	r.order(in)
	r.conclude(in)
	roundValue(reflect.ValueOf(r).Elem())
	return r, nil
}

func (r *CountsReport) measure(counts []int) {
	loads := make([]float64, len(counts))
	for i, x := range counts {
		loads[i] = float64(x)
	}
	m := skew.Measure(loads)
	r.Skew = Skew{MaxOverMean: m.MaxOverMean, CV: m.CV, Gini: m.Gini, Jain: m.Jain, EffectiveBackends: m.Effective, IdleBackends: m.Idle}
}

// test takes counts, largest first, as connections.
func (r *CountsReport) test(counts []int, size int) CountsTest {
	units := r.Total / size
	n := len(counts)
	p := slices.Repeat([]float64{1 / float64(n)}, n)
	law, err := skew.NewLaw(n, []skew.Group{{Units: units, P: p}})
	if err != nil {
		return CountsTest{Size: size} // cannot be: the group is valid by construction
	}
	seed := skew.NewSeed("counts")
	res := law.Test(counts, seed.For("test"), 0)
	chance := law.Chance(seed.For("chance"), 0)
	need := skew.Need{Backends: n, Alpha: defaultAlpha, Power: usualPower}
	hot := law.HotBound(counts)
	if floor := 1 / float64(res.Draws+1); res.Draws > 0 && 4*hot < floor {
		// A simulation cannot go below its floor. Four times the bound of one of the four directions bounds them together.
		res.P = min(res.P, 4*hot)
	}
	t := CountsTest{
		Size: size, ChiSquareP: res.ChiSquareP, HotBound: hot,
		Test: Test{
			Unit: unitConnection, Units: units, Method: string(res.Method), Statistic: res.X2, DF: n - 1, P: res.P, AdjustedP: res.P,
			Direction: string(res.Direction), EffectSize: res.EffectSize, SmallestFactor: need.SmallestFactor(units),
		},
		Chance: Chance{
			MaxOverMean: Range(chance.MaxOverMean), CV: Range(chance.CV), Gini: Range(chance.Gini), Jain: Range(chance.Jain),
			EffectiveBackends: Range(chance.Effective), IdleBackends: Range(chance.Idle), Dispersion: Range(chance.Dispersion),
		},
	}
	if needed := need.Units(usualFactor); needed > units {
		t.Test.UnitsNeeded = needed
	}
	if size == 1 {
		r.DesignEffect = skew.DesignEffect(res.X2, res.DF)
		r.Skew.Dispersion = 1
		if res.MeanX2 > 0 {
			r.Skew.Dispersion = res.X2 / res.MeanX2
		}
	}
	return t
}

// wholeSize returns the number of requests the counts seem to come in: their greatest common divisor, if it is 10 or more
// and there are 3 counts or only 1. By chance three counts have such a divisor in one case of two hundred.
func wholeSize(counts []int) int {
	size, used := 0, 0
	for _, x := range counts {
		if x > 0 {
			size, used = divisor(x, size), used+1
		}
	}
	if size >= 10 && used >= 3 || used == 1 && size > 1 {
		return size
	}
	return 1
}

func divisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func divided(counts []int, by int) []int {
	out := make([]int, len(counts))
	for i, x := range counts {
		out[i] = x / by
	}
	return out
}

func (r *CountsReport) rows(in CountInput) {
	units := float64(r.Total)
	low, high := skew.BinomialRange(r.Total, 1/float64(r.Backends), skew.ChanceLevel)
	for _, t := range in.Tallies {
		r.Counts = append(r.Counts, CountRow{
			Name: t.Name, Count: t.Count, Share: float64(t.Count) / units, Expected: 1 / float64(r.Backends),
			Chance: Range{float64(low) / units, float64(high) / units},
		})
	}
	most, least := r.ends()
	r.Single.Test.HotBackend, r.Single.Test.ColdBackend = most.Name, least.Name
	if r.Silent > 0 {
		r.Single.Test.ColdBackend = ""
	}
	if r.Whole != nil {
		r.Whole.Test.HotBackend, r.Whole.Test.ColdBackend = r.Single.Test.HotBackend, r.Single.Test.ColdBackend
	}
}

func (r *CountsReport) order(in CountInput) {
	if in.Order == nil || r.Backends < 2 {
		return
	}
	p := slices.Repeat([]float64{1 / float64(r.Backends)}, r.Backends)
	o := skew.OrderTest([]skew.Sequence{{P: p, Backends: in.Order}}, skew.NewSeed("counts", "order"), 0)
	if o.Method == skew.None {
		return
	}
	r.Order = &CountsOrder{
		Lag: r.Backends, Matches: o.Matches, Trials: o.Trials, Turns: o.Turns,
		Repeats: o.Repeats, Runs: o.Runs, Alternation: o.Alternation, P: o.P,
	}
}

// conclude puts into words what was found, and what the counts cannot tell.
func (r *CountsReport) conclude(in CountInput) {
	r.Summary = r.summary()
	note := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	if in.Repeated > 0 {
		note("%d lines named a backend again and were added up: uniq -c counts only neighbouring lines, so sort before it.", in.Repeated)
	}
	if !r.Said {
		note("The number of backends is taken from the counts. A pod that never answered is not among them: --backends N says how many there are.")
	}
	switch {
	case r.Single.Test.Method == string(skew.None):
	case r.DesignEffect >= 1:
		note("Each count is taken as one independent connection. If connections carried several requests the counts say less: chance could "+
			"explain them if each connection carried %.3g or more on average.", r.DesignEffect)
	default:
		note("Each count is taken as one independent connection. If connections carried several requests the counts say even less.")
	}
	if r.Whole != nil {
		note("All counts are multiples of %d: they look like whole connections of %d requests each. Taken so, they are %d connections, and p is %.3g.",
			r.Whole.Size, r.Whole.Size, r.Whole.Test.Units, r.Whole.Test.P)
	}
	if r.Order == nil && r.Single.Test.Method != string(skew.None) {
		note("Counts do not show an order: round robin, session affinity and requests that come in pairs can look just like this. " +
			"One answer a line, in the order they came, shows them.")
	}
}

// summary judges the counts at 0.01 and 0.001, as a report does.
func (r *CountsReport) summary() string {
	t := r.Single.Test
	if t.Method == string(skew.None) {
		return "One backend was counted and it is not known how many there are: there is nothing to test."
	}
	var text string
	switch {
	case t.P <= defaultAlpha*errorShare:
		text = "chance does not explain them" + r.direction()
	case t.P <= defaultAlpha:
		text = "chance hardly explains them" + r.direction()
	default:
		text = "chance explains them"
	}
	text = "If everything counted is a connection of its own, " + text + "."
	if r.Whole != nil && r.Whole.Test.P > defaultAlpha && t.P <= defaultAlpha {
		text += fmt.Sprintf(" As %s of %d requests each they would be nothing unusual.",
			plural(r.Whole.Test.Units, "connection", "connections"), r.Whole.Size)
	}
	if o := r.Order; o != nil {
		text += o.words()
	}
	return text
}

func (r *CountsReport) direction() string {
	named := func(row CountRow) string {
		if row.Name == "" {
			return fmt.Sprintf("the pod with %d", row.Count)
		}
		return row.Name
	}
	most, least := r.ends()
	switch skew.Direction(r.Single.Test.Direction) {
	case skew.Hot:
		return ": " + named(most) + " has too many"
	case skew.Cold:
		if r.Silent > 0 {
			return ": " + plural(r.Silent, "pod", "pods") + " never answered"
		}
		return ": " + named(least) + " has too few"
	case skew.Under:
		return ": they are more even than independent choices are"
	default:
		return ""
	}
}

// ends returns the rows with the most and the least.
func (r *CountsReport) ends() (most, least CountRow) {
	byCount := func(a, b CountRow) int { return a.Count - b.Count }
	return slices.MaxFunc(r.Counts, byCount), slices.MinFunc(r.Counts, byCount)
}

func (o *CountsOrder) words() string {
	if o.P > defaultAlpha {
		return " Their order is that of independent choices."
	}
	switch min(o.Turns, o.Runs, o.Alternation) {
	case o.Turns:
		return fmt.Sprintf(" Pods answer in turn, as round robin does: %d of %d answers are by the pod that answered %d before.", o.Matches, o.Trials, o.Lag)
	case o.Runs:
		return fmt.Sprintf(" Answers come in runs: %d are by the pod of the one before, as when requests share connections.", o.Repeats)
	default:
		return fmt.Sprintf(" Pods take turns: only %d answers are by the pod of the one before.", o.Repeats)
	}
}
