package loadgen

import (
	"net/netip"
	"strconv"
	"sync"
)

// maxNames bounds how many pods and client addresses one plan tells apart. A cluster has fewer; a server that makes them
// up must not fill the memory.
const maxNames = 65_536

// names holds one copy of every pod's name and observed address of a run, so that a reply that names one allocates
// nothing. It is safe for concurrent use; the zero value is not ready.
type names struct {
	mu   sync.Mutex
	pods map[string]string
	ips  map[netip.Addr]string
}

func newNames() *names {
	return &names{pods: map[string]string{}, ips: map[netip.Addr]string{}}
}

func (n *names) pod(raw []byte) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name, ok := n.pods[string(raw)]; ok {
		return name, nil
	}
	name := string(raw)
	switch {
	case name == "":
		return "", nil
	case checkName(name) != nil:
		return "", parseError("the name of the pod is not one")
	case len(n.pods) == maxNames:
		return "", parseError("more than 65536 different pods answered")
	}
	n.pods[name] = name
	return name, nil
}

func (n *names) ip(addr netip.Addr) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ip, ok := n.ips[addr]; ok {
		return ip, nil
	}
	if len(n.ips) == maxNames {
		return "", parseError("the pods saw more than 65536 different client addresses")
	}
	ip := addr.String()
	n.ips[addr] = ip
	return ip, nil
}

// attribution is what the last reply of a slot said about where it came from. It outlives connections, since the next
// reply mostly says the same.
type attribution struct {
	pod        string // "": it did not say
	client     string // ip:port the pod saw
	ip         string // the same without the port
	serverConn uint64
	forwarded  string // X-Forwarded-For as the pod got it
	proxied    string // ip:port by PROXY protocol as the pod got it
}

// update takes what a reply says, comparing byte by byte: a proxy may change the pod between two replies on one
// connection, and that is a finding.
func (a *attribution) update(p *parser, n *names) error {
	if p.more != nil {
		if string(p.more.forwarded) != a.forwarded {
			a.forwarded = string(p.more.forwarded)
		}
		if string(p.more.proxied) != a.proxied {
			a.proxied = string(p.more.proxied)
		}
	}
	return a.set(p.pod, p.client, p.serverConn, n)
}

// set takes the pod's name, the client's ip:port and the number of the connection as a reply has them; any may be empty.
func (a *attribution) set(pod, client, serverConn []byte, n *names) (err error) {
	if string(pod) != a.pod {
		if a.pod, err = n.pod(pod); err != nil {
			return err
		}
	}
	if string(client) != a.client {
		if err := a.setClient(client, n); err != nil {
			return err
		}
	}
	a.serverConn = 0
	if len(serverConn) > 0 {
		if a.serverConn, err = strconv.ParseUint(string(serverConn), 10, 64); err != nil {
			return parseError("the number of the connection is not a number")
		}
	}
	return nil
}

func (a *attribution) setClient(raw []byte, n *names) error {
	a.client, a.ip = "", ""
	if len(raw) == 0 {
		return nil
	}
	client := string(raw)
	observed, err := netip.ParseAddrPort(client)
	if err != nil {
		return parseError("the client address is not ip:port")
	}
	if a.ip, err = n.ip(observed.Addr().Unmap().WithZone("")); err != nil {
		return err
	}
	a.client = client
	return nil
}
