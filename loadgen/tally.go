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

// shard is where a part of the slots counts. More than a few shards would not make less waiting but more rows: a request
// takes a hundred times longer than what it does under the lock.
type shard struct {
	mu    sync.Mutex
	cells map[cellKey]*record.Tally
	// generation counts the drains: a slot may reuse the cell of its last request as long as there was none.
	generation uint64
	requests   int
	errors     int
}

// request is what became of one request, or of a dial that failed in its place.
type request struct {
	sent     time.Duration // since the start
	took     time.Duration // until the answer was complete, or until it failed
	answered bool
	kind     record.ErrorKind
}

// count adds a request to its cell. The caller holds the lock.
func (s *shard) count(cell *record.Tally, q request) {
	cell.Requests++
	s.requests++
	if q.kind != "" {
		if cell.Errors == nil {
			cell.Errors = map[record.ErrorKind]int{}
		}
		cell.Errors[q.kind]++
		s.errors++
	}
	if q.answered {
		cell.Latency.Add(int64(q.took), 1)
	}
}

// cell returns the cell of a key, a new one if need be. The caller holds the lock and fills in the stream and agent.
func (s *shard) cell(key cellKey) *record.Tally {
	cell, ok := s.cells[key]
	if !ok {
		cell = &record.Tally{Backend: key.backend, Observed: key.observed, Second: key.second}
		s.cells[key] = cell
	}
	return cell
}

// drain takes the cells of the seconds before second away and adds them to into.
func (s *shard) drain(second int, into map[cellKey]*record.Tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	for key, cell := range s.cells {
		if key.second >= second {
			continue
		}
		delete(s.cells, key)
		if sum, ok := into[key]; ok {
			add(sum, cell)
		} else {
			into[key] = cell
		}
	}
}

func add(sum, t *record.Tally) {
	sum.Requests += t.Requests
	for kind, n := range t.Errors {
		if sum.Errors == nil {
			sum.Errors = map[record.ErrorKind]int{}
		}
		sum.Errors[kind] += n
	}
	sum.Latency.Merge(t.Latency)
}

// tallies takes the seconds before second out of all shards, in an order that depends on nothing but the keys.
func (r *run) tallies(second int) []record.Tally {
	cells := map[cellKey]*record.Tally{}
	for _, s := range r.shards {
		s.drain(second, cells)
	}
	keys := slices.SortedFunc(maps.Keys(cells), func(a, b cellKey) int {
		return cmp.Or(cmp.Compare(a.second, b.second), cmp.Compare(a.address, b.address),
			cmp.Compare(a.backend, b.backend), cmp.Compare(a.observed, b.observed))
	})
	rows := make([]record.Tally, len(keys))
	for i, key := range keys {
		rows[i] = *cells[key]
		rows[i].Stream, rows[i].Agent, rows[i].Address = r.plan.Stream, r.plan.Agent, r.targets[key.address].hostPort
	}
	return rows
}
