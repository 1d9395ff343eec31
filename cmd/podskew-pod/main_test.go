package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// beTheProgram makes the test binary run as podskew-pod.
const beTheProgram = "PODSKEW_POD_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beTheProgram) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// program returns a command that runs podskew-pod; it is killed when the test ends.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	// Under the race detector every program lingers for a second at its end, unless told otherwise.
	cmd.Env = []string{beTheProgram + "=1", "GORACE=atexit_sleep_ms=0", "POD_NAME=echo-1", "NODE_NAME=worker", "NODE_ZONE=a"}
	return cmd
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"the version", []string{"version"}, 0, "podskew-pod "},
		{"help on echo", []string{"echo", "--help"}, 0, "--grace duration"},
		{"an unknown flag", []string{"echo", "--nope"}, 2, "unknown flag: --nope"},
		{"an unknown role", []string{"nope"}, 2, `unknown command "nope"`},
		{"a negative grace period", []string{"echo", "--grace=-1s"}, 1, "must not be negative"},
		{"an address that cannot be", []string{"echo", "--listen=256.0.0.1:1"}, 1, "starting the echo server: listening for HTTP"},
		{"a UDP address that cannot be", []string{"echo", "--listen=", "--listen-tls=", "--listen-tcp=", "--listen-udp=256.0.0.1:1"}, 1, "listening for UDP"},
		{"nothing to listen on", []string{"echo", "--listen=", "--listen-tls=", "--listen-tcp=", "--listen-udp="}, 1, "there is nothing to listen on"},
		{"a token file that is not there", []string{"echo", "--token-file=/none"}, 1, "reading the token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			output, err := program(t, test.args...).CombinedOutput()
			code := 0
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != test.code || !strings.Contains(string(output), test.want) {
				t.Errorf("exit code %d, want %d with %q in:\n%s", code, test.code, test.want, output)
			}
		})
	}
}

// logLine is what the test reads of a line of the log.
type logLine struct {
	Msg, Address, Pod, Node string
}

// next reads the log up to a line with that message.
func next(t *testing.T, log *bufio.Scanner, msg string) logLine {
	t.Helper()
	for log.Scan() {
		var line logLine
		if err := json.Unmarshal(log.Bytes(), &line); err != nil {
			t.Fatalf("%v in %q", err, log.Text())
		}
		if line.Pod != "echo-1" || line.Node != "worker" {
			t.Errorf("a line without identity: %s", log.Text())
		}
		if strings.HasPrefix(line.Msg, msg) {
			return line
		}
	}
	t.Fatalf("the log ended before %q: %v", msg, log.Err())
	return logLine{}
}

func TestEchoStopsOnSIGTERMWithGrace(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := program(t, "echo", "--listen=127.0.0.1:0", "--listen-tls=127.0.0.1:0", "--listen-tcp=127.0.0.1:0", "--listen-udp=127.0.0.1:0", "--grace=1s", "--token-file="+token)
	cmd.Stderr = &bytes.Buffer{}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log := bufio.NewScanner(out)
	url := "http://" + next(t, log, "serving").Address
	probe := func(method string) int {
		request, err := http.NewRequestWithContext(t.Context(), method, url+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Podskew-Token", "secret")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode
	}
	defer http.DefaultClient.CloseIdleConnections()
	for i, want := range []int{200, 503, 200} { // ready, flipped, flipped back
		if got := probe(http.MethodGet); got != want {
			t.Errorf("probe %d: %d, want %d", i, got, want)
		}
		if got := probe(http.MethodPost); got != 200 {
			t.Errorf("flip %d: %d, want 200", i, got)
		}
	}

	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	next(t, log, "stopping")
	if got := probe(http.MethodGet); got != 503 {
		t.Errorf("readiness after SIGTERM: %d, want 503", got)
	}
	next(t, log, "stopped")
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v, want exit code 0; %s", err, cmd.Stderr)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("ended %v after SIGTERM, want 1 s or more", took)
	}
}
