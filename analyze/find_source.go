package analyze

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// sources says whether the pods saw the clients' own addresses and, where they did not, which hop rewrote them and what makes it do
// so. A client inside that is masqueraded as the settings have it has lost nothing to a policy.
func (j *judge) sources(s *subject) {
	s.report.Forwarded = s.forwarded()
	if s.plan.Target == "url" {
		return // nobody knows who is on the way, and what it rewrites
	}
	kept, lost, against := 0, 0, 0
	var others, strange []Source
	for _, src := range s.report.Sources {
		own := src.Requests - src.Hairpin
		switch {
		case src.Class == string(Client):
			kept += own
		case own > 0:
			lost += own
			others = append(others, src)
			if !src.Expected {
				against += own
				strange = append(strange, src)
			}
		}
	}
	switch {
	case lost > 0 && s.plan.Target == "gateway" && s.now.facts.Gateway != nil:
		j.gatewaySources(s, others, lost, kept+lost)
	case lost == 0 && kept > 0:
		j.add(Finding{
			Code: SourceIPPreserved, Severity: Info, Stream: s.name, ByDesign: true,
			Summary:  fmt.Sprintf("the pods saw the clients' own addresses in all %d answered requests%s", kept, s.keptBecause()),
			Evidence: map[string]any{"requests": kept, "sources": sourceTable(s.report.Sources)},
		})
	case lost > 0 && s.plan.Vantage == "external":
		j.lostSources(s, others, lost, kept+lost)
	case against > 0 && s.modelled:
		j.strangeSources(s, strange, against, kept+lost)
	}
}

// strangeSources reports clients inside the cluster whose addresses were rewritten although nothing in the settings does so.
func (j *judge) strangeSources(s *subject, strange []Source, against, all int) {
	names, table := hops(strange)
	j.add(Finding{
		Code: SourceIPLost, Severity: Warning, Stream: s.name,
		Summary: fmt.Sprintf("the pods saw %s instead of the clients' addresses in %d of %d answered requests, which the settings do not lead to: look at %s%s",
			byClass(strange), against, all, listed(names), s.report.Forwarded.clause()),
		Evidence: map[string]any{"requests": all, "lost": against, "sources": sourceTable(s.report.Sources), "hops": table},
		Remedies: []Remedy{{What: "compare kube-proxy's configuration (masqueradeAll, clusterCIDR, mode) and the network plugin's masquerading with what is wanted"}},
	})
}

func (t *traffic) keptBecause() string {
	switch {
	case t.plan.Vantage == "pod" && t.externalPolicy() == "Local" && slices.ContainsFunc(t.strata, func(s *stratum) bool { return s.at.Policy == Bypassed }):
		return ": kube-proxy leads a pod that dials its own node past externalTrafficPolicy Local, to all pods, with its address"
	case t.plan.Target == "gateway":
		return fmt.Sprintf(": the gateway told them by PROXY protocol on %d of %d connections", t.proxied(), len(t.rows))
	case t.plan.Target == "nodePort" && t.externalPolicy() == "Local":
		return ", as externalTrafficPolicy is Local"
	case t.mesh() != nil:
		return ": the sidecars hand them on"
	case t.plan.Target == "clusterIP" && t.plan.Vantage == "pod":
		return ": kube-proxy leaves the addresses of pods alone"
	}
	return ""
}

func (t *traffic) externalPolicy() string {
	if s := findService(t.facts, t.plan.Service); s != nil {
		return s.ExternalTrafficPolicy
	}
	return ""
}

func sourceTable(sources []Source) []map[string]any {
	rows := []map[string]any{}
	for _, src := range sources {
		rows = append(rows, map[string]any{"class": src.Class, "address": src.Address, "node": src.Node, "requests": src.Requests, "hairpin": src.Hairpin})
	}
	return rows
}

// lostSources reports rewritten addresses of clients outside. Under the Cluster policy kube-proxy has to rewrite them so that
// answers find their way back, also for pods on the node itself; under Local something else did it.
func (j *judge) lostSources(s *subject, others []Source, lost, all int) {
	bySettings := s.externalPolicy() != "Local" && !slices.ContainsFunc(others, func(src Source) bool {
		return src.Class != string(ReceivingNode) && src.Class != string(PodGateway)
	})
	names, table := hops(others)
	setting, hop := "externalTrafficPolicy: Cluster", "kube-proxy on the node that was dialled"
	remedies := []Remedy{
		{What: "externalTrafficPolicy: Local, at the price of uneven shares and of nodes without a pod that answer nobody", Predicted: map[string]any{"sourceIP": "client"}},
		{What: "an L7 proxy or load balancer in front that passes the address on: X-Forwarded-For or the PROXY protocol", Predicted: map[string]any{"sourceIP": "in a header"}},
	}
	why := fmt.Sprintf("%s replaces them under %s", hop, setting)
	if !bySettings {
		setting, hop = "", "something before or beside kube-proxy"
		why = fmt.Sprintf("the Service's settings do not ask for that: look at %s", listed(names))
		remedies = remedies[1:]
	}
	j.add(Finding{
		Code: SourceIPLost, Severity: Warning, Stream: s.name, ByDesign: bySettings,
		Summary:  fmt.Sprintf("the pods did not see the clients' addresses in %d of %d answered requests but %s; %s%s", lost, all, byClass(others), why, s.report.Forwarded.clause()),
		Evidence: map[string]any{"requests": all, "lost": lost, "sources": sourceTable(s.report.Sources), "setting": setting, "hop": hop, "hops": table},
		Remedies: remedies,
	})
}

// byClass says how many requests came under addresses of which class, and which those are.
func byClass(sources []Source) string {
	var parts []string
	for _, class := range []SourceClass{ReceivingNode, PodGateway, ClientNode, ProxyPod, ServiceVIP, DockerGateway, LinkLocal, Loopback, UnknownSource} {
		n, addresses := 0, []string{}
		for _, src := range sources {
			if src.Class == string(class) {
				n += src.Requests - src.Hairpin
				addresses = append(addresses, src.Address)
			}
		}
		if n > 0 {
			slices.Sort(addresses)
			parts = append(parts, fmt.Sprintf("%s in %d (%s)", class, n, listed(slices.Compact(addresses))))
		}
	}
	return strings.Join(parts, ", ")
}

// hairpin: a pod that reaches itself through the Service sees its own node's gateway, or else the answer would bypass the
// translation on its way back. That is neither a policy nor a fault.
func (j *judge) hairpin(s *subject) {
	n := 0
	var addresses []string
	for _, src := range s.report.Sources {
		if src.Hairpin > 0 && src.Class != string(Client) {
			n += src.Hairpin
			addresses = append(addresses, src.Address)
		}
	}
	if n == 0 || s.plan.Target == "url" {
		return
	}
	slices.Sort(addresses)
	j.add(Finding{
		Code: HairpinSNAT, Severity: Info, Stream: s.name, ByDesign: true,
		Summary:  fmt.Sprintf("%d answers came from the client pod itself, which saw %s instead of its own address: kube-proxy masquerades a pod that reaches itself", n, listed(addresses)),
		Evidence: map[string]any{"requests": n, "addresses": addresses},
	})
}

// crossNode says how much of the traffic takes a hop to another node, and what that costs.
func (j *judge) crossNode(s *subject) {
	var near, far record.Histogram
	nearN, farN := 0, 0
	for _, x := range s.strata {
		for pod, a := range x.answered {
			node := s.nodeOf(pod)
			switch {
			case x.crosses(node):
				far.Merge(a.latency)
				farN += a.requests
			case node != "" && x.at.Decider != "":
				near.Merge(a.latency)
				nearN += a.requests
			}
		}
	}
	if farN == 0 {
		return
	}
	hop := &CrossNode{Requests: nearN + farN, Crossed: farN, Fraction: float64(farN) / float64(nearN+farN), Expected: s.expectedCrossing(),
		MedianOther: far.Quantile(0.5), MedianSame: near.Quantile(0.5)}
	split := s.medians(j.rec)
	hop.Difference, hop.Interval = difference(split.near, split.far, j.seed(s, "cross-node"))
	hop.Connections = [2]int{len(split.near), len(split.far)}
	s.report.CrossNodeHop = hop
	opened, crossed := s.crossedConnections()
	fraction := hop.Fraction
	summary := fmt.Sprintf("%s of the answers (%d of %d) came from another node than the one that chose the pod", percent(fraction), farN, nearN+farN)
	evidence := map[string]any{"requests": nearN + farN, "crossNode": farN, "fraction": fraction, "connections": opened, "crossNodeConnections": crossed}
	if far.Count() > 0 {
		evidence["medianOtherNode"] = far.Quantile(0.5)
		summary += fmt.Sprintf(": median %s", milliseconds(far.Quantile(0.5)))
		if near.Count() > 0 {
			evidence["medianSameNode"] = near.Quantile(0.5)
			summary += fmt.Sprintf(", %s on the same node", milliseconds(near.Quantile(0.5)))
		}
	}
	evidence["expectedFraction"] = hop.Expected
	if hop.Interval != nil {
		evidence["difference"], evidence["differenceInterval"], evidence["differenceConnections"] = hop.Difference, *hop.Interval, hop.Connections
		summary += fmt.Sprintf("; the hop costs %s at the median (95 %%: %s to %s, by %d connections)", milliseconds(hop.Difference),
			milliseconds(hop.Interval[0]), milliseconds(hop.Interval[1]), len(split.near)+len(split.far))
	}
	j.add(Finding{Code: CrossNodeHops, Severity: Info, Stream: s.name, ByDesign: true, Summary: summary, Evidence: evidence})
}

func (t *traffic) crossedConnections() (known, crossed int) {
	for _, s := range t.strata {
		for pod, n := range s.connections() {
			node := t.nodeOf(pod)
			if pod == "" || node == "" || s.at.Decider == "" {
				continue
			}
			known += n
			if s.crosses(node) {
				crossed += n
			}
		}
	}
	return known, crossed
}
