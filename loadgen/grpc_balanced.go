package loadgen

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	grpcresolver "google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/stats"

	"github.com/podskew/podskew/record"
)

// balancedDriver runs channels that call their addresses in turn. The slots' own tracks have no rows: every connection of
// a channel has one of its own, and a call counts on the connection that it was made on.
type balancedDriver struct {
	*sessionDriver

	mu    sync.Mutex
	units map[*balancedUnit]struct{} // the open ones
}

func newBalancedDriver(r *run) *balancedDriver {
	d := &balancedDriver{units: map[*balancedUnit]struct{}{}}
	d.sessionDriver = newSessionDriver(r, ProtocolGRPC, d.open)
	d.rowless = true
	return d
}

// snapshots implements driver.
func (d *balancedDriver) snapshots(limit int) []record.Connection {
	d.mu.Lock()
	defer d.mu.Unlock()
	var open []record.Connection
	for u := range d.units { // the order is that of a map: others every time
		if len(open) == limit {
			break
		}
		if row, ok := u.snapshot(); ok {
			open = append(open, row)
		}
	}
	return open
}

// balancedUnit is one connection of a channel.
type balancedUnit struct {
	*track
	watchedConn
	channel *balancedChannel

	mu      sync.Mutex
	calls   int  // under way
	closed  bool // no more calls
	done    bool // the row is handed over
	planned bool
}

// LocalAddr implements net.Conn. It is how a call finds its unit.
func (u *balancedUnit) LocalAddr() net.Addr { return unitAddr{u.Conn.LocalAddr(), u} }

type unitAddr struct {
	net.Addr
	unit *balancedUnit
}

// Close implements net.Conn. The row is closed when the last call has been counted.
func (u *balancedUnit) Close() error {
	err := u.Conn.Close()
	u.mu.Lock()
	u.closed = true
	u.planned = u.planned || u.channel.closing.Load()
	u.mu.Unlock()
	u.settle()
	return err
}

// enter notes that a call is made on the connection.
func (u *balancedUnit) enter() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls++
}

// leave notes that it has been counted.
func (u *balancedUnit) leave() {
	u.mu.Lock()
	u.calls--
	u.mu.Unlock()
	u.settle()
}

func (u *balancedUnit) settle() {
	u.mu.Lock()
	last := u.closed && u.calls == 0 && !u.done
	u.done = u.done || last
	planned := u.planned
	u.mu.Unlock()
	if !last {
		return
	}
	var err error
	switch {
	case u.run.cut.Load():
		err = errInterrupted
	case !planned && !u.heard.Load():
		err = cmp.Or(u.failure(), errNoAnswer) // it was given up before it was of any use
	case !planned:
		err = u.severed()
	}
	d := u.channel.driver
	d.mu.Lock()
	delete(d.units, u)
	d.mu.Unlock()
	u.finish(err)
	u.channel.dials.Done()
}

// balancedChannel is the session of one slot.
type balancedChannel struct {
	driver   *balancedDriver
	track    *track // of the slot
	client   *grpc.ClientConn
	resolver *manual.Resolver
	closing  atomic.Bool
	refused  atomic.Pointer[error] // why the last dial failed; nil: it worked

	mu    sync.Mutex     // guards adding to dials, and looked
	dials sync.WaitGroup // connections from the start of their dial to the hand-over of their row, and look-ups
	last  time.Duration  // when the name was looked up last
}

// open makes a channel and gives it its addresses. It does not wait for connections: calls do.
func (d *balancedDriver) open(ctx context.Context, t *track, _ int) (session, error) {
	c := &balancedChannel{driver: d, track: t}
	addresses, err := c.lookup(ctx)
	if err != nil {
		return nil, err
	}
	c.resolver = manual.NewBuilderWithScheme("podskew")
	c.resolver.InitialState(grpcresolver.State{Addresses: addresses})
	c.resolver.ResolveNowCallback = func(grpcresolver.ResolveNowOptions) { c.again() }
	options := append(d.run.grpcOptions(c.dial, d.run.plan.ConnectTimeout), grpc.WithResolvers(c.resolver), grpc.WithStatsHandler(callWatch{}),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`))
	c.client, err = grpc.NewClient("podskew:///"+d.run.targets[t.target].hostPort, options...)
	if err != nil {
		return nil, err
	}
	c.client.Connect()
	return c, nil
}

// lookup returns the channel's addresses: those of the name that the slot dials, or all of the plan if it has no names.
func (c *balancedChannel) lookup(ctx context.Context) ([]grpcresolver.Address, error) {
	r := c.driver.run
	to := r.targets[c.track.target]
	to.source = r.plan.sourceOf(c.track.slot)
	c.last = r.now()
	var out []grpcresolver.Address
	if to.addrPort.IsValid() {
		for _, t := range r.targets {
			if t.addrPort.IsValid() {
				out = append(out, grpcresolver.Address{Addr: t.addrPort.String()})
			}
		}
		return out, nil
	}
	addrs, err := r.lookup(ctx, to)
	if err != nil {
		return nil, err
	}
	for _, a := range slices.SortedFunc(slices.Values(addrs), netip.AddrPort.Compare) {
		out = append(out, grpcresolver.Address{Addr: a.String()})
	}
	return out, nil
}

// again looks the name up again, if the plan wants that and it was not done lately. gRPC asks for it when a connection
// is lost, and must not be kept waiting.
func (c *balancedChannel) again() {
	r := c.driver.run
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.plan.Resolve != ResolvePerConnection || c.closing.Load() || r.now() < c.last+resolveEvery {
		return
	}
	c.last = r.now()
	c.dials.Go(func() {
		ctx, cancel := context.WithTimeout(r.dialCtx, r.plan.ConnectTimeout)
		defer cancel()
		if addresses, err := c.lookup(ctx); err == nil && !c.closing.Load() {
			c.resolver.UpdateState(grpcresolver.State{Addresses: addresses})
		}
	})
}

// dial opens one connection of the channel.
func (c *balancedChannel) dial(ctx context.Context, address string) (net.Conn, error) {
	r := c.driver.run
	c.mu.Lock()
	if c.closing.Load() || !r.goesOn(r.now()) {
		c.mu.Unlock()
		return nil, errClosed
	}
	c.dials.Add(1)
	c.mu.Unlock()
	conn, err := c.connect(ctx, address)
	if err != nil {
		c.dials.Done()
		c.refused.Store(&err)
		return nil, err
	}
	c.refused.Store(nil)
	return conn, nil
}

func (c *balancedChannel) connect(ctx context.Context, address string) (net.Conn, error) {
	r := c.driver.run
	if !r.admit() {
		return nil, errInterrupted
	}
	to := r.targets[c.track.target]
	to.source = r.plan.sourceOf(c.track.slot)
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	u := &balancedUnit{track: r.newTrack(c.track.slot, c.track.shard), channel: c}
	if to.addrPort.IsValid() {
		u.target = slices.IndexFunc(r.targets, func(t target) bool { return t.addrPort == addr })
	}
	to.addrPort, u.target = addr, max(u.target, 0)
	u.begin()
	if !r.targets[u.target].addrPort.IsValid() {
		u.dialled(addr.String())
	}
	u.Conn, err = r.dialAddress(ctx, to, "h2")
	if err != nil {
		err = r.dialFailed(err)
		u.finish(err)
		return nil, err
	}
	u.connected(r.now(), u.Conn.LocalAddr().String())
	c.driver.mu.Lock()
	c.driver.units[u] = struct{}{}
	c.driver.mu.Unlock()
	return u, nil
}

// local implements session; a channel leaves from as many addresses as it has connections.
func (c *balancedChannel) local() string { return "" }

func (c *balancedChannel) stream() exchanger {
	return &balancedCaller{channel: c, caller: newCaller(c.driver.run, c.client, c)}
}

// close ends the channel and all of its connections, and waits until their rows are handed over.
func (c *balancedChannel) close(bool) {
	c.mu.Lock()
	c.closing.Store(true)
	c.mu.Unlock()
	_ = c.client.Close()
	c.driver.mu.Lock()
	var mine []*balancedUnit
	for u := range c.driver.units {
		if u.channel == c {
			mine = append(mine, u)
		}
	}
	c.driver.mu.Unlock()
	for _, u := range mine {
		_ = u.Close() // gRPC may leave that to a goroutine
	}
	c.dials.Wait()
}

// lost implements callee.
func (c *balancedChannel) lost(ctx context.Context) (err error, unsent bool) { //nolint:revive // as the interface has it
	if u := callOf(ctx).unit.Load(); u != nil {
		return u.failure(), false
	}
	if refused := c.refused.Load(); refused != nil && c.client.GetState() != connectivity.Ready {
		return *refused, false
	}
	return nil, false
}

// severed implements callee.
func (c *balancedChannel) severed() error { return nil }

// over implements callee: a channel finds itself new connections.
func (c *balancedChannel) over() bool { return false }

// balancedCaller counts each call on the connection that it was made on.
type balancedCaller struct {
	*caller
	channel *balancedChannel
	stay    *call // of the stream that is open
}

// exchange implements exchanger.
func (c *balancedCaller) exchange(ctx context.Context, from *attribution) outcome {
	one := c.stay
	if one == nil || c.stream == nil {
		one = &call{}
	}
	o := c.caller.exchange(context.WithValue(ctx, callKey{}, one), from)
	if c.stay = nil; c.stream != nil {
		c.stay = one // its unit is that of all its messages
	}
	if u := one.unit.Load(); u != nil {
		o.on = u.track
		if c.stay == nil {
			one.unit.Store(nil)
			o.counted = u.leave
		}
	}
	return o
}

// finished implements finisher: a stream that is open holds its connection.
func (c *balancedCaller) finished() {
	if c.stay == nil {
		return
	}
	c.end()
	if u := c.stay.unit.Swap(nil); u != nil {
		u.leave()
	}
}

// call is what is known of a call under way.
type call struct{ unit atomic.Pointer[balancedUnit] }

// callKey is where a call's context holds it.
type callKey struct{}

func callOf(ctx context.Context) *call {
	if one, ok := ctx.Value(callKey{}).(*call); ok {
		return one
	}
	return &call{}
}

// callWatch finds out which connection a call is made on.
type callWatch struct{}

// TagRPC implements stats.Handler.
func (callWatch) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (callWatch) HandleRPC(ctx context.Context, event stats.RPCStats) {
	out, ok := event.(*stats.OutHeader)
	if !ok {
		return
	}
	addr, ok := out.LocalAddr.(unitAddr)
	if !ok {
		return
	}
	addr.unit.enter()
	if before := callOf(ctx).unit.Swap(addr.unit); before != nil {
		before.leave() // gRPC tries a call again that no server has seen
	}
}

// TagConn implements stats.Handler.
func (callWatch) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (callWatch) HandleConn(context.Context, stats.ConnStats) {}
