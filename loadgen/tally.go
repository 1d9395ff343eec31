package loadgen

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/podskew/podskew/record"
)

// cellKey is what tallies are counted by. Its strings are of the run's names, so that comparing them compares pointers.
type cellKey struct {
	address  int // of run.targets
	second   int
	backend  string
	observed string
}

// tallyCell is a tally that is being counted.
type tallyCell struct {
	requests, connections int
	errors                map[record.ErrorKind]int
	latency               histogram
}

// shard is where a part of the slots counts. More than a few shards would not make less waiting but more rows: a request
// takes a hundred times longer than what it does under the lock.
type shard struct {
	mu    sync.Mutex
	cells map[cellKey]*tallyCell
	// generation counts the drains: a slot may reuse the cell of its last request as long as there was none.
	generation uint64
	requests   int
	errors     int
	lateness   histogram // of an open loop
	warmed     warmCounts
}

// newShard returns a shard whose counts are in the run's results.
func (r *run) newShard() *shard {
	s := &shard{cells: map[cellKey]*tallyCell{}}
	r.shardsMu.Lock()
	defer r.shardsMu.Unlock()
	r.shards = append(r.shards, s)
	return s
}

// allShards returns the shards there are.
func (r *run) allShards() []*shard {
	r.shardsMu.Lock()
	defer r.shardsMu.Unlock()
	return slices.Clone(r.shards)
}

// request is what became of one request, or of a dial that failed in its place.
type request struct {
	sent     time.Duration // since the start; of a failed dial: when it began
	late     time.Duration // open loop: how long after its intended time it was sent
	took     time.Duration // from sent, in an open loop from the intended time, until the answer was complete or it failed
	answered bool
	kind     record.ErrorKind
	warm     bool // of the warm-up: not to be counted
}

// count adds a request to its cell. The caller holds the lock.
func (s *shard) count(cell *tallyCell, q request) {
	cell.requests++
	s.requests++
	if q.kind != "" {
		if cell.errors == nil {
			cell.errors = map[record.ErrorKind]int{}
		}
		cell.errors[q.kind]++
		s.errors++
	}
	if q.answered {
		cell.latency.add(q.took)
	}
}

// cell returns the cell of a key, a new one if need be. The caller holds the lock.
func (s *shard) cell(key cellKey) *tallyCell {
	cell, ok := s.cells[key]
	if !ok {
		cell = &tallyCell{}
		s.cells[key] = cell
	}
	return cell
}

// drain takes the cells of the seconds before second away and adds them to into.
func (s *shard) drain(second int, into map[cellKey]*tallyCell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	for key, cell := range s.cells {
		if key.second >= second {
			continue
		}
		delete(s.cells, key)
		if sum, ok := into[key]; ok {
			sum.add(cell)
		} else {
			into[key] = cell
		}
	}
}

func (c *tallyCell) add(o *tallyCell) {
	c.requests += o.requests
	c.connections += o.connections
	for kind, n := range o.errors {
		if c.errors == nil {
			c.errors = map[record.ErrorKind]int{}
		}
		c.errors[kind] += n
	}
	c.latency.merge(&o.latency)
}

// tallies takes the seconds before second out of all shards, in an order that depends on nothing but the keys.
func (r *run) tallies(second int) []record.Tally {
	cells := map[cellKey]*tallyCell{}
	for _, s := range r.allShards() {
		s.drain(second, cells)
	}
	keys := slices.SortedFunc(maps.Keys(cells), func(a, b cellKey) int {
		return cmp.Or(cmp.Compare(a.second, b.second), cmp.Compare(a.address, b.address),
			cmp.Compare(a.backend, b.backend), cmp.Compare(a.observed, b.observed))
	})
	rows := make([]record.Tally, len(keys))
	for i, key := range keys {
		c := cells[key]
		rows[i] = record.Tally{
			Stream: r.plan.Stream, Agent: r.plan.Agent, Address: r.targets[key.address].hostPort,
			Backend: key.backend, Observed: key.observed, Second: key.second,
			Requests: c.requests, Connections: c.connections, Errors: c.errors, Latency: c.latency.record(),
		}
	}
	return rows
}

// lateness adds up what an open loop's shards know of late sends.
func (r *run) lateness() record.Histogram {
	var sum histogram
	for _, s := range r.allShards() {
		s.mu.Lock()
		sum.merge(&s.lateness)
		s.mu.Unlock()
	}
	return sum.record()
}
