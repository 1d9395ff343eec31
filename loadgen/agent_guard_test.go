package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/podskew/podskew/echo"
)

const guardedTarget = "10.96.0.10:80"

// guardedAgent is an agent whose dials fail at once; a dial to anything but its target is an error of the test.
func guardedAgent(tb testing.TB, cfg AgentConfig) *Agent {
	tb.Helper()
	cfg.Token = testToken
	cfg.Targets = func() ([]string, error) { return []string{guardedTarget}, nil }
	a, err := NewAgent(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	a.world.dial = func(_ context.Context, to target) (net.Conn, error) {
		if canonical(to.hostPort) != guardedTarget {
			tb.Errorf("it dialled %s", to.hostPort)
		}
		return nil, errors.New("nobody is there")
	}
	a.world.sources = func(context.Context, []target) []string { return nil }
	return a
}

func postTo(ctx context.Context, a *Agent, path, token, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(body))
	req.Header.Set(echo.HeaderToken, token)
	req.Header.Set("X-Forwarded-For", "203.0.113.7")
	resp := httptest.NewRecorder()
	a.ServeHTTP(resp, req)
	return resp
}

func TestRefusalsAreLoggedWithWhoWhatAndWhyButNeverTheToken(t *testing.T) {
	good := toJSON(t, planOf(func(p *Plan) { p.Requests, p.Duration = 1, 0 }))
	foreign := toJSON(t, planOf(func(p *Plan) { p.Addresses[0].HostPort = "10.96.0.1:443" }))
	past := time.Now().Add(-time.Second)
	for name, tc := range map[string]struct {
		deadline    time.Time
		token, body string
		status      int
		why         string
	}{
		"without a token":                                     {token: "", body: good, status: 401, why: "does not carry the token"},
		"with a token that is another":                        {token: "guessed-" + testToken, body: good, status: 401, why: "does not carry the token"},
		"with a foreign target":                               {token: testToken, body: foreign, status: 403, why: "10.96.0.1:443 is not among the targets"},
		"past its deadline":                                   {deadline: past, token: testToken, body: good, status: 503, why: "the agent's time was over at " + past.UTC().Format(time.RFC3339)},
		"past its deadline, as a stranger who learns nothing": {deadline: past, token: "x", body: good, status: 401, why: "does not carry the token"},
	} {
		t.Run(name, func(t *testing.T) {
			var logs bytes.Buffer
			a := guardedAgent(t, AgentConfig{Deadline: tc.deadline, Logger: slog.New(slog.NewJSONHandler(&logs, nil))})
			resp := postTo(t.Context(), a, RunPath, tc.token, tc.body)
			if resp.Code != tc.status || !strings.Contains(resp.Body.String(), tc.why) {
				t.Errorf("%d %s, want %d %s", resp.Code, resp.Body, tc.status, tc.why)
			}
			var line struct {
				Msg, Path, From, ForwardedFor, Error string
				Status                               int
			}
			if err := json.Unmarshal(logs.Bytes(), &line); err != nil {
				t.Fatalf("%v in %q", err, &logs)
			}
			if line.Msg != "request refused" || line.Path != RunPath || line.From == "" || line.ForwardedFor != "203.0.113.7" ||
				line.Status != tc.status || !strings.Contains(line.Error, tc.why) {
				t.Errorf("logged %s", &logs)
			}
			if strings.Contains(logs.String(), testToken) || strings.Contains(resp.Body.String(), testToken) {
				t.Errorf("the token is in the log or the answer:\n%s%s", &logs, resp.Body)
			}
		})
	}
}

func TestWhatIsRefusedDoesNotFillTheLog(t *testing.T) {
	var logs bytes.Buffer
	a := guardedAgent(t, AgentConfig{Logger: slog.New(slog.NewJSONHandler(&logs, nil))})
	postTo(t.Context(), a, RunPath, testToken, toJSON(t, planOf(func(p *Plan) { p.Path = strings.Repeat("x", 100_000) })))
	if logs.Len() == 0 || logs.Len() > 2000 {
		t.Errorf("%d bytes were logged", logs.Len())
	}
}

func TestBeforeItsDeadlineAnAgentRunsPlans(t *testing.T) {
	a := guardedAgent(t, AgentConfig{Deadline: time.Now().Add(time.Hour)})
	resp := postTo(t.Context(), a, RunPath, testToken, toJSON(t, planOf(func(p *Plan) { p.Requests, p.Duration = 1, 0 })))
	if resp.Code != http.StatusOK || !strings.Contains(resp.Body.String(), `"done"`) {
		t.Errorf("%d %s", resp.Code, resp.Body)
	}
}

// FuzzPlan posts anything at all, with the token: an agent runs it or says no, dials nobody but its targets, and lives.
func FuzzPlan(f *testing.F) {
	plan := planOf(func(p *Plan) { p.Requests, p.Duration, p.MaxRate = 2, 0, 100 })
	good, err := json.Marshal(plan)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		string(good), "{}", "null", "[]", "{", string(good) + "{}",
		strings.Replace(string(good), guardedTarget, "10.96.0.1:443", 1),
		strings.Replace(string(good), guardedTarget, "[::ffff:10.96.0.10]:80", 1),
		strings.Replace(string(good), `"connections":1`, `"connections":-1`, 1),
		strings.Replace(string(good), `"maxRate":100`, `"maxRate":1e308`, 1),
		strings.Replace(string(good), `"path":"/"`, `"path":"/\r\nX: y"`, 1),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a := guardedAgent(t, AgentConfig{MaxConnections: 8})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		for _, path := range []string{RunPath, StopPath, ProbePath} {
			resp := postTo(ctx, a, path, testToken, string(body))
			switch resp.Code {
			case http.StatusOK, http.StatusNoContent:
			case http.StatusBadRequest, http.StatusForbidden, http.StatusTooManyRequests:
				var no struct{ Error string }
				if err := json.Unmarshal(resp.Body.Bytes(), &no); err != nil || no.Error == "" {
					t.Errorf("%s refuses with %d but no sentence: %q", path, resp.Code, resp.Body)
				}
			default:
				t.Errorf("%s answers %d: %s", path, resp.Code, resp.Body)
			}
		}
		if a.connections != 0 || len(a.plans) != 0 || a.probes != 0 {
			t.Errorf("%d connections, %d plans, %d probes are left", a.connections, len(a.plans), a.probes)
		}
	})
}
