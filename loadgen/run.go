package loadgen

import (
	"context"
	"math"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/podskew/podskew/record"
)

const (
	// interruptGrace is how long an interrupted run waits for outstanding answers before it cuts the connections.
	interruptGrace = 500 * time.Millisecond
	// lateStart is how late a plan may come before the run says so.
	lateStart = time.Second
	// maxPendingRows bounds the rows of finished connections that the sink has not taken. Slots wait when it is reached.
	maxPendingRows = 16_384
)

// Run executes plan in this process and feeds sink. It returns nil once Done was delivered, also when ctx was cancelled
// (then Done says Interrupted, at most a second later); an error means a plan that is not valid, or is the sink's own.
//
// One goroutine per slot opens connections one after the other, each the unit a Service's load balancing decides for. A
// connection counts, and takes its ID, when its dial begins. One that was begun in time sends its first request even if
// the end came meanwhile, else units on slow backends would be the ones that never learn who has them. After Duration
// nothing else is sent; outstanding answers are waited for up to Timeout.
//
// The last request of a connection that has a set number of them carries Connection: close, so that the server closes
// first: were it the client, its local ports would be blocked for a minute each. A dial that fails takes a request's
// place in Plan.Requests. Under Plan.MaxRate a dial and the first request on its connection go for one. After a failure the slot pauses, 1 ms at first, doubled up to 100 ms with every failure on end.
func Run(ctx context.Context, plan Plan, sink Sink) error {
	return execute(ctx, plan, sink, world{dial: dialTCP, sources: sourceIPs})
}

// world is what a run needs of the machine it is on, and of the one it reports to.
type world struct {
	dial    func(ctx context.Context, t target) (net.Conn, error)
	sources func(ctx context.Context, targets []target) []string // addresses that connections to targets leave from
	open    bool                                                 // send Message.Open: the receiver must be prepared to lose us
	backlog int                                                  // rows that the sink may be behind; 0: maxPendingRows
}

// target is one address to dial.
type target struct {
	hostPort string
	addrPort netip.AddrPort // not valid if hostPort has a name
}

// run is the state of one execution of a plan.
type run struct {
	plan    Plan
	world   world
	targets []target
	names   *names
	samples sampler
	pacer   *pacer // nil: no limit
	shards  []*shard
	slots   []*slot
	rows    chan record.Connection // finished ones

	start time.Time     // Plan.Start on this process's monotonic clock
	end   time.Duration // since start: nothing is sent from then on

	ctx     context.Context // ends when the run is interrupted
	dialCtx context.Context // ends when it is cut
	cut     atomic.Bool     // connections are to be left at once; set under no lock, read under the shards'
	stopped atomic.Bool     // interrupted: nothing more is sent

	opened        atomic.Int64
	open          atomic.Int64
	heldBack      atomic.Int64 // nanoseconds that slots waited for the sink
	ownFaults     atomic.Int64 // dials that failed for want of ports or descriptors
	unattributed  atomic.Int64 // answers that did not say where they came from
	droppedOthers atomic.Int64
}

func execute(ctx context.Context, plan Plan, sink Sink, w world) error {
	if err := plan.Validate(); err != nil {
		return err
	}
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	dialCtx, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	r := newRun(ctx, dialCtx, plan, w)
	late := time.Since(r.start)
	if err := sink(Message{Ready: &Ready{Now: time.Now(), IPs: w.sources(ctx, r.targets)}}); err != nil {
		return err
	}

	var owned sync.WaitGroup
	defer owned.Wait()
	finished := make(chan struct{})
	owned.Go(func() {
		defer close(finished)
		r.load()
	})
	owned.Go(func() {
		select {
		case <-ctx.Done():
			r.leave(finished, cut)
		case <-finished:
		}
	})
	c := collector{run: r, sink: sink}
	if err := c.collect(); err != nil {
		interrupt()
		for range r.rows { // so that no slot waits for a sink that is gone
		}
		return err
	}
	return c.finish(late)
}

func newRun(ctx, dialCtx context.Context, plan Plan, w world) *run {
	if w.backlog == 0 {
		w.backlog = maxPendingRows
	}
	now := time.Now()
	r := &run{
		plan: plan, world: w, ctx: ctx, dialCtx: dialCtx, names: newNames(),
		samples: sampler{limit: plan.sampleCap()}, pacer: newPacer(plan.MaxRate),
		shards: make([]*shard, min(plan.Connections, 2*runtime.GOMAXPROCS(0))),
		slots:  make([]*slot, plan.Connections),
		rows:   make(chan record.Connection, w.backlog),
		start:  now.Add(plan.Start.Sub(now)),
		end:    math.MaxInt64,
	}
	if plan.Duration > 0 {
		r.end = plan.Duration
	}
	for _, a := range plan.Addresses {
		t := target{hostPort: a.HostPort}
		if ap, err := netip.ParseAddrPort(a.HostPort); err == nil {
			t.addrPort = ap
		}
		r.targets = append(r.targets, t)
	}
	for i := range r.shards {
		r.shards[i] = &shard{cells: map[cellKey]*record.Tally{}}
	}
	for i := range r.slots {
		r.slots[i] = newSlot(r, i)
	}
	return r
}

// load waits for the start and runs all slots to their end.
func (r *run) load() {
	defer close(r.rows)
	if !r.wait(time.Until(r.start)) {
		return
	}
	var slots sync.WaitGroup
	for _, s := range r.slots {
		slots.Go(s.work)
	}
	slots.Wait()
}

// leave ends an interrupted run: nothing is sent any more, and what is outstanding after a moment is cut.
func (r *run) leave(finished <-chan struct{}, cut context.CancelFunc) {
	r.stopped.Store(true)
	grace := time.NewTimer(interruptGrace)
	defer grace.Stop()
	select {
	case <-grace.C:
	case <-finished:
		return
	}
	r.cut.Store(true)
	cut()
	for _, s := range r.slots {
		s.release()
	}
}

// wait waits and reports whether the run goes on.
func (r *run) wait(d time.Duration) bool {
	if d <= 0 {
		return !r.stopped.Load()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return !r.stopped.Load()
	case <-r.ctx.Done():
		r.stopped.Store(true)
		return false
	}
}

// now is the time since the start.
func (r *run) now() time.Duration { return time.Since(r.start) }

func dialTCP(ctx context.Context, t target) (net.Conn, error) {
	// Keep-alive probes cost three system calls per connection and tell nothing: every wait has a deadline.
	d := net.Dialer{KeepAlive: -1}
	if !t.addrPort.IsValid() {
		return d.DialContext(ctx, "tcp", t.hostPort)
	}
	conn, err := d.DialTCP(ctx, "tcp", netip.AddrPort{}, t.addrPort)
	if err != nil {
		return nil, err // and not a net.Conn that holds a nil
	}
	return conn, nil
}

// maxSourced is how many targets are looked up for the addresses connections leave from.
const maxSourced = 64

// sourceIPs asks the routing table, by connecting UDP sockets that nothing is sent on.
func sourceIPs(ctx context.Context, targets []target) []string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var ips []string
	for _, t := range targets[:min(len(targets), maxSourced)] {
		conn, err := (&net.Dialer{}).DialContext(ctx, "udp", t.hostPort)
		if err != nil {
			continue // the dials of the run will say what is wrong
		}
		if local, ok := conn.LocalAddr().(*net.UDPAddr); ok {
			ips = append(ips, local.AddrPort().Addr().Unmap().String())
		}
		_ = conn.Close()
	}
	slices.Sort(ips)
	return slices.Compact(ips)
}
