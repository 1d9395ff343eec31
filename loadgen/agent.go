package loadgen

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/podskew/podskew/echo"
)

const (
	defaultMaxConnections = 10_000
	defaultMaxPlans       = 64
	maxRequestBody        = 1 << 20
	maxTargets            = 100_000
	maxLogged             = 500 // bytes of what a request says
	// writeWithin is how long the receiver of results may take none of them before it counts as gone.
	writeWithin = 20 * time.Second
)

// AgentConfig is what an agent is started with.
type AgentConfig struct {
	Token          string                   // what every POST must carry in the header echo.HeaderToken; never empty
	Targets        func() ([]string, error) // host:port list of what may be dialled, asked for every request
	MaxConnections int                      // concurrent ones over all plans; 0: 10,000
	MaxPlans       int                      // concurrent ones, and as many probes besides; 0: 64
	AddSources     bool                     // add source addresses of plans that the machine lacks to its interface, while a plan runs; needs CAP_NET_ADMIN
	Deadline       time.Time                // what is posted from then on is refused; zero: never
	Logger         *slog.Logger             // nil: no logs; it never sees the token
}

// Agent is an HTTP handler that runs plans: POST on RunPath, StopPath, EndPath and ProbePath, GET on HealthPath. What it refuses
// it answers with a status and {"error": "a sentence"}: 401 without the token, 403 for addresses that are not on the
// list, 400 for what is malformed, 409 for a plan that is running already, 429 beyond a limit, 503 when it is stopping or
// past its deadline. Refusals are logged with who, what and why. It is safe for concurrent use.
type Agent struct {
	cfg   AgentConfig
	token [sha256.Size]byte
	mux   *http.ServeMux
	world world
	lent  lentAddresses

	mu          sync.Mutex
	plans       map[StopRequest]*running
	connections int // of the running plans
	probes      int
	stopping    bool
}

// running is a plan that an agent runs.
type running struct {
	stop   context.CancelFunc
	start  time.Time
	finish chan struct{} // closed when it is to end as if its duration were over
	due    *time.Timer   // closes it; nil: nobody has said when
}

// NewAgent returns an agent, or an error if it would accept everybody.
func NewAgent(cfg AgentConfig) (*Agent, error) {
	switch {
	case cfg.Token == "":
		return nil, errors.New("an agent without a token would run everybody's plans")
	case cfg.Targets == nil:
		return nil, errors.New("an agent without a list of targets would dial every address")
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = defaultMaxConnections
	}
	if cfg.MaxPlans == 0 {
		cfg.MaxPlans = defaultMaxPlans
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Agent{
		cfg: cfg, token: sha256.Sum256([]byte(cfg.Token)), mux: http.NewServeMux(),
		world: world{dial: dialTCP, lookup: lookupAddrs, sockets: true, conntrack: readConntrack, sources: sourceIPs, open: true}, plans: map[StopRequest]*running{},
	}
	a.mux.HandleFunc("GET "+HealthPath, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	a.mux.Handle("POST "+RunPath, a.guarded(a.runPlan))
	a.mux.Handle("POST "+StopPath, a.guarded(a.stopPlan))
	a.mux.Handle("POST "+EndPath, a.guarded(a.endPlan))
	a.mux.Handle("POST "+ProbePath, a.guarded(a.probe))
	return a, nil
}

// ServeHTTP serves the paths of the API.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// Interrupt ends the running plans as interrupted and refuses new ones. It does not wait: the handlers end, with
// Done sent, within a second.
func (a *Agent) Interrupt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopping = true
	for _, p := range a.plans {
		p.stop()
	}
}

// refusal is an answer that says no.
type refusal struct {
	status int
	err    error
}

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

func refuse(status int, format string, args ...any) error {
	return refusal{status, fmt.Errorf(format, args...)}
}

// guarded lets a handler see only requests with the token, and writes what it refuses.
func (a *Agent) guarded(handle func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := a.authorize(r)
		if err == nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
			err = handle(w, r)
		}
		if err == nil {
			return
		}
		log := a.cfg.Logger.With("path", r.URL.Path, "from", r.RemoteAddr, "forwardedFor", shortened(r.Header.Get("X-Forwarded-For")), "error", shortened(err.Error()))
		no, ok := errors.AsType[refusal](err)
		if !ok {
			log.Warn("request failed")
			return // the answer has begun
		}
		log.Warn("request refused", "status", no.status)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(no.status)
		_ = json.NewEncoder(w).Encode(Message{Error: no.Error()})
	})
}

// shortened keeps a stranger's words from filling the log.
func shortened(s string) string {
	if len(s) > maxLogged {
		return strings.ToValidUTF8(s[:maxLogged], "") + "…"
	}
	return s
}

func (a *Agent) authorize(r *http.Request) error {
	// Hashes have one length, so that the comparison does not tell that of the token.
	got := sha256.Sum256([]byte(r.Header.Get(echo.HeaderToken)))
	if subtle.ConstantTimeCompare(got[:], a.token[:]) != 1 {
		return refuse(http.StatusUnauthorized, "the header %s does not carry the token of this run", echo.HeaderToken)
	}
	if d := a.cfg.Deadline; !d.IsZero() && !time.Now().Before(d) {
		return refuse(http.StatusServiceUnavailable, "the agent's time was over at %s", d.UTC().Format(time.RFC3339))
	}
	return nil
}

// allow checks that all addresses are on the list as it is now: it may grow while the agent runs.
func (a *Agent) allow(addresses ...string) error {
	targets, err := a.cfg.Targets()
	if err != nil {
		return refuse(http.StatusForbidden, "the list of targets cannot be read, so nothing may be dialled: %w", err)
	}
	allowed := make(map[string]bool, len(targets))
	for _, t := range targets {
		allowed[canonical(t)] = true
	}
	for _, address := range addresses {
		if !allowed[canonical(address)] {
			return refuse(http.StatusForbidden, "%s is not among the targets of this run", address)
		}
	}
	return nil
}

func (a *Agent) runPlan(w http.ResponseWriter, r *http.Request) error {
	var plan Plan
	if err := decodeStrict(r.Body, &plan); err != nil {
		return refuse(http.StatusBadRequest, "reading the plan: %w", err)
	}
	if err := plan.Validate(); err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}
	addresses := make([]string, len(plan.Addresses))
	for i, address := range plan.Addresses {
		addresses[i] = address.HostPort
	}
	if err := a.allow(addresses...); err != nil {
		return err
	}
	ctx, finish, release, err := a.reserve(r.Context(), plan)
	if err != nil {
		return err
	}
	defer release()
	log := a.cfg.Logger.With("run", plan.Run, "stream", plan.Stream)
	giveBack, err := a.takeSources(ctx, plan)
	if err != nil {
		return err
	}
	defer func() {
		if err := giveBack(); err != nil {
			log.Warn("source addresses stay until they expire", "error", err.Error())
		}
	}()
	if err := plan.checkPorts(); err != nil {
		return refuse(http.StatusBadRequest, "sourcePorts: %w", err)
	}
	log.Info("plan begins", "connections", plan.Connections, "addresses", len(plan.Addresses))
	out := newStream(w)
	defer out.close()
	world := a.world
	world.finish = finish
	if err := execute(ctx, plan, out.send, world); err != nil {
		return fmt.Errorf("running plan %s of run %s: %w", plan.Stream, plan.Run, err)
	}
	log.Info("plan ended", "interrupted", ctx.Err() != nil)
	return nil
}

// takeSources sees to it that connections can leave from the plan's sources.
func (a *Agent) takeSources(ctx context.Context, plan Plan) (giveBack func() error, err error) {
	if !a.cfg.AddSources {
		if err := plan.checkOwn(); err != nil {
			return nil, refuse(http.StatusBadRequest, "sources: %w, and this agent may not add addresses", err)
		}
		return func() error { return nil }, nil
	}
	giveBack, err = a.lent.borrow(ctx, plan)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "sources: %w", err)
	}
	return giveBack, nil
}

// reserve books the plan's connections. The context ends when the plan is to be broken off, finish is closed when it is to end.
func (a *Agent) reserve(ctx context.Context, plan Plan) (_ context.Context, finish <-chan struct{}, release func(), _ error) {
	key := StopRequest{Run: plan.Run, Stream: plan.Stream, Agent: plan.Agent}
	a.mu.Lock()
	defer a.mu.Unlock()
	var no error
	switch {
	case a.stopping:
		no = refuse(http.StatusServiceUnavailable, "the agent is about to end")
	case a.plans[key] != nil:
		no = refuse(http.StatusConflict, "stream %s of run %s is running already", plan.Stream, plan.Run)
	case len(a.plans) >= a.cfg.MaxPlans:
		no = refuse(http.StatusTooManyRequests, "%d plans are running, which is the limit", len(a.plans))
	case a.connections+plan.Connections > a.cfg.MaxConnections:
		no = refuse(http.StatusTooManyRequests, "%d connections besides the %d of running plans would be more than the limit of %d",
			plan.Connections, a.connections, a.cfg.MaxConnections)
	}
	if no != nil {
		return nil, nil, nil, no
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &running{stop: cancel, start: plan.Start, finish: make(chan struct{})}
	a.plans[key] = p
	a.connections += plan.Connections
	return ctx, p.finish, func() {
		cancel()
		a.mu.Lock()
		defer a.mu.Unlock()
		if p.due != nil {
			p.due.Stop()
		}
		delete(a.plans, key)
		a.connections -= plan.Connections
	}, nil
}

func (a *Agent) stopPlan(w http.ResponseWriter, r *http.Request) error {
	var req StopRequest
	if err := decodeStrict(r.Body, &req); err != nil {
		return refuse(http.StatusBadRequest, "reading what to stop: %w", err)
	}
	a.mu.Lock()
	p := a.plans[req]
	a.mu.Unlock()
	if p != nil { // else it has ended by itself
		p.stop()
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *Agent) endPlan(w http.ResponseWriter, r *http.Request) error {
	var req EndRequest
	if err := decodeStrict(r.Body, &req); err != nil {
		return refuse(http.StatusBadRequest, "reading what to end: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.plans[req.StopRequest]; p != nil { // else it has ended by itself
		if p.due != nil {
			return refuse(http.StatusConflict, "stream %s of run %s was told already when to end", req.Stream, req.Run)
		}
		p.due = time.AfterFunc(time.Until(p.start)+req.At, func() { close(p.finish) })
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// decodeStrict reads one JSON value, to the end of r.
func decodeStrict(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one JSON value")
	}
	return nil
}

// stream writes messages as lines, each at once: proxies on the way must not make a live view wait.
type stream struct {
	w   io.Writer
	ctl *http.ResponseController
	enc *json.Encoder
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	s := &stream{w: w, ctl: http.NewResponseController(w), enc: json.NewEncoder(w)}
	s.enc.SetEscapeHTML(false)
	return s
}

func (s *stream) send(m Message) error {
	// Not every writer has deadlines; the request's context is what ends a plan without them.
	_ = s.ctl.SetWriteDeadline(time.Now().Add(writeWithin))
	if err := s.enc.Encode(m); err != nil {
		return fmt.Errorf("sending results: %w", err)
	}
	if err := s.ctl.Flush(); err != nil {
		return fmt.Errorf("sending results: %w", err)
	}
	return nil
}

// close leaves the connection as the next request expects it.
func (s *stream) close() { _ = s.ctl.SetWriteDeadline(time.Time{}) }

// ReadTargets reads a list of targets: one host:port per line, blank lines ignored.
func ReadTargets(r io.Reader) ([]string, error) {
	var targets []string
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		target := strings.TrimSpace(lines.Text())
		if target == "" {
			continue
		}
		if err := checkHostPort(target); err != nil {
			return nil, fmt.Errorf("reading targets: line %d: %q: %w", n, target, err)
		}
		if len(targets) == maxTargets {
			return nil, fmt.Errorf("reading targets: more than %d", maxTargets)
		}
		targets = append(targets, target)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading targets: %w", err)
	}
	return targets, nil
}
