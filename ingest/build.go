package ingest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc64"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/podskew/podskew/record"
)

const (
	stream = "log"    // everything that was read is one stream from one place
	others = "others" // the name of names beyond maxNames
	// maxConnections is how many connections get a row. More are counted in the tallies.
	maxConnections = 200_000
	// maxCells is how many tallies there are before clients are no longer told apart.
	maxCells = 500_000
)

// builder turns entries into a record.
type builder struct {
	o     Options
	unit  record.Unit
	names map[string]string
	cells map[cellKey]*record.Tally
	first float64 // earliest time, seconds since 1970; 0: none yet
	last  float64

	conns   map[string]*record.Connection
	order   []*record.Connection
	loose   int  // choices without a row
	timed   bool // there was a latency
	crowded bool // there were more names than are told apart
}

type cellKey struct {
	backend, client string
	second          int64
}

func newBuilder(o Options, unit record.Unit) *builder {
	return &builder{o: o, unit: unit, names: map[string]string{}, cells: map[cellKey]*record.Tally{}, conns: map[string]*record.Connection{}}
}

// name returns the one copy of a name. Of too many, the rest is one.
func (b *builder) name(raw []byte) string {
	if len(raw) == 0 {
		return ""
	}
	if s, ok := b.names[string(raw)]; ok {
		return s
	}
	if len(b.names) >= maxNames {
		b.crowded = true
		return others
	}
	s := strings.ToValidUTF8(string(raw), "\uFFFD")
	b.names[string(raw)] = s
	return s
}

func (b *builder) add(e *entry) {
	n := max(e.count, 1)
	key := cellKey{backend: b.name(e.backend), client: b.name(e.client)}
	if e.at > 0 && e.at < math.MaxUint32 {
		key.second = int64(e.at)
		if b.first == 0 || e.at < b.first {
			b.first = e.at
		}
		b.last = max(b.last, e.at)
	}
	t := b.cells[key]
	if t == nil && len(b.cells) >= maxCells && key.client != "" {
		key.client, b.crowded = others, true
		t = b.cells[key]
	}
	if t == nil {
		t = &record.Tally{Stream: stream, Agent: stream, Address: b.address(), Backend: key.backend, Observed: key.client}
		b.cells[key] = t
	}
	kind := e.failed
	if kind == "" && e.status >= 400 {
		kind = record.ErrStatus
	}
	t.Requests += n
	if kind != "" {
		if t.Errors == nil {
			t.Errors = map[record.ErrorKind]int{}
		}
		t.Errors[kind] += n
	}
	if key.backend != "" {
		// An answer is one whether or not anybody timed it.
		t.Latency.Add(int64(min(max(e.latency, 0), 1e6)*1e9), uint64(n))
		b.timed = b.timed || e.latency >= 0
	}
	b.count(e, key, t, n)
}

// count enters the choice of a backend that the request stands for, or shares with others of its connection.
func (b *builder) count(e *entry, key cellKey, t *record.Tally, n int) {
	if b.unit != record.UnitConnection || len(e.connection) == 0 {
		t.Connections += n
		b.loose += n
		return
	}
	c := b.conns[string(e.connection)]
	if c == nil {
		t.Connections++
		if len(b.conns) >= maxConnections {
			b.loose++
			return
		}
		c = &record.Connection{Stream: stream, Agent: stream, Address: b.address(), Backend: key.backend, Observed: key.client, Opened: e.at, Closed: e.at}
		b.conns[string(e.connection)] = c
		b.order = append(b.order, c)
	}
	b.extend(c, e, key.backend)
}

// extend adds a request to its connection.
func (b *builder) extend(c *record.Connection, e *entry, backend string) {
	if e.at > 0 {
		c.Opened, c.Closed = min(c.Opened, e.at), max(c.Closed, e.at)
	}
	if backend == "" {
		c.Error = cmp.Or(e.failed, record.ErrStatus)
		return
	}
	c.Requests++
	switch {
	case c.Backend == "":
		c.Backend = backend
	case c.Backend != backend:
		if c.Others == nil {
			c.Others = map[string]int{}
		}
		c.Others[backend]++
	}
}

func (b *builder) address() string { return cmp.Or(b.o.Name, "data") }

// record returns what was read. Tallies and rows are in an order that depends on the data alone.
func (b *builder) record(a *Account) *record.Record {
	start := time.Unix(int64(b.first), 0).UTC()
	rec := &record.Record{
		Run:   record.Run{Scenario: string(a.Format), Start: start, Tool: "imported"},
		Facts: record.Facts{Cluster: record.Cluster{Provider: "imported", ProxyMode: "unknown", Nodes: []record.Node{}}},
		Streams: []record.Stream{{
			ID: stream, Client: stream, Vantage: "external", Target: "url", Protocol: "http1", Unit: b.unit, Backends: b.o.Backends,
			Addresses: []record.Address{{HostPort: b.address()}}, Agents: []record.AgentRef{{Name: stream}},
		}},
		End: &record.End{Seconds: b.last - float64(start.Unix()), Problems: b.problems(a)},
	}
	if b.first == 0 {
		rec.End.Seconds = 0
	}
	b.tallies(rec, start.Unix())
	b.rows(rec, start.Unix())
	rec.Streams[0].Connections = len(rec.Connections) + b.loose
	if b.loose > 0 {
		rec.Generators = []record.Generator{{Stream: stream, Agent: stream, Driver: string(a.Format), DroppedRows: b.loose}}
	}
	rec.Run.ID = digest(rec)
	rec.Run.Seed = crc64.Checksum([]byte(rec.Run.ID), crc64.MakeTable(crc64.ISO))
	return rec
}

// tallies adds what was counted.
func (b *builder) tallies(rec *record.Record, start int64) {
	keys := slices.SortedFunc(maps.Keys(b.cells), func(x, y cellKey) int {
		return cmp.Or(cmp.Compare(x.second, y.second), cmp.Compare(x.backend, y.backend), cmp.Compare(x.client, y.client))
	})
	rec.Tallies = make([]record.Tally, 0, len(keys))
	for _, key := range keys {
		t := *b.cells[key]
		t.Second = int(max(key.second-start, 0))
		rec.Tallies = append(rec.Tallies, t)
	}
}

// rows adds the connections in the order in which they were first used.
func (b *builder) rows(rec *record.Record, start int64) {
	slices.SortStableFunc(b.order, func(x, y *record.Connection) int { return cmp.Compare(x.Opened, y.Opened) })
	for i, c := range b.order {
		row := *c
		row.ID = i + 1
		row.Opened, row.Closed = max(0, row.Opened-float64(start)), max(0, row.Closed-float64(start))
		row.Connected = row.Opened
		rec.Connections = append(rec.Connections, row)
	}
}

// problems says what such data cannot tell, and what was lost.
func (b *builder) problems(a *Account) []string {
	out := []string{fmt.Sprintf("imported from %s: %d lines, %d requests, %d lines about something else, %d malformed", a.Format, a.Lines, a.Requests, a.Skipped, a.Malformed)}
	for _, p := range a.Problems {
		out = append(out, fmt.Sprintf("line %d was left out: %s: %s", p.Line, p.Why, p.Text))
	}
	switch b.unit {
	case record.UnitUnknown:
		out = append(out, "the data do not say which requests shared a connection")
	case record.UnitRequest:
		out = append(out, "the proxy that wrote this chooses a backend for each request, not for each connection")
	default:
	}
	if !b.timed {
		out = append(out, "the data hold no latencies: those of this report are 0")
	}
	if b.first == 0 {
		out = append(out, "the data hold no times")
	}
	if b.crowded {
		out = append(out, fmt.Sprintf("more than %d different names: the rest is counted as one, %q", maxNames, others))
	}
	return out
}

// digest names a record by what is in it.
func digest(rec *record.Record) string {
	h := sha256.New()
	var line []byte
	for i := range rec.Tallies {
		t := &rec.Tallies[i]
		line = strconv.AppendInt(line[:0], int64(t.Second), 10)
		line = strconv.AppendQuote(append(line, ' '), t.Backend)
		line = strconv.AppendQuote(append(line, ' '), t.Observed)
		line = strconv.AppendInt(append(line, ' '), int64(t.Requests), 10)
		line = strconv.AppendInt(append(line, ' '), int64(t.Connections), 10)
		_, _ = h.Write(append(line, '\n'))
	}
	return "imported-" + hex.EncodeToString(h.Sum(nil)[:8])
}
