package echo

import (
	"net/http"
	"testing"
)

func TestWhoAsksForDetailsIsToldTheWay(t *testing.T) {
	id := Identity{Pod: "echo-1", PodIP: "10.244.1.2"}
	_, address := serve(t, Options{Identity: id})
	ask := func(r *http.Request) { r.Header.Set(HeaderDetail, "1") }
	forwarded := func(r *http.Request) {
		r.Header.Add("X-Forwarded-For", "10.0.0.1, 10.0.0.2")
		r.Header.Add("X-Forwarded-For", "10.0.0.3")
	}
	for name, tc := range map[string]struct {
		change          []func(*http.Request)
		ip, forwardedBy string
	}{
		"nobody asks":               {[]func(*http.Request){forwarded}, "", ""},
		"no proxy is on the way":    {[]func(*http.Request){ask}, "10.244.1.2", ""},
		"proxies are on the way":    {[]func(*http.Request){ask, forwarded}, "10.244.1.2", "10.0.0.1, 10.0.0.2, 10.0.0.3"},
		"an empty header is a word": {[]func(*http.Request){func(r *http.Request) { r.Header[HeaderDetail] = []string{""} }}, "10.244.1.2", ""},
	} {
		response, _ := get(t, client(t, false), "http://"+address+"/", tc.change...)
		if got := response.Header.Get(HeaderPodIP); got != tc.ip {
			t.Errorf("%s: the pod's address is %q, want %q", name, got, tc.ip)
		}
		if got := response.Header.Get(HeaderForwarded); got != tc.forwardedBy {
			t.Errorf("%s: forwarded for %q, want %q", name, got, tc.forwardedBy)
		}
		if got := response.Header.Get(HeaderProxied); got != "" {
			t.Errorf("%s: proxied %q without a preamble", name, got)
		}
	}
}
