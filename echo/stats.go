package echo

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxRows is how many connections are told apart: those of a run of 100,000 requests on as many connections, and some
	// more. A row takes some 110 bytes, so that all of them take 15 MB. What comes later is counted together.
	maxRows = 1 << 17
	// maxSources is how many source addresses are told apart.
	maxSources = 10_000
	// DefaultRows is how many connections one answer of /stats lists unless asked otherwise.
	DefaultRows = 10_000
)

// Stats is the answer of /stats: the requests so far, by connection and by source address. Probes and other requests for
// the server's own pages do not count.
type Stats struct {
	// Pod and Node name who counted.
	Pod  string `json:"pod"`
	Node string `json:"node"`
	// Since is when the server started, and Seconds how long ago that was.
	Since   time.Time `json:"since"`
	Seconds float64   `json:"seconds"`
	// Usage is what the server's process used since its start, and what it may use.
	Usage
	// Requests is the number of requests. Those under way count.
	Requests uint64 `json:"requests"`
	// Connections is the number of connections that carried at least one of them. A UDP flow, a source address and port,
	// counts as one.
	Connections uint64 `json:"connections"`
	// Accepted is the number of all connections and UDP flows accepted so far, and Open how many connections are open now.
	Accepted uint64 `json:"accepted"`
	Open     int64  `json:"open"`
	// Garbage is how many datagrams and lines were not answered because they made no sense.
	Garbage uint64 `json:"garbage"`
	// PerProtocol is in order of names, PerSource in order of addresses. Never null.
	PerProtocol []ProtocolStats `json:"perProtocol"`
	PerSource   []SourceStats   `json:"perSource"`
	// PerConnection lists connections in order of their numbers: those that Next of the answer before said, else the first
	// ones to send a request. Never null.
	PerConnection []ConnectionStats `json:"perConnection"`
	// Next is what to give as ?from= to get the connections that follow. 0: there are none.
	Next int `json:"next"`
	// Truncated says what no answer lists.
	Truncated Truncation `json:"truncated"`
}

// Rows is the answer of /stats?rows=compact: the totals of [Stats], and connections without anything that is said twice.
type Rows struct {
	Pod         string  `json:"pod"`
	Node        string  `json:"node"`
	Seconds     float64 `json:"seconds"` // since the server started
	Usage               // of the server's process
	Requests    uint64  `json:"requests"`
	Connections uint64  `json:"connections"`
	Rows        []Row   `json:"rows"`      // never null; as Stats.PerConnection
	Next        int     `json:"next"`      // as Stats.Next
	Truncated   uint64  `json:"truncated"` // connections that no answer lists
}

// Row is one connection, as ConnectionStats.
type Row struct {
	Connection uint64 `json:"n"`
	Client     string `json:"c"`
	Protocol   string `json:"p"`
	Requests   uint64 `json:"r"`
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

// ProtocolStats counts what came by one protocol.
type ProtocolStats struct {
	// Protocol is as in [Reply.Protocol], or [ProtocolGRPC].
	Protocol string `json:"protocol"`
	// Connections are those whose first request was of the protocol, and Requests are what they carried.
	Connections uint64 `json:"connections"`
	Requests    uint64 `json:"requests"`
}

// Truncation is what a [Stats] counts in its totals only. All 0: nothing is missing.
type Truncation struct {
	// Connections is the number of connections that are in no PerConnection.
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
	source           *counts
	kind             *counts // of the protocol
}

// counts are what came from one address, or by one protocol.
type counts struct {
	connections, requests atomic.Uint64
}

// ledger counts requests. Counting is a few atomic additions; only a connection's first request takes the lock.
type ledger struct {
	rows, limit int // most usages, and most sources

	mu          sync.Mutex // guards what follows
	connections uint64
	usages      []*usage // the first ones, in order of their first request
	sources     map[string]*counts
	protocols   map[string]*counts

	other    counts        // of the sources beyond the limit
	requests atomic.Uint64 // of the connections beyond the limit, and all others
}

// newLedger returns a ledger that tells so many connections, and sources, apart.
func newLedger(rows, sources int) *ledger {
	return &ledger{rows: rows, limit: sources, sources: map[string]*counts{}, protocols: map[string]*counts{}}
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
			u.source = &counts{}
			l.sources[key] = u.source
		}
	}
	u.source.connections.Add(1)
	u.kind = l.protocols[protocol]
	if u.kind == nil {
		u.kind = &counts{}
		l.protocols[protocol] = u.kind
	}
	u.kind.connections.Add(1)
	if len(l.usages) < l.rows {
		l.usages = append(l.usages, u)
	}
	return u
}

// count adds a request to u.
func (l *ledger) count(u *usage) {
	l.requests.Add(1)
	u.requests.Add(1)
	u.source.requests.Add(1)
	u.kind.requests.Add(1)
}

// page returns up to limit connections from the index on, in order of their numbers, and the index of what follows; 0 if
// nothing does.
func (l *ledger) page(from, limit int) (page []*usage, next int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from = min(from, len(l.usages))
	end := min(from+limit, len(l.usages))
	page = slices.Clone(l.usages[from:end])
	slices.SortFunc(page, func(a, b *usage) int { return cmp.Compare(a.connection, b.connection) })
	if end < len(l.usages) {
		next = end
	}
	return page, next
}

// totals returns all counts so far but those of single connections.
func (l *ledger) totals() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Requests: l.requests.Load(), Connections: l.connections, PerConnection: []ConnectionStats{},
		PerSource: make([]SourceStats, 0, len(l.sources)), PerProtocol: make([]ProtocolStats, 0, len(l.protocols)),
	}
	s.Truncated = Truncation{
		Connections:       l.connections - uint64(len(l.usages)),
		SourceConnections: l.other.connections.Load(), SourceRequests: l.other.requests.Load(),
	}
	for address, c := range l.sources {
		s.PerSource = append(s.PerSource, SourceStats{Address: address, Connections: c.connections.Load(), Requests: c.requests.Load()})
	}
	for protocol, c := range l.protocols {
		s.PerProtocol = append(s.PerProtocol, ProtocolStats{Protocol: protocol, Connections: c.connections.Load(), Requests: c.requests.Load()})
	}
	slices.SortFunc(s.PerSource, func(a, b SourceStats) int { return compareAddresses(a.Address, b.Address) })
	slices.SortFunc(s.PerProtocol, func(a, b ProtocolStats) int { return cmp.Compare(a.Protocol, b.Protocol) })
	return s
}

// stats returns all counts, with up to limit connections from the index on.
func (l *ledger) stats(from, limit int) Stats {
	page, next := l.page(from, limit)
	s := l.totals()
	s.Next = next
	for _, u := range page {
		s.PerConnection = append(s.PerConnection, ConnectionStats{
			Connection: u.connection, Client: u.client, Protocol: u.protocol, Requests: u.requests.Load(),
		})
	}
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
