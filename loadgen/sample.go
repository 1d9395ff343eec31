package loadgen

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/podskew/podskew/record"
)

// sampler keeps up to limit samples of a run whose length it does not know: every request at first, and half of what it
// has whenever it has too many. Which half is decided by a hash of the request's number, not by the number: connections
// that answer in turn would else be kept or dropped as a whole.
type sampler struct {
	limit int
	next  atomic.Uint64 // number of the next request
	mask  atomic.Uint64 // stride-1; a sample is kept while its hash has none of these bits

	mu   sync.Mutex
	kept []keptSample
}

type keptSample struct {
	hash   uint64
	sample record.Sample
}

// wants numbers a request and reports whether its sample is to be offered.
func (s *sampler) wants() (hash uint64, ok bool) {
	hash = mix(s.next.Add(1))
	return hash, hash&s.mask.Load() == 0
}

// offer keeps a sample, if it is still wanted.
func (s *sampler) offer(hash uint64, sample record.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hash&s.mask.Load() != 0 {
		return
	}
	s.kept = append(s.kept, keptSample{hash, sample})
	for len(s.kept) > s.limit {
		mask := s.mask.Load()<<1 | 1
		s.mask.Store(mask)
		s.kept = slices.DeleteFunc(s.kept, func(k keptSample) bool { return k.hash&mask != 0 })
	}
}

// take returns the samples by the time they were sent, and how many requests each stands for.
func (s *sampler) take() ([]record.Sample, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	samples := make([]record.Sample, len(s.kept))
	for i, k := range s.kept {
		samples[i] = k.sample
	}
	slices.SortFunc(samples, func(a, b record.Sample) int {
		return cmp.Or(cmp.Compare(a.Sent, b.Sent), cmp.Compare(a.Connection, b.Connection))
	})
	return samples, int(s.mask.Load()) + 1 // a power of two, not above the number of requests
}

// mix is the finalizer of splitmix64: it changes every bit of the result with probability ½ when one of x changes.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
