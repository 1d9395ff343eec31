package analyze

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
)

// luckMost is the chance of looking held without any affinity that is passed over in silence.
const luckMost = 0.01

func (j *judge) affinityHeld(s *subject) {
	a := s.report.Affinity
	if a == nil {
		return
	}
	j.affinityCollapse(s)
	j.affinityPerNode(s)
	j.affinityExpired(s)
	if a.Clients == 0 || a.Broken > 0 || (a.Held == 0 && a.Expired == 0) {
		return
	}
	connections := 0
	for _, v := range s.judged {
		connections += v.connections
	}
	summary := fmt.Sprintf("%d of %d clients (address and node) kept their pod over %d connections (95 %% range %s to %s)",
		a.Held, a.Clients, connections, figure(a.Interval[0]), figure(a.Interval[1]))
	if longer := s.heldLonger(); longer > 0 {
		summary += fmt.Sprintf("; %d of them for longer than the timeout of %d s, as every new connection renews it", longer, a.TimeoutSeconds)
	}
	if a.Expired > 0 {
		summary += fmt.Sprintf("; %s moved after a pause longer than the %d s timeout", plural(a.Expired, "client", "clients"), a.TimeoutSeconds)
	}
	if a.Raced > 0 {
		summary += fmt.Sprintf("; %s opened connections at the same time, before there was a pod to remember", plural(a.Raced, "client", "clients"))
	}
	if a.ByChance > luckMost*float64(a.Clients) {
		summary += fmt.Sprintf("; %s would be expected without any affinity, as there are few connections per client or few pods", figure(a.ByChance))
	}
	evidence := map[string]any{"clients": a.Clients, "held": a.Held, "interval": a.Interval, "connections": connections, "heldByChance": a.ByChance,
		"sources": a.Sources, "backends": len(s.backends), "backendsUsed": a.BackendsUsed, "backendsUsedByChance": skew.BackendsUsed(len(s.backends), len(s.pairs)),
		"timeoutSeconds": a.TimeoutSeconds, "expired": a.Expired, "openedAtOnce": a.Raced}
	if r := a.Remap; r != nil {
		summary += fmt.Sprintf("; %d of %d moved when %d pods became %d, %d of them because their pod was gone", r.Moved, r.Clients, r.Before, r.After, r.Gone)
		evidence["moved"], evidence["movedPodGone"] = r.Moved, r.Gone
	}
	j.add(Finding{Code: AffinityHeld, Severity: Info, Stream: s.name, ByDesign: true, Summary: summary, Evidence: evidence})
}

// heldLonger counts the clients that kept their pod for longer than the affinity timeout.
func (s *subject) heldLonger() int {
	n, timeout := 0, s.affinitySeconds()
	for i, p := range s.pairs {
		if s.judged[i].connections < 2 || !s.judged[i].held() {
			continue
		}
		first, last, pause := math.Inf(1), math.Inf(-1), 0.0
		for _, c := range p.rows {
			if c.Backend != "" {
				pause = max(pause, c.Opened-max(last, first))
				first, last = min(first, c.Opened), max(last, c.Opened)
			}
		}
		n += truth(last-first > timeout && pause < timeout) // after a longer pause it was luck
	}
	return n
}

// breaches are the pairs that lost their pod though the memory had to hold, at nodes for which keep says yes.
func (s *subject) breaches(at func(node, port string) bool) []*breach {
	var all []*breach
	for i, v := range s.judged {
		if v.broken != nil && at(s.pairs[i].node, s.pairs[i].port) {
			all = append(all, v.broken)
		}
	}
	slices.SortStableFunc(all, func(a, b *breach) int { return cmp.Compare(a.gap, b.gap) })
	return all
}

// affinityBroken reports clients that lost their pod, as a matter of the memory's size where that explains it.
func (j *judge) affinityBroken(s *subject) {
	a := s.report.Affinity
	if a == nil || a.Broken == 0 {
		return
	}
	full := j.affinityCapacity(s)
	all := s.breaches(func(node, port string) bool { return !full[[2]string{node, port}] })
	if len(all) == 0 {
		return
	}
	const most = 10
	rows := []map[string]any{}
	for _, b := range all[:min(most, len(all))] {
		rows = append(rows, map[string]any{"client": b.source, "node": b.node, "from": b.from, "to": b.to, "gapSeconds": b.gap})
	}
	shortest := all[0]
	j.add(Finding{
		Code: AffinityBroken, Severity: Error, Stream: s.name,
		Summary: fmt.Sprintf("%d of %d clients were moved to another pod although theirs was still eligible and the %d s timeout had not passed: %s went from %s to %s after %s s",
			len(all), a.Clients, a.TimeoutSeconds, shortest.source, shortest.from, shortest.to, figure(shortest.gap)),
		Evidence: map[string]any{"clients": a.Clients, "held": a.Held, "broken": len(all), "interval": a.Interval, "timeoutSeconds": a.TimeoutSeconds, "examples": rows},
		Remedies: []Remedy{
			{What: "see whether something in front changes the client's address or the node between connections: affinity is per address and per node"},
			{What: "see whether the rules of kube-proxy on the node were rebuilt, or its memory flushed, while the run went on"},
		},
	})
}

// returns are connections of clients that came before: how many, and of these how many met the pod of the one before.
type returns struct{ all, kept int }

// affinityCapacity looks at nodes in iptables mode with more client addresses than their lists hold: xt_recent keeps 100 for each
// pod and drops the one that was set longest ago. It returns the nodes and ports whose breaches that explains.
func (j *judge) affinityCapacity(s *subject) map[[2]string]bool {
	explained := map[[2]string]bool{}
	rows, clients, broken := []map[string]any{}, 0, 0
	var came returns
	var low, high, usual float64 // of the connections that are expected to meet the same pod, over all nodes
	for _, n := range s.report.Affinity.ByNode {
		endpoints := s.endpointsAt(n.Node)
		if n.Broken == 0 || endpoints == 0 || s.now.nodes[n.Node].Proxy.Mode != modeIPTables {
			continue
		}
		arrivals, addresses, own := s.arrivals(n.Node, n.Port)
		capacity := skew.Capacity{Clients: addresses, Endpoints: endpoints, Limit: skew.AffinityList}
		expected := capacity.Replay(j.seed(s, "capacity "+n.Node+n.Port), arrivals, 0)
		if expected.Exceeded < 0.5 {
			continue
		}
		explained[[2]string{n.Node, n.Port}] = true
		clients, broken = clients+n.Clients, broken+n.Broken
		came.all, came.kept = came.all+own.all, came.kept+own.kept
		low, high = low+expected.Held[0]*float64(own.all), high+expected.Held[1]*float64(own.all)
		usual += expected.Mean * float64(own.all)
		rows = append(rows, map[string]any{"node": n.Node, "port": n.Port, "addresses": addresses, "backends": endpoints, "clients": n.Clients, "held": n.Held,
			"returns": own.all, "returnsKept": own.kept, "keptFractionExpected": expected.Held})
	}
	if len(rows) == 0 {
		return explained
	}
	of := float64(max(1, came.all))
	j.add(Finding{
		Code: AffinityCapacity, Severity: Warning, Stream: s.name, ByDesign: true,
		Summary: fmt.Sprintf("%d of %d clients lost their pod, as more client addresses came than iptables mode remembers: %d for each pod and node, the oldest are forgotten; of %d connections by clients that came back %s met the pod of the one before (a simulation of such lists gives %s)",
			broken, clients, skew.AffinityList, came.all, percent(float64(came.kept)/of), percent(usual/of)),
		Evidence: map[string]any{"clients": clients, "broken": broken, "limit": skew.AffinityList, "returns": came.all, "returnsKept": came.kept,
			"keptFractionExpected": Range{low / of, high / of}, "byNode": rows},
		Remedies: []Remedy{
			{What: "kube-proxy in nftables mode, whose sets hold 65,536 addresses", Predicted: map[string]any{"heldFraction": 1.0}},
			{What: "more pods: each remembers its own list"},
			{What: "affinity by a cookie or header, in an L7 proxy"},
		},
	})
	return explained
}

// arrivals lists the clients of a node's port in the order of their connections, by numbers from 0, and how many clients there are.
func (s *subject) arrivals(node, port string) (order []int, clients int, came returns) {
	type arrival struct {
		at     float64
		client int
	}
	var all []arrival
	for _, p := range s.pairs {
		if p.node != node || p.port != port {
			continue
		}
		last := ""
		for _, c := range p.rows {
			if c.Backend == "" {
				continue
			}
			all = append(all, arrival{c.Opened, clients})
			if last != "" {
				came.all++
				came.kept += truth(c.Backend == last)
			}
			last = c.Backend
		}
		clients++
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	for _, a := range all {
		order = append(order, a.client)
	}
	return order, clients, came
}

// endpointsAt is how many backends a node chooses from.
func (s *subject) endpointsAt(node string) int {
	for _, x := range s.strata {
		if x.at.Decider == node {
			return len(x.at.Backends)
		}
	}
	return 0
}

// affinityExpired says which clients came back too late, and what their pauses say about the timeout.
func (j *judge) affinityExpired(s *subject) {
	a := s.report.Affinity
	e := a.Estimate
	if e != nil && e.beyond > 0 && e.stayed == e.beyond && math.Pow(s.samePodByLuck(), float64(e.beyond)) < luckMost {
		j.note("%s: %s at least as long as the affinity timeout of %d s kept their pod: the memory outlasts what is set%s.", s.name,
			plural(e.beyond, "pause", "pauses"), a.TimeoutSeconds, s.outlasts())
	}
	if a.Expired == 0 {
		return
	}
	summary := fmt.Sprintf("%s moved to another pod after a pause longer than the %d s affinity timeout", plural(a.Expired, "client", "clients"), a.TimeoutSeconds)
	evidence := map[string]any{"clients": a.Clients, "expired": a.Expired, "timeoutSeconds": a.TimeoutSeconds}
	if e != nil {
		evidence["pausesBeyond"], evidence["pausesBeyondHeld"] = e.beyond, e.stayed
		evidence["estimate"] = map[string]any{"low": e.Low, "high": e.High, "gaps": e.Gaps}
		if e.High > 0 {
			summary += fmt.Sprintf("; from the pauses the timeout is above %s and at most %s s", figure(e.Low), figure(e.High))
		}
		if e.stayed > 0 {
			summary += fmt.Sprintf("; %d of %d such pauses ended at the same pod again, as a new choice does by luck", e.stayed, e.beyond)
		}
	}
	j.add(Finding{
		Code: AffinityExpired, Severity: Info, Stream: s.name, ByDesign: true, Summary: summary, Evidence: evidence,
		Remedies: []Remedy{{What: "a longer sessionAffinityConfig.clientIP.timeoutSeconds, up to 86,400: it counts from the last new connection, requests on an open one do not renew it"}},
	})
}

// outlasts adds what is known of a mode's memory.
func (s *subject) outlasts() string {
	for _, x := range s.strata {
		if s.now.nodes[x.at.Decider].Proxy.Mode == modeIPVS {
			return ", as in ipvs mode it stays while closed connections are still remembered, about 2 minutes"
		}
	}
	return ""
}

// affinityPerNode says that the same address is held to different pods by different nodes.
func (j *judge) affinityPerNode(s *subject) {
	type bySource struct {
		nodes map[string]bool
		pods  map[string]bool
	}
	sources := map[string]*bySource{}
	for i, p := range s.pairs {
		v := s.judged[i]
		if len(v.backends) == 0 || p.node == "" {
			continue
		}
		b := sources[p.source]
		if b == nil {
			b = &bySource{map[string]bool{}, map[string]bool{}}
			sources[p.source] = b
		}
		b.nodes[p.node] = true
		for _, pod := range v.backends {
			b.pods[pod] = true
		}
	}
	several, differ := 0, 0
	for _, b := range sources {
		if len(b.nodes) > 1 {
			several++
			if len(b.pods) > 1 {
				differ++
			}
		}
	}
	if differ == 0 {
		return
	}
	j.add(Finding{
		Code: AffinityPerNode, Severity: Info, Stream: s.name, ByDesign: true,
		Summary: fmt.Sprintf("%d of %d client addresses that came in through several nodes have different pods there: each node remembers on its own",
			differ, several),
		Evidence: map[string]any{"addresses": several, "differentPods": differ},
		Remedies: []Remedy{{What: "let each client always enter through the same node (affinity in the load balancer), or keep sessions where every pod finds them"}},
	})
}

// affinityCollapse says that clients share addresses, so that affinity holds groups of them instead of each.
func (j *judge) affinityCollapse(s *subject) {
	a := s.report.Affinity
	if a.Sources == 0 || 2*a.Sources >= a.Addresses {
		return
	}
	n := len(s.backends)
	hidden := "something on the way (a NAT, a proxy, the CNI) hides them"
	byNode := slices.ContainsFunc(s.strata, func(x *stratum) bool { return x.at.KeyedOn == ClientNode })
	if byNode {
		hidden = "their own nodes hide them, as pods that dial another node's port leave under their node's address"
	}
	byProxy := slices.ContainsFunc(s.strata, func(x *stratum) bool { return x.at.KeyedOn == ProxyPod })
	if byProxy {
		hidden = "the gateway ends their connections and opens its own"
	}
	apart := skew.BackendsUsed(n, a.Addresses)
	j.add(Finding{
		Code: AffinityCollapse, Severity: Warning, Stream: s.name, ByDesign: byNode || byProxy,
		Summary: fmt.Sprintf("kube-proxy saw %d client addresses as %d: %s, and affinity sends all behind one address to one pod; %d of %d pods were used, %s would be by as many addresses",
			a.Addresses, a.Sources, hidden, a.BackendsUsed, n, figure(apart)),
		Evidence: map[string]any{"addresses": a.Addresses, "sources": a.Sources, "units": len(s.pairs), "backends": n, "backendsUsed": a.BackendsUsed,
			"backendsUsedByChance": skew.BackendsUsed(n, len(s.pairs)), "backendsUsedApart": apart},
		Remedies: []Remedy{
			{What: "sessionAffinity: None, if sessions can live without it", Predicted: map[string]any{"backendsUsed": n}},
			{What: "affinity by a cookie or header in an L7 proxy, which tells clients behind one address apart", Predicted: map[string]any{"backendsUsed": apart}},
			{What: "from inside the cluster, the ClusterIP instead of node ports: pods keep their addresses there", Predicted: map[string]any{"backendsUsed": apart}},
		},
	})
}
