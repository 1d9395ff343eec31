package skew

import (
	"cmp"
	"slices"
)

// Cell is a number of units that ended up on the same backend with the same load.
type Cell struct {
	Backend int     // 0 to n-1
	Load    float64 // what each of them carries; not negative
	Units   int     // how many there are; 0 counts as none
}

// Sample is the units of one stratum as they came out: a number of units that choose with the same probabilities.
type Sample struct {
	P     []float64 // probability of each of the n backends
	Cells []Cell    // in any order, equal ones may repeat
}

// merged returns the cells sorted by backend and load, equal ones joined and empty ones dropped. What is computed from them
// does not depend on the order in which they came.
func merged(cells []Cell) []Cell {
	sorted := slices.Clone(cells)
	slices.SortFunc(sorted, func(a, b Cell) int {
		return cmp.Or(cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Load, b.Load))
	})
	out := sorted[:0]
	for _, c := range sorted {
		switch last := len(out) - 1; {
		case c.Units <= 0:
		case last >= 0 && out[last].Backend == c.Backend && out[last].Load == c.Load:
			out[last].Units += c.Units
		default:
			out = append(out, c)
		}
	}
	return out
}
