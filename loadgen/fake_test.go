package loadgen

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/podskew/podskew/record"
)

// fake is a Service made of pipes, for tests in fake time.
type fake struct {
	dialing func(ctx context.Context, n int) error // what the n-th dial waits for and fails with; nil: nothing
	answer  func(c, n int) answer                  // to request n on connection c, both from 1; nil: pod echo-c at once

	dials atomic.Int64
	mu    sync.Mutex
	heads []string // "1/2 close": request 2 on connection 1 asked for the end of the connection
	dialt []string // hostPorts in the order of dials
}

// answer is what the fake does about one request.
type answer struct {
	after time.Duration
	raw   string // what it writes
	never bool   // it writes nothing, and waits for the client to go
	end   bool   // it closes the connection then
	stays bool   // it does not close the connection though it was asked to
}

// by returns the reply of a pod.
func by(pod string) string { return reply200(pod, "10.0.0.9:4000", 1) }

func reply200(pod, client string, conn int) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Podskew-Pod: %s\r\nX-Podskew-Client: %s\r\nX-Podskew-Connection: %d\r\nContent-Length: 2\r\n\r\nok", pod, client, conn)
}

func (f *fake) world() world {
	return world{dial: f.dial, sources: func(context.Context, []target) []string { return []string{"10.0.0.9"} }}
}

func (f *fake) dial(ctx context.Context, t target) (net.Conn, error) {
	n := int(f.dials.Add(1))
	f.mu.Lock()
	f.dialt = append(f.dialt, t.hostPort)
	f.mu.Unlock()
	if f.dialing != nil {
		if err := f.dialing(ctx, n); err != nil {
			return nil, err
		}
	}
	client, server := net.Pipe()
	go f.serve(n, server)
	return client, nil
}

func (f *fake) serve(c int, conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for n := 1; ; n++ {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		head := fmt.Sprintf("%d/%d", c, n)
		if req.Close {
			head += " close"
		}
		f.mu.Lock()
		f.heads = append(f.heads, head)
		f.mu.Unlock()
		a := answer{raw: reply200(fmt.Sprintf("echo-%d", c), "10.0.0.9:4000", c)}
		if f.answer != nil {
			a = f.answer(c, n)
		}
		time.Sleep(a.after)
		if a.never {
			_, _ = io.Copy(io.Discard, conn)
			return
		}
		if _, err := io.WriteString(conn, a.raw); err != nil || a.end || req.Close && !a.stays {
			return
		}
	}
}

// requests returns what was asked, in the order of connections.
func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(slices.Values(f.heads))
}

// results is all that a sink was given.
type results struct {
	ready    *Ready
	progress []Progress
	rows     []record.Connection
	open     []record.Connection
	tallies  []record.Tally
	samples  []record.Sample
	done     *Done
	err      error   // of the run
	stopped  float64 // when runUntil interrupted it, in seconds since the start
}

// sink checks the order of messages, too.
func (r *results) sink(tb testing.TB) Sink {
	tb.Helper()
	return func(m Message) error {
		if n := fields(m); n != 1 {
			tb.Errorf("a message with %d fields: %+v", n, m)
		}
		if (m.Ready != nil) != (r.ready == nil) || r.done != nil {
			tb.Errorf("message out of order: %+v", m)
		}
		switch {
		case m.Ready != nil:
			r.ready = m.Ready
		case m.Progress != nil:
			r.progress = append(r.progress, *m.Progress)
		case m.Done != nil:
			r.done = m.Done
		}
		r.rows = append(r.rows, m.Connections...)
		r.open = append(r.open, m.Open...)
		r.tallies = append(r.tallies, m.Tallies...)
		r.samples = append(r.samples, m.Samples...)
		return nil
	}
}

// sum adds the tallies up by a key.
func (r *results) sum(key func(record.Tally) string) map[string]int {
	out := map[string]int{}
	for _, tally := range r.tallies {
		out[key(tally)] += tally.Requests
	}
	return out
}

func byBackend(t record.Tally) string { return t.Backend }

func bySecond(t record.Tally) string { return fmt.Sprint(t.Second) }

func (r *results) errors() map[record.ErrorKind]int {
	out := map[record.ErrorKind]int{}
	for _, tally := range r.tallies {
		for kind, n := range tally.Errors {
			out[kind] += n
		}
	}
	return out
}

func (r *results) requests() int {
	n := 0
	for _, tally := range r.tallies {
		n += tally.Requests
	}
	return n
}

// byID sorts the rows by the order of opening.
func (r *results) byID() []record.Connection {
	return slices.SortedFunc(slices.Values(r.rows), func(a, b record.Connection) int { return a.ID - b.ID })
}

// planOf is a plan that starts now and lasts a second, changed by with.
func planOf(with func(p *Plan)) Plan {
	p := Plan{
		Run: "r", Stream: "web", Agent: "web-0", Start: time.Now(), Addresses: []record.Address{{HostPort: "10.96.0.10:80"}},
		Path: "/", Protocol: ProtocolHTTP1, Connections: 1, Duration: time.Second, ConnectTimeout: time.Second, Timeout: 2 * time.Second,
	}
	if with != nil {
		with(&p)
	}
	return p
}

// execute runs a plan on the fake. It must be called in a bubble.
func (f *fake) execute(ctx context.Context, t *testing.T, plan Plan) *results {
	t.Helper()
	r := &results{}
	r.err = execute(ctx, plan, r.sink(t), f.world())
	if r.err == nil && r.done == nil {
		t.Fatal("the run ended without Done")
	}
	checkConsistent(t, plan, r)
	return r
}

// checkConsistent checks what holds for every run, by the rules the caller's side has for what agents send.
func checkConsistent(t *testing.T, plan Plan, r *results) {
	t.Helper()
	m := newMessageReader(strings.NewReader(""), plan)
	for _, msg := range []Message{{Connections: r.rows}, {Tallies: r.tallies}, {Samples: r.samples}} {
		if err := m.check(msg); err != nil {
			t.Errorf("the caller's side would refuse a result: %v", err)
		}
	}
	if r.done == nil {
		return
	}
	answered := 0
	for i, row := range r.byID() {
		answered += row.Requests
		if row.ID != i+1 && plan.WarmUp == 0 {
			t.Errorf("row %d has ID %d", i+1, row.ID)
		}
	}
	latencies := 0
	for _, tally := range r.tallies {
		latencies += int(tally.Latency.Count())
	}
	if answered != latencies {
		t.Errorf("rows have %d answers, tallies %d", answered, latencies)
	}
	last := r.progress[len(r.progress)-1]
	if last.Requests != r.requests() || last.Connections != len(r.rows) || last.Open != 0 {
		t.Errorf("progress ends with %+v, the results have %d requests on %d connections", last, r.requests(), len(r.rows))
	}
}
