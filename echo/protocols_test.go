package echo

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	rpcstatus "google.golang.org/grpc/status"

	"github.com/podskew/podskew/echo/echopb"
)

// everywhere is a server on all its listeners.
type everywhere struct {
	server                *Server
	http, https, tcp, udp string
	stop                  context.CancelFunc // the signal
	ended                 <-chan error
	over                  bool // ended was read
}

// serveAll runs a server on loopback ports for the length of the test.
func serveAll(t *testing.T, o Options) *everywhere {
	t.Helper()
	o.Listen, o.ListenTLS, o.ListenTCP, o.ListenUDP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	l, err := o.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	e := &everywhere{
		server: New(o), http: l.HTTP.Addr().String(), https: l.HTTPS.Addr().String(), tcp: l.TCP.Addr().String(),
		udp: l.UDP.LocalAddr().String(), stop: cancel, ended: ended,
	}
	go func() { ended <- e.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if !e.over {
			if err := <-ended; err != nil {
				t.Errorf("Serve ended with %v, want nil", err)
			}
		}
	})
	return e
}

// stats are the server's own.
func (e *everywhere) stats(t *testing.T) Stats {
	t.Helper()
	_, body := do(t, client(t, false), http.MethodGet, "http://"+e.http+"/stats")
	var got Stats
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

// dialGRPC opens a channel.
func dialGRPC(t *testing.T, address string, secure bool) *grpc.ClientConn {
	t.Helper()
	creds := insecure.NewCredentials()
	if secure {
		creds = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	channel, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = channel.Close() })
	return channel
}

func TestTLSOffersBothVersionsOfHTTP(t *testing.T) {
	e := serveAll(t, Options{Identity: fullIdentity()})
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		transport.Protocols.SetHTTP1(!http2)
		transport.Protocols.SetHTTP2(http2)
		t.Cleanup(transport.CloseIdleConnections)
		response, got := get(t, &http.Client{Transport: transport}, "https://"+e.https+"/x")
		want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]
		if !got.TLS || got.Protocol != want || got.Pod != fullIdentity().Pod || response.Header.Get(HeaderClient) != addressOf(got) || got.Client.Port == 0 {
			t.Errorf("%s: %+v", want, got)
		}
	}
	if _, got := get(t, client(t, false), "http://"+e.http); got.TLS {
		t.Error("TLS is claimed where there is none")
	}
}

func TestTheCertificateNamesThePod(t *testing.T) {
	id := fullIdentity()
	certificate, err := selfSigned(id, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf := certificate.Leaf
	if leaf == nil {
		t.Fatal("the certificate was not parsed")
	}
	for _, name := range []string{id.Pod, id.PodIP, "localhost"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}

func TestGRPCSaysWhoAnswered(t *testing.T) {
	e := serveAll(t, Options{Identity: fullIdentity()})
	id := fullIdentity()
	for secure, address := range map[bool]string{false: e.http, true: e.https} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			calls := echopb.NewEchoClient(dialGRPC(t, address, secure))
			for n := range 2 {
				var header metadata.MD
				got, err := calls.Who(t.Context(), &echopb.WhoRequest{RequestId: "my-id"}, grpc.Header(&header))
				if err != nil {
					t.Fatal(err)
				}
				if got.GetPod() != id.Pod || got.GetNode() != id.Node || got.GetRequestId() != "my-id" || got.GetTls() != secure ||
					got.GetRequest() != uint64(n+1) || got.GetConnection() == 0 || !strings.HasPrefix(got.GetClient(), "127.0.0.1:") {
					t.Errorf("answer %d: %v", n+1, got)
				}
				if pod := header.Get(HeaderPod); len(pod) != 1 || pod[0] != id.Pod || header.Get(HeaderClient)[0] != got.GetClient() {
					t.Errorf("metadata %v", header)
				}
			}
		})
	}
}

func TestGRPCConversationsAnswerEveryMessage(t *testing.T) {
	e := serveAll(t, Options{Identity: fullIdentity()})
	stream, err := echopb.NewEchoClient(dialGRPC(t, e.http, false)).Converse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if err := stream.Send(&echopb.WhoRequest{RequestId: fmt.Sprint(n)}); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil || got.GetRequestId() != fmt.Sprint(n) || got.GetRequest() != uint64(n+1) || got.GetConnection() != 1 {
			t.Errorf("answer %d: %v, %v", n, got, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	want := []ConnectionStats{{Connection: 1, Protocol: ProtocolGRPC, Requests: 3}}
	if diff := cmp.Diff(want, e.stats(t).PerConnection, cmpopts.IgnoreFields(ConnectionStats{}, "Client")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGRPCGrantsWishes(t *testing.T) {
	e := serveAll(t, Options{Identity: fullIdentity()})
	calls := echopb.NewEchoClient(dialGRPC(t, e.http, false))
	for query, want := range map[string]codes.Code{"status=503": codes.Unavailable, "fail=1": codes.Unavailable, "delay=x": codes.InvalidArgument, "delay=1ms": codes.OK} {
		var trailer metadata.MD
		_, err := calls.Who(t.Context(), &echopb.WhoRequest{Query: query}, grpc.Trailer(&trailer))
		if rpcstatus.Code(err) != want {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
		if want == codes.Unavailable && len(trailer.Get(HeaderPod)) != 1 {
			t.Errorf("%s: the failure does not say whose it is: %v", query, trailer)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := calls.Who(ctx, &echopb.WhoRequest{Query: "delay=30s"}); rpcstatus.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a call that is given up: %v", err)
	}
	if _, err := calls.Who(t.Context(), &echopb.WhoRequest{RequestId: strings.Repeat("x", maxGRPCMessage)}); rpcstatus.Code(err) != codes.ResourceExhausted {
		t.Errorf("a large request: %v", err)
	}
}

func TestGRPCHealthIsReadiness(t *testing.T) {
	e := serveAll(t, Options{Identity: fullIdentity(), Token: "secret"})
	health := healthpb.NewHealthClient(dialGRPC(t, e.http, false))
	check := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range []string{"", "podskew.v1alpha1.Echo"} {
			got, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
			if err != nil || got.GetStatus() != want {
				t.Errorf("service %q: %v, %v, want %v", service, got, err, want)
			}
		}
	}
	check(healthpb.HealthCheckResponse_SERVING)
	do(t, client(t, false), http.MethodPost, "http://"+e.http+"/readyz", func(r *http.Request) { r.Header.Set(HeaderToken, "secret") })
	check(healthpb.HealthCheckResponse_NOT_SERVING)
	if _, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "other"}); rpcstatus.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: %v", err)
	}
	if n := e.stats(t).Requests; n != 0 {
		t.Errorf("%d checks were counted as requests", n)
	}
}

func TestWebSocketsAnswerEveryMessage(t *testing.T) {
	e := serveAll(t, Options{Identity: fullIdentity()})
	conn, response, err := websocket.Dial(t.Context(), "ws://"+e.http+"/ws", nil) //nolint:bodyclose // a handshake's response has none
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	if response.Header.Get(HeaderPod) != fullIdentity().Pod {
		t.Errorf("headers of the handshake: %v", response.Header)
	}
	for n, message := range []string{"one", "not an id", ""} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		_, body, err := conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := parseReply(t, string(body))
		wantID := map[int]string{0: "one"}[n]
		if got.Protocol != ProtocolWebSocket || got.Connection != 1 || got.Request != uint64(n+1) || n == 0 && got.RequestID != wantID || got.RequestID == "" || got.RequestID == "not an id" {
			t.Errorf("answer %d: %+v", n+1, got)
		}
	}
	if err := conn.Write(t.Context(), websocket.MessageText, make([]byte, maxMessage+1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("a message that is too long: %v", err)
	}
	want := []ProtocolStats{{Protocol: ProtocolWebSocket, Connections: 1, Requests: 3}}
	if diff := cmp.Diff(want, e.stats(t).PerProtocol); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWebSocketsGrantWishes(t *testing.T) {
	e := serveAll(t, Options{Identity: fullIdentity()})
	for query, want := range map[string]websocket.StatusCode{"status=503": websocket.StatusInternalError, "close=true": websocket.StatusNormalClosure} {
		conn, _, err := websocket.Dial(t.Context(), "ws://"+e.http+"/ws?"+query, nil) //nolint:bodyclose // a handshake's response has none
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
			t.Fatal(err)
		}
		_, _, err = conn.Read(t.Context())
		if query == "close=true" && err == nil {
			_, _, err = conn.Read(t.Context())
		}
		if websocket.CloseStatus(err) != want {
			t.Errorf("%s: %v, want %v", query, err, want)
		}
	}
	if _, response, err := websocket.Dial(t.Context(), "ws://"+e.http+"/ws?delay=x", nil); err == nil || response.StatusCode != http.StatusBadRequest { //nolint:bodyclose // a handshake's response has none
		t.Errorf("a wish that is none: %v", err)
	}
	if _, got := get(t, client(t, false), "http://"+e.http+"/ws"); got.Path != "/ws" {
		t.Errorf("without an upgrade: %+v", got)
	}
}

func TestLinesOverTCP(t *testing.T) {
	e := serveAll(t, Options{Identity: fullIdentity()})
	conn, in := dialLines(t, e.tcp)
	for n, line := range []string{"", "my-id\n", "\r\n", "with blanks\n"} {
		if _, err := io.WriteString(conn, line); err != nil {
			t.Fatal(err)
		}
		answer, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		got := parseReply(t, answer)
		if got.Protocol != ProtocolTCP || got.Request != uint64(n+1) || got.Connection != 1 || addressOf(got) != conn.LocalAddr().String() || (got.RequestID == "my-id") != (n == 1) {
			t.Errorf("answer %d: %+v", n+1, got)
		}
	}
	if _, err := io.WriteString(conn, Goodbye+"\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the goodbye: %v", err)
	}

	long, in := dialLines(t, e.tcp)
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := long.Write(make([]byte, maxMessage)); err != nil {
		t.Fatal(err)
	}
	if _, err := in.ReadByte(); err == nil {
		t.Error("a line without an end was taken")
	}
	got := e.stats(t)
	want := []ProtocolStats{{Protocol: ProtocolTCP, Connections: 2, Requests: 5}}
	if diff := cmp.Diff(want, got.PerProtocol); diff != "" || got.Garbage != 1 {
		t.Errorf("garbage %d, (-want +got):\n%s", got.Garbage, diff)
	}
}

func dialLines(t *testing.T, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn, bufio.NewReader(conn)
}

func dialDatagrams(t *testing.T, address string) *net.UDPConn {
	t.Helper()
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.UDPConn)
}

func TestDatagrams(t *testing.T) {
	e := serveAll(t, Options{Identity: fullIdentity()})
	a, b := dialDatagrams(t, e.udp), dialDatagrams(t, e.udp)
	ask := func(conn *net.UDPConn, datagram string) Reply {
		t.Helper()
		if _, err := conn.Write([]byte(datagram)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return parseReply(t, string(buf[:n]))
	}
	for i, one := range []struct {
		conn                *net.UDPConn
		datagram            string
		connection, request uint64
	}{{a, "t1", 1, 1}, {a, "t2\n", 1, 2}, {b, "t3", 2, 1}, {a, "", 1, 3}} {
		got := ask(one.conn, one.datagram)
		want := strings.TrimSpace(one.datagram)
		if got.Protocol != ProtocolUDP || got.Connection != one.connection || got.Request != one.request || want != "" && got.RequestID != want || addressOf(got) != one.conn.LocalAddr().String() {
			t.Errorf("answer %d: %+v", i+1, got)
		}
	}
	for _, garbage := range []string{"two words", "\x00", strings.Repeat("x", 129), strings.Repeat("x", maxMessage)} {
		if _, err := a.Write([]byte(garbage)); err != nil {
			t.Fatal(err)
		}
	}
	if got := ask(a, "after"); got.RequestID != "after" {
		t.Errorf("garbage was answered: %+v", got)
	}
	got := e.stats(t)
	want := []ConnectionStats{
		{Connection: 1, Client: a.LocalAddr().String(), Protocol: ProtocolUDP, Requests: 4},
		{Connection: 2, Client: b.LocalAddr().String(), Protocol: ProtocolUDP, Requests: 1},
	}
	if diff := cmp.Diff(want, got.PerConnection); diff != "" || got.Garbage != 4 {
		t.Errorf("garbage %d, (-want +got):\n%s", got.Garbage, diff)
	}
}

func TestDatagramsAreAnsweredFromWhereTheyWereSentTo(t *testing.T) {
	l, err := Options{ListenUDP: ":0"}.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- New(Options{}).Serve(ctx, l) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	_, port, _ := net.SplitHostPort(l.UDP.LocalAddr().String())
	for _, host := range []string{"127.0.0.1", "127.0.0.7", "::1"} {
		conn, err := net.Dial("udp", net.JoinHostPort(host, port))
		if err != nil {
			t.Logf("%s is not there: %v", host, err)
			continue
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Logf("%s is not there: %v", host, err)
			continue
		}
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			t.Errorf("a connected socket hears nothing of %s: %v", host, err)
		}
	}
}

func TestFlowsAreForgottenOldestFirst(t *testing.T) {
	s := New(Options{})
	seen := newFlows(4)
	numbers := map[int]uint64{}
	ask := func(port int) uint64 {
		body := s.answerDatagram(nil, seen, addrPort(port), "")
		return parseReply(t, string(body)).Connection
	}
	for port := 1; port <= 4; port++ {
		numbers[port] = ask(port)
	}
	for port := 5; port <= 8; port++ {
		ask(1) // is heard of all the time
		ask(port)
	}
	if got := ask(1); got != numbers[1] {
		t.Errorf("a flow in use was forgotten: it was %d, and is %d", numbers[1], got)
	}
	if got := ask(2); got == numbers[2] {
		t.Error("a flow that was long silent is remembered")
	}
	if n := len(seen.young) + len(seen.old); n > 8 {
		t.Errorf("%d flows are remembered", n)
	}
}

func TestEverythingEndsInTheDrain(t *testing.T) {
	t.Parallel()
	const grace = time.Second // answers that take twice as long are under way when it is over
	e := serveAll(t, Options{Identity: fullIdentity(), Grace: grace, Drain: 10 * time.Second})
	lines, in := dialLines(t, e.tcp)
	ws, _, err := websocket.Dial(t.Context(), "ws://"+e.http+"/ws?delay=2s", nil) //nolint:bodyclose // a handshake's response has none
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	stream, err := echopb.NewEchoClient(dialGRPC(t, e.https, true)).Converse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	under, err := echopb.NewEchoClient(dialGRPC(t, e.http, false)).Converse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		if err := stream.Send(&echopb.WhoRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	began := time.Now()
	e.stop()
	// In the grace period everything is as it was.
	if _, err := io.WriteString(lines, "x\n"); err != nil {
		t.Fatal(err)
	}
	ask()
	if conn, err := net.Dial("tcp", e.tcp); err != nil {
		t.Errorf("a new connection in the grace period: %v", err)
	} else {
		_ = conn.Close()
	}
	// What is under way when the drain begins is answered.
	if err := ws.Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := under.Send(&echopb.WhoRequest{Query: "delay=2s"}); err != nil {
		t.Fatal(err)
	}
	if _, err := under.Recv(); err != nil {
		t.Errorf("a stream under way: %v", err)
	}
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway && err != nil {
		t.Errorf("a WebSocket under way: %v", err)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("a connection at rest ended with %v", err)
	}
	if _, err := stream.Recv(); rpcstatus.Code(err) != codes.Unavailable {
		t.Errorf("a stream at rest ended with %v", err)
	}
	_ = ws.CloseNow()
	if err := <-e.ended; err != nil {
		t.Errorf("Serve ended with %v", err)
	}
	e.over = true
	if took := time.Since(began); took < grace || took > 8*time.Second {
		t.Errorf("it took %s", took)
	}
	if _, err := net.Dial("tcp", e.tcp); err == nil {
		t.Error("it still listens")
	}
}

func TestWhatDoesNotEndIsCutOffInEveryProtocol(t *testing.T) {
	t.Parallel()
	e := serveAll(t, Options{Identity: fullIdentity(), Drain: 200 * time.Millisecond})
	ws, _, err := websocket.Dial(t.Context(), "ws://"+e.http+"/ws?delay=1m", nil) //nolint:bodyclose // a handshake's response has none
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	if err := ws.Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
		t.Fatal(err)
	}
	stream, err := echopb.NewEchoClient(dialGRPC(t, e.http, false)).Converse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&echopb.WhoRequest{Query: "delay=1m"}); err != nil {
		t.Fatal(err)
	}
	for e.server.ledger.requests.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	e.stop()
	if err := <-e.ended; err != nil {
		t.Errorf("Serve ended with %v", err)
	}
	e.over = true
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to cut off what did not end within 0.2 s", took)
	}
}

func TestStatsArePagedAndCompact(t *testing.T) {
	e := serveAll(t, Options{Identity: fullIdentity()})
	for range 7 {
		_, in := dialLines(t, e.tcp)
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	var numbers []uint64
	for from := 0; ; {
		_, body := do(t, client(t, false), http.MethodGet, fmt.Sprintf("http://%s/stats?rows=compact&limit=3&from=%d", e.http, from))
		var rows Rows
		if err := json.Unmarshal([]byte(body), &rows); err != nil {
			t.Fatal(err)
		}
		if rows.Connections != 7 || rows.Requests != 7 || rows.Truncated != 0 || rows.Pod == "" || rows.CPUSeconds <= 0 || rows.CPUs < 1 || rows.Seconds <= 0 {
			t.Errorf("%+v", rows)
		}
		for _, row := range rows.Rows {
			numbers = append(numbers, row.Connection)
			if row.Protocol != ProtocolTCP || row.Requests != 1 || !strings.HasPrefix(row.Client, "127.0.0.1:") {
				t.Errorf("%+v", row)
			}
		}
		if rows.Next == 0 {
			break
		}
		from = rows.Next
	}
	if len(numbers) != 7 {
		t.Errorf("the pages have connections %v", numbers)
	}
	for _, query := range []string{"from=-1", "limit=x", "rows=some", "from=999999999", "%zz"} {
		if response, _ := do(t, client(t, false), http.MethodGet, "http://"+e.http+"/stats?"+query); response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d", query, response.StatusCode)
		}
	}
}

func TestALedgerOfAHundredThousandConnectionsIsComplete(t *testing.T) {
	s := New(Options{})
	for range 100_000 {
		c := (&connection{number: s.accepted.Add(1)}).identified("10.0.0.1:4711")
		s.countRequest(c, "HTTP/1.1")
	}
	seen := 0
	for from := 0; ; {
		page, next := s.ledger.page(from, DefaultRows)
		seen += len(page)
		if next == 0 {
			break
		}
		from = next
	}
	if seen != 100_000 {
		t.Errorf("%d rows", seen)
	}
}

func FuzzDatagramID(f *testing.F) {
	f.Add([]byte("id-1\n"))
	f.Add([]byte(""))
	f.Add([]byte("two words"))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		id, ok := datagramID(datagram)
		if ok && id != "" && (!validRequestID(id) || !strings.HasPrefix(string(datagram), id)) {
			t.Errorf("%q gives %q", datagram, id)
		}
	})
}

func FuzzParseStatsQuery(f *testing.F) {
	f.Add("rows=compact&from=3&limit=10")
	f.Add("from=-1")
	f.Add("%zz")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := parseStatsQuery(query)
		if err == nil && (q.from < 0 || q.from > maxRows || q.limit < 0 || q.limit > maxRows) {
			t.Errorf("%q gives %+v", query, q)
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\n"))
	f.Add([]byte("bye\nnever\n"))
	f.Add([]byte("\x00\xff"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if len(sent) > 2*maxMessage {
			return
		}
		s := New(Options{IdleTimeout: time.Second})
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer far.Close()
			s.converse(far)
		}()
		go func() {
			_, _ = near.Write(sent)
			_ = near.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		}()
		answers, _ := io.ReadAll(near)
		_ = near.Close()
		<-done
		for line := range strings.Lines(string(answers)) {
			if strings.HasSuffix(line, "\n") {
				parseReply(t, line)
			}
		}
	})
}
