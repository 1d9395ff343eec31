package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// dead sums up strata that are not to be answered, by deciding node.
type dead struct {
	node                                string
	connections                         int
	timeouts, refused, unnamed, answers int
}

// noLocal says of a prediction that a Local policy leaves its node nothing, nowhere that there is no endpoint at all.
func noLocal(p Prediction) bool { return p.NoLocal }
func nowhere(p Prediction) bool {
	return !p.NoLocal && !p.Unserved && (p.Outcome == Refused || p.Outcome == NoAddress)
}

func (t *traffic) deadNodes(meant func(Prediction) bool) []*dead {
	byNode := map[string]*dead{}
	for _, s := range t.strata {
		if !meant(s.at) {
			continue
		}
		d := byNode[s.at.Decider]
		if d == nil {
			d = &dead{node: s.at.Decider}
			byNode[s.at.Decider] = d
		}
		d.connections += s.opened
		d.answers += s.known
		errors := map[record.ErrorKind]int{}
		s.addErrors(errors)
		d.timeouts += errors[record.ErrTimeout]
		d.refused += errors[record.ErrRefused]
		d.unnamed += errors[record.ErrDNS]
	}
	var all []*dead
	for _, d := range byNode {
		if d.connections > 0 {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *dead) int { return cmp.Compare(a.node, b.node) })
	return all
}

func deadTable(all []*dead) []map[string]any {
	rows := []map[string]any{}
	for _, d := range all {
		rows = append(rows, map[string]any{"node": d.node, "connections": d.connections, "timeouts": d.timeouts, "refused": d.refused, "answered": d.answers})
	}
	return rows
}

// totals adds up and names.
func totals(all []*dead) (sum dead, nodes []string) {
	for _, d := range all {
		sum.connections += d.connections
		sum.timeouts += d.timeouts
		sum.refused += d.refused
		sum.unnamed += d.unnamed
		sum.answers += d.answers
		nodes = append(nodes, d.node)
	}
	return sum, nodes
}

// noEndpoints: there is nothing behind the Service, and kube-proxy says so at once.
func (j *judge) noEndpoints(s *subject) {
	all := s.deadNodes(nowhere)
	if len(all) == 0 {
		return
	}
	sum, nodes := totals(all)
	j.add(Finding{
		Code: NoEndpoints, Severity: Error, Stream: s.name,
		Summary:  fmt.Sprintf("%s: %d of %d connections were refused, %d timed out%s%s", s.reason(nowhere), sum.refused, sum.connections, sum.timeouts, sum.limited(), sum.unresolved()),
		Evidence: map[string]any{"nodes": nodes, "connections": sum.connections, "refused": sum.refused, "timeouts": sum.timeouts, "unresolved": sum.unnamed, "answered": sum.answers},
		Remedies: j.toGetEndpoints(s),
	})
}

// toGetEndpoints says what to do for a Service without endpoints; pods that are ready and not selected are the first to look at.
func (j *judge) toGetEndpoints(s *subject) []Remedy {
	ready := 0
	for _, p := range s.facts.Pods {
		if p.Role == "echo" && p.Ready && !p.Standby {
			ready++
		}
	}
	what := Remedy{What: "get a pod ready that the Service's selector matches; what is not ready is not listed"}
	if ready == 0 {
		return []Remedy{what}
	}
	look := Remedy{What: fmt.Sprintf("compare the Service's selector with the pods' labels: %s ready, and it selects none",
		plural(ready, "echo pod is", "echo pods are"))}
	return []Remedy{look, what}
}

// limited says why some of what a REJECT rule refuses times out all the same.
func (d dead) limited() string {
	if d.refused == 0 || d.timeouts == 0 {
		return ""
	}
	return " (a node's kernel refuses a client about once a second, net.ipv4.icmp_ratelimit, and drops in between)"
}

// unresolved adds dials whose name led nowhere.
func (d dead) unresolved() string {
	if d.unnamed == 0 {
		return ""
	}
	return fmt.Sprintf(", %d found no address under the name", d.unnamed)
}

// reason returns why strata have the outcome they have.
func (t *traffic) reason(meant func(Prediction) bool) string {
	for _, s := range t.strata {
		if meant(s.at) {
			return s.at.Reason
		}
	}
	return ""
}

// noLocalEndpoint: a node under a Local policy that has no pod of its own. Dropped, not refused: clients wait.
func (j *judge) noLocalEndpoint(s *subject) {
	all := s.deadNodes(noLocal)
	if len(all) == 0 {
		return
	}
	sum, nodes := totals(all)
	severity := Warning
	if sum.connections == s.opened() {
		severity = Error // nothing of this stream gets through
	}
	setting, verb := s.localSetting(), "has"
	if len(nodes) > 1 {
		verb = "have"
	}
	asFacts := sum.answers == 0 && sum.refused == 0
	remedies := []Remedy{
		{What: setting + ": Cluster, at the price of the client's address", Predicted: map[string]any{"timeouts": 0, "sourceIP": "lost"}},
		{What: "run a pod on every node that takes traffic in: a DaemonSet, or topologySpreadConstraints on kubernetes.io/hostname"},
		{What: "let the load balancer leave such nodes out: it has to ask healthCheckNodePort, which answers 503 there"},
	}
	if setting == "internalTrafficPolicy" {
		remedies = []Remedy{
			{What: setting + ": Cluster", Predicted: map[string]any{"timeouts": 0}},
			{What: "run a pod on every node that has clients: a DaemonSet"},
		}
	}
	j.add(Finding{
		Code: NoLocalEndpoint, Severity: severity, Stream: s.name, ByDesign: asFacts,
		Summary: fmt.Sprintf("under %s Local, %s %s no pod of the Service: %d of %d connections there timed out, %d were refused, %d answered",
			setting, listed(nodes), verb, sum.timeouts, sum.connections, sum.refused, sum.answers),
		Evidence: map[string]any{"setting": setting, "nodes": deadTable(all), "connections": sum.connections, "timeouts": sum.timeouts,
			"refused": sum.refused, "answered": sum.answers},
		Remedies: remedies,
	})
}

// localSetting names the field whose Local is in force for the stream.
func (t *traffic) localSetting() string {
	if t.plan.Target == "clusterIP" {
		return "internalTrafficPolicy"
	}
	return "externalTrafficPolicy"
}

// localPolicy: nodes with few pods of their own give each of them more.
func (j *judge) localPolicy(s *subject) {
	if !slices.ContainsFunc(s.strata, func(x *stratum) bool { return x.at.Policy == LocalPolicy }) {
		return
	}
	uneven, apart := s.designed(), s.apart()
	if len(s.backends) > 0 {
		uneven *= float64(len(s.backends)+len(apart)) / float64(len(s.backends)) // over all ready pods
	}
	if uneven < unevenFrom {
		return
	}
	severity := Info
	if uneven >= notably {
		severity = Warning
	}
	expected, rows := s.expectedShares(), []map[string]any{}
	var words []string
	for i, b := range s.backends {
		rows = append(rows, map[string]any{"pod": b.pod, "node": b.node, "expectedShare": expected[i], "share": s.shareOf(i)})
		words = append(words, figure(100*expected[i]))
	}
	setting := s.localSetting()
	evidence := map[string]any{"setting": setting, "byBackend": rows, "byNode": s.localNodes(), "expectedMaxOverMean": uneven,
		"maxOverMean": s.report.Skew.MaxOverMean}
	summary := fmt.Sprintf("under %s Local a node's connections go to its own pods only, so the %d pods should get %s %% (max/mean %s); they got a max/mean of %s",
		setting, len(s.backends), joined(words), figure(uneven), figure(s.report.Skew.MaxOverMean))
	if len(apart) > 0 {
		summary = fmt.Sprintf("under %s Local a node's connections go to its own pods only, and this stream enters by %s only: %s of all %d ready pods should get %s %%, %s nothing (%s); over all of them that is a max/mean of %s",
			setting, listed(s.entered()), plural(len(s.backends), "pod", "pods"), len(s.backends)+len(apart), joined(words), plural(len(apart), "gets", "get"), listed(apart), figure(uneven))
		evidence["apart"] = apart
	}
	if checks := s.healthChecks(); len(checks) > 0 {
		evidence["healthChecks"] = checks
	}
	j.add(Finding{Code: LocalPolicyImbalance, Severity: severity, Stream: s.name, ByDesign: true, Summary: summary, Evidence: evidence, Remedies: s.localRemedies(setting)})
}

// apart are the ready pods of the Service that no connection of the stream can reach, as none enters by their nodes.
func (s *subject) apart() []string {
	var pods []string
	for _, e := range s.facts.Endpoints {
		pod := podOf(s.facts, e)
		if _, reached := s.byPod[pod]; e.Service == s.plan.Service && e.Ready && !reached && !slices.Contains(pods, pod) {
			pods = append(pods, pod)
		}
	}
	slices.Sort(pods)
	return pods
}

// entered are the nodes that decide for the stream.
func (s *subject) entered() []string {
	var nodes []string
	for _, x := range s.strata {
		if x.at.Decider != "" && !slices.Contains(nodes, x.at.Decider) {
			nodes = append(nodes, x.at.Decider)
		}
	}
	if len(nodes) == 0 { // a balancer chooses: those whose pods it reaches
		for _, b := range s.backends {
			if !slices.Contains(nodes, b.node) {
				nodes = append(nodes, b.node)
			}
		}
	}
	slices.Sort(nodes)
	return nodes
}

// enterEverywhere is the remedy to a stream that enters by some of the nodes that have pods.
func (s *subject) enterEverywhere() Remedy {
	perNode, order := map[string]int{}, []string{}
	for _, e := range s.facts.Endpoints {
		if e.Service == s.plan.Service && e.Ready {
			if perNode[e.Node]++; perNode[e.Node] == 1 {
				order = append(order, e.Node)
			}
		}
	}
	slices.Sort(order)
	var shares []float64
	pods, largest := 0, 0.0
	for _, node := range order {
		share := 1 / float64(len(order)) / float64(perNode[node])
		for range perNode[node] {
			shares = append(shares, share)
		}
		pods, largest = pods+perNode[node], max(largest, share)
	}
	slices.SortFunc(shares, func(a, b float64) int { return cmp.Compare(b, a) })
	return Remedy{
		What:      fmt.Sprintf("let connections enter by every node that has a pod (%s): a load balancer that deals them out over nodes, or an address that all of them announce", listed(order)),
		Predicted: map[string]any{"shares": shares, "maxOverMean": largest * float64(pods), "sourceIP": "preserved"},
	}
}

// healthChecks lists what nodes answer a load balancer, for a stream that comes through one.
func (s *subject) healthChecks() []map[string]any {
	if s.plan.Target != "loadBalancer" {
		return nil
	}
	rows := []map[string]any{}
	for _, h := range s.facts.HealthChecks {
		if h.Service != s.plan.Service {
			continue
		}
		row := map[string]any{"node": h.Node, "status": h.Status, "endpoints": h.Endpoints, "weight": h.Weight}
		if h.Error != "" {
			row["error"] = h.Error
		}
		rows = append(rows, row)
	}
	return rows
}

// weigh is the remedy that the health checks hold already: their answers tell how many pods a node has. Weighed by that
// every pod gets the same. Empty where they do not tell, or where the balancer weighs so.
func (s *subject) weigh() []Remedy {
	if s.plan.Target != "loadBalancer" || s.designed() < unevenFrom {
		return nil
	}
	var words []string
	pods := 0
	for _, h := range s.facts.HealthChecks {
		if h.Service == s.plan.Service && h.Status == healthy {
			if h.Weight == 0 {
				return nil
			}
			words = append(words, fmt.Sprintf("%s %d", h.Node, h.Weight))
			pods += h.Weight
		}
	}
	if pods == 0 {
		return nil
	}
	return []Remedy{{
		What:      fmt.Sprintf("a load balancer that weighs nodes by the header X-Load-Balancing-Endpoint-Weight of their health checks (%s)", strings.Join(words, ", ")),
		Predicted: map[string]any{"shares": equalShares(pods), "maxOverMean": 1.0, "sourceIP": "preserved"},
	}}
}

func joined(words []string) string {
	const most = 12
	if len(words) > most {
		words = append(slices.Clone(words[:most]), "…")
	}
	return strings.Join(words, "/")
}

func (s *subject) shareOf(i int) float64 {
	return float64(s.backends[i].requests) / float64(max(s.answeredRequests(), 1))
}

// localNodes lists connections and pods of each deciding node.
func (s *subject) localNodes() []map[string]any {
	type row struct{ connections, pods int }
	byNode := map[string]*row{}
	var nodes []string
	for _, x := range s.strata {
		if x.at.Decider == "" {
			continue
		}
		r := byNode[x.at.Decider]
		if r == nil {
			r = &row{}
			byNode[x.at.Decider] = r
			nodes = append(nodes, x.at.Decider)
		}
		r.connections += x.opened
		r.pods = len(x.at.Backends)
	}
	slices.Sort(nodes)
	rows := []map[string]any{}
	for _, n := range nodes {
		rows = append(rows, map[string]any{"node": n, "connections": byNode[n].connections, "pods": byNode[n].pods})
	}
	if len(rows) == 0 {
		return s.answeringNodes()
	}
	return rows
}

// answeringNodes stands in where a balancer chooses the node: those that answered took the connections in.
func (s *subject) answeringNodes() []map[string]any {
	connections, pods := map[string]int{}, map[string]int{}
	for _, b := range s.backends {
		connections[b.node] += b.connections
		pods[b.node]++
	}
	rows := []map[string]any{}
	for _, n := range sortedKeys(pods) {
		rows = append(rows, map[string]any{"node": n, "connections": connections[n], "pods": pods[n]})
	}
	return rows
}

// localRemedies predicts shares with equal load on each node that takes connections in.
func (s *subject) localRemedies(setting string) []Remedy {
	pods := 0
	for _, e := range s.facts.Endpoints {
		if e.Service == s.plan.Service && e.Ready {
			pods++
		}
	}
	nodes := len(s.localNodes())
	remedies := s.weigh()
	if apart := s.apart(); len(apart) > 0 && setting == "externalTrafficPolicy" {
		remedies = append(remedies, s.enterEverywhere())
		nodes = 0 // where to spread depends on that
	}
	if pods >= nodes && nodes > 1 {
		shares := spreadShares(pods, nodes)
		remedies = append(remedies, Remedy{
			What:      fmt.Sprintf("spread the pods evenly over the %d nodes that take connections in: topologySpreadConstraints on kubernetes.io/hostname with maxSkew 1 and matchLabelKeys [pod-template-hash]", nodes),
			Predicted: map[string]any{"shares": shares, "maxOverMean": shares[0] * float64(pods)},
		})
	}
	predicted := map[string]any{"shares": equalShares(pods), "maxOverMean": 1.0}
	what := setting + ": Cluster"
	if setting == "externalTrafficPolicy" {
		predicted["sourceIP"] = "lost"
		what += ", at the price of the client's address"
	}
	return append(remedies, Remedy{What: what, Predicted: predicted})
}

// spreadShares returns the shares, largest first, of pods spread as evenly as they can be over nodes with equal load.
func spreadShares(pods, nodes int) []float64 {
	var shares []float64
	for node := range nodes {
		own := (pods + node) / nodes // the first nodes have one pod less when it does not come out even
		for range own {
			shares = append(shares, 1/float64(nodes)/float64(own))
		}
	}
	return shares
}

func equalShares(pods int) []float64 {
	shares := make([]float64, pods)
	for i := range shares {
		shares[i] = 1 / float64(pods)
	}
	return shares
}

// foreign: an answer by a pod that the settings do not let this stream reach.
func (j *judge) foreign(s *subject) {
	if !s.modelled || s.stray == 0 {
		return
	}
	rows := []map[string]any{}
	var names []string
	for _, x := range s.strata {
		for _, pod := range x.strangers() {
			rows = append(rows, map[string]any{"pod": pod, "node": s.nodeOf(pod), "through": x.at.Decider, "address": x.addr.HostPort,
				"requests": x.answered[pod].requests})
			if !slices.Contains(names, pod) {
				names = append(names, pod)
			}
		}
	}
	j.add(Finding{
		Code: ForeignBackend, Severity: Error, Stream: s.name,
		Summary: fmt.Sprintf("%s answered by pods that the Service's settings do not let them reach: %s",
			plural(s.stray, "connection was", "connections were"), listed(names)),
		Evidence: map[string]any{"connections": s.stray, "answers": rows},
		Remedies: append(s.hintsIgnored(), []Remedy{
			{What: "see whether kube-proxy on the deciding node is up to date with the EndpointSlices: its sync time is among the run's facts"},
			{What: "see whether something else forwards: a proxy, a CNI that replaces kube-proxy, a second Service on the same address"},
		}...),
	})
}

// hintsIgnored is what to do where kube-proxies pass traffic to ready pods that hints keep from their zones.
func (s *subject) hintsIgnored() []Remedy {
	ready, hinted := map[string]bool{}, false
	for _, e := range s.facts.Endpoints {
		if e.Service == s.plan.Service && e.Ready {
			ready[podOf(s.facts, e)] = true
			hinted = hinted || len(e.HintZones) > 0 || len(e.HintNodes) > 0
		}
	}
	var nodes []string
	for _, x := range s.strata {
		strangers := x.strangers()
		if len(strangers) == 0 || x.at.Policy != ClusterPolicy {
			continue
		}
		if !hinted || slices.ContainsFunc(strangers, func(pod string) bool { return !ready[pod] }) {
			return nil
		}
		if !slices.Contains(nodes, x.at.Decider) {
			nodes = append(nodes, x.at.Decider)
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	slices.Sort(nodes)
	return []Remedy{{What: fmt.Sprintf("restart kube-proxy on %s: it chooses among ready pods as if it did not know its node's zone, which it can miss when it starts (seen in v1.36)", listed(nodes))}}
}

// strangers are the pods that answered on a stratum without being eligible there.
func (s *stratum) strangers() []string {
	var pods []string
	for pod := range s.answered {
		if !s.eligible[pod] {
			pods = append(pods, pod)
		}
	}
	slices.Sort(pods)
	return pods
}
