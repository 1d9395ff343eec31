package loadgen

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// sourcePort is the port that a slot's nth connection leaves from, counted from 1; 0: whichever the kernel finds. No two
// slots that leave from one address ever have the same. A slot takes its ports in turn, so that one comes again as late as
// can be: a connection that this side closed first keeps its port for a minute.
func (p *Plan) sourcePort(slot, nth int) uint16 {
	if p.SourcePorts == nil {
		return 0
	}
	sharing := p.slotsOfSource()
	turns := max(p.SourcePorts.Count()/sharing, 1)
	return uint16(p.SourcePorts.From + slot/max(len(p.Sources), 1) + (nth-1)%turns*sharing) // below 65536 in a valid plan
}

// slotsOfSource is how many slots leave from one address at most.
func (p *Plan) slotsOfSource() int {
	addresses := max(len(p.Sources), 1)
	return max((p.Connections+addresses-1)/addresses, 1)
}

// from is the address and port to be bound to; not valid: neither is asked for. A port alone is bound at the address that
// stands for all of the machine's.
func (t target) from() netip.AddrPort {
	switch {
	case t.source.IsValid():
		return netip.AddrPortFrom(t.source, t.port)
	case t.port == 0:
		return netip.AddrPort{}
	case t.addrPort.Addr().Is6() && !t.addrPort.Addr().Is4In6():
		return netip.AddrPortFrom(netip.IPv6Unspecified(), t.port)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), t.port)
}

// leaves is where a slot's nth dial to a target that needs no resolving leaves from; not valid: nothing is asked for.
func (r *run) leaves(slot, nth, to int) netip.AddrPort {
	t := r.targets[to]
	t.source, t.port = r.plan.sourceOf(slot), r.plan.sourcePort(slot, nth)
	return t.from()
}

// checkPorts returns the reason if connections cannot leave from the ports of a plan. A run would find that out, too, but
// as failures of its connections.
func (p *Plan) checkPorts() error {
	if p.SourcePorts == nil {
		return nil
	}
	for slot := range p.Connections {
		t := target{source: p.sourceOf(slot), port: p.sourcePort(slot, 1)}
		if ap, err := netip.ParseAddrPort(p.Addresses[0].HostPort); err == nil {
			t.addrPort = ap
		}
		err := tryBind(t.from())
		switch {
		case errors.Is(err, syscall.EACCES):
			return fmt.Errorf("port %d: %w: ports below 1024 take root or the capability NET_BIND_SERVICE", t.port, err)
		case errors.Is(err, syscall.EADDRINUSE):
			return fmt.Errorf("port %d: %w: something on this machine listens there, want a range without it", t.port, err)
		case err != nil:
			return fmt.Errorf("%s: %w", t.from(), err)
		}
	}
	return nil
}

// checkSourcePorts checks the range itself, and that there are enough in it.
func (p *Plan) checkSourcePorts() error {
	r := p.SourcePorts
	switch {
	case r == nil:
		return nil
	case r.From < 1 || r.To > maxPort || r.From > r.To:
		return fmt.Errorf("sourcePorts: %d to %d: want a range from 1 to %d", r.From, r.To, maxPort)
	case p.slotsOfSource() > r.Count():
		return fmt.Errorf("sourcePorts: %d ports for %d connections from one address: want a port for each", r.Count(), p.slotsOfSource())
	}
	return nil
}

const maxPort = 65535
