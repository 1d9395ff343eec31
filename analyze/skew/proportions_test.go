package skew_test

import (
	"math"
	"testing"

	"github.com/podskew/podskew/analyze/skew"
)

// The rows of table II of Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10; there the first proportion less the second.
func TestTheDifferenceOfProportionsIsNewcombes(t *testing.T) {
	for _, c := range []struct {
		k2, n2, k1, n1 int
		low, high      float64
	}{
		{56, 70, 48, 80, 0.0524, 0.3339},
		{9, 10, 3, 10, 0.1705, 0.8090},
		{6, 7, 2, 7, 0.0582, 0.8062},
		{5, 56, 0, 29, -0.0381, 0.1926},
		{0, 10, 0, 20, -0.1611, 0.2775},
		{0, 10, 0, 10, -0.2775, 0.2775},
		{10, 10, 0, 20, 0.6791, 1},
		{10, 10, 0, 10, 0.6075, 1},
	} {
		low, high := skew.ProportionDifference(c.k1, c.n1, c.k2, c.n2)
		if math.Abs(low-c.low) > 5e-5 || math.Abs(high-c.high) > 5e-5 {
			t.Errorf("%d of %d less %d of %d: %.4f to %.4f, published are %.4f to %.4f", c.k2, c.n2, c.k1, c.n1, low, high, c.low, c.high)
		}
	}
	if low, high := skew.ProportionDifference(0, 0, 1, 2); low != -1 || high != 1 {
		t.Errorf("of nothing: %v to %v", low, high)
	}
}
