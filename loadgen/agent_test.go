package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

const testToken = "s3cret"

// testAgent is an agent behind a real server, and the targets it may dial.
type testAgent struct {
	*Agent
	server *httptest.Server

	mu      sync.Mutex
	targets []string
}

func newTestAgent(t *testing.T, cfg AgentConfig, targets ...string) *testAgent {
	t.Helper()
	a := &testAgent{targets: targets}
	cfg.Token = testToken
	cfg.Targets = func() ([]string, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.targets == nil {
			return nil, errors.New("no such file")
		}
		return a.targets, nil
	}
	var err error
	if a.Agent, err = NewAgent(cfg); err != nil {
		t.Fatal(err)
	}
	a.server = httptest.NewServer(a)
	t.Cleanup(a.server.Close)
	return a
}

// post is what cluster does, without the API server in between.
func (a *testAgent) post(ctx context.Context, path string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.server.URL+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set(echo.HeaderToken, testToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return nil, fmt.Errorf("%d: %s", resp.StatusCode, text)
	}
	return resp.Body, nil
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestTheAgentRefuses(t *testing.T) {
	a := newTestAgent(t, AgentConfig{MaxConnections: 10}, "10.96.0.10:80")
	good := toJSON(t, planOf(nil))
	with := func(f func(p *Plan)) string { return toJSON(t, planOf(f)) }
	for name, tc := range map[string]struct {
		method, path, token, body string
		status                    int
		want                      string
	}{
		"a plan without a token":         {"POST", RunPath, "", good, 401, "the header X-Podskew-Token does not carry the token of this run"},
		"a plan with another token":      {"POST", RunPath, testToken + "x", good, 401, "the header X-Podskew-Token does not carry the token of this run"},
		"a probe without a token":        {"POST", ProbePath, "", "{}", 401, "the header X-Podskew-Token does not carry the token of this run"},
		"to stop without a token":        {"POST", StopPath, "", "{}", 401, "the header X-Podskew-Token does not carry the token of this run"},
		"to end without a token":         {"POST", EndPath, "", "{}", 401, "the header X-Podskew-Token does not carry the token of this run"},
		"an end that is none":            {"POST", EndPath, testToken, `{"at": "soon"}`, 400, "reading what to end: json: cannot unmarshal string into Go struct field EndRequest.at of type time.Duration"},
		"another address":                {"POST", RunPath, testToken, with(func(p *Plan) { p.Addresses[0].HostPort = "10.96.0.1:443" }), 403, "10.96.0.1:443 is not among the targets of this run"},
		"to probe another address":       {"POST", ProbePath, testToken, `{"address": "10.96.0.1:443", "timeoutMs": 10}`, 403, "10.96.0.1:443 is not among the targets of this run"},
		"a plan that is none":            {"POST", RunPath, testToken, "{", 400, "reading the plan: unexpected EOF"},
		"fields it does not know":        {"POST", RunPath, testToken, `{"velocity": 1}`, 400, `reading the plan: json: unknown field "velocity"`},
		"two plans":                      {"POST", RunPath, testToken, good + good, 400, "reading the plan: there is more than one JSON value"},
		"an invalid plan":                {"POST", RunPath, testToken, with(func(p *Plan) { p.Timeout = 0 }), 400, "plan: timeout: 0s: want more than 0 and up to 10m0s"},
		"a plan beyond the limit":        {"POST", RunPath, testToken, with(func(p *Plan) { p.Connections = 11 }), 429, "11 connections besides the 0 of running plans would be more than the limit of 10"},
		"a body beyond the limit":        {"POST", RunPath, testToken, strings.Repeat(" ", 1<<20) + good, 400, "reading the plan: http: request body too large"},
		"a probe without a time":         {"POST", ProbePath, testToken, `{"address": "10.96.0.10:80"}`, 400, "probe: timeoutMs: 0: want 1 to 60000"},
		"a probe with a smuggled header": {"POST", ProbePath, testToken, `{"address": "10.96.0.10:80", "timeoutMs": 1, "path": "/\r\n"}`, 400, `probe: path "/\r\n": want / and up to 2048 characters without blanks`},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, a.server.URL+tc.path, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if tc.token != "" {
				req.Header.Set(echo.HeaderToken, tc.token)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var got struct{ Error string }
			if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tc.status || got.Error != tc.want {
				t.Errorf("got %d, %q, want %d, %q", resp.StatusCode, got.Error, tc.status, tc.want)
			}
		})
	}
}

func TestAnAgentNeedsATokenAndAList(t *testing.T) {
	if _, err := NewAgent(AgentConfig{Targets: func() ([]string, error) { return nil, nil }}); err == nil {
		t.Error("an agent without a token")
	}
	if _, err := NewAgent(AgentConfig{Token: "x"}); err == nil {
		t.Error("an agent without a list")
	}
}

func TestTheAgentIsHealthy(t *testing.T) {
	a := newTestAgent(t, AgentConfig{})
	resp, err := http.Get(a.server.URL + HealthPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got %s", resp.Status)
	}
}

func TestTheListIsReadForEveryRequest(t *testing.T) {
	address := echoServer(t, "a")
	a := newTestAgent(t, AgentConfig{})
	if err := Probe(t.Context(), a.post, address); err == nil || !strings.Contains(err.Error(), "nothing may be dialled") {
		t.Errorf("without a list: %v", err)
	}
	a.mu.Lock()
	a.targets = []string{address}
	a.mu.Unlock()
	if err := Probe(t.Context(), a.post, address); err != nil {
		t.Errorf("with it: %v", err)
	}
}

func TestAProbeGoesOnUntilAnAnswer(t *testing.T) {
	address := echoServer(t, "a")
	a := newTestAgent(t, AgentConfig{}, address)
	dials := 0
	a.world.dial = func(ctx context.Context, target target) (net.Conn, error) {
		if dials++; dials < 3 {
			return nil, errors.New("not yet")
		}
		return dialTCP(ctx, target)
	}
	body, err := a.post(t.Context(), ProbePath, strings.NewReader(`{"address": "`+address+`", "timeoutMs": 20000}`))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var got ProbeResult
	if err := json.NewDecoder(body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	got.Seconds = 0
	if diff := cmp.Diff(ProbeResult{OK: true, Status: 200, Backend: "a", Attempts: 3}, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestAProbeSaysWhyThereWasNoAnswer(t *testing.T) {
	listener := listen(t)
	address := listener.Addr().String()
	_ = listener.Close()
	a := newTestAgent(t, AgentConfig{}, address)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var body bytes.Buffer
	_ = json.NewEncoder(&body).Encode(ProbeRequest{Address: address, TimeoutMs: 50})
	answer, err := a.post(ctx, ProbePath, &body)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	var got ProbeResult
	if err := json.NewDecoder(answer).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.OK || got.Kind != string(record.ErrRefused) || got.Attempts < 2 {
		t.Errorf("got %+v", got)
	}
}

func TestAPlanRunsThroughAnAgentAsItRunsHere(t *testing.T) {
	address := echoServer(t, "a")
	a := newTestAgent(t, AgentConfig{}, address)
	plan := planOf(func(p *Plan) {
		p.Addresses = []record.Address{{HostPort: address, Node: "worker"}}
		p.Connections, p.Requests, p.Duration, p.RequestsPerConnection = 4, 100, 0, 5
	})
	got := &results{}
	if err := Drive(t.Context(), a.post, plan, got.sink(t)); err != nil {
		t.Fatal(err)
	}
	checkConsistent(t, plan, got)
	if len(got.rows) != 20 || len(got.samples) != 100 || got.sum(byBackend)["a"] != 100 || len(got.open) != 0 {
		t.Errorf("%d rows, %d samples, requests %v, %d open", len(got.rows), len(got.samples), got.sum(byBackend), len(got.open))
	}
	if diff := cmp.Diff(&Done{SampleStride: 1}, got.done, cmp.Transformer("", func(d Done) Done { d.Seconds, d.Generator = 0, nil; return d })); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
}

// longPlan is one that does not end by itself within a test.
func longPlan(address string) Plan {
	return planOf(func(p *Plan) {
		p.Addresses = []record.Address{{HostPort: address}}
		p.Connections, p.Duration = 2, time.Hour
	})
}

// begun returns a sink that calls f once requests have been answered.
func begun(got Sink, f func()) Sink {
	var once sync.Once
	return func(m Message) error {
		if m.Progress != nil && m.Progress.Requests > 0 {
			once.Do(f)
		}
		return got(m)
	}
}

func TestACancelledDriveBringsItsRowsHome(t *testing.T) {
	t.Parallel()
	address := echoServer(t, "a")
	a := newTestAgent(t, AgentConfig{}, address)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := &results{}
	plan := longPlan(address)
	if err := Drive(ctx, a.post, plan, begun(got.sink(t), cancel)); err != nil {
		t.Fatal(err)
	}
	checkConsistent(t, plan, got)
	if got.done == nil || !got.done.Interrupted || len(got.rows) != 2 {
		t.Errorf("done %+v, rows %+v", got.done, got.rows)
	}
}

func TestAnAgentThatIsInterruptedSaysSo(t *testing.T) {
	t.Parallel()
	address := echoServer(t, "a")
	a := newTestAgent(t, AgentConfig{}, address)
	got := &results{}
	err := Drive(t.Context(), a.post, longPlan(address), begun(got.sink(t), a.Interrupt))
	if !errors.Is(err, ErrInterrupted) || err.Error() != "agent web-0 ended in the middle of the run: it was told to stop" {
		t.Errorf("got %v", err)
	}
	if len(got.rows) != 2 || got.done == nil {
		t.Errorf("done %+v, rows %+v", got.done, got.rows)
	}
	err = Drive(t.Context(), a.post, longPlan(address), got.sink(t))
	if err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a new plan: %v", err)
	}
}

func TestAnAgentThatDiesLeavesItsRows(t *testing.T) {
	t.Parallel()
	address := echoServer(t, "a")
	a := newTestAgent(t, AgentConfig{}, address)
	got := &results{}
	sink := got.sink(t)
	err := Drive(t.Context(), a.post, longPlan(address), func(m Message) error {
		if m.Progress != nil && got.tallies != nil { // the rows of open connections come in between
			a.server.CloseClientConnections()
		}
		return sink(m)
	})
	if err == nil || !strings.HasPrefix(err.Error(), "agent web-0 ended in the middle of the run: its results broke off") {
		t.Errorf("got %v", err)
	}
	if len(got.rows) != 2 || got.done != nil {
		t.Fatalf("done %+v, rows %+v", got.done, got.rows)
	}
	for _, row := range got.rows {
		if row.Backend != "a" || row.Requests == 0 || row.Closed != 0 {
			t.Errorf("row %+v", row)
		}
	}
}

func TestARunEndsWhenItsCallerGoes(t *testing.T) {
	address := echoServer(t, "a")
	a := newTestAgent(t, AgentConfig{}, address)
	ctx, cancel := context.WithCancel(t.Context())
	body, err := a.post(ctx, RunPath, strings.NewReader(toJSON(t, longPlan(address))))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if n := a.running(); n != 1 {
		t.Fatalf("%d plans run", n)
	}
	gone := time.Now()
	cancel()
	for a.running() > 0 && time.Since(gone) < 10*time.Second {
		time.Sleep(time.Millisecond)
	}
	if took := time.Since(gone); took > 5*time.Second { // a second, on a machine that has nothing else to do
		t.Errorf("the plan ended after %s", took)
	}
}

func (a *Agent) running() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.plans)
}

func TestLimitsHoldOverAllPlans(t *testing.T) {
	address := echoServer(t, "a")
	a := newTestAgent(t, AgentConfig{MaxConnections: 5, MaxPlans: 2}, address)
	start := func(stream string, connections int) error {
		plan := longPlan(address)
		plan.Stream, plan.Connections = stream, connections
		body, err := a.post(t.Context(), RunPath, strings.NewReader(toJSON(t, plan)))
		if err == nil {
			t.Cleanup(func() { _ = body.Close() })
		}
		return err
	}
	t.Cleanup(a.Interrupt)
	for i, tc := range []struct {
		stream      string
		connections int
		want        string
	}{
		{"one", 3, ""},
		{"one", 1, "409"},
		{"two", 3, "429"},
		{"two", 2, ""},
		{"three", 1, "429"},
	} {
		err := start(tc.stream, tc.connections)
		if (err == nil) != (tc.want == "") || err != nil && !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("plan %d: got %v, want %q", i+1, err, tc.want)
		}
	}
	body, err := a.post(t.Context(), StopPath, strings.NewReader(`{"run": "r", "stream": "one", "agent": "web-0"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = body.Close()
	for a.running() > 1 {
		time.Sleep(time.Millisecond)
	}
	if err := start("three", 3); err != nil {
		t.Errorf("after a plan has ended: %v", err)
	}
}

func TestTargetsAreReadStrictly(t *testing.T) {
	got, err := ReadTargets(strings.NewReader("10.0.0.1:80\n\n  [fd00::1]:80\r\necho.ns.svc:80\n"))
	if diff := cmp.Diff([]string{"10.0.0.1:80", "[fd00::1]:80", "echo.ns.svc:80"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := ReadTargets(strings.NewReader("10.0.0.1:80\n*\n")); err == nil || err.Error() != `reading targets: line 2: "*": want host:port` {
		t.Errorf("got %v", err)
	}
}
