package analyze

import (
	"fmt"
	"slices"

	"github.com/podskew/podskew/record"
)

// What a gateway chooses a pod for, besides single requests.
const (
	unitSession  = "session"            // a client's requests that a header or cookie holds together
	unitUpstream = "upstreamConnection" // from the gateway to the Service: many clients' requests share it
)

// The proxies, upstreams and policies of a gateway, as facts name them.
const (
	proxyCaddy      = "caddy"
	upstreamPods    = "pods"
	policyHeader    = "headerHash"
	policyCookie    = "cookie"
	policyTurns     = "roundRobin"
	policyRandom    = "random"
	policyLeastConn = "leastConnections"
)

// roleGateway is the role of a gateway's pods in facts.
const roleGateway = "gateway"

// gateway is a connection to a layer 7 proxy of the run's own. What becomes of it behind the proxy is either the proxy's
// choice among the pods or, if it sends to the Service's address, that of kube-proxy on its node.
func (p path) gateway() Prediction {
	g := p.facts.Gateway
	if g == nil {
		return p.unknown("the facts hold no gateway")
	}
	pods := p.gatewayPods()
	if len(pods) == 0 {
		return p.unknown("the gateway has no pod")
	}
	if g.Upstream == upstreamPods {
		return p.dealtByGateway(g, pods)
	}
	return p.funnelled(g, pods)
}

// gatewayPods are the pods of the gateway, in the order of the facts.
func (a *atlas) gatewayPods() []record.Pod {
	return slices.DeleteFunc(slices.Clone(a.facts.Pods), func(pod record.Pod) bool { return pod.Role != roleGateway })
}

// oneNode is the node that all pods are on; "" if they are on several.
func oneNode(pods []record.Pod) string {
	for _, pod := range pods {
		if pod.Node != pods[0].Node {
			return ""
		}
	}
	return pods[0].Node
}

// dealtByGateway is a choice that the gateway makes itself, for each request or session.
func (p path) dealtByGateway(g *record.Gateway, pods []record.Pod) Prediction {
	endpoints, _ := p.endpointsOf(g.Behind, hostOf(""))
	ready := onePerPod(p.atlas, keep(endpoints, func(e record.Endpoint) bool { return e.Ready }))
	if len(ready) == 0 {
		return p.unknown("there is no ready pod for the gateway to choose, and what it answers then is its own affair")
	}
	r := Prediction{Decider: oneNode(pods), Unit: unitRequest, KeyedOn: ProxyPod}
	r.Unit, r.Reason, r.Untested, r.choice = p.gatewayPolicy(g, len(ready), len(pods))
	return p.spread(r, ready, func(record.Endpoint) SourceClass { return p.seenThrough(g) })
}

// gatewayPolicy says what a gateway chooses a pod for, how, and why chance has no part in it where it has none.
func (p path) gatewayPolicy(g *record.Gateway, n, proxies int) (unit, reason, untested string, how choice) {
	switch session := p.stream.Session; g.Policy {
	case policyRandom:
		return unitRequest, fmt.Sprintf("%s draws one of %d pods for each request", g.Proxy, n), "", ""
	case policyTurns, "":
		reason := fmt.Sprintf("%s deals requests to %d pods in turn", g.Proxy, n)
		switch {
		case proxies > 1:
			return unitRequest, reason, fmt.Sprintf("each of the gateway's %d pods takes turns of its own, so counting decides and not chance", proxies), ""
		case g.Proxy == proxyCaddy:
			return unitRequest, reason, "the gateway takes the pods in turn, and anew whenever DNS lists them in another order, so counting decides and not chance", ""
		}
		return unitRequest, reason, "the gateway takes the pods in turn, so counting decides and not chance", inTurns
	case policyLeastConn:
		return unitRequest, fmt.Sprintf("%s gives each request to the one of %d pods with the fewest under way", g.Proxy, n),
			"how many requests are under way at each pod decides, and not chance", ""
	case policyHeader:
		unit, reason, untested = p.hashedHeader(g.Proxy, g.Header, n, g.Proxy == proxyCaddy)
		return unit, reason, untested, ""
	case policyCookie:
		reason := fmt.Sprintf("%s chooses one of %d pods for a session's first request and remembers it by a cookie", g.Proxy, n)
		switch {
		case session == nil || !session.Cookie:
			return unitRequest, reason, "clients do not send the cookies back, so each request is a first one", ""
		case g.Proxy != proxyCaddy:
			return unitSession, reason, "the gateway deals new sessions to the pods in turn, so counting decides and not chance", ""
		}
		return unitSession, reason, "", ""
	}
	return unitRequest, fmt.Sprintf("%s chooses among %d pods by %s", g.Proxy, n, g.Policy), "a hash of the client's address decides, and not chance", ""
}

// hashedHeader says what a hash of a header onto n pods makes of requests. It is even if no pod has a larger part of the
// keys than another, unlike on a ring.
func (p path) hashedHeader(by, header string, n int, even bool) (unit, reason, untested string) {
	reason = fmt.Sprintf("%s hashes the header %s onto %d pods", by, header, n)
	switch session := p.stream.Session; {
	case session == nil || session.Header != header:
		return unitRequest, reason, fmt.Sprintf("clients do not send the header %s, and what a hash of nothing leads to is the proxy's affair", header)
	case session.Value == "podIP" || session.Value == "podName":
		return unitSession, reason, fmt.Sprintf("sessions have no more than %d keys, the pods' own, and a hash gives each of these its pod, not chance", n)
	case !even:
		return unitSession, reason, onARing
	}
	return unitSession, reason, ""
}

// onARing is why the pods' parts of the keys are not equal.
const onARing = "which part of the keys each pod has is up to where the hash puts it on the ring"

// seenThrough is the class of the address that a pod should see of a client behind the gateway: the gateway's or, by PROXY
// protocol, the client's as the gateway saw it.
func (p path) seenThrough(g *record.Gateway) SourceClass {
	front := p.services[g.Service]
	switch {
	case !g.SendProxyProtocol:
		return ProxyPod
	case p.stream.Vantage == "external" && (front == nil || front.ExternalTrafficPolicy != string(LocalPolicy)):
		return ReceivingNode
	}
	return Client
}

// funnelled is a request that the gateway sends to the Service's address: kube-proxy on the gateway's node chooses for the
// connection it goes on.
func (p path) funnelled(g *record.Gateway, pods []record.Pod) Prediction {
	behind := p.services[g.Behind]
	if behind == nil || len(behind.ClusterIPs) == 0 {
		return p.unknown(fmt.Sprintf("the facts hold no cluster IP of Service %q, which is behind the gateway", g.Behind))
	}
	var r Prediction
	for i, pod := range pods {
		at := p.from(pod, behind).clusterIP()
		if at.Outcome != Answer {
			return p.unknown(fmt.Sprintf("the gateway's pod %s reaches nobody (%s), and what it answers then is its own affair", pod.Name, at.Reason))
		}
		if i == 0 {
			r = at
			continue
		}
		if len(r.Backends) != len(at.Backends) || !sameShares(r.Backends, at.Backends) {
			r.Backends = averaged(r.Backends, at.Backends, float64(i))
			r.Untested = "the gateway's pods choose among other pods each, and which of them takes a request is not known"
		}
	}
	for i := range r.Backends {
		r.Backends[i].Source = p.seenThrough(g)
	}
	r.Decider, r.KeyedOn = oneNode(pods), ProxyPod
	r.Reason = fmt.Sprintf("kube-proxy on the gateway's node chooses for each connection of %s to the Service: %s", g.Proxy, r.Reason)
	switch {
	case r.Unit == unitClientIP:
	case g.KeepAlive > 0:
		r.Unit = unitUpstream
	default:
		r.Unit = unitRequest // each has a connection of its own
	}
	return r
}

// from is the way of one of the gateway's pods to the Service behind it.
func (p path) from(pod record.Pod, behind *record.Service) path {
	q := p
	q.service, q.agent, q.clientNode = behind, record.AgentRef{Name: pod.Name, Node: pod.Node, IPs: pod.IPs}, p.nodes[pod.Node]
	q.stream = &record.Stream{Vantage: "pod", Target: "clusterIP", Service: behind.Name, Protocol: "http1"}
	q.addr = record.Address{HostPort: behind.ClusterIPs[0]}
	q.dialled = hostOf(behind.ClusterIPs[0])
	return q
}

func sameShares(a, b []PredictedBackend) bool {
	share := map[string]float64{}
	for _, x := range a {
		share[x.Pod] = x.P
	}
	for _, x := range b {
		if share[x.Pod] != x.P {
			return false
		}
	}
	return true
}

// averaged averages the shares of n gateways so far with those of one more.
func averaged(a, b []PredictedBackend, n float64) []PredictedBackend {
	at := map[string]int{}
	var out []PredictedBackend
	for _, x := range a {
		at[x.Pod] = len(out)
		x.P *= n / (n + 1)
		out = append(out, x)
	}
	for _, x := range b {
		i, have := at[x.Pod]
		if !have {
			i = len(out)
			at[x.Pod] = i
			out = append(out, PredictedBackend{Pod: x.Pod, Node: x.Node})
		}
		out[i].P += x.P / (n + 1)
	}
	return out
}

// addUpstream counts the connections from the gateway to the pods, as the pods list them: kube-proxy chose once for each.
func (u *units) addUpstream(t *traffic) {
	first := t.firstAnswering()
	if first == nil {
		return
	}
	proxies := map[string]bool{}
	for _, pod := range t.now.gatewayPods() {
		for _, ip := range pod.IPs {
			proxies[ip] = true
		}
	}
	for _, server := range t.servers {
		for _, c := range server.Rows {
			if ip := hostOf(c.Client); !ip.IsValid() || !proxies[ip.String()] || c.Requests <= 0 {
				continue
			}
			if !first.eligible[server.Pod] {
				u.stray++
				continue
			}
			u.list = append(u.list, unit{stratum: first, pod: server.Pod, load: c.Requests, n: 1})
		}
	}
}

// noUpstream says why the connections from the gateway to the pods cannot be told apart; "" they can.
func (t *traffic) noUpstream(rec *record.Record) string {
	through := 0
	for i := range rec.Streams {
		if rec.Streams[i].Target == "gateway" {
			through++
		}
	}
	truncated := len(t.servers) == 0
	for _, server := range t.servers {
		truncated = truncated || server.Truncated > 0
	}
	switch {
	case truncated:
		return "which requests shared a connection from the gateway to the pods is not known"
	case through > 1:
		return "several streams share the gateway's connections to the pods"
	}
	return ""
}

// throughGateway takes up what is known of the connections behind a gateway.
func (t *traffic) throughGateway(rec *record.Record) {
	if t.plan.Target != "gateway" {
		return
	}
	if counted := lastCounts(rec); counted != nil {
		t.servers = counted.rows
	}
	for _, s := range t.strata {
		if s.at.Unit == unitUpstream {
			if why := t.noUpstream(rec); why != "" {
				s.at.Unit, s.at.Untested, t.untested = unitRequest, why, why
			}
		}
	}
}
