package echo

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strconv"
)

// plain answers with one line of text and returns the status.
func (x *exchange) plain(status int, line string) int {
	h := x.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff") // the line may quote the request
	x.w.WriteHeader(status)
	_, _ = x.w.Write([]byte(line + "\n"))
	return status
}

// json answers with value.
func (x *exchange) json(value any) {
	body, err := json.Marshal(value)
	if err != nil {
		x.plain(http.StatusInternalServerError, err.Error())
		return
	}
	x.w.Header().Set("Content-Type", "application/json")
	_, _ = x.w.Write(append(body, '\n'))
}

// serveReady answers the readiness probe (GET, HEAD), or flips readiness (POST, PUT; ?ready=true or false says which way,
// PUT must say). Whoever can flip readiness decides where a Service's traffic goes, hence the token.
func (s *Server) serveReady(x *exchange) {
	switch x.r.Method {
	case http.MethodGet, http.MethodHead:
		s.answerReady(x)
		return
	case http.MethodPost, http.MethodPut:
	default:
		x.w.Header().Set("Allow", "GET, HEAD, POST, PUT")
		x.plain(http.StatusMethodNotAllowed, "readiness is read with GET, and changed with POST or PUT")
		return
	}
	if !s.authorized(x.r) {
		x.plain(http.StatusForbidden, "changing readiness takes the server's token in the header "+HeaderToken)
		return
	}
	ready := !s.ready.Load()
	if text := x.r.URL.Query().Get("ready"); text != "" || x.r.Method == http.MethodPut {
		var err error
		if ready, err = strconv.ParseBool(text); err != nil {
			x.plain(http.StatusBadRequest, "want ?ready=true or ?ready=false")
			return
		}
	}
	if !s.setReady(ready, x.connection.remote) {
		x.plain(http.StatusConflict, "stopping")
		return
	}
	x.plain(http.StatusOK, readiness(ready))
}

// answerReady answers the probe.
func (s *Server) answerReady(x *exchange) {
	switch {
	case s.stopping.Load():
		x.plain(http.StatusServiceUnavailable, "stopping")
	case s.ready.Load():
		x.plain(http.StatusOK, readiness(true))
	default:
		x.plain(http.StatusServiceUnavailable, readiness(false))
	}
}

func readiness(ready bool) string {
	if ready {
		return "ready"
	}
	return "not ready"
}

// authorized reports whether the request carries the server's token. Without a token nobody is authorized. Digests are
// compared, so that the time it takes says nothing about the token, not even its length.
func (s *Server) authorized(r *http.Request) bool {
	want, got := sha256.Sum256([]byte(s.options.Token)), sha256.Sum256([]byte(r.Header.Get(HeaderToken)))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && s.options.Token != ""
}
