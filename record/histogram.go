package record

import (
	"math"
	"math/bits"
	"slices"
)

// Histogram counts latencies in log-linear buckets: 128 per power of two of nanoseconds, so a
// quantile is at most 0.8 % above the true one. The zero value is empty and ready to use.
// Histograms of the same thing add up to the histogram of the whole, in any order.
type Histogram struct {
	Buckets []Bucket `json:"b,omitempty"` // ascending, no empty ones
	Sum     float64  `json:"sum,omitempty"`
}

// Bucket is one non-empty bucket.
type Bucket struct {
	Index uint32 `json:"i"`
	Count uint64 `json:"n"`
}

const histogramBits = 7

// BucketIndex returns the index of the bucket that holds d nanoseconds. Negative durations count as 0.
func BucketIndex(d int64) uint32 {
	if d < 0 {
		d = 0
	}
	u := uint64(d)
	exp := bits.Len64(u)
	if exp <= histogramBits+1 {
		return uint32(u)
	}
	shift := exp - histogramBits - 1
	return uint32(shift)<<histogramBits + uint32(u>>shift)
}

// BucketUpper returns the largest number of nanoseconds bucket i holds.
func BucketUpper(i uint32) int64 {
	if i < 2<<histogramBits {
		return int64(i)
	}
	shift := i>>histogramBits - 1
	mantissa := uint64(i) - uint64(shift)<<histogramBits
	upper := (mantissa+1)<<shift - 1
	if upper > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(upper)
}

// Add counts n durations of d nanoseconds.
func (h *Histogram) Add(d int64, n uint64) {
	h.Sum += float64(max(d, 0)) * 1e-9 * float64(n)
	h.bucket(BucketIndex(d), n)
}

func (h *Histogram) bucket(i uint32, n uint64) {
	at, found := slices.BinarySearchFunc(h.Buckets, i, func(b Bucket, i uint32) int { return int(b.Index) - int(i) })
	if found {
		h.Buckets[at].Count += n
		return
	}
	h.Buckets = slices.Insert(h.Buckets, at, Bucket{Index: i, Count: n})
}

// Merge adds the counts of o to h.
func (h *Histogram) Merge(o Histogram) {
	h.Sum += o.Sum
	for _, b := range o.Buckets {
		h.bucket(b.Index, b.Count)
	}
}

// Count returns how many durations were added.
func (h Histogram) Count() uint64 {
	var n uint64
	for _, b := range h.Buckets {
		n += b.Count
	}
	return n
}

// Quantile returns the q-quantile, 0 < q ≤ 1, in seconds: the upper end of the bucket that holds
// the ⌈q·n⌉-th smallest duration. It is 0 for an empty histogram.
func (h Histogram) Quantile(q float64) float64 {
	n := h.Count()
	if n == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(n)))
	rank = min(max(rank, 1), n)
	var seen uint64
	for _, b := range h.Buckets {
		seen += b.Count
		if seen >= rank {
			return float64(BucketUpper(b.Index)) * 1e-9
		}
	}
	return float64(BucketUpper(h.Buckets[len(h.Buckets)-1].Index)) * 1e-9
}

// Mean returns the mean in seconds, 0 for an empty histogram.
func (h Histogram) Mean() float64 {
	n := h.Count()
	if n == 0 {
		return 0
	}
	return h.Sum / float64(n)
}

// IsZero reports whether nothing was counted (it lets json omit the histogram).
func (h Histogram) IsZero() bool { return len(h.Buckets) == 0 }

// LatencyBucket returns the index of the bucket that holds a number of seconds: 0 for what is negative or no number, the last
// bucket for what is longer than 292 years.
func LatencyBucket(seconds float64) uint16 {
	switch ns := seconds * 1e9; {
	case !(ns > 0):
		return 0
	case ns >= math.MaxInt64:
		return uint16(BucketIndex(math.MaxInt64))
	default:
		return uint16(BucketIndex(int64(math.Round(ns)))) // #nosec G115 -- below 7,296
	}
}
