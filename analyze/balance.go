package analyze

import (
	"cmp"
	"math"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// balance is how the open connections of one stream spread after an event.
type balance struct {
	Balance
	method skew.Method // of P
	claim  *claim

	law    *skew.Law // of the last window
	counts []int     // open at the end, by backend
	gone   []string  // backends at the start that are none at the end
	looks  []looked  // by window
	isNew  []bool    // by backend: none at the start
	groups []skew.Group
}

// balanceAfter looks at the connections that are open, window by window, from an event until the next or the end. Each is one
// choice, and the facts of that time say how they should fall; those opened earlier fell by other facts, and that is what takes time.
func (t *traffic) balanceAfter(event *record.Event, until float64, facts *atlas, seed skew.Seed) *balance {
	if facts == nil || !ofConnections(t.unit) || !t.modelled {
		return nil
	}
	after := t.eligibleBy(facts)
	from, end := event.At, min(lastMoment(t.rows), until)
	if after == nil || end <= from {
		return nil
	}
	b := &balance{}
	b.Windows = int(max(1, min(balanceWindows, math.Floor(end-from))))
	b.Window = (end - from) / float64(b.Windows)
	b.newPods(t, after, max(event.At, event.Effective))
	lastRejecting := -1
	for w := range b.Windows {
		result := b.window(t, after, from+float64(w)*b.Window, from+float64(w+1)*b.Window, seed)
		result = b.withNewPods(result, seed)
		if result.Method != skew.None && result.P <= balanceAlpha/float64(b.Windows) && result.Direction != skew.Under {
			lastRejecting = w
		}
		b.method, b.P, b.Direction = result.Method, result.P, string(result.Direction)
		b.looks = append(b.looks, lookedAt(result, b.VisibleFactor))
	}
	switch lastRejecting {
	case -1:
		b.Reached = atOnce
	case b.Windows - 1:
		b.Reached = notInTime
		if end == until {
			b.Reached = notBeforeNext
		}
	default:
		b.Reached, b.Seconds = inTime, float64(lastRejecting+1)*b.Window
	}
	if b.method == skew.None {
		b.Reached = ""
	}
	b.AdjustedP = b.P
	b.openByPod(t)
	return b
}

// openByPod lists what each backend of the end holds in the last window.
func (b *balance) openByPod(t *traffic) {
	if b.law == nil {
		return
	}
	for i, e := range b.law.Expected() {
		if e == 0 {
			continue
		}
		b.OpenByPod = append(b.OpenByPod, OpenPod{Pod: t.backends[i].pod, Open: b.counts[i], Expected: e, New: b.isNew[i]})
		if b.isNew[i] {
			b.NewOpen += b.counts[i]
			b.NewOpenExpected += e
		}
	}
	slices.SortStableFunc(b.OpenByPod, func(x, y OpenPod) int { return cmp.Or(cmp.Compare(y.Open, x.Open), cmp.Compare(x.Pod, y.Pod)) })
}

// eligibleBy returns the probabilities of each stratum by some facts; nil if one of them is not predicted, or leads to pods that are
// backends neither at the start nor at the end.
func (t *traffic) eligibleBy(facts *atlas) map[*stratum][]float64 {
	out := map[*stratum][]float64{}
	for _, s := range t.strata {
		at := facts.predict(t.plan, s.agent, s.addr)
		if at.Outcome == Unknown {
			return nil
		}
		p := make([]float64, len(t.backends))
		for _, b := range at.Backends {
			i, known := t.byPod[b.Pod]
			if !known {
				return nil
			}
			p[i] += b.P
		}
		out[s] = p
	}
	return out
}

// lastMoment is when the last connection was opened or closed.
func lastMoment(rows []*record.Connection) float64 {
	last := math.Inf(-1)
	for _, c := range rows {
		last = max(last, c.Opened, c.Connected, c.Closed)
	}
	return last
}

// openIn reports whether a connection was open at some time from, to not included.
func openIn(c *record.Connection, from, to float64) bool {
	return c.Opened < to && (c.Closed == 0 || c.Closed >= from)
}

// window tests the connections that were open in one window. Connections to backends that are none any more are left out: they
// are no choice of the settings.
func (b *balance) window(t *traffic, after map[*stratum][]float64, from, to float64, seed skew.Seed) skew.Result {
	units := map[*stratum]int{}
	b.counts = make([]int, len(t.backends))
	b.Open, b.Left = 0, 0
	for _, c := range t.rows {
		at, known := t.byPod[c.Backend]
		s := t.byKey[stratumKey{c.Agent, c.Address}]
		if !known || s == nil || !openIn(c, from, to) || t.unit == unitFlow && len(c.Others) > 0 {
			continue // of a flow that went on to another pod it is not known when
		}
		if after[s][at] == 0 {
			b.Left++
			continue
		}
		b.counts[at]++
		b.Open++
		units[s]++
	}
	var groups []skew.Group
	for _, s := range t.strata {
		if units[s] > 0 {
			groups = append(groups, skew.Group{Units: units[s], P: after[s]})
		}
	}
	none := skew.Result{Method: skew.None, P: 1}
	if len(groups) == 0 {
		b.law = nil
		return none
	}
	law, err := skew.NewLaw(len(t.backends), groups)
	if err != nil || !law.Free() {
		b.law = nil
		return none
	}
	b.law, b.groups = law, groups
	b.VisibleFactor = skew.Need{Backends: chosen(law), Alpha: balanceAlpha / float64(b.Windows)}.SmallestFactor(law.Units())
	return law.Test(b.counts, seed, 0)
}

// withNewPods asks of the window that was tested last whether the new pods together hold their part, too. With few connections
// for each pod nothing else shows that all of them are where they were before: of twelve on six pods, three of them new, all are
// on the old ones once in 4096 times, and yet no pod by itself is far from its two.
func (b *balance) withNewPods(result skew.Result, seed skew.Seed) skew.Result {
	if result.Method == skew.None || len(b.NewPods) == 0 {
		return result
	}
	var sides []skew.Group // of two backends: all that were there, all that are new
	for _, g := range b.groups {
		p := make([]float64, 2)
		for i, x := range g.P {
			p[b.side(i)] += x
		}
		sides = append(sides, skew.Group{Units: g.Units, P: p})
	}
	counts := make([]int, 2)
	for i, n := range b.counts {
		counts[b.side(i)] += n
	}
	law, err := skew.NewLaw(2, sides)
	if err != nil || !law.Free() {
		return result
	}
	if parts := law.Test(counts, seed.For("new pods"), 0); parts.P < result.P && parts.Direction != skew.Under {
		result.P, result.Direction = parts.P, parts.Direction
	}
	result.P = min(1, 2*result.P) // of two tests the smaller one
	return result
}

func (b *balance) side(backend int) int {
	if b.isNew[backend] {
		return 1
	}
	return 0
}

// chosen counts the backends a law can choose.
func chosen(law *skew.Law) int {
	n := 0
	for _, e := range law.Expected() {
		if e > 0 {
			n++
		}
	}
	return n
}

// newPods finds the backends at the end that were none at the start, and the other way round, and counts what the new ones got.
func (b *balance) newPods(t *traffic, after map[*stratum][]float64, from float64) {
	isNew := make([]bool, len(t.backends))
	b.isNew = isNew
	for i, one := range t.backends {
		was, is := false, false
		for _, s := range t.strata {
			was = was || slices.ContainsFunc(s.at.Backends, func(p PredictedBackend) bool { return p.Pod == one.pod })
			is = is || after[s][i] > 0
		}
		switch isNew[i] = is && !was; {
		case isNew[i]:
			b.NewPods = append(b.NewPods, one.pod)
		case was && !is:
			b.gone = append(b.gone, one.pod)
		}
	}
	slices.Sort(b.NewPods)
	slices.Sort(b.gone)
	b.countNew(t, after, isNew, from)
}

// countNew counts the connections to new pods: opened since they are there.
func (b *balance) countNew(t *traffic, after map[*stratum][]float64, isNew []bool, from float64) {
	fair := map[*stratum]float64{} // part of a stratum's choices that new pods should get
	for s, p := range after {
		for i, yes := range isNew {
			if yes {
				fair[s] += p[i]
			}
		}
	}
	opened := 0
	for _, c := range t.rows {
		at, known := t.byPod[c.Backend]
		s := t.byKey[stratumKey{c.Agent, c.Address}]
		if !known || s == nil {
			continue
		}
		if c.Opened < from || after[s][at] == 0 {
			continue
		}
		opened++
		b.NewExpected += fair[s]
		if isNew[at] {
			b.NewUnits++
		}
	}
	if opened > 0 {
		b.NewShare, b.NewExpected = float64(b.NewUnits)/float64(opened), b.NewExpected/float64(opened)
	}
}
