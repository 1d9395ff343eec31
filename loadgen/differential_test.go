package loadgen

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

// script is what a server does on its nth connection, from 1.
type script func(n int, conn *net.TCPConn)

// serveScript starts a server that follows a script, anew with every call.
func serveScript(t *testing.T, address string, do script) (string, func()) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 1; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				do(n, conn.(*net.TCPConn))
			}()
		}
	}()
	return listener.Addr().String(), func() {
		_ = listener.Close()
		<-ended
	}
}

// answers makes a script that gives the answers one after the other, each to a request, and then stays until the client
// goes. An answer that ends in "!" is followed by a close, one in "#" by a reset.
func answers(of func(conn, n int) string) script {
	return func(c int, conn *net.TCPConn) {
		in := bufio.NewReader(conn)
		for n := 1; ; n++ {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			answer := of(c, n)
			text, reset := strings.CutSuffix(answer, "#")
			text, end := strings.CutSuffix(text, "!")
			if !writeParts(conn, text) {
				return
			}
			if reset {
				_ = conn.SetLinger(0)
			}
			if reset || end || req.Close && strings.Contains(text, "HTTP/1.1") {
				return
			}
		}
	}
}

// writeParts writes text in segments, which "|" parts. One after "~" comes when the ones before have long been read.
func writeParts(conn net.Conn, text string) bool {
	for i, late := range strings.Split(text, "~") {
		if i > 0 {
			time.Sleep(120 * time.Millisecond)
		}
		for part := range strings.SplitSeq(late, "|") {
			if _, err := io.WriteString(conn, part); err != nil {
				return false
			}
			if part != late {
				time.Sleep(2 * time.Millisecond)
			}
		}
	}
	return true
}

// unlike is what of a run's results does not depend on when things happened.
type unlike struct {
	Rows     []record.Connection
	Tallies  []record.Tally
	Samples  []record.Sample
	Problems []string
	Stride   int
	Intended int
	Dropped  int
	Late     uint64
}

var ports = regexp.MustCompile(`(127\.0\.\d+\.\d+|\[::1\]):[1-9]\d*`)

var waits = regexp.MustCompile(`waited [0-9.]+ s`)

func timeless(t *testing.T, r *results) unlike {
	t.Helper()
	u := unlike{Stride: r.done.SampleStride, Intended: r.done.Generator.Intended, Dropped: r.done.Generator.Dropped, Late: r.done.Generator.Lateness.Count()}
	for _, p := range r.done.Problems {
		u.Problems = append(u.Problems, waits.ReplaceAllString(p, "waited"))
	}
	for _, row := range r.byID() {
		if row.Connected != 0 && (row.Connected < row.Opened || row.Closed < row.Connected) || row.Closed < row.Opened {
			t.Errorf("times of row %+v", row)
		}
		if (row.Local == "") != (row.Connected == 0) {
			t.Errorf("row %+v was connected from nowhere, or from somewhere and not connected", row)
		}
		row.Opened, row.Connected, row.Closed, row.Local = 0, 0, 0, ports.ReplaceAllString(row.Local, "$1:port")
		row.ErrorDetail = ports.ReplaceAllString(row.ErrorDetail, "$1:port")
		row.ID, row.Address = 0, ""
		u.Rows = append(u.Rows, row)
	}
	if slices.ContainsFunc(r.rows, func(c record.Connection) bool { return c.Slot > 0 }) {
		for i := range u.Rows { // which slot came to the server first is nobody's plan
			u.Rows[i].Slot = 0
		}
		slices.SortFunc(u.Rows, func(a, b record.Connection) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	sums := map[string]*record.Tally{}
	for _, tally := range r.tallies {
		key := tally.Backend + " " + tally.Observed
		sum := sums[key]
		if sum == nil {
			sum = &record.Tally{Backend: tally.Backend, Observed: tally.Observed, Errors: map[record.ErrorKind]int{}}
			sums[key] = sum
		}
		sum.Requests += tally.Requests
		sum.Connections += tally.Connections
		sum.Latency.Add(0, tally.Latency.Count())
		for kind, n := range tally.Errors {
			sum.Errors[kind] += n
		}
	}
	for _, key := range slices.Sorted(mapKeys(sums)) {
		u.Tallies = append(u.Tallies, *sums[key])
	}
	for _, s := range r.samples {
		s.Sent, s.Latency, s.Late = 0, 0, 0
		if len(u.Rows) > 1 {
			s.Connection = 0
		}
		u.Samples = append(u.Samples, s)
	}
	slices.SortStableFunc(u.Samples, func(a, b record.Sample) int { return strings.Compare(string(a.Error), string(b.Error)) })
	return u
}

func mapKeys[K comparable, V any](m map[K]V) func(yield func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// chunkedBy is a pod's reply in chunks, in segments that part it in the middle of lines.
const chunkedBy = "HTTP/1.1 200 OK\r\nX-Podskew-Pod: a\r\nX-Podskew-Cli|ent: 10.0.0.9:1\r\nX-Podskew-Connection: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r|\nhello\r\n" +
	"6;x=y\r\n wor|ld\r\n0\r\nTrailer: x\r\n\r\n"

// untilClosed is a reply whose end is the connection's.
const untilClosed = "HTTP/1.1 200 OK\r\nX-Podskew-Pod: a\r\n\r\nhello| world!"

func TestDriversRecordTheSame(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("there is only one driver on this system")
	}
	for name, tc := range map[string]struct {
		do   script
		with func(p *Plan)
	}{
		"keep-alive":       {answers(func(c, _ int) string { return by(fmt.Sprintf("echo-%d", c%3)) }), func(p *Plan) { p.Connections, p.Requests = 6, 60 }},
		"fresh":            {answers(func(int, int) string { return by("a") }), func(p *Plan) { p.Connections, p.Requests, p.RequestsPerConnection = 4, 50, 1 }},
		"three requests":   {answers(func(_, n int) string { return by(fmt.Sprintf("echo-%d", n)) }), func(p *Plan) { p.Requests, p.RequestsPerConnection = 10, 3 }},
		"chunks in pieces": {answers(func(int, int) string { return chunkedBy }), func(p *Plan) { p.Requests = 4 }},
		"until it closes":  {answers(func(int, int) string { return untilClosed }), func(p *Plan) { p.Requests = 3 }},
		"errors by status": {answers(func(_, n int) string {
			return strings.Replace(by("a"), "200 OK", fmt.Sprintf("%d0%d X", 2+n%4, n%3), 1)
		}), func(p *Plan) { p.Requests = 9 }},
		"interim answers":        {answers(func(int, int) string { return "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n|" + by("a") }), func(p *Plan) { p.Requests = 3 }},
		"surplus bytes":          {answers(func(int, int) string { return by("a") + "x" }), func(p *Plan) { p.Requests = 4 }},
		"surplus at the end":     {answers(func(int, int) string { return by("a") + "x" }), func(p *Plan) { p.Requests, p.RequestsPerConnection = 2, 1 }},
		"not HTTP":               {answers(func(int, int) string { return "220 mail ESMTP ready\r\n" }), func(p *Plan) { p.Requests = 3 }},
		"a pod without name":     {answers(func(int, int) string { return by("a b") }), func(p *Plan) { p.Requests = 2 }},
		"without a pod":          {answers(func(int, int) string { return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" }), func(p *Plan) { p.Requests = 3 }},
		"half an answer":         {answers(func(int, int) string { return by("a")[:50] + "!" }), func(p *Plan) { p.Requests = 3 }},
		"half a body":            {answers(func(int, int) string { return strings.TrimSuffix(by("a"), "k") + "!" }), func(p *Plan) { p.Requests = 3 }},
		"a close, no answer":     {answers(func(_, n int) string { return []string{by("a"), "!"}[(n+1)%2] }), func(p *Plan) { p.Requests = 4 }},
		"a reset":                {answers(func(_, n int) string { return []string{by("a"), "#"}[(n+1)%2] }), func(p *Plan) { p.Requests = 4 }},
		"a reset in the middle":  {answers(func(int, int) string { return by("a")[:60] + "|#" }), func(p *Plan) { p.Requests = 2 }},
		"it says that it closes": {answers(func(int, int) string { return strings.Replace(by("a"), "\r\n", "\r\nConnection: close\r\n", 1) + "!" }), func(p *Plan) { p.Requests = 5 }},
		"HTTP/1.0":               {answers(func(int, int) string { return strings.Replace(by("a"), "HTTP/1.1", "HTTP/1.0", 1) + "!" }), func(p *Plan) { p.Requests = 3 }},
		"it does not close":      {answers(func(int, int) string { return strings.Replace(by("a"), "\r\n", "\r\nConnection: close\r\n", 1) }), func(p *Plan) { p.Requests, p.Timeout = 2, 400*time.Millisecond }},
		"slow": {answers(func(_, n int) string {
			if n == 3 {
				time.Sleep(time.Second)
			}
			return by("a")
		}), func(p *Plan) { p.Requests, p.Timeout = 4, 400*time.Millisecond }},
		"a long answer": {answers(func(int, int) string {
			return strings.Replace(by("a"), "Content-Length: 2\r\n\r\nok", "Content-Length: 1000000\r\n\r\n"+strings.Repeat("x", 1e6), 1)
		}), func(p *Plan) { p.Requests = 3 }},
		"a long line": {answers(func(int, int) string {
			return strings.Replace(by("a"), "\r\n", "\r\nX: "+strings.Repeat("x", 60_000)+"\r\n", 1)
		}), func(p *Plan) { p.Requests = 3 }},
		"too long a line": {answers(func(int, int) string {
			return strings.Replace(by("a"), "\r\n", "\r\nX: "+strings.Repeat("x", 70_000)+"\r\n", 1)
		}), func(p *Plan) { p.Requests = 1 }},
		// So slow that some request waits for its turn whatever else the machine has to do.
		"held to a rate": {answers(func(int, int) string { return by("a") }), func(p *Plan) { p.Requests, p.MaxRate, p.Connections = 6, 8, 2 }},
		"a duration": {answers(func(_, n int) string {
			if n == 4 {
				time.Sleep(600 * time.Millisecond)
			}
			return by("a")
		}), func(p *Plan) { p.Duration, p.Connections = 300*time.Millisecond, 2 }},
		"thinking over the end":   {answers(func(int, int) string { return by("a") }), func(p *Plan) { p.Duration, p.ThinkTime = 200*time.Millisecond, time.Minute }},
		"refused":                 {nil, func(p *Plan) { p.Requests = 5 }},
		"refused, at once again":  {nil, func(p *Plan) { p.Requests, p.Reconnect = 5, ReconnectImmediate }},
		"refused to a pool":       {nil, func(p *Plan) { p.Requests, p.PoolPolicy = 5, PoolMRU }},
		"refused in an open loop": {nil, func(p *Plan) { p.Requests, p.Rate, p.RequestsPerConnection = 5, 100, 1 }},
		"thinking":                {answers(func(int, int) string { return by("a") }), func(p *Plan) { p.Requests, p.ThinkTime = 5, 5*time.Millisecond }},
		// A connection never lasts to the end of the first time to think: what is recorded does not depend on how long
		// anything takes.
		"a lifetime": {answers(func(int, int) string { return by("a") }), func(p *Plan) {
			p.Requests, p.ThinkTime, p.ConnectionLifetime = 4, time.Minute, 50*time.Millisecond
		}},
		"churn":                         {answers(func(int, int) string { return by("a") }), func(p *Plan) { p.Requests, p.ThinkTime, p.ConnectionsPerSecond = 4, time.Second, 10 }},
		"a server that does not wait":   {answers(func(int, int) string { return by("a") + "!" }), func(p *Plan) { p.Requests, p.ThinkTime = 3, 250*time.Millisecond }},
		"a server that resets the idle": {answers(func(int, int) string { return by("a") + "#" }), func(p *Plan) { p.Requests, p.ThinkTime = 3, 250*time.Millisecond }},
		"something nobody asked for":    {answers(func(int, int) string { return by("a") + "~" + by("b") }), func(p *Plan) { p.Requests, p.ThinkTime = 3, 250*time.Millisecond }},
		"a pool of one":                 {answers(func(int, int) string { return by("a") }), func(p *Plan) { p.Requests, p.PoolPolicy, p.RequestsPerConnection = 10, PoolLRU, 3 }},
		"a pool of fresh ones":          {answers(func(int, int) string { return by("a") }), func(p *Plan) { p.Requests, p.PoolPolicy, p.RequestsPerConnection = 10, PoolFirstFree, 1 }},
		"an open loop":                  {answers(func(int, int) string { return by("a") }), func(p *Plan) { p.Requests, p.Rate = 20, 400 }},
		"an open loop, fresh":           {answers(func(int, int) string { return by("a") }), func(p *Plan) { p.Requests, p.Rate, p.RequestsPerConnection = 20, 400, 1 }},
		"an open loop, precise":         {answers(func(int, int) string { return by("a") }), func(p *Plan) { p.Requests, p.Rate, p.Precise, p.Arrivals = 20, 400, true, ArrivalsPoisson }},
		// The first connection goes between the two requests, at least half a second from either and from the end of the next
		// one: what is recorded depends on nothing short of a stall as long as that.
		"an open loop with lifetimes": {answers(func(int, int) string { return by("a") }), func(p *Plan) {
			p.Requests, p.Rate, p.ConnectionLifetime = 2, 0.5, 1400*time.Millisecond
		}},
		"an open loop with churn": {answers(func(int, int) string { return by("a") }), func(p *Plan) {
			p.Requests, p.Rate, p.ConnectionsPerSecond = 2, 0.5, 0.7
		}},
		"an open loop that loses its idle one": {answers(func(int, int) string { return by("a") + "!" }), func(p *Plan) { p.Requests, p.Rate = 3, 4 }},
		"an open loop of half answers":         {answers(func(int, int) string { return by("a")[:50] + "!" }), func(p *Plan) { p.Requests, p.Rate = 3, 40 }},
		"attributed by a header of its own": {answers(func(int, int) string { return strings.Replace(by("a"), "X-Podskew-Pod", "X-Served-By", 1) }), func(p *Plan) {
			p.Requests, p.Attribution = 4, &Attribution{Header: "x-served-by"}
		}},
		"attributed by the body": {answers(func(_, n int) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"a\": |{\"b\": \"c-%d\"}}", n)
		}), func(p *Plan) { p.Requests, p.Attribution = 4, &Attribution{JSON: "a.b"} }},
		"an open loop that ends": {answers(func(_, n int) string {
			if n == 2 {
				time.Sleep(600 * time.Millisecond)
			}
			return by("a")
		}), func(p *Plan) { p.Requests, p.Duration, p.Rate = 0, 300*time.Millisecond, 100 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compareDrivers(t, "127.0.0.1:0", tc.do, tc.with)
		})
		t.Run(name+" over IPv6", func(t *testing.T) {
			if testing.Short() {
				t.Skip("IPv4 will do")
			}
			t.Parallel()
			compareDrivers(t, "[::1]:0", tc.do, tc.with)
		})
	}
}

// compareDrivers runs a plan with either driver and compares what they recorded.
func compareDrivers(t *testing.T, listen string, do script, with func(p *Plan)) {
	t.Helper()
	got := map[string]unlike{}
	for _, driver := range []string{DriverConn, DriverEpoll} {
		address, stop := serveScript(t, listen, do)
		if do == nil {
			stop() // and nobody listens
		}
		r := runPlan(t, planOf(func(p *Plan) {
			p.Addresses = []record.Address{{HostPort: address}}
			p.Duration, p.Driver = 0, driver
			with(p)
		}))
		stop()
		if r.done.Generator.Driver != driver {
			t.Fatalf("the %s driver ran in place of the %s driver", r.done.Generator.Driver, driver)
		}
		got[driver] = timeless(t, r)
	}
	if diff := cmp.Diff(got[DriverConn], got[DriverEpoll]); diff != "" {
		t.Errorf("records differ (-conn +epoll):\n%s", diff)
	}
}

func TestDriversLeaveFromTheSameAddresses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this system has one loopback address")
	}
	sources := func(p *Plan) {
		p.Requests, p.Connections, p.RequestsPerConnection, p.Sources = 12, 3, 1, []string{"127.0.1.1", "127.0.1.2"}
	}
	compareDrivers(t, "127.0.0.1:0", answers(func(int, int) string { return by("a") }), sources)
	compareDrivers(t, "127.0.0.1:0", nil, sources)
}

// TestAStallShows has a server stall for a second: in an open loop that is the latency of all requests that were due.
func TestAStallShows(t *testing.T) {
	t.Parallel()
	stall := time.Second
	if testing.Short() {
		stall = 200 * time.Millisecond
	}
	for _, driver := range []string{DriverConn, DriverEpoll} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			var began sync.Once
			var stalled atomic.Bool
			address, stop := serveScript(t, "127.0.0.1:0", answers(func(_, n int) string {
				if n == 20 {
					began.Do(func() { stalled.Store(true); time.Sleep(stall); stalled.Store(false) })
				}
				for stalled.Load() {
					time.Sleep(time.Millisecond)
				}
				return by("a")
			}))
			defer stop()
			r := runPlan(t, planOf(func(p *Plan) {
				p.Addresses = []record.Address{{HostPort: address}}
				p.Duration, p.Rate, p.Connections, p.Driver = 3*stall, 400, 4, driver
			}))
			var latency record.Histogram
			for _, tally := range r.tallies {
				latency.Merge(tally.Latency)
			}
			// A third of the requests was due while nothing moved, evenly over the stall.
			if p99, p80 := latency.Quantile(0.99), latency.Quantile(0.8); p99 < 0.85*stall.Seconds() || p80 < 0.2*stall.Seconds() {
				t.Errorf("p99 %.3f s, p80 %.3f s after a stall of %s", p99, p80, stall)
			}
			if g := r.done.Generator; g.Lateness.Quantile(0.99) < 0.8*stall.Seconds() || g.Lateness.Count() != uint64(r.requests()) || g.Intended != r.requests()+g.Dropped {
				t.Errorf("lateness p99 %.3f s of %d, %d intended, %d dropped, %d sent", g.Lateness.Quantile(0.99), g.Lateness.Count(), g.Intended, g.Dropped, r.requests())
			}
		})
	}
}
