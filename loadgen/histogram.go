package loadgen

import (
	"time"

	"github.com/podskew/podskew/record"
)

// histogram counts as record.Histogram does, in place of searching: one block of counts per power of two that occurs,
// mostly a handful. The zero value is empty and ready.
type histogram struct {
	sum    float64 // nanoseconds
	blocks [maxBlocks]*[blockSize]uint32
}

const (
	blockSize = 128 // buckets per power of two, as record.BucketIndex has them
	maxBlocks = 58  // BucketIndex(math.MaxInt64)/blockSize + 1
)

// add counts one duration.
func (h *histogram) add(d time.Duration) {
	h.sum += float64(max(d, 0))
	i := record.BucketIndex(int64(d))
	block := h.blocks[i/blockSize]
	if block == nil {
		block = new([blockSize]uint32)
		h.blocks[i/blockSize] = block
	}
	block[i%blockSize]++
}

// merge adds the counts of o.
func (h *histogram) merge(o *histogram) {
	h.sum += o.sum
	for i, from := range o.blocks {
		if from == nil {
			continue
		}
		if h.blocks[i] == nil {
			h.blocks[i] = new([blockSize]uint32)
		}
		for j, n := range from {
			h.blocks[i][j] += n
		}
	}
}

// record returns the counts as a record has them.
func (h *histogram) record() record.Histogram {
	out := record.Histogram{Sum: h.sum * 1e-9}
	for i, block := range h.blocks {
		if block == nil {
			continue
		}
		for j, n := range block {
			if n > 0 {
				out.Buckets = append(out.Buckets, record.Bucket{Index: uint32(i*blockSize + j), Count: uint64(n)})
			}
		}
	}
	return out
}
