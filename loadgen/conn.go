package loadgen

import (
	"context"
	"math"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/podskew/podskew/record"
)

// connDriver runs one goroutine per slot, on any net.Conn. Either each slot has requests of its own, one after the other
// (slot.work), or requests are dealt to idle slots (slot.serve): those of an open loop when they are due, those of a closed
// loop as long as fewer than Plan.Concurrency are in flight.
//
// A plan that keeps connections opens all of them at the start and opens another whenever one ends, before there is a
// request for it. If that fails, the slot pauses and is then dealt requests without having a connection: it dials for the
// request, and a dial that fails is the request's failure. Where each connection has one request, all dials are for
// requests.
type connDriver struct {
	tracks
	slots []*slot
	run   *run
	keeps bool // connections have more than one request

	mu    sync.Mutex
	ages  ages
	ids   []int         // of the slots' connections; 0: none
	ended chan struct{} // closed when no request will be dealt any more
	over  bool          // the same

	pool    *pool         // nil: each slot has requests of its own
	free    int           // closed loop: how many more requests may be in flight
	left    int           // closed loop: requests to deal; negative: no limit
	arrive  *schedule     // open loop; nil: closed
	due     time.Duration // intended time of the next request
	spent   bool          // there is none
	dealt   int           // open loop: requests dealt so far
	back    int           // of these, given back unsent
	starved bool          // a request is due and no slot is idle
	wake    chan struct{} // tells deal that none is starved any more
}

func newConnDriver(r *run) *connDriver {
	d := &connDriver{
		run: r, tracks: r.newTracks(), keeps: r.plan.RequestsPerConnection != 1, ended: make(chan struct{}),
		wake: make(chan struct{}, 1), left: -1,
	}
	if r.plan.ConnectionsPerSecond > 0 {
		d.ids = make([]int, r.plan.Connections)
	}
	if r.plan.pooled() {
		d.pool = newPool(r.plan.PoolPolicy, r.plan.Connections)
	}
	if r.plan.Requests > 0 {
		d.left = r.plan.Requests
	}
	d.free = r.plan.workers()
	if r.plan.openLoop() {
		d.arrive, d.free, d.left = newSchedule(r.plan), math.MaxInt, -1
		d.advance(false)
	}
	for _, t := range d.all {
		d.slots = append(d.slots, newSlot(d, t))
	}
	return d
}

func (d *connDriver) name() string { return DriverConn }

func (d *connDriver) pooled() bool { return d.pool != nil }

func (d *connDriver) work() {
	d.run.resolveAhead()
	if !d.run.waitForStart() {
		return
	}
	var owned sync.WaitGroup
	finished := make(chan struct{})
	if d.ids != nil {
		owned.Go(func() { d.churn(finished) })
	}
	if d.pooled() {
		owned.Go(d.deal)
		d.run.eachSlot(func(i int) { d.slots[i].serve() })
	} else {
		d.run.eachSlot(func(i int) { d.slots[i].work() })
	}
	close(finished)
	owned.Wait()
	if d.arrive != nil {
		d.run.unsent.Store(d.run.intended.Load() - int64(d.dealt-d.back))
	}
}

func (d *connDriver) release() {
	for _, s := range d.slots {
		s.release()
	}
}

func (d *connDriver) account(*record.Generator) {}

// watch returns what can look at a connection while it is idle, where connections are.
func (d *connDriver) watch(conn net.Conn) syscall.RawConn {
	if !d.pooled() && d.run.plan.ThinkTime == 0 {
		return nil
	}
	return rawConn(conn)
}

// churn replaces the oldest connection as often as the plan says, until finished.
func (d *connDriver) churn(finished <-chan struct{}) {
	ctx, cancel := context.WithCancel(d.run.ctx)
	defer cancel()
	for n := d.run.plan.firstChurn(); ; n++ {
		at := d.run.plan.churnTime(n)
		if at >= d.run.ends() {
			return
		}
		timer := time.NewTimer(at - d.run.now())
		select {
		case <-timer.C:
			d.replaceOldest()
		case <-finished:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (d *connDriver) replaceOldest() {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, ok := d.ages.oldest(func(slot, id int) bool { return d.ids[slot] == id })
	if !ok {
		return
	}
	s := d.slots[i]
	s.replaced.Store(int64(d.ids[i]))
	switch {
	case !d.pooled(): // it may be thinking
		select {
		case s.tasks <- task{kind: replaceTask}:
		default:
		}
	case d.pool.remove(i):
		s.tasks <- task{kind: replaceTask}
	}
}

// opened notes a slot's new connection.
func (d *connDriver) opened(slot, id int) {
	if d.ids == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids[slot] = id
	d.ages.opened(slot, id)
}

// closed notes that a slot has no connection.
func (d *connDriver) closed(slot int) {
	if d.ids == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids[slot] = 0
}
