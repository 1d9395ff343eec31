package analyze

import (
	"cmp"
	"math"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// Tail says whose requests are the slow ones: those above the stream's 99th percentile.
type Tail struct {
	Threshold   float64 `json:"threshold"`            // that percentile, in seconds
	SlowestPod  string  `json:"slowestPod,omitempty"` // the pod with the largest part of its requests above it; "" too few connections to ask
	SlowestRate float64 `json:"slowestRate"`          // that part; 0.01 is usual
	Connections int     `json:"connections"`          // with samples: what the test permutes
	Method      string  `json:"method"`               // monte-carlo, or none
	P           float64 `json:"p"`                    // of so slow a pod if pods did not matter
	AdjustedP   float64 `json:"adjustedP"`            // Holm, over the report

	HottestPod   string  `json:"hottestPod"`   // with most requests
	HotShare     float64 `json:"hotShare"`     // its part of the answered requests
	HotSlowShare float64 `json:"hotSlowShare"` // and of those above the threshold
	// HotExcess is the 95 % interval of HotSlowShare - HotShare, by resampling connections; nil with too few of them.
	HotExcess     *Range  `json:"hotExcess,omitempty"`
	P99WithoutHot float64 `json:"p99WithoutHot"` // of all other pods, in seconds; 0 if there is no other
}

// slowness is the test whether one pod is slower than the others.
type slowness struct {
	skew.ExceedanceResult
	connections int
	hotExcess   *Range // of the pod with most requests
}

// Requests and connections per pod below which a slow pod is not looked for.
const (
	tailSamples     = 1000
	tailConnections = 5
)

// slowness tests whether slow requests keep to one pod. Its unit is the connection: requests on one are alike.
func (t *traffic) slowness(rec *record.Record, seed skew.Seed) slowness {
	none := slowness{ExceedanceResult: skew.ExceedanceResult{Method: skew.None, P: 1, Slowest: -1}}
	if !ofConnections(t.unit) || len(t.backends) < 2 {
		return none
	}
	p := newLatencyPass(t)
	p.each(rec, p.count)
	if p.total < tailSamples {
		return none
	}
	p.threshold()
	p.each(rec, p.exceed)
	var list []skew.Exceeding
	perPod, hottest := make([]int, len(t.backends)), 0
	for _, e := range p.rows {
		if e.Requests > 0 {
			list = append(list, e)
			perPod[e.Backend]++
		}
	}
	for i, b := range t.backends {
		if b.requests > t.backends[hottest].requests {
			hottest = i
		}
	}
	if r, some := skew.ExcessInterval(list, len(t.backends), hottest, seed.For("hottest"), 0); some {
		none.hotExcess = (*Range)(&r)
	}
	used := slices.DeleteFunc(perPod, func(n int) bool { return n == 0 })
	if len(used) < 2 || slices.Min(used) < tailConnections {
		none.connections = len(list)
		return none
	}
	return slowness{skew.ExceedanceTest(list, len(t.backends), seed, 0), len(list), none.hotExcess}
}

// latencyPass goes through the samples of one stream twice: for the threshold, then for who exceeds it.
type latencyPass struct {
	stream string
	at     map[latencyKey]int32 // of each connection among the rows
	rows   []skew.Exceeding
	counts []int // by bucket
	total  int
	limit  uint16

	last   latencyKey // consecutive samples often share a connection
	lastAt int32
}

type latencyKey struct {
	agent string
	id    uint32
}

func newLatencyPass(t *traffic) *latencyPass {
	p := &latencyPass{stream: t.plan.ID, at: make(map[latencyKey]int32, len(t.rows)), counts: make([]int, mostBuckets), lastAt: -1}
	for _, c := range t.rows {
		if at, known := t.byPod[c.Backend]; known && c.ID >= 0 && c.ID <= math.MaxUint32 {
			p.at[latencyKey{c.Agent, uint32(c.ID)}] = int32(len(p.rows)) // #nosec G115 -- a record holds fewer rows
			p.rows = append(p.rows, skew.Exceeding{Backend: at})
		}
	}
	return p
}

// each calls do for every answered sample of the stream whose connection is known.
func (p *latencyPass) each(rec *record.Record, do func(row int32, bucket uint16)) {
	for i := range rec.Latencies {
		l := &rec.Latencies[i]
		if l.Stream != p.stream {
			continue
		}
		for k, id := range l.Connections {
			if row := p.row(latencyKey{l.Agent, id}); row >= 0 && k < len(l.Buckets) {
				do(row, l.Buckets[k])
			}
		}
	}
	for i := range rec.Samples {
		s := &rec.Samples[i]
		if s.Stream != p.stream || (s.Error != "" && s.Error != record.ErrStatus) || s.Connection < 0 || s.Connection > math.MaxUint32 {
			continue
		}
		if row := p.row(latencyKey{s.Agent, uint32(s.Connection)}); row >= 0 {
			do(row, record.LatencyBucket(s.Latency))
		}
	}
}

func (p *latencyPass) row(key latencyKey) int32 {
	if p.lastAt >= 0 && key == p.last {
		return p.lastAt
	}
	at, known := p.at[key]
	if !known {
		return -1
	}
	p.last, p.lastAt = key, at
	return at
}

func (p *latencyPass) count(_ int32, bucket uint16) {
	if int(bucket) < len(p.counts) {
		p.counts[bucket]++
		p.total++
	}
}

// threshold finds the bucket of the 99th percentile.
func (p *latencyPass) threshold() {
	rank, seen := int(math.Ceil(0.99*float64(p.total))), 0
	for bucket, n := range p.counts {
		if seen += n; seen >= rank {
			p.limit = uint16(bucket) // #nosec G115 -- below mostBuckets
			return
		}
	}
}

func (p *latencyPass) exceed(row int32, bucket uint16) {
	p.rows[row].Requests++
	if bucket > p.limit {
		p.rows[row].Slow++
	}
}

// tail puts the slow requests beside the pods that answered them.
func (s *subject) tail(f *family) *Tail {
	hottest := -1
	var all record.Histogram
	for i, b := range s.backends {
		all.Merge(b.latency)
		if b.requests > 0 && (hottest < 0 || b.requests > s.backends[hottest].requests) {
			hottest = i
		}
	}
	if hottest < 0 || all.Count() < fewAnswers {
		return nil
	}
	clue := f.about[s.traffic]
	threshold := all.Quantile(0.99)
	out := &Tail{
		Threshold: threshold, Connections: clue.slow.connections, Method: string(cmp.Or(clue.slow.Method, skew.None)), P: clue.slow.P, AdjustedP: 1,
		HottestPod: s.backends[hottest].pod, HotShare: float64(s.backends[hottest].latency.Count()) / float64(all.Count()),
	}
	if clue.slowClaim != nil {
		out.AdjustedP = clue.slowClaim.adjusted
	}
	if at := clue.slow.Slowest; at >= 0 {
		out.SlowestPod, out.SlowestRate = s.backends[at].pod, clue.slow.Rates[at]
	}
	var others record.Histogram
	slow, slowHot := uint64(0), above(s.backends[hottest].latency, threshold)
	for i, b := range s.backends {
		slow += above(b.latency, threshold)
		if i != hottest {
			others.Merge(b.latency)
		}
	}
	out.HotSlowShare = float64(slowHot) / float64(max(slow, 1))
	out.P99WithoutHot, out.HotExcess = tailOf(others), clue.slow.hotExcess
	return out
}

// above counts the durations in buckets that end above a number of seconds.
func above(h record.Histogram, seconds float64) uint64 {
	var n uint64
	for _, b := range h.Buckets {
		if float64(record.BucketUpper(b.Index))*1e-9 > seconds {
			n += b.Count
		}
	}
	return n
}

// freshMost is the number of requests per connection up to which they count as independent.
const freshMost = 1.5

// p99Interval is the 95 % interval of a pod's 99th percentile by order statistics: only where nearly every request had a
// connection of its own, and there are enough for both ends.
func p99Interval(b *backend) *Range {
	if b.connections == 0 || float64(b.requests) > freshMost*float64(b.connections) {
		return nil
	}
	n := b.latency.Count()
	low, high := skew.QuantileRanks(int(min(n, math.MaxInt32)), 0.99, 0.95) // #nosec G115 -- bounded
	if low == 0 || high == 0 {
		return nil
	}
	return &Range{ranked(b.latency, low), ranked(b.latency, high)}
}

// ranked returns the rank-th smallest duration in seconds, rank from 1.
func ranked(h record.Histogram, rank int) float64 {
	seen := uint64(0)
	for _, b := range h.Buckets {
		if seen += b.Count; seen >= uint64(rank) { // #nosec G115 -- positive
			return float64(record.BucketUpper(b.Index)) * 1e-9
		}
	}
	return 0
}
