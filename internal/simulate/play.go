package simulate

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/podskew/podskew/record"
)

// play is one scene being played.
type play struct {
	scene  Scene
	rng    *rand.Rand
	rec    *record.Record
	memory map[[2]string]memory // of ClientIP affinity, by source address and node
	served uint64
	lists  map[[2]string][][2]string // of AffinityList: clients by node and pod, the oldest first
	eras   []era
}

type memory struct {
	endpoint record.Endpoint
	opened   float64
}

// client is one source of load.
type client struct {
	ref     record.AgentRef
	node    int // index of its worker, -1 outside
	vantage string
}

func (p *play) stream(index int, st Stream) {
	plan := record.Stream{
		ID: st.Name, Client: st.Name, Vantage: st.Vantage, Target: st.Target, Service: Service, Protocol: "http1",
		Connections: st.Clients, RequestsPerConnection: st.Requests, Requests: st.Clients * st.Connections * st.Requests, ConnectTimeout: 1, Timeout: 5,
	}
	if st.Target == "clusterIP" {
		plan.Addresses = []record.Address{{HostPort: fmt.Sprintf("10.79.0.20:%d", Port)}}
	}
	targets := st.TargetNodes
	if st.Target == "nodePort" {
		if targets == nil {
			for i := range p.scene.Placement {
				targets = append(targets, i)
			}
		}
		for _, i := range targets {
			plan.Addresses = append(plan.Addresses, record.Address{HostPort: fmt.Sprintf("%s:%d", NodeIP(i), NodePort), Node: NodeName(i)})
		}
	}
	tallies := map[tallyKey]*record.Tally{}
	for k := range st.Clients {
		c := p.client(index, st, k)
		plan.Agents = append(plan.Agents, c.ref)
		held := 0
		for i := range st.Connections {
			if st.Lifetime > 0 {
				p.hold(st, c, plan.Addresses[0], i, &held, tallies)
				continue
			}
			at := (k + i) % len(plan.Addresses)
			dialled := -1
			if targets != nil {
				dialled = targets[at]
			}
			p.connect(st, c, plan.Addresses[at], dialled, i, tallies)
		}
	}
	p.rec.Streams = append(p.rec.Streams, plan)
	p.tally(tallies)
}

// client returns the k-th client of a stream, on the workers in turn.
func (p *play) client(index int, st Stream, k int) client {
	node := k % len(p.scene.Placement)
	switch st.Vantage {
	case "external":
		return client{node: -1, vantage: st.Vantage, ref: record.AgentRef{
			Name: fmt.Sprintf("%s-%d", st.Name, k), Node: externalNode, IPs: []string{fmt.Sprintf("10.77.%d.%d", 100+10*index+k/250, 1+k%250)},
		}}
	case "node":
		return client{node: node, vantage: st.Vantage, ref: record.AgentRef{Name: fmt.Sprintf("%s-%d", st.Name, k), Node: NodeName(node), IPs: []string{NodeIP(node)}}}
	}
	return client{node: node, vantage: st.Vantage, ref: record.AgentRef{
		Name: fmt.Sprintf("%s-%d", st.Name, k), Node: NodeName(node), IPs: []string{fmt.Sprintf("10.78.%d.%d", 16*(1+node)+1+4*index+k/250, 1+k%250)},
	}}
}

// agentPods adds the clients' pods to the facts, where a run would list them, too.
func (p *play) agentPods(st Stream) {
	for i := range p.rec.Streams {
		if p.rec.Streams[i].ID != st.Name {
			continue
		}
		for _, a := range p.rec.Streams[i].Agents {
			pod := record.Pod{Name: a.Name, UID: "uid-" + a.Name, Role: "agent", IPs: a.IPs, Node: a.Node, Ready: true, HostNetwork: st.Vantage != "pod"}
			p.rec.Facts.Pods = append(p.rec.Facts.Pods, pod)
			p.rec.FactsAfter.Pods = append(p.rec.FactsAfter.Pods, pod)
		}
	}
}

// connect opens connection i of a client and lets it carry its requests.
func (p *play) connect(st Stream, c client, addr record.Address, dialled, i int, tallies map[tallyKey]*record.Tally) {
	opened := 5 * float64(i) / float64(max(st.Connections, 1))
	row := record.Connection{
		Stream: st.Name, Agent: c.ref.Name, ID: i + 1, Address: addr.HostPort,
		Local: fmt.Sprintf("%s:%d", c.ref.IPs[0], 20_000+i%40_000), Opened: opened,
	}
	from, local := p.choice(c, st.Target, dialled, opened)
	if len(from) == 0 {
		row.Error, row.ErrorDetail, row.Closed = record.ErrTimeout, "i/o timeout", opened+1
		p.rec.Connections = append(p.rec.Connections, row)
		key := tallyKey{c.ref.Name, addr.HostPort, "", "", int(opened)}
		t := count(tallies, st.Name, key, 1)
		t.Connections++
		if t.Errors == nil {
			t.Errors = map[record.ErrorKind]int{}
		}
		t.Errors[row.Error]++
		return
	}
	decider := dialled
	if dialled < 0 {
		decider = c.node
	}
	e := p.choose(from, c.ref.IPs[0], NodeName(decider), opened)
	observed := p.observed(c, st.Target, dialled, local, e)
	latency := 300e-6
	if e.Node != NodeName(decider) {
		latency = 400e-6
	}
	n := p.load(st)
	p.served++
	row.Connected, row.Closed = opened+latency/2, opened+latency*float64(n+1)
	row.Requests, row.Backend, row.ServerConn = n, e.Pod, p.served
	row.Observed = fmt.Sprintf("%s:%d", observed, 20_000+i%40_000)
	p.rec.Connections = append(p.rec.Connections, row)

	t := count(tallies, st.Name, tallyKey{c.ref.Name, addr.HostPort, e.Pod, observed, int(opened)}, n)
	t.Connections++
	t.Latency.Add(int64(latency*1e9), uint64(n)) // #nosec G115 -- at least 1
}

// count adds requests to their tally.
func count(tallies map[tallyKey]*record.Tally, stream string, key tallyKey, n int) *record.Tally {
	t := tallies[key]
	if t == nil {
		t = &record.Tally{Stream: stream, Agent: key.agent, Address: key.address, Backend: key.pod, Observed: key.observed, Second: key.second}
		tallies[key] = t
	}
	t.Requests += n
	return t
}

type tallyKey struct {
	agent, address, pod, observed string
	second                        int
}

// tally adds the tallies of a stream to the record, in an order of their own.
func (p *play) tally(tallies map[tallyKey]*record.Tally) {
	keys := make([]tallyKey, 0, len(tallies))
	for key := range tallies {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b tallyKey) int {
		return cmp.Or(cmp.Compare(a.second, b.second), cmp.Compare(a.agent, b.agent), cmp.Compare(a.address, b.address),
			cmp.Compare(a.pod, b.pod), cmp.Compare(a.observed, b.observed))
	})
	for _, key := range keys {
		p.rec.Tallies = append(p.rec.Tallies, *tallies[key])
	}
}

// choice returns what kube-proxy may choose from, and whether a Local policy narrowed it.
func (p *play) choice(c client, target string, dialled int, now float64) (from []record.Endpoint, local bool) {
	at := dialled
	switch target {
	case "clusterIP":
		at, local = c.node, p.scene.InternalLocal
	default:
		local = p.scene.ExternalLocal && c.node != dialled // who is on the node already is bound by no policy
	}
	for _, e := range p.at(now) {
		if !local || e.Node == NodeName(at) {
			from = append(from, e)
		}
	}
	return from, local
}

// choose picks an endpoint, the remembered one under affinity.
func (p *play) choose(from []record.Endpoint, source, node string, now float64) record.Endpoint {
	key := [2]string{source, node}
	if m, ok := p.memory[key]; ok && p.scene.AffinitySeconds > 0 && now-m.opened < float64(p.scene.AffinitySeconds) {
		p.memory[key] = memory{m.endpoint, now}
		p.remember(key, m.endpoint.Pod)
		return m.endpoint
	}
	e := from[p.rng.IntN(len(from))]
	if p.scene.Hot > 1 {
		e = p.hot(from)
	}
	p.memory[key] = memory{e, now}
	p.remember(key, e.Pod)
	return e
}

// remember puts a client at the end of the list of a node's pod. Where that is full, the one at its start is forgotten.
func (p *play) remember(key [2]string, pod string) {
	if p.scene.AffinityList == 0 {
		return
	}
	if p.lists == nil {
		p.lists = map[[2]string][][2]string{}
	}
	at := [2]string{key[1], pod}
	list := slices.DeleteFunc(p.lists[at], func(k [2]string) bool { return k == key })
	list = append(list, key)
	if len(list) > p.scene.AffinityList {
		delete(p.memory, list[0])
		list = list[1:]
	}
	p.lists[at] = list
}

// hot gives the scene's first pod a share that is Hot times what it should be.
func (p *play) hot(from []record.Endpoint) record.Endpoint {
	first := p.rec.Facts.Endpoints[0].Pod
	n := float64(len(from))
	at := slices.IndexFunc(from, func(e record.Endpoint) bool { return e.Pod == first })
	if at < 0 || len(from) == 1 {
		return from[p.rng.IntN(len(from))]
	}
	if p.rng.Float64() < p.scene.Hot/n {
		return from[at]
	}
	other := p.rng.IntN(len(from) - 1)
	if other >= at {
		other++
	}
	return from[other]
}

// observed returns the address that the endpoint sees as its client.
func (p *play) observed(c client, target string, dialled int, local bool, e record.Endpoint) string {
	own := c.ref.IPs[0]
	decider := dialled
	if target == "clusterIP" {
		decider = c.node
		if c.vantage == "pod" {
			return own
		}
	}
	onNode := -1
	for i := range p.scene.Placement {
		if e.Node == NodeName(i) {
			onNode = i
		}
	}
	switch {
	case target == "nodePort" && local && c.vantage == "pod":
		return NodeIP(c.node) // hidden by the CNI on its way to a node
	case target == "nodePort" && local:
		return own
	case target == "nodePort" && p.scene.ExternalLocal && c.vantage == "pod":
		return own // on its own node, past the policy
	case onNode == decider:
		return Gateway(decider)
	}
	return NodeIP(decider)
}
