package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

const (
	maxProbe = time.Minute
	// attemptWithin is how long one attempt of a probe may take. It is shorter than the first retransmission of a SYN (1 s):
	// a rule that appears meanwhile is found by a new connection, sooner than by the old one.
	attemptWithin = 300 * time.Millisecond
	attemptPause  = 20 * time.Millisecond
)

// ProbeRequest asks an agent to try an address, on a new connection each time, until it answers.
type ProbeRequest struct {
	Address   string `json:"address"`        // ip:port, must be on the agent's list
	TimeoutMs int    `json:"timeoutMs"`      // in all, 1 to 60000
	Path      string `json:"path,omitempty"` // "": /
}

// ProbeResult says what came of it.
type ProbeResult struct {
	OK       bool    `json:"ok"`                // an HTTP answer came, whatever its status, but for a proxy's that nobody behind it answers
	Status   int     `json:"status,omitempty"`  // of the answer
	Backend  string  `json:"backend,omitempty"` // pod that answered, if it said so
	Attempts int     `json:"attempts"`
	Seconds  float64 `json:"seconds"`          // that the probe took
	Kind     string  `json:"kind,omitempty"`   // class of the last failure (a record.ErrorKind), if not OK
	Detail   string  `json:"detail,omitempty"` // its text
}

func (p ProbeRequest) validate() error {
	if err := checkHostPort(p.Address); err != nil {
		return fmt.Errorf("address %q: %w", p.Address, err)
	}
	if limit := int(maxProbe.Milliseconds()); p.TimeoutMs < 1 || p.TimeoutMs > limit {
		return fmt.Errorf("timeoutMs: %d: want 1 to %d", p.TimeoutMs, limit)
	}
	if p.Path != "" && (p.Path[0] != '/' || len(p.Path) > maxPath || !visible(p.Path)) {
		return fmt.Errorf("path %q: want / and up to %d characters without blanks", p.Path, maxPath)
	}
	return nil
}

func (a *Agent) probe(w http.ResponseWriter, r *http.Request) error {
	var req ProbeRequest
	if err := decodeStrict(r.Body, &req); err != nil {
		return refuse(http.StatusBadRequest, "reading the probe: %w", err)
	}
	if err := req.validate(); err != nil {
		return refuse(http.StatusBadRequest, "probe: %w", err)
	}
	if err := a.allow(req.Address); err != nil {
		return err
	}
	if !a.reserveProbe() {
		return refuse(http.StatusTooManyRequests, "%d probes are running, which is the limit", a.cfg.MaxPlans)
	}
	defer a.releaseProbe()
	result := runProbe(r.Context(), req, a.world)
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(result); err != nil {
		return fmt.Errorf("sending the result of a probe: %w", err)
	}
	return nil
}

func (a *Agent) reserveProbe() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.probes == a.cfg.MaxPlans {
		return false
	}
	a.probes++
	return true
}

func (a *Agent) releaseProbe() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.probes--
}

func runProbe(ctx context.Context, req ProbeRequest, w world) ProbeResult {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(req.TimeoutMs)*time.Millisecond)
	defer cancel()
	began := time.Now()
	pause := time.NewTicker(attemptPause)
	defer pause.Stop()
	var result ProbeResult
	for ctx.Err() == nil {
		reply, err := attempt(ctx, req, w)
		result.Attempts++
		result.Seconds = time.Since(began).Seconds()
		if err == nil && len(reply.pod) == 0 && reply.status >= http.StatusBadGateway && reply.status <= http.StatusGatewayTimeout {
			err = fmt.Errorf("a proxy on the way answers %d: nobody behind it does", reply.status)
		}
		if err == nil {
			result.OK, result.Status, result.Backend, result.Kind, result.Detail = true, reply.status, string(reply.pod), "", ""
			break
		}
		// That the time was over for the last attempt would hide what happened to those before it.
		if ctx.Err() == nil || result.Kind == "" {
			result.Kind, result.Detail = string(classify(err)), detail(err)
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
	return result
}

// attempt makes one connection and one request.
func attempt(ctx context.Context, req ProbeRequest, w world) (*parser, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptWithin)
	defer cancel()
	t := target{hostPort: req.Address}
	if ap, err := netip.ParseAddrPort(req.Address); err == nil {
		t.addrPort = ap
	}
	conn, err := w.dial(ctx, t)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	path := req.Path
	if path == "" {
		path = "/"
	}
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+req.Address+"\r\nUser-Agent: podskew\r\nConnection: close\r\n\r\n"); err != nil {
		return nil, err
	}
	return readReply(conn)
}

func readReply(conn net.Conn) (*parser, error) {
	var p parser
	p.reset()
	buf := make([]byte, maxHead+1) // the parser refuses a line that fills it
	held := 0
	for {
		n, err := conn.Read(buf[held:])
		used, done, parseErr := p.feed(buf[:held+n])
		if done || parseErr != nil {
			return &p, parseErr
		}
		held = copy(buf, buf[used:held+n])
		if errors.Is(err, io.EOF) {
			err = p.eof(held)
			if err == nil {
				return &p, nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
}
