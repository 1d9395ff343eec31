package echo

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"
	"google.golang.org/grpc"
)

const (
	// DefaultGrace is how long to serve on after the signal to stop. It covers the time until every kube-proxy has taken
	// the endpoint away, and must be well below the pod's terminationGracePeriodSeconds (30 by default), of which
	// DefaultDrain is taken, too.
	DefaultGrace = 5 * time.Second
	// DefaultDrain is how long requests under way may take to end after that.
	DefaultDrain = 10 * time.Second
	// DefaultMaxConnections is how many connections are served at a time.
	DefaultMaxConnections = 16_384
	// DefaultIdleTimeout is how long a connection may be idle. It is long, because a server that closes connections in
	// the middle of a run changes what the run measures.
	DefaultIdleTimeout = time.Hour

	maxHeaderBytes = 16 << 10
	// maxStreams is how many requests one HTTP/2 connection may have under way.
	maxStreams        = 1000
	readHeaderTimeout = 10 * time.Second
	bodyTimeout       = 10 * time.Second
	maxBody           = 1 << 20
	// writeTimeout bounds a request from its header to the end of its answer, the longest delay included.
	writeTimeout = MaxDelay + 30*time.Second
)

// Options say how to serve. The zero value serves on a free port as an unknown pod, ready for tests.
type Options struct {
	// Listen, ListenTLS, ListenTCP and ListenUDP are the addresses (host:port) that [Server.Run] listens on, for what
	// [Listeners] says. Empty: not at all.
	Listen, ListenTLS, ListenTCP, ListenUDP string
	// Identity is who answers.
	Identity Identity
	// PodInfo is the folder of a Downward API volume with the files labels and annotations, which is followed as it
	// changes. Its label topology.kubernetes.io/zone goes before Identity.Zone. Empty: there is none.
	PodInfo string
	// ProxyProtocol makes the server believe PROXY protocol preambles (versions 1 and 2) of whoever sends one.
	// Connections without one are served as well.
	ProxyProtocol bool
	// MaxConnections is how many connections are served at a time; more are reset. 0 means [DefaultMaxConnections].
	MaxConnections int
	// IdleTimeout is how long a connection may be idle. 0 means [DefaultIdleTimeout].
	IdleTimeout time.Duration
	// Grace is how long to serve on after the end of the context; 0 is not at all. See [DefaultGrace].
	Grace time.Duration
	// Drain is how long requests under way then have; 0 is no time. See [DefaultDrain].
	Drain time.Duration
	// Token is what requests must carry in [HeaderToken] to flip readiness or to slow the server. Empty: nobody can.
	Token string
	// CPULimit is how many cores the process may use, for /stats; see [ReadCPULimit]. 0: what the identity's limit says.
	CPULimit float64
	// Seed makes the failures that requests ask for by a share repeatable. Pods of different names fail differently
	// under the same seed.
	Seed uint64
	// LogRequests logs every request.
	LogRequests bool
	// Logger receives start, changes and end, with the pod's identity on each line. Nil discards them.
	Logger *slog.Logger
}

// Server says who answered. It serves once.
type Server struct {
	options  Options
	logger   *slog.Logger
	started  time.Time
	instance string // tells this process' request ids from those of others

	info   *podInfo
	face   atomic.Pointer[face]
	ledger *ledger
	meters *meters
	bodies sync.Pool // of *[]byte

	grpc     *grpc.Server
	cpuLimit float64

	ready    atomic.Bool
	pace     atomic.Int64 // nanoseconds before each answer
	stopping atomic.Bool
	accepted atomic.Uint64
	open     atomic.Int64
	turned   atomic.Uint64
	garbage  atomic.Uint64

	draining   context.Context // ends when connections at rest are to end
	startDrain context.CancelFunc
	cut        context.Context // ends when all are to end
	cutAll     context.CancelFunc
	hijacked   sync.WaitGroup // connections that the HTTP server gave up

	mu     sync.Mutex // guards random
	random *rand.Rand
}

// New returns a server. It reads the Downward API volume once; following it is part of serving.
func New(o Options) *Server {
	o.MaxConnections = cmp.Or(o.MaxConnections, DefaultMaxConnections)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, DefaultIdleTimeout)
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	id := o.Identity
	s := &Server{
		options: o,
		logger: logger.With("pod", id.Pod, "namespace", id.Namespace, "podUID", id.PodUID, "podIP", id.PodIP,
			"node", id.Node),
		started: time.Now(),
		info:    newPodInfo(o.PodInfo),
		ledger:  newLedger(maxRows, maxSources),
		random:  rand.New(rand.NewPCG(o.Seed, hash(id.Pod))), //nolint:gosec // failures on request are no secret
	}
	s.draining, s.startDrain = context.WithCancel(context.Background())
	s.cut, s.cutAll = context.WithCancel(context.Background())
	s.grpc = newGRPC(s)
	s.cpuLimit = cpuLimitOf(o.CPULimit, id.Resources.Limits.CPU, runtime.NumCPU())
	s.bodies.New = func() any { return new([]byte) }
	s.instance = strconv.FormatUint(hash(id.PodUID+s.started.String()), 36)
	s.face.Store(newFace(id.withZone(s.info.zone())))
	s.meters = newMeters(s)
	return s
}

// hash returns a number that depends on text only.
func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}

// Run listens on what the options name and serves until ctx ends; see [Server.Serve].
func (s *Server) Run(ctx context.Context) error {
	listeners, err := s.options.listen(ctx)
	if err != nil {
		return fmt.Errorf("starting the echo server: %w", err)
	}
	return s.Serve(ctx, listeners)
}

// Serve serves on all listeners, which it closes. When ctx ends the server serves on for the grace period, ready and with new
// connections included: Kubernetes makes a pod that is ending no ready endpoint by itself, and where there is no other it falls
// back to one that is ending as long as that one says it serves. Then the server is unready and drains: it accepts no more, closes idle connections and waits for requests
// under way. Streams and connections of lines end with the answer under way, WebSockets are told that the server is
// going away. It returns nil when it was told to stop, also if requests had to be cut off.
func (s *Server) Serve(ctx context.Context, listeners Listeners) error {
	var running sync.WaitGroup
	defer running.Wait()
	following, stopFollowing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFollowing()
	s.ready.Store(true) // before anybody can ask
	v, err := s.begin(&running, listeners)
	if err != nil {
		s.ready.Store(false)
		listeners.close()
		return fmt.Errorf("starting the echo server: %w", err)
	}
	defer s.abandon(v)
	running.Go(func() { s.info.follow(following, s.podInfoChanged, s.podInfoDegraded) })

	s.logStart(listeners)
	select {
	case err := <-v.ended:
		return fmt.Errorf("serving echo: %w", err)
	case <-ctx.Done():
	}
	s.logger.Info("stopping: serving on", "grace", s.options.Grace.String())
	select {
	case err := <-v.ended:
		return fmt.Errorf("serving echo in the grace period: %w", err)
	case <-time.After(s.options.Grace):
	}
	s.stopping.Store(true)
	s.ready.Store(false)
	if err := s.drain(ctx, v, s.options.Drain); err != nil {
		return fmt.Errorf("serving echo: %w", err)
	}
	s.logger.Info("stopped", "requests", s.ledger.requests.Load(), "connections", s.accepted.Load())
	return nil
}

// httpServer returns the HTTP server with its bounds, for both listeners.
func (s *Server) httpServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           s,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ReadHeaderTimeout: readHeaderTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       s.options.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       s.connContext,
		// What clients do wrong is not this server's trouble.
		ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
}

// wrap adds the limit on connections and, if wanted, the PROXY protocol. The latter comes last, so that connContext finds
// its connections.
func (s *Server) wrap(listener net.Listener) net.Listener {
	listener = &limitListener{Listener: listener, limit: int64(s.options.MaxConnections), open: &s.open, turned: &s.turned}
	if s.options.ProxyProtocol {
		listener = &proxyproto.Listener{Listener: listener, ReadHeaderTimeout: readHeaderTimeout}
	}
	return listener
}

// logStart says who serves where, and what is not known about that.
func (s *Server) logStart(listeners Listeners) {
	id := s.face.Load().identity
	s.logger.Info("serving", append(listeners.addresses(), "zone", id.Zone, "hostIP", id.HostIP,
		"serviceAccount", id.ServiceAccount, "proxyProtocol", s.options.ProxyProtocol)...)
	if len(id.Unknown) > 0 {
		s.logger.Warn("identity is incomplete: check the Downward API fields of the pod's manifest", "unknown", id.Unknown)
	}
}

// podInfoChanged takes over what the Downward API volume says now.
func (s *Server) podInfoChanged() {
	info := s.info.current.Load()
	s.face.Store(newFace(s.options.Identity.withZone(info.Labels[zoneLabel])))
	s.logger.Info("labels or annotations changed", "generation", info.Generation, "labels", len(info.Labels),
		"annotations", len(info.Annotations), "malformed", info.Malformed)
}

// podInfoDegraded says that changes of the volume will be noticed late.
func (s *Server) podInfoDegraded(err error) {
	s.logger.Warn("no notifications for the Downward API volume, polling it", "every", podInfoPoll.String(), "error", err)
}

// setReady changes readiness by request. It fails when the server is stopping.
func (s *Server) setReady(ready bool, by string) bool {
	if s.stopping.Load() {
		return false
	}
	if s.ready.Swap(ready) != ready {
		s.logger.Info("readiness changed", "ready", ready, "by", by)
	}
	// The signal to stop may have come in between, and it has the last word.
	if s.stopping.Load() {
		s.ready.Store(false)
		return false
	}
	return true
}

// draw reports whether something with the given probability happens.
func (s *Server) draw(probability float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.Float64() < probability
}
