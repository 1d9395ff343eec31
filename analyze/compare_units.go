package analyze

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
)

// UnitLoad is a number of units on one backend that carried the same.
type UnitLoad struct {
	Backend string  `json:"backend"`
	Load    float64 `json:"load"` // answered requests of each; a mean where there are too many different ones
	Units   int     `json:"units"`
}

// maxUnitLoads is how many different loads a report lists per stream.
const maxUnitLoads = 1000

// unitLoads lists what the units of a stream carried, by backend and load.
func (t *traffic) unitLoads() []UnitLoad {
	type key struct {
		pod  string
		load int
	}
	counts := map[key]int{}
	for _, one := range t.list {
		counts[key{one.pod, one.load}] += max(one.n, 1)
	}
	list := make([]UnitLoad, 0, len(counts))
	for k, n := range counts {
		list = append(list, UnitLoad{Backend: k.pod, Load: float64(k.load), Units: n})
	}
	slices.SortFunc(list, func(a, b UnitLoad) int { return cmp.Or(cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Load, b.Load)) })
	if len(list) <= maxUnitLoads {
		return list
	}
	return coarser(list)
}

// coarser joins neighbouring loads of a backend, so that each backend has about as many entries as the others.
func coarser(list []UnitLoad) []UnitLoad {
	backends := 1
	for i := 1; i < len(list); i++ {
		if list[i].Backend != list[i-1].Backend {
			backends++
		}
	}
	each := max(1, maxUnitLoads/backends)
	var out []UnitLoad
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && list[to].Backend == list[from].Backend {
			to++
		}
		n := min(each, to-from)
		for k := range n {
			part := list[from+k*(to-from)/n : from+(k+1)*(to-from)/n]
			joined := UnitLoad{Backend: list[from].Backend}
			sum := 0.0
			for _, u := range part {
				joined.Units += u.Units
				sum += u.Load * float64(u.Units)
			}
			joined.Load = sum / float64(max(joined.Units, 1))
			out = append(out, joined)
		}
		from = to
	}
	return out
}

// loadsOf returns what the units of a stream of a report carried. A report without them has at least its connections, which then count
// as having carried the same on each backend.
func (s *Stream) loadsOf() []UnitLoad {
	if len(s.UnitLoads) > 0 {
		return s.UnitLoads
	}
	var list []UnitLoad
	for _, b := range s.Backends {
		if b.Connections > 0 && b.Eligible {
			list = append(list, UnitLoad{Backend: b.Pod, Load: float64(b.Requests) / float64(b.Connections), Units: b.Connections})
		}
	}
	return list
}

// explained tells whether settings and chance explain where the units went.
func (s *Stream) explained() bool {
	const alpha = 0.01 // the budget of a report: its tests are adjusted
	return max(s.Test.P, s.Test.AdjustedP) > alpha || s.Test.Method == "" || s.Test.Method == "none"
}

// eligiblePods returns the pods that units could go to, most units first.
func (s *Stream) eligiblePods() []Backend {
	units := map[string]int{}
	for _, u := range s.loadsOf() {
		units[u.Backend] += u.Units
	}
	pods := slices.DeleteFunc(slices.Clone(s.Backends), func(b Backend) bool { return !b.Eligible })
	slices.SortFunc(pods, func(a, b Backend) int {
		return cmp.Or(cmp.Compare(units[b.Pod], units[a.Pod]), cmp.Compare(a.Pod, b.Pod))
	})
	return pods
}

// expectedOf returns the share of units that the settings give each pod, in the order of eligiblePods.
func (s *Stream) expectedOf() []float64 {
	var shares []float64
	for _, b := range s.eligiblePods() {
		shares = append(shares, max(b.ExpectedShare, 0))
	}
	return normalize(shares)
}

// observedOf returns the share of units that each pod got, in the same order: descending.
func (s *Stream) observedOf() []float64 {
	units := map[string]int{}
	for _, u := range s.loadsOf() {
		units[u.Backend] += u.Units
	}
	var shares []float64
	for _, b := range s.eligiblePods() {
		shares = append(shares, float64(units[b.Pod]))
	}
	return normalize(shares)
}

// pooledShares are the shares of the units of all runs, by rank of the pods in each run.
func (p *streamPair) pooledShares() []float64 {
	var shares []float64
	for _, runs := range p.runs {
		for _, s := range runs {
			for rank, share := range s.observedOf() {
				if rank == len(shares) {
					shares = append(shares, 0)
				}
				shares[rank] += share * float64(max(s.Test.Units, 1))
			}
		}
	}
	return normalize(shares)
}

// law is that of the units of a run, with their loads, if each pod had the given share.
func (s *Stream) law(shares []float64) *skew.Law {
	g := skew.Group{P: shares, Loads: []float64{}}
	eligible := map[string]bool{}
	for _, b := range s.Backends {
		eligible[b.Pod] = b.Eligible
	}
	for _, u := range s.loadsOf() {
		if eligible[u.Backend] && u.Units > 0 {
			g.Units += u.Units
			g.Loads = append(g.Loads, slices.Repeat([]float64{max(u.Load, 0)}, u.Units)...)
		}
	}
	law, err := skew.NewLaw(len(shares), []skew.Group{g})
	if err != nil { // a report from elsewhere whose shares are none: nothing is repeated
		law, _ = skew.NewLaw(len(shares), nil)
	}
	return law
}

// normalize makes shares add up to 1; without any they are even.
func normalize(shares []float64) []float64 {
	sum := 0.0
	for _, x := range shares {
		sum += x
	}
	for i := range shares {
		if sum > 0 {
			shares[i] /= sum
		} else {
			shares[i] = 1 / float64(len(shares))
		}
	}
	return shares
}

// placement tests whether units changed sides could have come out as they did.
func (p *streamPair) placement() PlacementTest {
	matching := skew.ByRank
	if p.samePods() {
		matching = skew.ByIdentity
	}
	out := PlacementTest{Matching: string(matching), Method: string(skew.None), P: 1}
	n := eligibleOf(p.runs[0][0])
	var cells [2][]skew.Cell
	for side, runs := range p.runs {
		for _, s := range runs {
			if eligibleOf(s) != n {
				return out
			}
			cells[side] = append(cells[side], s.cells(matching)...)
		}
	}
	c := skew.CompareRuns(cells[0], cells[1], n, matching, skew.NewSeed(p.key, p.name, "placement"), 0)
	out.Method, out.P, out.Threshold, out.Changed = string(c.Method), c.P, c.Threshold, c.Differs && c.Method != skew.None
	return out
}

// samePods tells whether all runs of both sides had the same eligible pods.
func (p *streamPair) samePods() bool {
	var first []string
	for _, runs := range p.runs {
		for _, s := range runs {
			var pods []string
			for _, b := range s.Backends {
				if b.Eligible {
					pods = append(pods, b.Pod)
				}
			}
			slices.Sort(pods)
			if first == nil {
				first = pods
			}
			if !slices.Equal(first, pods) {
				return false
			}
		}
	}
	return true
}

// cells returns the units of a run over its eligible backends, in order of name or of load; loads have mean 1, so that every run of a side
// counts by its units.
func (s *Stream) cells(matching skew.Matching) []skew.Cell {
	loads, sum, units := map[string]float64{}, 0.0, 0
	for _, u := range s.loadsOf() {
		loads[u.Backend] += u.Load * float64(u.Units)
		sum += u.Load * float64(u.Units)
		units += u.Units
	}
	var pods []string
	for _, b := range s.Backends {
		if b.Eligible {
			pods = append(pods, b.Pod)
		}
	}
	slices.SortFunc(pods, func(a, b string) int {
		if matching == skew.ByRank {
			return cmp.Or(cmp.Compare(loads[b], loads[a]), cmp.Compare(a, b))
		}
		return cmp.Compare(a, b)
	})
	at := map[string]int{}
	for i, pod := range pods {
		at[pod] = i
	}
	var cells []skew.Cell
	for _, u := range s.loadsOf() {
		if i, known := at[u.Backend]; known && u.Units > 0 {
			cells = append(cells, skew.Cell{Backend: i, Load: u.Load * float64(max(units, 1)) / max(sum, 1e-300), Units: u.Units})
		}
	}
	return cells
}

// roundComparison cuts figures to ten significant digits, as in a report.
func roundComparison(c *Comparison) { roundValue(reflect.ValueOf(c).Elem()) }
