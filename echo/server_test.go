package echo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func contextWith(ctx context.Context, c *connection) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// serve runs a server on a loopback port for the length of the test and returns its address.
func serve(t *testing.T, o Options) (*Server, string) {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(o)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, Listeners{HTTP: listener}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve ended with %v, want nil", err)
		}
	})
	return s, listener.Addr().String()
}

// client returns an HTTP client that keeps connections of its own.
func client(t *testing.T, http2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetUnencryptedHTTP2(http2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// answer is a response without its body, which was read and closed.
type answer struct {
	StatusCode    int
	Header        http.Header
	ContentLength int64
	Close         bool
}

// do sends a request and returns the response and its body.
func do(t *testing.T, c *http.Client, method, url string, change ...func(*http.Request)) (answer, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(r)
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, response.ContentLength, response.Close}, string(body)
}

// get is do for a Reply.
func get(t *testing.T, c *http.Client, url string, change ...func(*http.Request)) (answer, Reply) {
	t.Helper()
	response, body := do(t, c, http.MethodGet, url, change...)
	return response, parseReply(t, body)
}

func parseReply(t *testing.T, body string) Reply {
	t.Helper()
	var reply Reply
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&reply); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	return reply
}

func TestReplyAndHeadersSayWhoAnswered(t *testing.T) {
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, http2 := range []bool{false, true} {
		protocol := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]
		t.Run(protocol, func(t *testing.T) {
			_, address := serve(t, Options{Identity: fullIdentity()})
			response, got := get(t, client(t, http2), "http://"+address+"/a%20b?x=1", func(r *http.Request) {
				r.Host = "echo.shop"
				r.Header.Set("X-Forwarded-For", "192.0.2.1, 192.0.2.2")
				r.Header.Set("Traceparent", trace)
				r.Header.Set(HeaderRequestID, "my-id")
			})
			id := fullIdentity()
			want := Reply{
				Pod: id.Pod, Namespace: id.Namespace, PodIP: id.PodIP, PodUID: id.PodUID, Node: id.Node, HostIP: id.HostIP,
				Zone: id.Zone, ServiceAccount: id.ServiceAccount, Resources: id.Resources,
				Client: Client{Address: "127.0.0.1", Port: got.Client.Port}, ForwardedFor: []string{"192.0.2.1", "192.0.2.2"},
				Connection: 1, Request: 1, RequestID: "my-id", Traceparent: trace, Protocol: protocol,
				Host: "echo.shop", Method: http.MethodGet, Path: "/a b", Unknown: []string{},
			}
			if diff := cmp.Diff(want, got); diff != "" || got.Client.Port == 0 {
				t.Errorf("(-want +got):\n%s", diff)
			}
			headers := map[string]string{
				HeaderPod: id.Pod, HeaderNode: id.Node, HeaderZone: id.Zone, HeaderConnection: "1", HeaderRequest: "1",
				HeaderClient: addressOf(got), HeaderRequestID: "my-id", "Content-Type": "application/json",
			}
			for name, want := range headers {
				if got := response.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestConnectionsAndRequestsAreNumbered(t *testing.T) {
	_, address := serve(t, Options{})
	url := "http://" + address
	a, b, c := client(t, false), client(t, true), client(t, false)
	c.Transport.(*http.Transport).DisableKeepAlives = true
	var got []string
	number := func(c *http.Client, path string) {
		response, _ := do(t, c, http.MethodGet, url+path)
		got = append(got, response.Header.Get(HeaderConnection)+"/"+response.Header.Get(HeaderRequest))
	}
	number(a, "/")
	number(a, "/healthz") // the server's own pages are requests on the connection as well
	number(a, "/")
	number(b, "/")
	number(b, "/")
	number(c, "/")
	number(c, "/")
	number(a, "/")
	want := []string{"1/1", "1/2", "1/3", "2/1", "2/2", "3/1", "4/1", "1/4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("connection/request (-want +got):\n%s", diff)
	}
}

func TestConcurrentStreamsGetNumbersOfTheirOwn(t *testing.T) {
	_, address := serve(t, Options{Identity: fullIdentity()})
	c := client(t, true)
	get(t, c, "http://"+address) // so that all others use this connection
	const n = 64
	replies := make([]Reply, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { _, replies[i] = get(t, c, "http://"+address+"/?delay=1ms") })
	}
	running.Wait()
	seen := map[uint64]bool{}
	ids := map[string]bool{}
	for _, reply := range replies {
		seen[reply.Request], ids[reply.RequestID] = true, true
		if reply.Connection != 1 || reply.Request < 2 || reply.Request > n+1 {
			t.Errorf("connection %d, request %d; want 1 and 2 to %d", reply.Connection, reply.Request, n+1)
		}
	}
	if len(seen) != n || len(ids) != n {
		t.Errorf("%d numbers and %d ids for %d requests", len(seen), len(ids), n)
	}
}

func TestUnknownIdentityIsSaid(t *testing.T) {
	log := &lockedBuffer{}
	_, address := serve(t, Options{Identity: ReadIdentity(lookupIn(nil)), Logger: slog.New(slog.NewJSONHandler(log, nil))})
	response, got := get(t, client(t, false), "http://"+address)
	if got.Pod != Unknown || got.Zone != "" || !slices.Contains(got.Unknown, "pod") || response.Header.Get(HeaderPod) != Unknown {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(log.String(), `"unknown":["hostIP","namespace",`) {
		t.Errorf("the log does not list what is unknown:\n%s", log.String())
	}
	if _, ok := response.Header[HeaderZone]; ok {
		t.Errorf("a zone header without a zone: %q", response.Header.Get(HeaderZone))
	}
}

func TestWishesAreGranted(t *testing.T) {
	_, address := serve(t, Options{Identity: fullIdentity()})
	url := "http://" + address
	t.Run("a status", func(t *testing.T) {
		response, reply := get(t, client(t, false), url+"/?status=503")
		if response.StatusCode != 503 || reply.Pod == "" || response.Header.Get(HeaderPod) == "" {
			t.Errorf("status %d, %+v", response.StatusCode, reply)
		}
	})
	t.Run("a status without a body", func(t *testing.T) {
		response, body := do(t, client(t, false), http.MethodGet, url+"/?status=204")
		if response.StatusCode != 204 || body != "" || response.Header.Get(HeaderPod) == "" {
			t.Errorf("status %d, body %q", response.StatusCode, body)
		}
	})
	t.Run("a size", func(t *testing.T) {
		for _, http2 := range []bool{false, true} {
			response, body := do(t, client(t, http2), http.MethodGet, url+"/?size="+strconv.Itoa(MaxSize))
			if len(body) != MaxSize || response.ContentLength != MaxSize || parseReply(t, body).Pod == "" {
				t.Errorf("%d bytes, length %d, want %d", len(body), response.ContentLength, MaxSize)
			}
		}
	})
	t.Run("a head alone", func(t *testing.T) {
		response, body := do(t, client(t, false), http.MethodHead, url+"/?size=5000")
		if body != "" || response.ContentLength != 5000 || response.Header.Get(HeaderPod) == "" {
			t.Errorf("body %q, length %d", body, response.ContentLength)
		}
	})
	t.Run("an end of the connection", func(t *testing.T) {
		c := client(t, false)
		first, _ := get(t, c, url+"/?close=true")
		second, _ := get(t, c, url)
		if !first.Close || second.Header.Get(HeaderRequest) != "1" {
			t.Errorf("close %v, then request %s; want a new connection", first.Close, second.Header.Get(HeaderRequest))
		}
	})
	t.Run("something impossible", func(t *testing.T) {
		response, body := do(t, client(t, false), http.MethodGet, url+"/?delay=2m")
		if response.StatusCode != 400 || !strings.Contains(body, "1m0s") || response.Header.Get(HeaderPod) == "" {
			t.Errorf("status %d: %s", response.StatusCode, body)
		}
	})
}

func TestFailuresByShareAreRepeatable(t *testing.T) {
	failures := func(pod string, seed uint64) string {
		id := fullIdentity()
		id.Pod = pod
		_, address := serve(t, Options{Identity: id, Seed: seed})
		c := client(t, false)
		var pattern strings.Builder
		for range 200 {
			response, _ := do(t, c, http.MethodGet, "http://"+address+"/?fail=0.3")
			pattern.WriteString(map[int]string{200: ".", 503: "x"}[response.StatusCode])
		}
		return pattern.String()
	}
	first := failures("echo-1", 1)
	// 60 of 200 on average, with a standard deviation of 6.5; the seed is fixed, so is the count.
	if n := strings.Count(first, "x"); n < 35 || n > 85 || len(first) != 200 {
		t.Errorf("%d of %d failed, want about 60 of 200", n, len(first))
	}
	if again := failures("echo-1", 1); again != first {
		t.Error("the same pod and seed fail differently")
	}
	if other := failures("echo-2", 1); other == first {
		t.Error("two pods fail in step")
	}
}

func TestBodiesAreReadUpToALimit(t *testing.T) {
	_, address := serve(t, Options{})
	c := client(t, false)
	post := func(size int, path string) answer {
		response, _ := do(t, c, http.MethodPost, "http://"+address+path, func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", size)))
			r.ContentLength = int64(size)
		})
		return response
	}
	if response := post(maxBody, "/"); response.StatusCode != 200 {
		t.Errorf("a body at the limit: %d", response.StatusCode)
	}
	if response := post(1, "/"); response.Header.Get(HeaderRequest) != "2" {
		t.Errorf("the connection was not used again: request %s", response.Header.Get(HeaderRequest))
	}
	for _, path := range []string{"/", "/stats"} {
		if response := post(maxBody+1, path); response.StatusCode != 413 || !response.Close {
			t.Errorf("%s: a body beyond the limit: status %d, close %v", path, response.StatusCode, response.Close)
		}
	}
}

func TestHugeHeadersAreRefused(t *testing.T) {
	_, address := serve(t, Options{})
	response, _ := do(t, client(t, false), http.MethodGet, "http://"+address, func(r *http.Request) {
		r.Header.Set("X-Long", strings.Repeat("x", maxHeaderBytes+8192))
	})
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, want 431", response.StatusCode)
	}
}

func TestConnectionsBeyondTheLimitAreReset(t *testing.T) {
	s, address := serve(t, Options{MaxConnections: 2})
	// ask opens a connection, which stays open, and sends a request on it. A reset may strike at any point.
	ask := func() (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: 20 * time.Second}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return nil, err
		}
		if _, err := fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return nil, err
		}
		_, err = io.ReadFull(conn, make([]byte, 16))
		return conn, err
	}
	first, err := ask()
	if err != nil {
		t.Fatalf("first: %v", err)
	}
	if _, err := ask(); err != nil {
		t.Errorf("second: %v", err)
	}
	if _, err := ask(); err == nil {
		t.Error("the third was served")
	}
	if got := s.turned.Load(); got != 1 {
		t.Errorf("%d turned away, want 1", got)
	}
	_ = first.Close()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if _, err := ask(); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no place became free in 20 s")
		}
	}
}

func TestProxyProtocol(t *testing.T) {
	v2 := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 192, 0, 2, 2, 10, 0, 0, 1, 0x12, 0x34, 0, 80)
	local := []byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
	tests := []struct {
		name     string
		preamble string
		want     string // the client; "" means the peer's own loopback address
	}{
		{"version 1", "PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n", "192.0.2.1:4711"},
		{"version 1 over IPv6", "PROXY TCP6 2001:db8::1 fd00::1 4711 80\r\n", "[2001:db8::1]:4711"},
		{"version 2", string(v2), "192.0.2.2:4660"},
		{"version 2 of the proxy itself", string(local), ""},
		{"no preamble", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, address := serve(t, Options{ProxyProtocol: true})
			c := client(t, false)
			var own string
			c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
				if err == nil {
					own = conn.LocalAddr().String()
					_, err = io.WriteString(conn, test.preamble)
				}
				return conn, err
			}
			response, reply := get(t, c, "http://"+address)
			want := test.want
			if want == "" {
				want = own
			}
			if got := response.Header.Get(HeaderClient); got != want || reply.ProxyProtocol != test.want {
				t.Errorf("client %s, source %q; want %s, %q", got, reply.ProxyProtocol, want, test.want)
			}
			if got := addressOf(reply); got != want {
				t.Errorf("client %s in the reply, want %s", got, want)
			}
		})
	}
}

func TestPreamblesAreNotBelievedUnasked(t *testing.T) {
	_, address := serve(t, Options{})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("HTTP/1.1 400"))
	if _, err := io.ReadFull(conn, line); err != nil || string(line) != "HTTP/1.1 400" {
		t.Errorf("answer %q, %v, want a 400", line, err)
	}
}

func TestASilentClientDoesNotHoldUpOthers(t *testing.T) {
	_, address := serve(t, Options{ProxyProtocol: true})
	silent, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	began := time.Now()
	get(t, client(t, false), "http://"+address)
	if took := time.Since(began); took >= readHeaderTimeout {
		t.Errorf("answered after %v", took)
	}
}

func TestZoneLabelReachesRepliesOnOpenConnections(t *testing.T) {
	v := newVolume(t)
	v.write(map[string]string{"labels": formatMap(map[string]string{zoneLabel: "a"}), "annotations": ""})
	_, address := serve(t, Options{Identity: fullIdentity(), PodInfo: v.dir})
	c := client(t, false)
	if response, reply := get(t, c, "http://"+address); reply.Zone != "a" || response.Header.Get(HeaderZone) != "a" {
		t.Errorf("zone %q, want a", reply.Zone)
	}
	v.write(map[string]string{"labels": formatMap(map[string]string{zoneLabel: "b"}), "annotations": ""})
	for deadline := time.Now().Add(20 * time.Second); ; {
		response, reply := get(t, c, "http://"+address)
		if reply.Zone == "b" && response.Header.Get(HeaderZone) == "b" && reply.Connection == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("zone %q on connection %d after 20 s, want b on 1", reply.Zone, reply.Connection)
		}
	}
}
