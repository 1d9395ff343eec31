package echo

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestStatsCountRequestsByConnectionAndSource(t *testing.T) {
	_, address := serve(t, Options{Identity: fullIdentity()})
	url := "http://" + address
	a, b := client(t, false), client(t, true)
	_, one := get(t, a, url)
	get(t, a, url)
	_, two := get(t, b, url)
	do(t, a, http.MethodGet, url+"/healthz")
	_, body := do(t, client(t, false), http.MethodGet, url+"/stats")
	var got Stats
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := Stats{
		Pod: fullIdentity().Pod, Node: fullIdentity().Node, Requests: 3, Connections: 2, Accepted: 3, Open: 3,
		PerConnection: []ConnectionStats{
			{Connection: 1, Client: addressOf(one), Protocol: "HTTP/1.1", Requests: 2},
			{Connection: 2, Client: addressOf(two), Protocol: "HTTP/2.0", Requests: 1},
		},
		PerSource: []SourceStats{{Address: "127.0.0.1", Connections: 2, Requests: 3}},
		PerProtocol: []ProtocolStats{
			{Protocol: "HTTP/1.1", Connections: 1, Requests: 2}, {Protocol: "HTTP/2.0", Connections: 1, Requests: 1},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Stats{}, "Since", "Seconds", "Usage")); diff != "" || got.Since.IsZero() || got.Seconds <= 0 {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func addressOf(r Reply) string {
	return net.JoinHostPort(r.Client.Address, strconv.Itoa(int(r.Client.Port)))
}

func TestMetrics(t *testing.T) {
	_, address := serve(t, Options{Identity: fullIdentity()})
	url, c := "http://"+address, client(t, false)
	get(t, c, url)
	get(t, c, url+"/?status=503")
	do(t, c, http.MethodGet, url+"/healthz")
	_, body := do(t, c, http.MethodGet, url+"/metrics")
	for _, want := range []string{
		`podskew_echo_requests_total{code="200",protocol="HTTP/1.1"} 1`,
		`podskew_echo_requests_total{code="503",protocol="HTTP/1.1"} 1`,
		`podskew_echo_request_duration_seconds_count 2`,
		`podskew_echo_connections_open 1`,
		`podskew_echo_connections_accepted_total 1`,
		`podskew_echo_connections_rejected_total 0`,
		`podskew_echo_ready 1`,
		`podskew_echo_info{namespace="podskew-run",node="worker.example",pod="echo-7d4b9-x2x4z"} 1`,
	} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(want) + `$`).MatchString(body) {
			t.Errorf("no %s", want)
		}
	}
}

func TestLabelsPage(t *testing.T) {
	v := newVolume(t)
	v.write(map[string]string{"labels": "app=\"echo\"\nnonsense"})
	_, address := serve(t, Options{PodInfo: v.dir})
	response, body := do(t, client(t, false), http.MethodGet, "http://"+address+"/labels")
	var got PodInfo
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := PodInfo{Labels: map[string]string{"app": "echo"}, Malformed: 1, Unknown: []string{"annotations"}, Generation: 1, Read: got.Read}
	if diff := cmp.Diff(want, got); diff != "" || response.Header.Get(HeaderConnection) != "1" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestReadinessIsFlippedWithTheToken(t *testing.T) {
	with := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(HeaderToken, token) }
	}
	tests := []struct {
		name, token   string
		method, query string
		change        func(*http.Request)
		status, then  int // of the change, and of the probe after it
	}{
		{"no token configured, none given", "", http.MethodPost, "", with(""), 403, 200},
		{"no token configured, one given", "", http.MethodPost, "", with("x"), 403, 200},
		{"none given", "secret", http.MethodPost, "", with(""), 403, 200},
		{"a wrong one given", "secret", http.MethodPost, "", with("secreT"), 403, 200},
		{"a longer one given", "secret", http.MethodPost, "", with("secrets"), 403, 200},
		{"a flip", "secret", http.MethodPost, "", with("secret"), 200, 503},
		{"a way", "secret", http.MethodPut, "?ready=false", with("secret"), 200, 503},
		{"the same way", "secret", http.MethodPost, "?ready=true", with("secret"), 200, 200},
		{"no way", "secret", http.MethodPut, "", with("secret"), 400, 200},
		{"nonsense", "secret", http.MethodPost, "?ready=perhaps", with("secret"), 400, 200},
		{"another method", "secret", http.MethodDelete, "", with("secret"), 405, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			log := &lockedBuffer{}
			_, address := serve(t, Options{Identity: fullIdentity(), Token: test.token, Logger: slog.New(slog.NewJSONHandler(log, nil))})
			url, c := "http://"+address+"/readyz", client(t, false)
			if response, body := do(t, c, test.method, url+test.query, test.change); response.StatusCode != test.status {
				t.Errorf("status %d, want %d: %s", response.StatusCode, test.status, body)
			}
			response, body := do(t, c, http.MethodGet, url)
			if response.StatusCode != test.then {
				t.Errorf("ready afterwards: %d %s, want %d", response.StatusCode, body, test.then)
			}
			if logged := strings.Contains(log.String(), "readiness changed"); logged != (test.then == 503) {
				t.Errorf("change logged: %v\n%s", logged, log.String())
			}
		})
	}
}

func TestEveryPageNamesThePod(t *testing.T) {
	_, address := serve(t, Options{Identity: fullIdentity()})
	for _, path := range []string{"/healthz", "/readyz", "/stats", "/metrics", "/labels", "/?status=500", "/?size=x", "/anything"} {
		response, _ := do(t, client(t, false), http.MethodGet, "http://"+address+path)
		if got := response.Header.Get(HeaderPod); got != fullIdentity().Pod {
			t.Errorf("%s names pod %q", path, got)
		}
	}
}

func TestRequestsAreLoggedOnlyIfWanted(t *testing.T) {
	for _, wanted := range []bool{false, true} {
		log := &lockedBuffer{}
		_, address := serve(t, Options{Identity: fullIdentity(), LogRequests: wanted, Logger: slog.New(slog.NewJSONHandler(log, nil))})
		get(t, client(t, false), "http://"+address+"/here")
		if got := strings.Contains(log.String(), `"path":"/here"`); got != wanted {
			t.Errorf("request logged: %v, want %v", got, wanted)
		}
		for line := range strings.Lines(log.String()) {
			var entry map[string]any
			if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["pod"] != fullIdentity().Pod || entry["node"] != fullIdentity().Node {
				t.Errorf("a line without identity: %s", line)
			}
		}
	}
}
