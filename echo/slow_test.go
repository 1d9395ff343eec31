package echo

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/podskew/podskew/echo/echopb"
)

func TestASlowServerIsSlowInEveryProtocol(t *testing.T) {
	const delay = 60 * time.Millisecond
	e := serveAll(t, Options{Identity: fullIdentity(), Token: "secret"})
	c := client(t, false)
	lines, in := dialLines(t, e.tcp)
	if _, err := in.ReadString('\n'); err != nil { // the answer to the connection itself
		t.Fatal(err)
	}
	datagrams := dialDatagrams(t, e.udp)
	rpc := echopb.NewEchoClient(dialGRPC(t, e.http, false))
	ask := map[string]func() error{
		"http": func() error {
			do(t, c, http.MethodGet, "http://"+e.http+"/")
			return nil
		},
		"grpc": func() error {
			_, err := rpc.Who(t.Context(), &echopb.WhoRequest{})
			return err
		},
		"tcp": func() error {
			if _, err := io.WriteString(lines, "x\n"); err != nil {
				return err
			}
			_, err := in.ReadString('\n')
			return err
		},
		"udp": func() error {
			if _, err := datagrams.Write([]byte("x")); err != nil {
				return err
			}
			_, err := datagrams.Read(make([]byte, maxMessage))
			return err
		},
	}
	set := func(query string) {
		t.Helper()
		response, body := do(t, c, http.MethodPost, "http://"+e.http+"/slow"+query, func(r *http.Request) { r.Header.Set(HeaderToken, "secret") })
		if response.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", response.StatusCode, body)
		}
	}
	set("?delay=60ms")
	for name, one := range ask {
		began := time.Now()
		if err := one(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took < delay {
			t.Errorf("%s: answered after %s", name, took)
		}
	}
	if response, _ := do(t, c, http.MethodGet, "http://"+e.http+"/readyz"); response.StatusCode != http.StatusOK {
		t.Errorf("the probe: %d", response.StatusCode)
	}
	if _, body := do(t, c, http.MethodGet, "http://"+e.http+"/slow"); body != "60ms\n" {
		t.Errorf("it says it waits %q", body)
	}
	set("?delay=0s")
	if pace := e.server.pace.Load(); pace != 0 {
		t.Errorf("still %d ns slow", pace)
	}
}

func TestOnlyWhoHasTheTokenSlowsAServer(t *testing.T) {
	for name, row := range map[string]struct {
		method, query, token string
		status               int
	}{
		"without a token":     {http.MethodPost, "?delay=1s", "", http.StatusForbidden},
		"with a wrong one":    {http.MethodPut, "?delay=1s", "secreT", http.StatusForbidden},
		"without a delay":     {http.MethodPost, "", "secret", http.StatusBadRequest},
		"below zero":          {http.MethodPost, "?delay=-1s", "secret", http.StatusBadRequest},
		"for too long":        {http.MethodPost, "?delay=61s", "secret", http.StatusBadRequest},
		"by an other method":  {http.MethodDelete, "?delay=1s", "secret", http.StatusMethodNotAllowed},
		"with all that takes": {http.MethodPost, "?delay=1s", "secret", http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			s, address := serve(t, Options{Identity: fullIdentity(), Token: "secret"})
			response, body := do(t, client(t, false), row.method, "http://"+address+"/slow"+row.query, func(r *http.Request) { r.Header.Set(HeaderToken, row.token) })
			if response.StatusCode != row.status {
				t.Errorf("status %d, want %d: %s", response.StatusCode, row.status, body)
			}
			if slow := s.pace.Load() > 0; slow != (row.status == http.StatusOK) {
				t.Errorf("slow: %v", slow)
			}
		})
	}
}
