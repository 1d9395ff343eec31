package skew

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Gap is the time between two openings of one (client, node) pair in seconds, and whether the second reached the same
// backend.
type Gap struct {
	Seconds float64
	Held    bool
}

// TimeoutInterval is where the affinity timeout lies: above Low and, if Broken, at most High (95 %).
type TimeoutInterval struct {
	Low, High float64 // seconds; High is 0 unless Broken
	Broken    bool    // some gap did not hold; otherwise the timeout is just above Low
	Gaps      int
	ByLuck    int // longest held gaps that luck may explain and that therefore do not count for Low
}

// AffinityTimeout estimates one common sliding timeout. luck is the probability that a new choice reaches the same
// backend: Σp², 1/n if all n are equally likely. A gap shorter than the timeout holds for certain, one at least as long
// by luck. So High is the shortest gap that broke, and Low is below as many of the longest held gaps as luck makes with
// 5 % probability: floor(ln 20/ln n) of them.
func AffinityTimeout(gaps []Gap, luck float64) TimeoutInterval {
	t := TimeoutInterval{Gaps: len(gaps), High: math.Inf(1)}
	for _, g := range gaps {
		if !g.Held {
			t.Broken = true
			t.High = min(t.High, g.Seconds)
		}
	}
	var held []float64
	for _, g := range gaps {
		if g.Held && g.Seconds < t.High {
			held = append(held, g.Seconds)
		}
	}
	slices.SortFunc(held, func(a, b float64) int { return cmp.Compare(b, a) })
	if !t.Broken {
		t.High = 0
	}
	switch {
	case luck <= 0:
	case luck >= 1:
		t.ByLuck = len(held)
	default:
		t.ByLuck = min(len(held), int(math.Log(20)/-math.Log(luck)+1e-9))
	}
	if t.ByLuck < len(held) {
		t.Low = held[t.ByLuck]
	}
	return t
}

// AffinityList is how many addresses kube-proxy's iptables mode remembers per endpoint (xt_recent's ip_list_tot).
const AffinityList = 100

// Capacity is affinity where an endpoint remembers a limited number of clients and the one set longest ago is dropped.
type Capacity struct {
	Clients, Endpoints int
	Limit              int  // 0: AffinityList
	Shuffled           bool // the second round comes in another order than the first; otherwise in the same
}

// CapacityResult is the part of clients that reach the same backend in the second round.
type CapacityResult struct {
	Mean     float64
	Held     Range   // 95 % of simulated runs
	Exceeded float64 // share of runs in which some endpoint's list overflows in the first round
}

// Simulate plays two rounds of all clients runs times (0: 400, fewer for very many clients). It is a simulation because
// there is no formula for it: with the same order in both rounds, affinity collapses as soon as lists overflow.
func (c Capacity) Simulate(seed Seed, runs int) CapacityResult {
	if c.Clients < 1 || c.Endpoints < 1 {
		return CapacityResult{}
	}
	runs = cmp.Or(runs, max(40, min(400, 4_000_000/c.Clients)))
	rng := rand.New(seed.source()) // #nosec G404 -- a simulation has to be repeatable
	return played(runs, func() (float64, bool) { return c.play(rng) })
}

// played plays one game runs times.
func played(runs int, once func() (held float64, exceeded bool)) CapacityResult {
	var r CapacityResult
	held := make([]float64, runs)
	for i := range held {
		part, exceeded := once()
		held[i] = part
		r.Mean += part
		r.Exceeded += float64(one(exceeded))
	}
	r.Mean /= float64(runs)
	r.Exceeded /= float64(runs)
	slices.Sort(held)
	r.Held = central(held)
	return r
}

// Replay plays connections in the order they were made runs times (0: as Simulate): arrivals lists their clients, from 0 to
// Clients-1. Held and Mean are then of those that come back: the part of a client's connections but its first that reach the
// backend of the one before.
func (c Capacity) Replay(seed Seed, arrivals []int, runs int) CapacityResult {
	if c.Clients < 1 || c.Endpoints < 1 || len(arrivals) == 0 {
		return CapacityResult{}
	}
	runs = cmp.Or(runs, max(40, min(400, 4_000_000/len(arrivals))))
	rng := rand.New(seed.source()) // #nosec G404 -- a simulation has to be repeatable
	return played(runs, func() (float64, bool) { return c.replay(arrivals, rng) })
}

func (c Capacity) replay(arrivals []int, rng *rand.Rand) (held float64, exceeded bool) {
	m := newMemory(c)
	last := make([]int, c.Clients)
	for i := range last {
		last[i] = -1
	}
	same, returns := 0, 0
	for _, client := range arrivals {
		at := m.connect(client, rng)
		if last[client] >= 0 {
			returns++
			same += one(at == last[client])
		}
		last[client] = at
	}
	return float64(same) / float64(max(1, returns)), m.dropped
}

// play is two rounds of all clients.
func (c Capacity) play(rng *rand.Rand) (held float64, exceeded bool) {
	m := newMemory(c)
	first := make([]int, c.Clients)
	for client := range first {
		first[client] = m.connect(client, rng)
	}
	exceeded = m.dropped
	order := make([]int, c.Clients)
	for i := range order {
		order[i] = i
	}
	if c.Shuffled {
		rng.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
	}
	same := 0
	for _, client := range order {
		same += one(m.connect(client, rng) == first[client])
	}
	return float64(same) / float64(c.Clients), exceeded
}

// memory is the endpoints' lists of addresses. An address is on at most one of them.
type memory struct {
	limit   int
	where   []int // endpoint that remembers each client, -1: none
	when    []int // last time it was set
	clock   int
	lists   []list
	dropped bool
}

// list holds clients in the order they were set; an entry counts only if the client was not set again since.
type list struct {
	queue [][2]int // client, time
	size  int      // entries that count
}

func newMemory(c Capacity) *memory {
	m := &memory{
		limit: cmp.Or(c.Limit, AffinityList),
		where: make([]int, c.Clients), when: make([]int, c.Clients), lists: make([]list, c.Endpoints),
	}
	for i := range m.where {
		m.where[i] = -1
	}
	return m
}

// connect returns the endpoint that a client's connection reaches, and remembers it there.
func (m *memory) connect(client int, rng *rand.Rand) int {
	at := m.where[client]
	if at < 0 {
		at = rng.IntN(len(m.lists))
		if m.lists[at].size >= m.limit {
			m.drop(at)
		}
		m.where[client] = at
		m.lists[at].size++
	}
	m.clock++
	m.when[client] = m.clock
	m.lists[at].queue = append(m.lists[at].queue, [2]int{client, m.clock})
	return at
}

// drop forgets the client of a list that was set longest ago.
func (m *memory) drop(at int) {
	l := &m.lists[at]
	for {
		oldest := l.queue[0]
		l.queue = l.queue[1:]
		if m.when[oldest[0]] == oldest[1] {
			m.where[oldest[0]] = -1
			l.size--
			m.dropped = true
			return
		}
	}
}

// Remap is which part of keys changes its backend when the number of backends changes, by how keys are mapped.
type Remap struct {
	Consistent float64 // ring, jump or rendezvous hashing: no more than must
	Modulo     float64 // hash mod n
	Memoryless float64 // a new random choice for each
}

// Remapped returns the moved fractions when before backends become after, the smaller number being among the larger.
// Both are at least 1.
func Remapped(before, after int) Remap {
	few, many := min(before, after), max(before, after)
	common := many
	for common%few != 0 {
		common += many // least common multiple
	}
	return Remap{
		Consistent: 1 - float64(few)/float64(many),
		Modulo:     1 - float64(few)/float64(common),
		Memoryless: 1 - 1/float64(many),
	}
}

// BackendsUsed returns how many of n equally likely backends a number of units reaches on average: n(1-(1-1/n)^units).
func BackendsUsed(n, units int) float64 {
	if n < 1 {
		return 0
	}
	return float64(n) * -math.Expm1(float64(units)*math.Log1p(-1/float64(n)))
}
