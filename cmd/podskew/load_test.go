package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/loadgen"
)

// serveLoad starts what the script of load loads: $ECHO answers as three echo pods do, connection by connection, $PLAIN as
// somebody else's three servers, $SECURE the same inside TLS.
func serveLoad(e *testscript.Env) {
	type number struct{}
	serve := func(identity func(w http.ResponseWriter, r *http.Request, n uint64), start func(*httptest.Server)) string {
		var connections atomic.Uint64
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := r.Context().Value(number{}).(uint64)
			identity(w, r, n)
		}))
		server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, number{}, connections.Add(1))
		}
		start(server)
		e.Defer(server.Close)
		return server.URL
	}
	pod := func(n uint64) string { return fmt.Sprintf("web-%d", n%3+1) }
	e.Setenv("ECHO", serve(func(w http.ResponseWriter, r *http.Request, n uint64) {
		w.Header().Set(echo.HeaderPod, pod(n))
		w.Header().Set(echo.HeaderClient, r.RemoteAddr)
		w.Header().Set(echo.HeaderConnection, strconv.FormatUint(n, 10))
	}, (*httptest.Server).Start))
	plain := func(w http.ResponseWriter, r *http.Request, n uint64) {
		w.Header().Set("X-Served-By", pod(n))
		_, _ = io.WriteString(w, `{"meta": {"host": "`+pod(n)+`"}, "path": "`+r.RequestURI+`"}`)
	}
	e.Setenv("PLAIN", serve(plain, (*httptest.Server).Start))
	e.Setenv("SECURE", serve(plain, (*httptest.Server).StartTLS))
}

func TestURLsBecomePlans(t *testing.T) {
	for url, want := range map[string]loadgen.Plan{
		"http://web.example.org":              {Protocol: "http1", Host: "web.example.org", Path: "/", Stream: "web.example.org:80"},
		"web.example.org:8080/a?b=c#d":        {Protocol: "http1", Host: "web.example.org:8080", Path: "/a?b=c", Stream: "web.example.org:8080"},
		"https://[fd00::1]/x y":               {Protocol: "http1", TLS: true, Host: "[fd00::1]", Path: "/x%20y", Stream: "[fd00::1]:443"},
		"grpcs://echo.ns:50051":               {Protocol: "grpc", TLS: true, Host: "echo.ns:50051", Path: "/", Stream: "echo.ns:50051"},
		"ws://10.0.0.1/ws":                    {Protocol: "websocket", Host: "10.0.0.1", Path: "/ws", Stream: "10.0.0.1:80"},
		"tcp://10.0.0.1:9000":                 {Protocol: "tcp", Host: "10.0.0.1:9000", Path: "/", Stream: "10.0.0.1:9000"},
		"udp://10.0.0.1:8080/anything at all": {Protocol: "udp", Host: "10.0.0.1:8080", Path: "/anything%20at%20all", Stream: "10.0.0.1:8080"},
	} {
		o := loadOptions{plan: loadgen.Plan{Connections: 1, Timeout: time.Second, ConnectTimeout: time.Second}}
		if err := o.complete(url); err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		p := o.plan
		got := loadgen.Plan{Protocol: p.Protocol, TLS: p.TLS, Host: p.Host, Path: p.Path, Stream: p.Addresses[0].HostPort}
		if fmt.Sprint(got) != fmt.Sprint(want) || p.Duration != defaultLoad {
			t.Errorf("%s: got %+v, want %+v", url, got, want)
		}
	}
}

func TestProblemsOfPlansAreSaidInFlags(t *testing.T) {
	for in, want := range map[string]string{
		"plan: lifetimeJitter: 2: want 0 to 1":                  "--lifetime-jitter: 2: want 0 to 1",
		"plan: sources[1]: x is there twice":                    "--source: x is there twice",
		"plan: tls: udp has none\nplan: rate: -1: want 1":       "--tls: udp has none; --rate: -1: want 1",
		"plan: want requests or duration, one of them":          "want requests or duration, one of them",
		`plan: address "a": want host:port`:                     `address "a": want host:port`,
		"plan: attribution: want header or json, one of them":   "--backend-header, --backend-json: want header or json, one of them",
		"plan: requestsPerConnection: tcp has none of its kind": "--requests-per-connection: tcp has none of its kind",
	} {
		if got := inFlags(errors.New(in)); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	if strings.Contains(kebab("connectTimeout"), "T") {
		t.Error(kebab("connectTimeout"))
	}
}
