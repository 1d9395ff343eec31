package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
)

// logs collects log lines and tells the address that the agent got.
type logs struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	ready chan string
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var line struct{ Msg, Address string }
	if json.Unmarshal(p, &line) == nil && line.Msg == "agent is ready" {
		l.ready <- line.Address
	}
	return l.buf.Write(p)
}

// startAgent runs an agent and returns its address and where its result will be.
func startAgent(ctx context.Context, t *testing.T, lifetime time.Duration, targets ...string) (string, <-chan error) {
	t.Helper()
	dir := t.TempDir()
	o := agentOptions{
		listen: "127.0.0.1:0", tokenFile: filepath.Join(dir, "token"), targetsFile: filepath.Join(dir, "targets"),
		maxLifetime: lifetime, maxConnections: 10,
	}
	for file, text := range map[string]string{o.tokenFile: "s3cret\n", o.targetsFile: strings.Join(targets, "\n") + "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := &logs{ready: make(chan string, 1)}
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx, slog.New(slog.NewJSONHandler(l, nil))) }()
	select {
	case address := <-l.ready:
		return address, ended
	case err := <-ended:
		t.Fatal(err)
		return "", nil
	}
}

func poster(address string) loadgen.Post {
	return func(ctx context.Context, path string, body io.Reader) (io.ReadCloser, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, body)
		if err != nil {
			return nil, err
		}
		req.Header.Set(echo.HeaderToken, "s3cret")
		resp, err := http.DefaultClient.Do(req)
		if err == nil && resp.StatusCode >= 300 {
			_ = resp.Body.Close()
			err = fmt.Errorf("got %s", resp.Status)
		}
		if err != nil {
			return nil, err
		}
		return resp.Body, nil
	}
}

func target(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(echo.HeaderPod, "echo-1")
		w.Header().Set(echo.HeaderClient, r.RemoteAddr)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func longPlan(address string) loadgen.Plan {
	return loadgen.Plan{
		Run: "r", Stream: "web", Agent: "web-0", Start: time.Now(), Addresses: []record.Address{{HostPort: address}},
		Path: "/", Protocol: loadgen.ProtocolHTTP1, Connections: 2, Duration: time.Hour, ConnectTimeout: time.Second, Timeout: time.Second,
	}
}

func TestAnAgentThatIsToldToEndSendsItsResultsFirst(t *testing.T) {
	for name, lifetime := range map[string]time.Duration{"by a signal": time.Hour, "by its lifetime": 700 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			web := target(t)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			address, ended := startAgent(ctx, t, lifetime, web)
			var rows []record.Connection
			var done *loadgen.Done
			err := loadgen.Drive(t.Context(), poster(address), longPlan(web), func(m loadgen.Message) error {
				rows = append(rows, m.Connections...)
				if m.Done != nil {
					done = m.Done
				}
				if m.Progress != nil && lifetime == time.Hour {
					stop()
				}
				return nil
			})
			if err == nil || done == nil || !done.Interrupted || len(rows) != 2 {
				t.Errorf("the run ended with %v, %+v, rows %+v", err, done, rows)
			}
			if err := <-ended; err != nil {
				t.Errorf("the agent ended with %v", err)
			}
		})
	}
}

func TestTheAgentDialsOnlyItsTargets(t *testing.T) {
	web := target(t)
	address, _ := startAgent(t.Context(), t, time.Hour, web)
	if err := loadgen.Probe(t.Context(), poster(address), web); err != nil {
		t.Errorf("a target: %v", err)
	}
	if err := loadgen.Probe(t.Context(), poster(address), target(t)); err == nil {
		t.Error("an address that is none was probed")
	}
}

func TestAnAgentDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	token, empty := filepath.Join(dir, "token"), filepath.Join(dir, "empty")
	for file, text := range map[string]string{token: "x", empty: "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"without a token file":         {[]string{"--token-file=" + dir + "/none"}, "reading the token: open " + dir + "/none: no such file or directory"},
		"with an empty token":          {[]string{"--token-file=" + empty}, "an agent without a token would run everybody's plans"},
		"on a port that is taken":      {[]string{"--token-file=" + token, "--listen=" + taken.Addr().String()}, "address already in use"},
		"without a lifetime":           {[]string{"--max-lifetime=0s"}, "--max-lifetime and --max-connections must be positive"},
		"with arguments it ignores":    {[]string{"plan.json"}, "unknown command"},
		"with a flag it has not heard": {[]string{"--rate=1"}, "unknown flag: --rate"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := newAgentCommand()
			cmd.SetArgs(tc.args)
			cmd.SetOut(io.Discard)
			cmd.SetErr(io.Discard)
			err := cmd.ExecuteContext(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}
