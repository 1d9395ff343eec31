package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// sourceSlack is how long an address that was added outlives its plan if nobody removes it: the kernel does, so that an
// agent that was killed leaves nothing behind.
const sourceSlack = 10 * time.Minute

// lentAddresses are the addresses that an agent has added to its interfaces for plans that run. The zero value is ready.
type lentAddresses struct {
	mu   sync.Mutex
	uses map[netip.Addr]*lent
}

type lent struct {
	link  int // index of the interface
	plans int
}

// borrow makes sure that the machine has all of a plan's source addresses: it adds those that are missing to the interface
// that leads to the plan's targets, for no longer than the plan can last. The function it returns removes them again, unless
// another plan uses them. Nothing stays added if it fails.
func (l *lentAddresses) borrow(ctx context.Context, plan Plan) (giveBack func() error, err error) {
	lasts := plan.Duration
	if lasts == 0 {
		lasts = maxDuration
	}
	lasts += max(0, time.Until(plan.Start)) + plan.ConnectTimeout + plan.Timeout + sourceSlack
	var mine []netip.Addr
	giveBack = func() error { return l.giveBack(mine) }
	for _, s := range plan.Sources {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("source %s: %w", s, err), giveBack())
		}
		borrowed, err := l.one(ctx, addr, plan, lasts)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("adding source %s: %w", s, err), giveBack())
		}
		if borrowed {
			mine = append(mine, addr)
		}
	}
	return giveBack, nil
}

// one borrows one address and reports whether it has to be given back: not if the machine had it anyway.
func (l *lentAddresses) one(ctx context.Context, addr netip.Addr, plan Plan, lasts time.Duration) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.uses[addr]
	if known == nil && ownAddress(addr) == nil {
		return false, nil
	}
	link := 0
	if known != nil {
		link = known.link
	} else {
		var err error
		if link, err = linkTo(ctx, plan.Addresses[0].HostPort); err != nil {
			return false, err
		}
	}
	if err := setAddress(link, addr, lasts); err != nil { // again, if it is there: it must last for this plan, too
		return false, err
	}
	if known == nil {
		if l.uses == nil {
			l.uses = map[netip.Addr]*lent{}
		}
		known = &lent{link: link}
		l.uses[addr] = known
	}
	known.plans++
	return true, nil
}

func (l *lentAddresses) giveBack(addrs []netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, addr := range addrs {
		u := l.uses[addr]
		if u.plans--; u.plans > 0 {
			continue
		}
		delete(l.uses, addr)
		if err := removeAddress(u.link, addr); err != nil {
			errs = append(errs, fmt.Errorf("removing source %s: %w", addr, err))
		}
	}
	return errors.Join(errs...)
}

// ownAddress returns nil if addr is one of this machine's: connections may leave from it.
func ownAddress(addr netip.Addr) error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		return fmt.Errorf("%s is not an address of this machine: %w", addr, err)
	}
	return conn.Close()
}

// checkOwn returns the reason if connections cannot leave from one of a plan's sources.
func (p *Plan) checkOwn() error {
	for _, s := range p.Sources {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return err
		}
		if err := ownAddress(addr); err != nil {
			return err
		}
	}
	return nil
}

// linkTo is the index of the interface that leads to an address.
func linkTo(ctx context.Context, hostPort string) (int, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", hostPort) // sends nothing
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return 0, errors.New("no interface leads to the target")
	}
	links, err := net.Interfaces()
	if err != nil {
		return 0, err
	}
	for _, link := range links {
		addrs, err := link.Addrs()
		if err != nil {
			return 0, err
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(local.IP) {
				return link.Index, nil
			}
		}
	}
	return 0, fmt.Errorf("no interface has %s", local.IP)
}
