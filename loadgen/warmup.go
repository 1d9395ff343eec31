package loadgen

import (
	"math"
	"net/netip"
	"time"

	"github.com/podskew/podskew/record"
)

// never is a time that does not come, far enough from the largest number to be reckoned with.
const never = time.Duration(math.MaxInt64 / 2)

// warm reports whether a time, since the start, is in the warm-up.
func warm(at time.Duration) bool { return at < 0 }

// warmCounts is what a shard knows of the requests of the warm-up: the servers count them, too.
type warmCounts struct {
	answered   map[string]int // by pod
	unanswered int
}

// creditWarm notes who answered a request of the warm-up: it may have been the first on its connection. Nothing else of it
// is kept.
func (t *track) creditWarm(q request, from *attribution) {
	switch {
	case !q.answered:
		if t.row.Connected != 0 { // else it was never sent
			t.shard.warmed.unanswered++
		}
		return
	case from == nil || from.pod == "":
		t.warmed++
		return
	case t.row.Backend == "":
		t.row.Backend, t.row.Observed, t.row.ServerConn = from.pod, from.client, from.serverConn
	}
	if t.row.Backend == from.pod {
		t.warmed++
	}
	if t.shard.warmed.answered == nil {
		t.shard.warmed.answered = map[string]int{}
	}
	t.shard.warmed.answered[from.pod]++
}

// warmUp sums up what is known of the warm-up; nil: there was none.
func (r *run) warmUp() *record.WarmUp {
	if r.plan.WarmUp == 0 {
		return nil
	}
	sum := &record.WarmUp{Connections: int(r.passed.Load()), Answered: map[string]int{}}
	for _, s := range r.allShards() {
		s.mu.Lock()
		for pod, n := range s.warmed.answered {
			sum.Answered[pod] += n
		}
		sum.Unanswered += s.warmed.unanswered
		s.mu.Unlock()
	}
	return sum
}

// hasRow reports whether the connection of an ID is among the first that have rows. Those that ended in the warm-up have
// none and take nobody's place.
func (r *run) hasRow(id int) bool { return id-int(r.passed.Load()) <= r.world.rowCap }

// observedIP is the address of an ip:port that a pod saw; "" if there is none.
func (r *run) observedIP(observed string) string {
	addr, err := netip.ParseAddrPort(observed)
	if err != nil {
		return ""
	}
	ip, _ := r.names.ip(addr.Addr().Unmap().WithZone("")) // it is among the names already
	return ip
}

// zipfShares deals Requests to the slots in proportion to k^-ZipfExponent for slot k, from 1: exactly, by largest
// remainders, and with at least one for each slot if there are so many. nil: all get the same.
func (p *Plan) zipfShares() []int {
	if p.ZipfExponent == 0 || p.Requests == 0 {
		return nil
	}
	weights, below := make([]float64, p.Connections), make([]float64, p.Connections)
	sum := 0.0
	for k := range weights {
		weights[k] = math.Pow(float64(k+1), -p.ZipfExponent)
		sum += weights[k]
		below[k] = sum
	}
	shares := make([]int, p.Connections)
	// The last slots, which would get less than one, get one; the others share the rest.
	first := p.Connections
	for p.Requests >= p.Connections && first > 1 {
		rest := p.Requests - (p.Connections - first)
		if float64(rest)*weights[first-1]/below[first-1] >= 1 {
			break
		}
		first--
		shares[first] = 1
	}
	rest := p.Requests
	for _, n := range shares[first:] {
		rest -= n
	}
	apportion(shares[:first], weights[:first], below[first-1], rest)
	return shares
}
