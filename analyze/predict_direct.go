package analyze

import (
	"fmt"

	"github.com/podskew/podskew/record"
)

// podIP is a connection to one pod's own address: nobody chooses, and no policy, readiness or affinity has a say.
func (p path) podIP() Prediction {
	ip := p.dialled.String()
	e := record.Endpoint{Address: ip}
	switch pod := p.podsAt[ip]; {
	case !p.dialled.IsValid():
		return p.unknown(fmt.Sprintf("%s is no address of a pod", p.addr.HostPort))
	case pod != nil:
		e.Pod, e.Node = pod.Name, pod.Node
	default:
		known := keep(p.facts.Endpoints, func(e record.Endpoint) bool { return hostOf(e.Address) == p.dialled })
		if len(known) == 0 {
			return p.unknown(fmt.Sprintf("the facts name no pod with the address %s", ip))
		}
		e = known[0]
	}
	r := Prediction{Decider: p.ownNode(), Unit: p.single(), KeyedOn: Client, Reason: "the address is that of one pod"}
	return p.spread(r, []record.Endpoint{e}, p.directSource)
}

// ownNode is the node of a client that chooses itself, from which connections to other nodes' pods cross over.
func (p path) ownNode() string {
	if p.inCluster() {
		return p.clientNode.Name
	}
	return ""
}

// directSource is what a pod sees of a client that dials its own address. Nothing rewrites it; a node's own process leaves by the
// address of the interface that leads to the pod.
func (p path) directSource(e record.Endpoint) SourceClass {
	if p.stream.Vantage == "node" && e.Node == p.clientNode.Name && e.Node != "" && !p.onHost(e) {
		return PodGateway
	}
	return Client
}

// headless is a choice among the addresses that DNS lists, which the client makes.
func (p path) headless() Prediction {
	if p.dialled.IsValid() {
		return p.podIP() // the plan lists the addresses, so each says which pod it is
	}
	endpoints, _ := p.endpointsOf(p.service.Name, p.dialled)
	ready := onePerPod(p.atlas, keep(endpoints, func(e record.Endpoint) bool { return e.Ready }))
	r := Prediction{Decider: p.ownNode(), Unit: p.single(), KeyedOn: Client}
	if len(ready) == 0 {
		r.Outcome, r.Reason = NoAddress, "the Service has no ready endpoint, so its name has no address"
		return r
	}
	r.choice, r.Reason, r.Untested = p.clientChoice(len(ready))
	return p.spread(r, ready, p.directSource)
}

// onePerPod keeps one endpoint of each pod: a pod of two address families is listed twice, and dialled by either.
func onePerPod(a *atlas, endpoints []record.Endpoint) []record.Endpoint {
	seen := map[string]bool{}
	return keep(endpoints, func(e record.Endpoint) bool {
		pod := a.podOf(e)
		if seen[pod] {
			return false
		}
		seen[pod] = true
		return true
	})
}

// choice is how a client chooses among addresses without chance.
type choice string

// The ways to choose without chance; "" is any other way.
const (
	oneChoice choice = "one"    // the first address, once for all connections
	inTurns   choice = "inTurn" // one address after the other
)

// clientChoice says how a client chooses among n addresses and, unless it does so at random, why chance has no part in it.
func (p path) clientChoice(n int) (how choice, reason, untested string) {
	order := p.stream.ResolveOrder
	if p.stream.Protocol == "grpc" {
		order = "first"
		if p.stream.GRPCPolicy == "round_robin" {
			order = "roundRobin"
		}
	}
	switch order {
	case "random":
		return "", fmt.Sprintf("the client chooses one of %d addresses at random", n), ""
	case "first":
		if p.stream.Resolve == "perConnection" {
			return "", fmt.Sprintf("the client takes the first of %d addresses", n),
				"the client takes the first address of each answer, so the order of the DNS server's answers decides, not chance"
		}
		return oneChoice, fmt.Sprintf("the client takes the first of %d addresses", n),
			"each client takes the first address it is told and keeps to it, so all its connections are one choice"
	}
	return inTurns, fmt.Sprintf("the client takes %d addresses in turn", n), "the client takes the addresses in turn, so counting decides and not chance"
}
