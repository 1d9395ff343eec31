//go:build amd64 || arm64

package loadgen

import (
	"cmp"
	"context"
	"math"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podskew/podskew/record"
)

const (
	// burst is how many new connections are begun before replies are looked at again: thousands at once would fill the
	// server's queue of connections that it has not accepted.
	burst = 64
	// readBuffer holds the longest line of a reply and more behind it.
	readBuffer = 2 * maxHead
	// rowBatch is how many rows are handed over at a time: waking the collector costs more than a request.
	rowBatch = 256
	// rowsWithin is how long they wait for others.
	rowsWithin = 20 * time.Millisecond
)

// epollDriver runs all connections of a plan on one thread that waits in epoll for whichever has something to read. It
// speaks plain HTTP/1.1 and records what the conn driver records, at less than half of its cost beyond the kernel's.
//
// It holds its shard's lock but for the waits, so that the hot path takes no locks.
type epollDriver struct {
	tracks
	run    *run
	shard  *shard
	poller poller
	conns  []econn // by slot
	routes []route // by target

	sources []rawAddr

	now       time.Duration
	timers    timerHeap
	deaths    timerHeap       // of the lifetimes of a pool's connections, numbered by generation
	deadlines []time.Duration // by slot, of what it waits for: apart from conns, since they are looked through often
	tick      time.Duration   // between two looks, at least
	shortest  time.Duration   // of all waits that have a deadline
	nextTick  time.Duration
	alive     int // slots that are not done
	starting  int // slots from here on have not begun

	// Of plans whose requests are dealt to idle slots.
	pool      *pool         // nil: each slot has requests of its own
	keeps     bool          // connections have more than one request
	over      bool          // no request will be dealt any more
	exhausted bool          // open loop: none would have been due
	free      int           // closed loop: how many more requests may be in flight
	budget    int           // closed loop: requests to deal; negative: no limit
	arrive    *schedule     // open loop; nil: closed
	due       time.Duration // intended time of the next request
	dealt     int
	back      int // of these, given back unsent

	ids     []int // of the slots' connections; 0: none; nil: the plan has no churn
	ages    ages
	churns  int
	churnAt time.Duration

	later  []int32 // events to handle after the others
	buf    []byte
	parser parser     // of replies that come at once
	spare  []*partial // not in use

	rows   []record.Connection // finished ones, not handed over
	handed time.Duration       // when some were last

	sawStop, sawCut bool

	began, waited time.Duration
	batch         int // most replies in one turn
}

// route is what goes to one target.
type route struct {
	address    rawAddr
	keep, last []byte // the request, and the one that ends a connection
}

// newEpollDriver returns nil if the plan needs another driver.
func newEpollDriver(r *run) driver {
	shortest := min(r.plan.Timeout, r.plan.ConnectTimeout, maxCloseWait)
	d := &epollDriver{
		run: r, shard: r.newShard(), conns: make([]econn, r.plan.Connections), deadlines: make([]time.Duration, r.plan.Connections),
		tick: min(max(shortest/50, time.Millisecond), 20*time.Millisecond), shortest: shortest,
	}
	for _, t := range r.targets {
		keep, last := r.requestTo(t)
		d.routes = append(d.routes, route{newRawAddr(t.addrPort), keep, last})
	}
	for _, s := range r.plan.Sources {
		if ip, err := netip.ParseAddr(s); err == nil {
			d.sources = append(d.sources, newRawAddr(netip.AddrPortFrom(ip, 0)))
		}
	}
	for i := range d.conns {
		c := &d.conns[i]
		c.track = *r.newTrack(i, d.shard)
		c.fd, c.left, c.pauses = -1, r.share(i), newBackoff(r.plan.Reconnect)
		d.deadlines[i] = never
		d.all = append(d.all, &c.track)
	}
	d.parser = r.newParser()
	d.plan()
	return d
}

// plan prepares what connection plans need.
func (d *epollDriver) plan() {
	p := d.run.plan
	if p.ConnectionsPerSecond > 0 {
		d.ids, d.churns = make([]int, p.Connections), p.firstChurn()-1
		d.churnAt = p.churnTime(d.churns + 1)
	}
	if !p.pooled() {
		return
	}
	d.pool, d.keeps, d.free, d.budget = newPool(p.PoolPolicy, p.Connections), p.RequestsPerConnection != 1, p.workers(), -1
	for i := range d.conns {
		d.conns[i].left = -1
	}
	switch {
	case p.openLoop():
		d.arrive, d.free = newSchedule(p), math.MaxInt
		d.advance(false)
	case p.Requests > 0:
		d.budget = p.Requests
	}
}

func (d *epollDriver) name() string { return DriverEpoll }

// release has the loop look at run.cut.
func (d *epollDriver) release() { d.poller.rouse() }

func (d *epollDriver) account(g *record.Generator) {
	if d.now > d.began {
		g.Busy = min(max(1-d.waited.Seconds()/(d.now-d.began).Seconds(), 0), 1)
	}
	g.MaximumBatch = d.batch
}

func (d *epollDriver) work() {
	if !d.run.waitForStart() {
		return
	}
	runtime.LockOSThread() // for good: the thread ends with this goroutine, and its timer slack with it
	if d.arrive != nil {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // nanoseconds; without it, waits are 50 µs too long
	}
	if err := d.poller.open(); err != nil {
		d.run.ownFaults.Add(1)
		return
	}
	defer d.poller.close()
	defer context.AfterFunc(d.run.ctx, d.poller.rouse)()
	d.buf = make([]byte, readBuffer)
	d.alive = len(d.conns)
	d.began = d.run.now()
	d.nextTick = d.began
	d.shard.mu.Lock()
	d.loop()
	d.shard.mu.Unlock()
	d.run.handOver(d.rows...)
	if d.arrive != nil {
		d.run.unsent.Store(d.run.intended.Load() - int64(d.dealt-d.back))
	}
}

// loop runs until all slots are done. Its caller holds the lock, which it gives up while it waits.
func (d *epollDriver) loop() {
	d.now = d.run.now()
	for d.alive > 0 {
		d.turn()
		if d.alive == 0 {
			return
		}
		timeout := d.untilNext()
		d.shard.mu.Unlock()
		d.handRows()
		before := d.run.now()
		events, err := d.poller.wait(timeout)
		after := d.run.now()
		d.waited += after - before
		d.shard.mu.Lock()
		d.now = after
		if err != nil {
			return // the poller is ours; that its file is none cannot happen
		}
		d.batch = max(d.batch, len(events))
		d.handleAll(events)
	}
}

// turn does what time has made due.
func (d *epollDriver) turn() {
	if d.now >= d.nextTick {
		d.nextTick = max(d.now+d.tick, d.look())
	}
	d.fire()
	for range burst {
		if d.starting == len(d.conns) {
			break
		}
		d.starting++
		d.next(&d.conns[d.starting-1])
	}
	d.churn()
	d.deal()
	d.bury()
}

// untilNext is how long the loop may wait.
func (d *epollDriver) untilNext() time.Duration {
	if d.starting < len(d.conns) {
		return 0
	}
	until := d.nextTick
	if at := d.handed + rowsWithin; len(d.rows) > 0 && d.now < at {
		until = min(until, at)
	}
	if len(d.timers) > 0 {
		until = min(until, d.timers[0].at)
	}
	if len(d.deaths) > 0 {
		until = min(until, d.deaths[0].at)
	}
	if d.ids != nil {
		until = min(until, d.churnAt)
	}
	return min(until-d.now, d.untilDue())
}

// look finds what has waited for too long, and an end that came from outside. It returns when something can have waited for
// too long next. Every look wakes the process, so that a loop with little to do must not look for nothing.
func (d *epollDriver) look() (next time.Duration) {
	switch {
	case !warm(d.began):
	case warm(d.now):
		next = d.now + d.tick
	default:
		d.began, d.waited, d.batch = d.now, 0, 0 // what it says of itself is of the run
	}
	first := d.now + d.shortest // of waits that begin from now on
	for i, deadline := range d.deadlines {
		switch {
		case deadline <= d.now:
			d.expire(&d.conns[i])
		case deadline < first:
			first = deadline
		}
	}
	next = cmp.Or(next, first)
	if !d.sawStop && d.run.stopped.Load() {
		d.sawStop = true
		for i := range d.conns {
			d.stop(&d.conns[i])
		}
	}
	if !d.sawCut && d.run.cut.Load() {
		d.sawCut = true
		for i := range d.conns {
			d.cut(&d.conns[i])
		}
	}
	return next
}

// handRows hands finished rows over in batches, and waits for nobody.
func (d *epollDriver) handRows() {
	if len(d.rows) == 0 || len(d.rows) < rowBatch && d.now < d.handed+rowsWithin {
		return
	}
	d.handed = d.now
	select {
	case d.run.rows <- d.rows:
		d.run.pending.Add(int64(len(d.rows)))
		d.rows = make([]record.Connection, 0, rowBatch)
	default:
	}
}

// behind reports whether the sink is so far behind that no connection may be opened.
func (d *epollDriver) behind() bool {
	return int(d.run.pending.Load())+len(d.rows) > d.run.world.backlog
}

// handleAll does what events are about. Connections that have just been established send their requests first: closing one
// and opening the next takes longer than all the rest of a request, and no first request is to wait for that of others.
func (d *epollDriver) handleAll(events []unix.EpollEvent) {
	d.later = d.later[:0]
	for i := range events {
		e := &events[i]
		if e.Fd < 0 { // somebody has called
			d.nextTick = d.now
			continue
		}
		switch d.conns[e.Fd].state {
		case connecting:
			d.handle(e)
		default:
			d.later = append(d.later, int32(i))
		}
	}
	for _, i := range d.later {
		d.handle(&events[i])
	}
}

// handle does what an event is about.
func (d *epollDriver) handle(e *unix.EpollEvent) {
	c := &d.conns[e.Fd]
	if c.generation != e.Pad {
		return // of a connection that is closed
	}
	const input = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	if c.state == connecting && !d.establish(c, e.Events) || c.generation != e.Pad {
		return
	}
	if len(c.out) > 0 && e.Events&unix.EPOLLOUT != 0 {
		d.write(c)
	}
	if e.Events&input != 0 && c.generation == e.Pad {
		d.read(c, e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0)
	}
}
