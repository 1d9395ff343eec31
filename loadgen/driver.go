package loadgen

import (
	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

// driver makes the load of one plan. Drivers differ in how they wait and in what they speak; what they record is the same,
// because all of them record through tracks.
type driver interface {
	// name is what Generator.Driver says.
	name() string
	// work makes the load, from the plan's start on, and returns when every connection is finished. It obeys run.stopped
	// and run.ends: nothing is sent from then on, outstanding answers are waited for.
	work()
	// release makes it leave the connections it waits on. It is called at most once, while it works, after run.cut is set
	// and run.dialCtx is cancelled.
	release()
	// snapshots returns the rows of up to limit connections in use, others with every call. It is called while it works.
	snapshots(limit int) []record.Connection
	// account adds what only the driver knows of itself. It is called when it has ended.
	account(g *record.Generator)
}

// newDriver picks the driver of a plan, which is valid.
func (r *run) newDriver() driver {
	switch r.plan.Protocol {
	case ProtocolHTTP2:
		return newHTTP2Driver(r)
	case ProtocolGRPC:
		return newGRPCDriver(r)
	case ProtocolWebSocket:
		return newWebSocketDriver(r)
	case ProtocolTCP:
		return newTCPDriver(r)
	case ProtocolUDP:
		return newUDPDriver(r)
	}
	if r.epollFits() {
		if d := newEpollDriver(r); d != nil {
			return d
		}
	}
	return newConnDriver(r)
}

// epollFits reports whether the plan is one that the event loop can run: plain HTTP/1.1 on real sockets, to addresses that
// nobody has to resolve.
func (r *run) epollFits() bool {
	p := r.plan
	if !r.world.sockets || p.Protocol != ProtocolHTTP1 || p.TLS || p.Driver == DriverConn {
		return false
	}
	for _, t := range r.targets {
		if !t.addrPort.IsValid() {
			return false
		}
	}
	return true
}

// requestTo returns the request to a target, and the one that ends a connection.
func (r *run) requestTo(t target) (keep, last []byte) {
	host := r.plan.Host
	if host == "" {
		host = t.hostPort
	}
	head := "GET " + r.plan.Path + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: podskew\r\n"
	if r.plan.detailed() {
		head += echo.HeaderDetail + ": 1\r\n"
	}
	return []byte(head + "\r\n"), []byte(head + "Connection: close\r\n\r\n")
}
