package loadgen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
)

// dial opens a connection for a track: to the address that its target has or is resolved to, from the slot's source
// address, with TLS if the plan says so (protos are what ALPN offers then). nth counts the slot's dials, from 1. ctx bounds
// all of it.
func (r *run) dial(ctx context.Context, t *track, nth int, protos ...string) (net.Conn, error) {
	to, err := r.destination(ctx, t, nth)
	if err != nil {
		return nil, err
	}
	conn, err := r.dialAddress(ctx, to, protos...)
	if err != nil {
		r.leftInVain(t, to, err)
	}
	return conn, err
}

// leftInVain notes where a dial that failed had left from, if that was said beforehand.
func (r *run) leftInVain(t *track, to target, err error) {
	if to.port != 0 && to.source.IsValid() && !ownFault(err) {
		t.left(to.from())
	}
}

// dialAddress opens a connection to an address, with TLS if the plan says so.
func (r *run) dialAddress(ctx context.Context, to target, protos ...string) (net.Conn, error) {
	conn, err := r.world.dial(ctx, to)
	if err != nil {
		return nil, err
	}
	return r.secure(ctx, conn, to, protos...)
}

// secure adds TLS if the plan says so. It closes conn if it fails.
func (r *run) secure(ctx context.Context, conn net.Conn, to target, protos ...string) (net.Conn, error) {
	if !r.plan.TLS {
		return conn, nil
	}
	secure := tls.Client(conn, r.tlsConfig(to, protos))
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return secure, nil
}

// destination is what a track's next connection goes to.
func (r *run) destination(ctx context.Context, t *track, nth int) (target, error) {
	to := r.targets[t.target]
	to.source, to.port = r.plan.sourceOf(t.slot), r.plan.sourcePort(t.slot, nth)
	if to.addrPort.IsValid() || r.world.lookup == nil {
		return to, nil
	}
	addr, err := r.resolver.pick(ctx, r, to, t.slot, nth)
	if err != nil {
		return to, err
	}
	to.addrPort = addr
	t.dialled(addr.String())
	return to, nil
}

// sourceOf is the address a slot's connections leave from; not valid: the machine's choice.
func (p *Plan) sourceOf(slot int) netip.Addr {
	if len(p.Sources) == 0 {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(p.Sources[slot%len(p.Sources)]) // valid in a valid plan
	return addr
}

// tlsConfig asks for a full handshake with whoever answers: podskew measures, it does not trust.
func (r *run) tlsConfig(to target, protos []string) *tls.Config {
	host := r.plan.Host
	if host == "" {
		host = to.hostPort
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // see above; no secret is ever sent
		ServerName:         host, NextProtos: protos,
	}
}

// nameResolver turns the names among a plan's addresses into addresses. The zero value is ready.
type nameResolver struct {
	mu    sync.Mutex
	names map[string]*resolved
}

// resolved is what is known of one name.
type resolved struct {
	busy  chan struct{}    // holds a value while it is being looked up
	addrs []netip.AddrPort // of a plan that resolves once; read and written by who holds busy
	mu    sync.Mutex
	turn  int // dials so far
}

func (v *nameResolver) name(hostPort string, offset int) *resolved {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.names == nil {
		v.names = map[string]*resolved{}
	}
	n := v.names[hostPort]
	if n == nil {
		n = &resolved{busy: make(chan struct{}, 1), turn: offset}
		v.names[hostPort] = n
	}
	return n
}

// pick chooses the address for one dial.
func (v *nameResolver) pick(ctx context.Context, r *run, to target, slot, nth int) (netip.AddrPort, error) {
	n := v.name(to.hostPort, r.plan.AddressOffset)
	addrs, err := n.lookup(ctx, r, to)
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch r.plan.ResolveOrder {
	case OrderFirst:
		return addrs[0], nil
	case OrderRandom:
		return addrs[int(r.plan.uniform(orderStream, slot, nth)*float64(len(addrs)))], nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turn++
	// Servers shuffle their answers, so that turns can only be taken in an order of our own.
	return slices.SortedFunc(slices.Values(addrs), netip.AddrPort.Compare)[(n.turn-1)%len(addrs)], nil
}

// lookup returns the addresses of a name, asking the resolver if there is need.
func (n *resolved) lookup(ctx context.Context, r *run, to target) ([]netip.AddrPort, error) {
	if r.plan.Resolve == ResolvePerConnection {
		return r.lookup(ctx, to)
	}
	select {
	case n.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, &net.DNSError{Err: ctx.Err().Error(), Name: to.hostPort, IsTimeout: true}
	}
	defer func() { <-n.busy }()
	if n.addrs != nil {
		return n.addrs, nil
	}
	addrs, err := r.lookup(ctx, to)
	n.addrs = addrs
	return addrs, err
}

// lookup asks the resolver. Of a name that has both IPv4 and IPv6 addresses it takes those of the source's family, else
// those of IPv4: a dial that fails over from one to the other would hide what was dialled, and servers that listen on one
// only, listen on IPv4.
func (r *run) lookup(ctx context.Context, to target) ([]netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(to.hostPort)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", to.hostPort, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", to.hostPort, err)
	}
	addrs, err := r.world.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	four := to.source.Is4() || !to.source.IsValid() && slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap().Is4() })
	var out []netip.AddrPort
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() == four {
			out = append(out, netip.AddrPortFrom(a, uint16(number)))
		}
	}
	if len(out) == 0 {
		return nil, &net.DNSError{Err: "no address of the family of the source", Name: host, IsNotFound: true}
	}
	return out, nil
}

// resolveAhead looks the plan's names up before the load, where they are looked up once. What fails is tried again by the
// dials, which then say why.
func (r *run) resolveAhead() {
	if r.world.lookup == nil || r.plan.Resolve == ResolvePerConnection {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.plan.ConnectTimeout)
	defer cancel()
	for i, t := range r.targets {
		if !t.addrPort.IsValid() {
			t.source = r.plan.sourceOf(i)
			_, _ = r.resolver.name(t.hostPort, r.plan.AddressOffset).lookup(ctx, r, t)
		}
	}
}

// lookupAddrs asks the machine's name servers and hosts file, without the C library.
func lookupAddrs(ctx context.Context, host string) ([]netip.Addr, error) {
	return (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip", host)
}

// dialTCP opens a TCP connection of this machine.
func dialTCP(ctx context.Context, t target) (net.Conn, error) {
	// Keep-alive probes cost three system calls per connection and tell nothing: every wait has a deadline.
	d := net.Dialer{KeepAlive: -1}
	from := t.from()
	switch {
	case t.port != 0:
		d.Control = bindAgain
	case from.IsValid():
		d.Control = bindLate
	}
	if !t.addrPort.IsValid() {
		return d.DialContext(ctx, "tcp", t.hostPort)
	}
	conn, err := d.DialTCP(ctx, "tcp", from, t.addrPort)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok && !from.IsValid() {
			op.Source = nil // DialTCP takes the lack of one for ":0"
		}
		return nil, err // and not a net.Conn that holds a nil
	}
	return conn, nil
}
