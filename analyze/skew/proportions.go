package skew

import "math"

// ProportionDifference returns the 95 % confidence interval of the difference of two proportions, the second less the first,
// of which k of n were seen: Newcombe's hybrid of two score intervals (Statistics in Medicine 17, 1998, method 10), which holds
// its level with few and with none, too. It is [-1, 1] if one n is 0.
func ProportionDifference(k1, n1, k2, n2 int) (low, high float64) {
	if n1 <= 0 || n2 <= 0 {
		return -1, 1
	}
	p1, p2 := float64(k1)/float64(n1), float64(k2)/float64(n2)
	low1, high1 := scoreInterval(k1, n1)
	low2, high2 := scoreInterval(k2, n2)
	d := p2 - p1
	return max(-1, d-math.Hypot(p2-low2, high1-p1)), min(1, d+math.Hypot(high2-p2, p1-low1))
}

// scoreInterval is Wilson's 95 % interval of a proportion.
func scoreInterval(k, n int) (low, high float64) {
	const z = 1.959963984540054
	count, p := float64(n), float64(k)/float64(n)
	middle := 2*count*p + z*z
	spread := z * math.Sqrt(z*z+4*count*p*(1-p))
	return max(0, (middle-spread)/(2*(count+z*z))), min(1, (middle+spread)/(2*(count+z*z)))
}
