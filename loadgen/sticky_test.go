package loadgen

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

// proxied is a layer 7 proxy and the pods behind it: each request goes to the next of three pods, unless decide says otherwise.
type proxied struct {
	decide func(w http.ResponseWriter, r *http.Request) (pod int, ok bool)

	mu   sync.Mutex
	next int
	seen []string // what requests said: header or cookie
}

func (p *proxied) start(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		pod, ok := p.decide(w, r)
		if !ok {
			pod = p.next % 3
			p.next++
		}
		p.seen = append(p.seen, r.Header.Get("X-Execution-Pod")+r.Header.Get("Cookie"))
		w.Header().Set(echo.HeaderPod, fmt.Sprintf("pod-%d", pod))
		w.Header().Set(echo.HeaderClient, "10.0.0.1:5000")
		if r.Header.Get(echo.HeaderDetail) != "" {
			w.Header().Set(echo.HeaderPodIP, fmt.Sprintf("10.1.0.%d", pod))
			w.Header().Set(echo.HeaderForwarded, "10.9.9.9")
			w.Header().Set(echo.HeaderProxied, "10.9.9.9:1234")
		}
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// byHeader looks the pod of a header up, or hashes what it does not know onto pod 0.
func byHeader(_ http.ResponseWriter, r *http.Request) (int, bool) {
	value := r.Header.Get("X-Execution-Pod")
	var pod int
	if n, _ := fmt.Sscanf(value, "10.1.0.%d", &pod); n == 1 {
		return pod, true
	}
	if n, _ := fmt.Sscanf(value, "pod-%d", &pod); n == 1 {
		return pod, true
	}
	return 0, value != ""
}

// byCookie remembers the pod by a cookie, and sets another one that is to be forgotten at once.
func byCookie(_ http.ResponseWriter, r *http.Request) (int, bool) {
	if c, err := r.Cookie("STICK"); err == nil {
		var pod int
		_, _ = fmt.Sscanf(c.Value, "p%d", &pod)
		return pod, true
	}
	return 0, false
}

func TestSessionsComeBackWithWhatTheyWereTold(t *testing.T) {
	for name, tc := range map[string]struct {
		session record.StreamSession
		decide  func(http.ResponseWriter, *http.Request) (int, bool)
		first   string // what the first request of a session says
		keys    []string
	}{
		"the address of the pod that answered": {record.StreamSession{Header: "X-Execution-Pod", Value: "podIP"}, byHeader, "", []string{"10.1.0.0", "10.1.0.1", "10.1.0.2"}},
		"its name":                             {record.StreamSession{Header: "X-Execution-Pod", Value: "podName"}, byHeader, "", []string{"pod-0", "pod-1", "pod-2"}},
		"a name of the session's own":          {record.StreamSession{Header: "X-Execution-Pod"}, byHeader, "own", []string{"agent-0", "agent-1", "agent-2"}},
	} {
		for _, driver := range []string{DriverEpoll, DriverConn} {
			t.Run(name+" by "+driver, func(t *testing.T) {
				proxy := &proxied{decide: tc.decide}
				to := proxy.start(t)
				got := runPlan(t, planOf(func(p *Plan) {
					p.Agent, p.Addresses, p.Driver, p.Session = "agent", []record.Address{{HostPort: to}}, driver, &tc.session
					p.Connections, p.Requests, p.Duration, p.RequestsPerConnection = 3, 30, 0, 5
				}))
				var keys []string
				for _, row := range got.rows {
					keys = append(keys, row.Key)
					if row.Forwarded != "10.9.9.9" || row.Proxied != "10.9.9.9:1234" {
						t.Errorf("row %+v", row)
					}
					if tc.first == "" && (len(row.Others) > 0 || !strings.HasSuffix(row.Backend, row.Key[len(row.Key)-1:])) {
						t.Errorf("it names %s and reached %s and %v", row.Key, row.Backend, row.Others)
					}
				}
				slices.Sort(keys)
				if diff := cmp.Diff(tc.keys, slices.Compact(keys)); diff != "" {
					t.Errorf("keys of the rows (-want +got):\n%s", diff)
				}
				want := 0
				if tc.first == "" {
					want = 3
				}
				if silent := len(keep(proxy.seen, "")); silent != want || len(proxy.seen) != 30 {
					t.Errorf("%d of %d requests said nothing, want %d of 30", silent, len(proxy.seen), want)
				}
			})
		}
	}
}

// keep returns the entries that are equal to one.
func keep(all []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s != one })
}

func TestCookiesAreSentBackAndForgotten(t *testing.T) {
	for _, driver := range []string{DriverEpoll, DriverConn} {
		t.Run(driver, func(t *testing.T) {
			n := 0
			proxy := &proxied{}
			proxy.decide = func(w http.ResponseWriter, r *http.Request) (int, bool) {
				n++
				pod, known := byCookie(w, r)
				if !known {
					pod = n % 3
					w.Header().Add("Set-Cookie", fmt.Sprintf("STICK=p%d; Path=/; HttpOnly", pod))
					w.Header().Add("Set-Cookie", "other=1; Max-Age=60")
				} else if strings.Contains(r.Header.Get("Cookie"), "other=") {
					w.Header().Add("Set-Cookie", "other=x; Max-Age=0")
				}
				return pod, true
			}
			to := proxy.start(t)
			got := runPlan(t, planOf(func(p *Plan) {
				p.Addresses, p.Driver, p.Session = []record.Address{{HostPort: to}}, driver, &record.StreamSession{Cookie: true}
				p.Connections, p.Requests, p.Duration, p.RequestsPerConnection = 1, 9, 0, 2
			}))
			want := append([]string{"", "STICK=p1; other=1"}, slices.Repeat([]string{"STICK=p1"}, 7)...)
			if diff := cmp.Diff(want, proxy.seen); diff != "" {
				t.Errorf("cookies sent (-want +got):\n%s", diff)
			}
			for _, row := range got.rows {
				if row.Backend != "pod-1" || row.Key != "" {
					t.Errorf("row %+v", row)
				}
			}
		})
	}
}

func TestWithoutASessionNothingIsAskedForOrKept(t *testing.T) {
	proxy := &proxied{decide: byHeader}
	to := proxy.start(t)
	for _, row := range runPlan(t, planOf(func(p *Plan) {
		p.Addresses = []record.Address{{HostPort: to}}
		p.Connections, p.Requests, p.Duration = 1, 6, 0
	})).rows {
		if row.Key+row.Forwarded+row.Proxied != "" {
			t.Errorf("row %+v", row)
		}
	}
}

func TestSessionsThatNoHeaderCanSayAreRefused(t *testing.T) {
	for name, with := range map[string]func(p *Plan){
		"neither header nor cookies":  func(p *Plan) { p.Session = &record.StreamSession{} },
		"both":                        func(p *Plan) { p.Session = &record.StreamSession{Header: "A", Cookie: true} },
		"a header of two lines":       func(p *Plan) { p.Session = &record.StreamSession{Header: "A\r\nB"} },
		"an unknown value":            func(p *Plan) { p.Session = &record.StreamSession{Header: "A", Value: "pod"} },
		"a protocol without sessions": func(p *Plan) { p.Session, p.Protocol = &record.StreamSession{Header: "A"}, ProtocolGRPC },
	} {
		if err := planOf(with).Validate(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// FuzzDetails feeds header fields of anybody to what a client remembers: requests made of it must stay one request.
func FuzzDetails(f *testing.F) {
	f.Add("Set-Cookie", "a=b; Max-Age=0")
	f.Add("X-Podskew-Pod-Ip", "10.0.0.1")
	f.Fuzz(func(t *testing.T, name, value string) {
		reply := "HTTP/1.1 200 OK\r\n" + name + ": " + value + "\r\nX-Podskew-Pod: p\r\nContent-Length: 0\r\n\r\n"
		for _, session := range []record.StreamSession{{Cookie: true}, {Header: "X-K", Value: "podIP"}} {
			p := parser{more: &details{}}
			p.reset()
			if _, done, err := p.feed([]byte(reply)); err != nil || !done {
				return
			}
			s := sticky{session: &session}
			s.learn(&p)
			request := string(s.added([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")))
			if strings.Count(request, "\r\n\r\n") != 1 || strings.Count(request, "\n") > 4 || !strings.HasSuffix(request, "\r\n\r\n") {
				t.Errorf("the request is %q", request)
			}
		}
	})
}
