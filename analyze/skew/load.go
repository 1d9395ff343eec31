package skew

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// LoadResult says whether the load of a unit depends on the backend it is on.
type LoadResult struct {
	// Method is MonteCarlo, ChiSquare for more than 20,000 units, or None: no two backends with units, or all loads
	// equal within each sample.
	Method  Method
	P       float64   // of backends' mean loads differing as much if loads did not depend on the backend
	PerUnit []float64 // load of each backend's units over what it would then be on average; 0: no units
	Highest int       // backend with the highest PerUnit, -1 without any
	Lowest  int       // and the lowest among those with units
}

// LoadTest tests whether loads are exchangeable among the units of each sample: the statistic is Σ_b X_b (m_b-m)², the
// spread of the backends' mean loads m_b, and p its rank among draws permutations (0: 1,999) of the loads within each
// sample. It takes no view of where units went. In a closed loop it is what a slow backend shows up in: its units carry less.
// All samples have the same backends in the same order.
func LoadTest(samples []Sample, seed Seed, draws int) LoadResult {
	r := LoadResult{Method: None, P: 1, Highest: -1, Lowest: -1}
	t := newLoads(samples)
	if t == nil {
		return r
	}
	r.PerUnit = t.perUnit()
	for b, v := range r.PerUnit {
		if t.units[b] == 0 {
			continue
		}
		if r.Highest < 0 || v > r.PerUnit[r.Highest] {
			r.Highest = b
		}
		if r.Lowest < 0 || v < r.PerUnit[r.Lowest] {
			r.Lowest = b
		}
	}
	if !t.vary() {
		return r
	}
	if total := t.total(); total > manyUnits {
		r.Method, r.P = ChiSquare, t.limit()
		return r
	}
	r.Method, r.P = MonteCarlo, t.permute(seed, cmp.Or(draws, permutations))
	return r
}

// loads is the samples laid out for permuting.
type loads struct {
	samples  [][]Cell  // merged
	units    []int     // of each backend, all samples
	expected []float64 // load of each backend if its units carried the mean of their samples
	load     []float64 // of each backend as observed
}

// newLoads returns nil if there are no backends.
func newLoads(samples []Sample) *loads {
	if len(samples) == 0 || len(samples[0].P) == 0 {
		return nil
	}
	n := len(samples[0].P)
	t := &loads{units: make([]int, n), expected: make([]float64, n), load: make([]float64, n)}
	for _, s := range samples {
		cells := merged(s.Cells)
		mean, _ := moments(cells)
		for _, c := range cells {
			t.units[c.Backend] += c.Units
			t.expected[c.Backend] += float64(c.Units) * mean
			t.load[c.Backend] += float64(c.Units) * c.Load
		}
		t.samples = append(t.samples, cells)
	}
	return t
}

// moments returns mean and variance (over units minus 1) of the loads of cells.
func moments(cells []Cell) (mean, variance float64) {
	units := 0
	for _, c := range cells {
		units += c.Units
		mean += float64(c.Units) * c.Load
	}
	if units == 0 {
		return 0, 0
	}
	mean /= float64(units)
	for _, c := range cells {
		variance += float64(c.Units) * (c.Load - mean) * (c.Load - mean)
	}
	return mean, variance / float64(max(1, units-1))
}

func (t *loads) total() int {
	total := 0
	for _, x := range t.units {
		total += x
	}
	return total
}

func (t *loads) perUnit() []float64 {
	out := make([]float64, len(t.units))
	for b, e := range t.expected {
		if e > 0 {
			out[b] = t.load[b] / e
		}
	}
	return out
}

// vary reports whether some sample has units with different loads on different backends.
func (t *loads) vary() bool {
	return slices.ContainsFunc(t.samples, func(cells []Cell) bool {
		load, backend := false, false
		for _, c := range cells {
			load = load || c.Load != cells[0].Load
			backend = backend || c.Backend != cells[0].Backend
		}
		return load && backend
	})
}

// distance is Σ_b (load_b - expected_b)²/X_b.
func (t *loads) distance(load []float64) float64 {
	var sum float64
	for b, x := range t.units {
		if x > 0 {
			d := load[b] - t.expected[b]
			sum += d * d / float64(x)
		}
	}
	return sum
}

func (t *loads) permute(seed Seed, draws int) float64 {
	rng := rand.New(seed.source()) // #nosec G404 -- a simulation has to be repeatable
	type deck struct {
		backends []int
		loads    []float64
	}
	var decks []deck
	for _, cells := range t.samples {
		var d deck
		for _, c := range cells {
			for range c.Units {
				d.backends = append(d.backends, c.Backend)
				d.loads = append(d.loads, c.Load)
			}
		}
		decks = append(decks, d)
	}
	limit := t.distance(t.load) * (1 - tie)
	hits := 1
	load := make([]float64, len(t.units))
	for range draws {
		clear(load)
		for _, d := range decks {
			rng.Shuffle(len(d.loads), func(i, k int) { d.loads[i], d.loads[k] = d.loads[k], d.loads[i] })
			for i, b := range d.backends {
				load[b] += d.loads[i]
			}
		}
		hits += one(t.distance(load) >= limit)
	}
	return float64(hits) / float64(draws+1)
}

// limit is the p-value by the limiting distribution of the permutations: a weighted sum of χ² by its first two moments
// (Satterthwaite 1946). With units X_gb and load variance s_g² in sample g, the loads have the covariance
// Σ_g s_g² (diag(X_g) - X_g X_gᵀ/N_g).
func (t *loads) limit() float64 {
	n := len(t.units)
	diagonal := make([]float64, n)
	var vectors [][]float64
	for _, cells := range t.samples {
		_, variance := moments(cells)
		v := make([]float64, n)
		total := 0.0
		for _, c := range cells {
			v[c.Backend] += float64(c.Units)
			total += float64(c.Units)
		}
		for b, x := range v {
			diagonal[b] += variance * x
			v[b] = math.Sqrt(variance/max(total, 1)) * x
		}
		vectors = append(vectors, v)
	}
	first, second := t.traces(diagonal, vectors)
	if first <= 0 || second <= 0 {
		return 1
	}
	return distuv.ChiSquared{K: first * first / second}.Survival(t.distance(t.load) * first / second)
}

// traces returns the traces of D⁻¹C and of its square, C being diag(diagonal) less the squares of the vectors and D the
// units of each backend.
func (t *loads) traces(diagonal []float64, vectors [][]float64) (first, second float64) {
	for b, x := range t.units {
		if x == 0 {
			continue
		}
		size := float64(x)
		own := 0.0
		for _, v := range vectors {
			own += v[b] * v[b]
		}
		first += (diagonal[b] - own) / size
		second += diagonal[b] * (diagonal[b] - 2*own) / (size * size)
	}
	for _, v := range vectors {
		for _, w := range vectors {
			cross := 0.0
			for b, x := range t.units {
				cross += v[b] * w[b] / max(1, float64(x))
			}
			second += cross * cross
		}
	}
	return first, second
}
