package loadgen

import (
	"cmp"
	"context"
	"fmt"
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
	// maxConnectionRows is how many connections have rows, the first ones. The rest is in the tallies.
	maxConnectionRows = 200_000
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
// place in Plan.Requests.
//
// With Plan.WarmUp the load begins so long before Plan.Start. A request that was sent before Start, in an open loop one that
// was due before, is not counted and takes nothing from Plan.Requests. A connection that ended before Start has no row; one
// that is still there then is a unit like any other, opened at a negative time.
//
// Under Plan.MaxRate a dial and the first request on its connection go for one. After a failure the slot pauses, 1 ms at first, doubled up to 100 ms with every failure on end.
func Run(ctx context.Context, plan Plan, sink Sink) error {
	return execute(ctx, plan, sink, world{dial: dialTCP, lookup: lookupAddrs, sockets: true, conntrack: readConntrack, sources: sourceIPs})
}

// world is what a run needs of the machine it is on, and of the one it reports to.
type world struct {
	dial      func(ctx context.Context, t target) (net.Conn, error)
	lookup    func(ctx context.Context, host string) ([]netip.Addr, error) // nil: dial resolves names
	sockets   bool                                                         // dial makes what a driver may make itself: TCP connections of this machine
	sources   func(ctx context.Context, targets []target) []string         // addresses that connections to targets leave from
	conntrack func() (count, limit int, ok bool)                           // of the machine's connection-tracking table; nil: none
	open      bool                                                         // send Message.Open: the receiver must be prepared to lose us
	finish    <-chan struct{}                                              // closed when the load is to end as if its duration were over; nil: never
	backlog   int                                                          // rows that the sink may be behind; 0: maxPendingRows
	rowCap    int                                                          // connections that have rows; 0: maxConnectionRows
}

// target is one address to dial.
type target struct {
	hostPort string
	addrPort netip.AddrPort // not valid if hostPort has a name that was not resolved
	source   netip.Addr     // to leave from; not valid: the machine's choice
	port     uint16         // likewise; 0: the kernel's choice
}

// run is the state of one execution of a plan.
type run struct {
	plan    Plan
	world   world
	targets []target
	names   *names
	samples sampler
	pacer   *pacer // nil: no limit
	driver  driver
	rows    chan []record.Connection // finished ones
	pending atomic.Int64             // how many of them the sink has not taken

	start time.Time    // Plan.Start on this process's monotonic clock
	end   atomic.Int64 // nanoseconds since start: nothing is sent from then on

	ctx     context.Context // ends when nothing more is to be sent: at an interrupt, or an end that came from outside
	dialCtx context.Context // ends when it is cut
	cut     atomic.Bool     // connections are to be left at once; set under no lock, read under the shards'
	stopped atomic.Bool     // nothing more is sent, whatever the time
	ended   atomic.Bool     // by an end that came from outside, which is no interrupt

	shares        []int // requests of each slot; nil: all have the same
	opened        atomic.Int64
	passed        atomic.Int64 // of these, ended in the warm-up
	open          atomic.Int64
	heldBack      atomic.Int64 // nanoseconds that slots waited for the sink
	ownFaults     atomic.Int64 // dials that failed for want of ports or descriptors
	unattributed  atomic.Int64 // answers that did not say where they came from
	droppedOthers atomic.Int64
	droppedRows   atomic.Int64
	intended      atomic.Int64 // open loop: requests that were due
	unsent        atomic.Int64 // of these, never sent
	ports         portSet
	tuples        tupleGate
	meter         meter
	resolver      nameResolver

	shardsMu sync.Mutex
	shards   []*shard
}

func execute(ctx context.Context, plan Plan, sink Sink, w world) error {
	if err := plan.Validate(); err != nil {
		return err
	}
	if w.sockets {
		if err := plan.checkOwn(); err != nil {
			return fmt.Errorf("plan: sources: %w", err)
		}
		if err := plan.checkPorts(); err != nil {
			return fmt.Errorf("plan: sourcePorts: %w", err)
		}
	}
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	dialCtx, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	sending, last := context.WithCancel(ctx)
	defer last()
	r := newRun(sending, dialCtx, plan, w)
	late := time.Since(r.start) + plan.WarmUp
	if err := sink(Message{Ready: &Ready{Now: time.Now(), IPs: r.leavesFrom(ctx)}}); err != nil {
		return err
	}

	var owned sync.WaitGroup
	defer owned.Wait()
	finished := make(chan struct{})
	r.tuples.start(w.conntrack, plan.MaxTuples)
	watching, unwatch := context.WithCancel(dialCtx)
	owned.Go(func() { r.tuples.watch(watching) })
	owned.Go(func() {
		defer unwatch()
		defer close(finished)
		defer close(r.rows)
		r.driver.work()
	})
	owned.Go(func() {
		select {
		case <-w.finish:
			r.finish(last)
		case <-ctx.Done():
		case <-finished:
			return
		}
		r.leave(ctx, finished, cut)
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
	if w.rowCap == 0 {
		w.rowCap = maxConnectionRows
	}
	now := time.Now()
	r := &run{
		plan: plan, world: w, ctx: ctx, dialCtx: dialCtx, names: newNames(),
		samples: sampler{limit: plan.sampleCap()}, pacer: newPacer(plan.MaxRate, -plan.WarmUp), shares: plan.zipfShares(),
		rows:  make(chan []record.Connection, w.backlog),
		start: now.Add(plan.Start.Sub(now)),
	}
	r.end.Store(int64(cmp.Or(plan.Duration, never)))
	for _, a := range plan.Addresses {
		t := target{hostPort: a.HostPort}
		if ap, err := netip.ParseAddrPort(a.HostPort); err == nil {
			t.addrPort = ap
		}
		r.targets = append(r.targets, t)
	}
	r.driver = r.newDriver()
	return r
}

// targetOf is where a slot dials.
func (r *run) targetOf(slot int) int { return (slot + r.plan.AddressOffset) % len(r.targets) }

// goroutineShards makes as many shards as goroutines on this machine need.
func (r *run) goroutineShards() []*shard {
	shards := make([]*shard, min(r.plan.Connections, 2*runtime.GOMAXPROCS(0)))
	for i := range shards {
		shards[i] = r.newShard()
	}
	return shards
}

// newTracks returns the tracks of all slots, for drivers that have a goroutine for each.
func (r *run) newTracks() tracks {
	shards := r.goroutineShards()
	all := make([]*track, r.plan.Connections)
	for i := range all {
		all[i] = r.newTrack(i, shards[i%len(shards)])
	}
	return tracks{all: all}
}

// eachSlot runs work once for every slot, each on a goroutine of its own, and returns when all are done.
func (r *run) eachSlot(work func(slot int)) {
	var slots sync.WaitGroup
	for i := range r.plan.Connections {
		slots.Go(func() { work(i) })
	}
	slots.Wait()
}

// share is how many of the plan's requests are a slot's; -1: as many as it can make.
func (r *run) share(slot int) int {
	p := r.plan
	switch {
	case p.Requests == 0:
		return -1
	case r.shares != nil:
		return r.shares[slot]
	}
	n := p.Requests / p.Connections
	if slot < p.Requests%p.Connections {
		n++
	}
	return n
}

// waitForStart waits until the load begins and reports whether there is a run then.
func (r *run) waitForStart() bool {
	if !r.wait(time.Until(r.start) - r.plan.WarmUp) {
		return false
	}
	r.meter.begin()
	return true
}

// ends is when nothing is sent any more, since the start. It can come nearer while the run goes on.
func (r *run) ends() time.Duration { return time.Duration(r.end.Load()) }

// goesOn reports whether anything may be sent at now.
func (r *run) goesOn(now time.Duration) bool { return now < r.ends() && !r.stopped.Load() }

// turn waits for the next request's turn under Plan.MaxRate and reports whether it may be sent then.
func (r *run) turn() bool {
	if r.pacer != nil {
		if at := min(r.pacer.reserve(r.now()), r.ends()); !r.wait(at - r.now()) {
			return false
		}
	}
	return r.goesOn(r.now())
}

// admit waits until another connection may be opened and reports whether it may be: the connection-tracking table of the
// machine must not be filled.
func (r *run) admit() bool {
	for first := true; !r.tuples.take(); first = false {
		if first {
			r.tuples.hold()
		}
		if !r.wait(min(tupleRetry, r.ends()-r.now())) || !r.goesOn(r.now()) {
			return false
		}
	}
	return true
}

// dialFailed returns the error to count for a dial that failed, and notes whose fault it was.
func (r *run) dialFailed(err error) error {
	if r.cut.Load() {
		err = errInterrupted
	}
	if ownFault(err) {
		r.ownFaults.Add(1)
	}
	return err
}

// finish has nothing sent from now on, as if the plan's duration were over. last ends what waits for its turn.
func (r *run) finish(last context.CancelFunc) {
	r.end.Store(min(r.end.Load(), int64(r.now())))
	r.ended.Store(true)
	r.stopped.Store(true)
	last()
}

// leave waits for the load to finish. From an interrupt on nothing is sent any more, and what is outstanding after a moment is
// cut.
func (r *run) leave(interrupted context.Context, finished <-chan struct{}, cut context.CancelFunc) {
	select {
	case <-interrupted.Done():
	case <-finished:
		return
	}
	r.ended.Store(false)
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
	r.driver.release()
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

// leavesFrom are the addresses that connections leave from.
func (r *run) leavesFrom(ctx context.Context) []string {
	if len(r.plan.Sources) > 0 {
		return r.plan.Sources
	}
	return r.world.sources(ctx, r.targets)
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
