package echo

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxTracked is how many connections, and how many source addresses, are told apart. It bounds the memory (about 2 MB)
// and the size of an answer; what comes later is counted together.
const maxTracked = 10_000

// Stats is the answer of /stats: the requests so far, by connection and by source address. Probes and other requests for
// the server's own pages do not count.
type Stats struct {
	// Pod and Node name who counted.
	Pod  string `json:"pod"`
	Node string `json:"node"`
	// Since is when the server started.
	Since time.Time `json:"since"`
	// Requests is the number of requests. Those under way count.
	Requests uint64 `json:"requests"`
	// Connections is the number of connections that carried at least one of them.
	Connections uint64 `json:"connections"`
	// Accepted is the number of all connections accepted so far, and Open how many of those are open now.
	Accepted uint64 `json:"accepted"`
	Open     int64  `json:"open"`
	// PerConnection is in order of the connections' numbers, PerSource in order of addresses. Never null.
	PerConnection []ConnectionStats `json:"perConnection"`
	PerSource     []SourceStats     `json:"perSource"`
	// Truncated says what is missing in these two.
	Truncated Truncation `json:"truncated"`
}

// ConnectionStats counts the requests on one connection.
type ConnectionStats struct {
	// Connection is its number, as in [Reply.Connection].
	Connection uint64 `json:"connection"`
	// Client is the peer's address:port.
	Client string `json:"client"`
	// Protocol is that of its first request.
	Protocol string `json:"protocol"`
	// Requests is how many it carried.
	Requests uint64 `json:"requests"`
}

// SourceStats counts what came from one source address, whatever the port.
type SourceStats struct {
	// Address is an IP address.
	Address string `json:"address"`
	// Connections and Requests are how many came from it.
	Connections uint64 `json:"connections"`
	Requests    uint64 `json:"requests"`
}

// Truncation is what a [Stats] counts in its totals only. All 0: nothing is missing.
type Truncation struct {
	// Connections is the number of connections that are not in PerConnection.
	Connections uint64 `json:"connections"`
	// SourceConnections is the number of connections, and SourceRequests of requests, whose source is not in PerSource.
	SourceConnections uint64 `json:"sourceConnections"`
	SourceRequests    uint64 `json:"sourceRequests"`
}

// usage counts the requests of one connection.
type usage struct {
	connection       uint64
	client, protocol string
	requests         atomic.Uint64
	source           *source
}

// source counts what came from one address.
type source struct {
	connections, requests atomic.Uint64
}

// ledger counts requests. Counting is two atomic additions; only a connection's first request takes the lock.
type ledger struct {
	limit int

	mu          sync.Mutex // guards what follows
	connections uint64
	usages      []*usage // the first ones, in order of their first request
	sources     map[string]*source

	other    source        // of the sources beyond the limit
	requests atomic.Uint64 // of the connections beyond the limit, and all others
}

// newLedger returns a ledger that tells apart as many connections, and sources, as limit says.
func newLedger(limit int) *ledger {
	return &ledger{limit: limit, sources: map[string]*source{}}
}

// open registers a connection with its first request. The client is what it came from, in text and, if it is an
// address, as that.
func (l *ledger) open(number uint64, client, protocol string, address netip.Addr) *usage {
	key := client
	if address.IsValid() {
		key = address.String()
	}
	u := &usage{connection: number, client: client, protocol: protocol}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connections++
	u.source = l.sources[key]
	if u.source == nil {
		u.source = &l.other
		if len(l.sources) < l.limit {
			u.source = &source{}
			l.sources[key] = u.source
		}
	}
	u.source.connections.Add(1)
	if len(l.usages) < l.limit {
		l.usages = append(l.usages, u)
	}
	return u
}

// count adds a request to u.
func (l *ledger) count(u *usage) {
	l.requests.Add(1)
	u.requests.Add(1)
	u.source.requests.Add(1)
}

// stats returns the counts so far.
func (l *ledger) stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Requests: l.requests.Load(), Connections: l.connections,
		PerConnection: make([]ConnectionStats, 0, len(l.usages)), PerSource: make([]SourceStats, 0, len(l.sources)),
	}
	s.Truncated = Truncation{
		Connections:       l.connections - uint64(len(l.usages)),
		SourceConnections: l.other.connections.Load(), SourceRequests: l.other.requests.Load(),
	}
	for _, u := range l.usages {
		s.PerConnection = append(s.PerConnection, ConnectionStats{
			Connection: u.connection, Client: u.client, Protocol: u.protocol, Requests: u.requests.Load(),
		})
	}
	for address, src := range l.sources {
		s.PerSource = append(s.PerSource, SourceStats{Address: address, Connections: src.connections.Load(), Requests: src.requests.Load()})
	}
	slices.SortFunc(s.PerConnection, func(a, b ConnectionStats) int { return cmp.Compare(a.Connection, b.Connection) })
	slices.SortFunc(s.PerSource, func(a, b SourceStats) int { return compareAddresses(a.Address, b.Address) })
	return s
}

// compareAddresses orders addresses as such, before anything that is none.
func compareAddresses(a, b string) int {
	addrA, errA := netip.ParseAddr(a)
	addrB, errB := netip.ParseAddr(b)
	switch {
	case errA == nil && errB == nil:
		return addrA.Compare(addrB)
	case errA == nil:
		return -1
	case errB == nil:
		return 1
	}
	return cmp.Compare(a, b)
}
