package skew

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// MaxAtMost returns the probability that none of n equally likely backends gets more than most of units.
func MaxAtMost(n, units, most int) float64 {
	switch {
	case most >= units:
		return 1
	case n*most < units:
		return 0
	case n == 2:
		return UpperTail(units-most, units, 0.5) - UpperTail(most+1, units, 0.5)
	case units < levinFrom:
		return maxByConvolution(n, units, most)
	}
	return maxByLevin(n, units, most)
}

// levinFrom is the number of units from which Levin's approximation is better than 0.001.
const levinFrom = 25

// maxByConvolution multiplies n truncated exponential series: N!/n^N times the coefficient of x^N of (Σ_{k≤most} x^k/k!)^n.
func maxByConvolution(n, units, most int) float64 {
	logs := logFactorials(units)
	ways := make([]float64, units+1)
	ways[0] = 1
	next := make([]float64, units+1)
	weight := make([]float64, most+1)
	for k := range weight {
		weight[k] = math.Exp(-logs[k] - float64(k)*math.Log(float64(n)))
	}
	for range n {
		clear(next)
		for have, w := range ways {
			for k := 0; k <= most && have+k <= units; k++ {
				next[have+k] += w * weight[k]
			}
		}
		ways, next = next, ways
	}
	return min(1, ways[units]*math.Exp(logs[units]))
}

// maxByLevin is the law of the largest multinomial count by Levin (1981): independent Poisson counts, none above most,
// given that they add up to units; the probability of that sum by an Edgeworth expansion.
func maxByLevin(n, units, most int) float64 {
	mean := float64(units) / float64(n)
	cdf := poissonCDFs(mean, most)
	if cdf[0] == 0 {
		return 0
	}
	// Factorial moments of a Poisson count cut off above most: mean^r F(most-r)/F(most).
	var f [5]float64
	f[0] = 1
	for r := 1; r <= 4; r++ {
		f[r] = math.Pow(mean, float64(r)) * cdf[r] / cdf[0]
	}
	k1, k2, k3, k4 := cumulants(f)
	size := float64(n)
	sd := math.Sqrt(size * k2)
	x := (float64(units) - size*k1) / sd
	skewness := size * k3 / (sd * sd * sd)
	excess := size * k4 / (sd * sd * sd * sd)
	hit := math.Exp(-x*x/2) / (sd * math.Sqrt(2*math.Pi)) *
		(1 + skewness/6*(x*x*x-3*x) + excess/24*(x*x*x*x-6*x*x+3) + skewness*skewness/72*(math.Pow(x, 6)-15*math.Pow(x, 4)+45*x*x-15))
	lg, _ := math.Lgamma(float64(units) + 1)
	logFront := lg + float64(units) - float64(units)*math.Log(float64(units)) + size*math.Log(cdf[0])
	return min(1, max(0, hit)*math.Exp(logFront))
}

// cumulants turns factorial moments into the first four cumulants.
func cumulants(f [5]float64) (k1, k2, k3, k4 float64) {
	m1 := f[1]
	m2 := f[2] + f[1]
	m3 := f[3] + 3*f[2] + f[1]
	m4 := f[4] + 6*f[3] + 7*f[2] + f[1]
	k1 = m1
	k2 = m2 - m1*m1
	k3 = m3 - 3*m1*m2 + 2*m1*m1*m1
	k4 = m4 - 4*m1*m3 - 3*m2*m2 + 12*m1*m1*m2 - 6*m1*m1*m1*m1
	return k1, k2, k3, k4
}

// poissonCDFs returns P(Y ≤ most-r) for r from 0 to 4.
func poissonCDFs(mean float64, most int) [5]float64 {
	var cdf [5]float64
	cdf[0] = mathext.GammaIncRegComp(float64(most)+1, mean)
	for r := 1; r <= 4 && r <= most; r++ {
		k := float64(most - r + 1)
		lg, _ := math.Lgamma(k + 1)
		cdf[r] = max(0, cdf[r-1]-math.Exp(k*math.Log(mean)-mean-lg))
	}
	return cdf
}

// UnitsForMax returns the number of units from which on the busiest of n equally likely backends has at most factor times
// the mean with probability level, each unit carrying the same. 0 for a single backend, or if no reasonable number does.
func UnitsForMax(n int, factor, level float64) int {
	if n < 2 || factor <= 1 {
		return 0
	}
	// Counts are whole numbers: with most = ⌊factor·N/n⌋ the hardest N is the last before that steps up. So step
	// through most, and find the last one whose hardest N fails.
	hardest := func(most int) int { return int(math.Ceil(float64(most+1)*float64(n)/factor)) - 1 }
	good := func(most int) bool { return MaxAtMost(n, hardest(most), most) >= level }
	high := 1
	for !good(high) || !good(high+1) || !good(2*high) {
		if high *= 2; hardest(high) > mostUnits {
			return 0
		}
	}
	low := 0
	for high-low > 1 {
		if mid := (low + high) / 2; good(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	// Smaller steps weigh more than the trend when counts are few: look a little further for one that still fails.
	last := low
	for most := high; most <= high+8; most++ {
		if !good(most) {
			last = most
		}
	}
	return hardest(last) + 1
}
