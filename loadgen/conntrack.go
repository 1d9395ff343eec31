package loadgen

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/podskew/podskew/record"
)

const (
	// tupleRetry is how long a connection waits at a time for room in the connection-tracking table.
	tupleRetry = 20 * time.Millisecond
	// tuplesEvery is how often the table is looked at.
	tuplesEvery = 250 * time.Millisecond
	// tupleReserve is the fraction of the table that is left to others.
	tupleReserve = 0.2
	// tupleLife is how long a closed connection stays in a table that cannot be read: the kernel's default for TIME_WAIT.
	tupleLife = 2 * time.Minute
)

// readConntrack reads how many entries the connection-tracking table of this network namespace has and may have; false if
// there is none, or it is not to be seen.
func readConntrack() (count, limit int, ok bool) {
	count, ok = readNumber("/proc/sys/net/netfilter/nf_conntrack_count")
	if !ok {
		return 0, 0, false
	}
	limit, ok = readNumber("/proc/sys/net/netfilter/nf_conntrack_max")
	return count, limit, ok && limit > 0
}

func readNumber(path string) (int, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return n, err == nil
}

// tupleGate keeps a run from filling the table in which its machine tracks connections: a table that is full drops the
// first packets of connections without a word, which looks like the target's doing. The zero value lets everything through.
type tupleGate struct {
	limited atomic.Bool
	left    atomic.Int64
	held    atomic.Int64 // connections that had to wait

	read   func() (count, limit int, ok bool)
	budget int // Plan.MaxTuples

	mu    sync.Mutex
	state *record.Conntrack // nil: not readable
}

// take takes the room of one connection, if there is any.
func (g *tupleGate) take() bool {
	if !g.limited.Load() || g.left.Add(-1) >= 0 {
		return true
	}
	g.left.Add(1)
	return false
}

// hold counts a connection that take had no room for.
func (g *tupleGate) hold() { g.held.Add(1) }

// start looks at the table before the load. read may be nil.
func (g *tupleGate) start(read func() (count, limit int, ok bool), budget int) {
	g.read, g.budget = read, budget
	if read != nil {
		if count, limit, ok := read(); ok {
			g.state = &record.Conntrack{Max: limit, Before: count, Peak: count}
			g.look(count)
			g.limited.Store(true)
			return
		}
	}
	g.left.Store(int64(budget))
	g.limited.Store(budget > 0)
}

// watch looks at the table until ctx ends.
func (g *tupleGate) watch(ctx context.Context) {
	every := tuplesEvery
	switch {
	case g.state != nil:
	case g.budget > 0:
		every = tupleLife
	default:
		return
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if g.state == nil {
			g.left.Store(int64(g.budget))
		} else if count, _, ok := g.read(); ok {
			g.look(count)
		}
	}
}

// look takes note of how many entries there are, and lets as many connections through as there is room for beyond the
// reserve; with a budget, as let the table grow by no more than that.
func (g *tupleGate) look(count int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.state
	s.Peak = max(s.Peak, count)
	s.Full = s.Full || float64(count) >= 0.99*float64(s.Max)
	room := int((1-tupleReserve)*float64(s.Max)) - count
	if g.budget > 0 {
		room = min(room, g.budget-(count-s.Before))
	}
	g.left.Store(int64(max(room, 0)))
}

// conntrack returns what was seen, and is seen now; nil: the table is not readable.
func (g *tupleGate) conntrack() *record.Conntrack {
	if g.state != nil {
		if count, _, ok := g.read(); ok {
			g.look(count)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == nil {
		return nil
	}
	state := *g.state
	state.HeldBack = int(g.held.Load())
	return &state
}
