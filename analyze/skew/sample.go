package skew

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"
)

// sampler draws where the units of one group go.
type sampler struct {
	backends []int     // those with a positive probability
	p        []float64 // theirs
	alias    []int     // Vose's tables; nil if all are equally likely
	keep     []float64
}

func newSampler(p []float64) *sampler {
	s := &sampler{}
	equal := true
	for b, pb := range p {
		if pb > 0 {
			equal = equal && (len(s.p) == 0 || pb == s.p[0])
			s.backends = append(s.backends, b)
			s.p = append(s.p, pb)
		}
	}
	if !equal {
		s.tables()
	}
	return s
}

// tables builds the alias method's tables (Walker 1977, Vose 1991): one draw costs one index and one comparison.
func (s *sampler) tables() {
	n := len(s.p)
	s.alias, s.keep = make([]int, n), make([]float64, n)
	scaled := make([]float64, n)
	var small, large []int
	for i, p := range s.p {
		scaled[i] = p * float64(n)
		if scaled[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		few, many := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		s.keep[few], s.alias[few] = scaled[few], many
		scaled[many] -= 1 - scaled[few]
		if scaled[many] < 1 {
			large = large[:len(large)-1]
			small = append(small, many)
		}
	}
	for _, i := range append(small, large...) {
		s.keep[i], s.alias[i] = 1, i
	}
}

// one returns the backend of one unit.
func (s *sampler) one(rng *rand.Rand) int {
	i := rng.IntN(len(s.backends))
	if s.alias != nil && rng.Float64() >= s.keep[i] {
		i = s.alias[i]
	}
	return s.backends[i]
}

// fillFrom is how many units per backend it takes for Poisson filling to be quicker than drawing each unit.
const fillFrom = 25

// refillFrom is how many units left over by one filling are worth another.
const refillFrom = 4_000

// add draws units choices and adds their number on each backend to counts. scratch has room for the backends.
func (s *sampler) add(units int, counts, scratch []int, src *rand.PCG, rng *rand.Rand) {
	if len(s.backends) == 1 {
		counts[s.backends[0]] += units
		return
	}
	left := units
	for left > fillFrom*len(s.backends) && (left == units || left > refillFrom) {
		left = s.fill(left, scratch, src)
		for i, b := range s.backends {
			counts[b] += scratch[i]
		}
	}
	for range left {
		counts[s.one(rng)]++
	}
}

// fill draws all but some of the units at once and returns how many are left. Independent Poisson counts given their sum
// are multinomial whatever the sum is, so a sum that falls short is topped up unit by unit and one that is too large is
// drawn again; the mean is set four standard deviations low to make that rare.
func (s *sampler) fill(units int, counts []int, src *rand.PCG) (left int) {
	mean := float64(units) - 4*math.Sqrt(float64(units))
	for {
		total := 0
		for i, p := range s.p {
			counts[i] = int(distuv.Poisson{Lambda: mean * p, Src: src}.Rand())
			total += counts[i]
		}
		if total <= units {
			return units - total
		}
	}
}

// drawNanoseconds estimates what one draw of units choices costs. It decides between methods, so it is a formula and
// not a measurement: the same input must take the same way on every machine.
func (s *sampler) drawNanoseconds(units int) float64 {
	n := float64(len(s.backends))
	if units > fillFrom*len(s.backends) {
		return 30*n + min(16*math.Sqrt(float64(units)), 4*refillFrom+60*n)
	}
	return 4*float64(units) + n
}
