package skew

// Part is one group of units as it came out, for taking the skew of requests apart.
type Part struct {
	P        []float64 // probability of each backend
	Units    []int     // on each backend
	Requests []float64 // of each backend
}

// Decomposition splits the squared coefficient of variation of requests over backends. The parts add up to Total up to
// rounding. A negative part works against the others: it offsets them.
type Decomposition struct {
	Total       float64 // CV²
	Designed    float64 // the shares that are expected are uneven
	Placement   float64 // the units fell unevenly
	LoadPerUnit float64 // some units carry more than others
	Unexplained float64 // placement beyond what chance gives on average; 0 unless placement was found to differ from the law
}

// Decompose takes the skew of requests apart by source: shares that are expected, where units fell, how much they
// carried (covariance shares, Shorrocks 1982: exact, cross terms included). differs says that the test of the units
// rejected their law; only then is anything called unexplained. Parts have the same backends in the same order.
func Decompose(parts []Part, differs bool) Decomposition {
	if len(parts) == 0 {
		return Decomposition{}
	}
	n := len(parts[0].P)
	shares, fallen, expected := make([]float64, n), make([]float64, n), make([]float64, n)
	var total float64
	weights := make([]float64, len(parts))
	for g, part := range parts {
		for b, r := range part.Requests {
			shares[b] += r
			weights[g] += r
			total += r
		}
	}
	if total == 0 {
		return Decomposition{}
	}
	var byChance float64
	for g, part := range parts {
		byChance += part.spread(weights[g]/total, fallen, expected)
	}
	var d Decomposition
	for b := range shares {
		s := shares[b] / total
		away := s - 1/float64(n)
		d.Total += float64(n) * away * away
		d.Designed += float64(n) * (expected[b] - 1/float64(n)) * away
		d.Placement += float64(n) * (fallen[b] - expected[b]) * away
		d.LoadPerUnit += float64(n) * (s - fallen[b]) * away
	}
	if usual := float64(n) * byChance; differs && d.Placement > usual {
		d.Unexplained = d.Placement - usual
		d.Placement = usual
	}
	return d
}

// spread adds the part's weighted unit shares and expected shares and returns what chance adds, on average, to Σ(k-e)².
func (p Part) spread(weight float64, fallen, expected []float64) float64 {
	units := 0
	for _, x := range p.Units {
		units += x
	}
	var squares float64
	for b, pb := range p.P {
		expected[b] += weight * pb
		squares += pb * pb
		k := pb // requests without a known unit: nothing is known of their placement
		if units > 0 {
			k = float64(p.Units[b]) / float64(units)
		}
		fallen[b] += weight * k
	}
	if units == 0 {
		return 0
	}
	return weight * weight * (1 - squares) / float64(units)
}
