package skew

import (
	"math"
	"slices"
)

// Metrics are the usual measures of an uneven distribution, in their population forms: over all backends given, idle
// ones included.
type Metrics struct {
	MaxOverMean float64 // load of the busiest backend over the mean, 1 to n
	CV          float64 // coefficient of variation, 0 to √(n-1)
	Gini        float64 // 0 to (n-1)/n
	Jain        float64 // fairness index 1/(1+CV²), 1/n to 1
	Effective   float64 // exp of the entropy of the shares: how many evenly used backends are as uneven, 1 to n
	Idle        int     // backends without any load
}

// Measure returns the metrics of loads, one per backend, none of them negative. The order of loads does not matter,
// not even for the last digit. Without any load everything is 0 but Idle.
func Measure(loads []float64) Metrics {
	return measureSorted(slices.Sorted(slices.Values(loads)))
}

// measureSorted is Measure for loads in ascending order.
func measureSorted(loads []float64) Metrics {
	n := float64(len(loads))
	var total, weighted float64
	idle := 0
	for i, x := range loads {
		total += x
		weighted += float64(2*i+1-len(loads)) * x
		if x == 0 {
			idle++
		}
	}
	if total == 0 {
		return Metrics{Idle: idle}
	}
	mean := total / n
	var squares, entropy float64
	for _, x := range loads {
		d := x/mean - 1
		squares += d * d
		if x > 0 {
			s := x / total
			entropy -= s * math.Log(s)
		}
	}
	cv2 := squares / n
	return Metrics{
		MaxOverMean: loads[len(loads)-1] / mean,
		CV:          math.Sqrt(cv2),
		Gini:        weighted / (n * total),
		Jain:        1 / (1 + cv2),
		Effective:   math.Exp(entropy),
		Idle:        idle,
	}
}
