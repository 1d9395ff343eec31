package echo

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzReplyText: the fast rendering is what encoding/json makes of the same Reply.
func FuzzReplyText(f *testing.F) {
	f.Add("echo-1", "a", "10.78.1.2:4711", "1.2.3.4, 5.6.7.8", "/", "host", "id", uint64(1), uint64(1))
	f.Add("<&>\"\\", "", "[fe80::1%eth0]:1", ",", "/\u2028\x00\x7f\xff", "hö", "\t", uint64(1<<63), uint64(0))
	f.Fuzz(func(t *testing.T, pod, zone, remote, forwarded, path, host, id string, number, request uint64) {
		identity := fullIdentity()
		identity.Pod, identity.Zone = pod, zone
		if zone == "" {
			identity.Unknown = []string{"node", pod}
		}
		c := &connection{number: number, remote: remote, proxied: host, tls: request%2 == 1}
		if addr, err := netip.ParseAddrPort(remote); err == nil {
			c.client = addr
		}
		r := &http.Request{Method: "GET", Proto: "HTTP/1.1", Host: host, URL: &url.URL{Path: path}, Header: http.Header{
			"X-Forwarded-For": {forwarded}, "Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		}}
		fc := newFace(identity)
		want, err := json.Marshal(c.reply(fc, askedOf(r), request, id))
		if err != nil {
			t.Fatal(err)
		}
		got := c.textOf(fc).appendReply(nil, askedOf(r), request, id)
		if string(got) != string(want)+"\n" {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestTraceparent(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	tests := []struct {
		name   string
		values []string
		taken  bool
	}{
		{"none", nil, false},
		{"a good one", []string{good}, true},
		{"two", []string{good, good}, false},
		{"capitals", []string{strings.ToUpper(good)}, false},
		{"an empty trace id", []string{"00-00000000000000000000000000000000-00f067aa0ba902b7-01"}, false},
		{"an empty parent id", []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"}, false},
		{"the forbidden version", []string{"ff" + good[2:]}, false},
		{"a later version with more to it", []string{"01" + good[2:] + "-more"}, true},
		{"a later version run on", []string{"01" + good[2:] + "more"}, false},
		{"this version with more to it", []string{good + "-more"}, false},
		{"one cut short", []string{good[:54]}, false},
		{"other separators", []string{strings.ReplaceAll(good, "-", "_")}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := ""
			if test.taken {
				want = test.values[0]
			}
			if got := traceparent(test.values); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestPaddingKeepsTheReplyWhole(t *testing.T) {
	body := []byte("{\"a\":1}\n")
	for _, size := range []int{0, len(body), len(body) + 1, 100} {
		got := pad(append([]byte{}, body...), size)
		var value map[string]int
		if err := json.Unmarshal(got, &value); err != nil || value["a"] != 1 || len(got) != max(size, len(body)) || got[len(got)-1] != '\n' {
			t.Errorf("size %d gives %q (%v)", size, got, err)
		}
	}
}

func TestForwardedFor(t *testing.T) {
	got := forwardedFor([]string{" 1.2.3.4 ,, fd00::1", "unknown"})
	if diff := cmp.Diff([]string{"1.2.3.4", "fd00::1", "unknown"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// BenchmarkEcho is one request through the handler, without the network.
func BenchmarkEcho(b *testing.B) {
	s := New(Options{Identity: fullIdentity()})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	c := &connection{number: 1}
	r = r.WithContext(contextWith(r.Context(), c))
	w := &nullWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(w, r)
	}
}

// BenchmarkMarshal is what the body alone would cost with encoding/json.
func BenchmarkMarshal(b *testing.B) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	c, f := &connection{number: 1}, newFace(fullIdentity())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(c.reply(f, askedOf(r), 1, "id")); err != nil {
			b.Fatal(err)
		}
	}
}

type nullWriter struct{ header http.Header }

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *nullWriter) WriteHeader(int)             {}
