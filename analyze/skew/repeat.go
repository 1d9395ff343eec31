package skew

// Repeats simulates the law draws times, units keeping their loads and only changing places, and returns the metrics of each
// outcome: what repetitions of one run would have shown. Without any unit, all of them are those of no load.
func (l *Law) Repeats(seed Seed, draws int) []Metrics {
	out := make([]Metrics, draws)
	placer := newPlacer(l, seed)
	for i := range out {
		_, loads := placer.draw()
		out[i] = Measure(loads)
	}
	return out
}
