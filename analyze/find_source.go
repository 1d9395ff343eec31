package analyze

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// sources says whether the pods saw the clients' own addresses and, for clients outside the cluster, which hop rewrote them
// and what makes it do so. A client inside that is masqueraded by kube-proxy as it must be has lost nothing to a policy.
func (j *judge) sources(s *subject) {
	kept, lost := 0, 0
	var others []Source
	for _, src := range s.report.Sources {
		own := src.Requests - src.Hairpin
		switch {
		case src.Class == string(Client):
			kept += own
		case own > 0:
			lost += own
			others = append(others, src)
		}
	}
	switch {
	case lost == 0 && kept > 0:
		j.add(Finding{
			Code: SourceIPPreserved, Severity: Info, Stream: s.name, ByDesign: true,
			Summary:  fmt.Sprintf("the pods saw the clients' own addresses in all %d answered requests%s", kept, s.keptBecause()),
			Evidence: map[string]any{"requests": kept, "sources": sourceTable(s.report.Sources)},
		})
	case lost > 0 && s.plan.Vantage == "external":
		j.lostSources(s, others, lost, kept+lost)
	}
}

func (t *traffic) keptBecause() string {
	switch {
	case t.plan.Target == "nodePort" && t.externalPolicy() == "Local":
		return ", as externalTrafficPolicy is Local"
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
	var parts []string
	for _, class := range []SourceClass{ReceivingNode, PodGateway, ClientNode, ProxyPod, ServiceVIP, DockerGateway, LinkLocal, UnknownSource} {
		n, addresses := 0, []string{}
		for _, src := range others {
			if src.Class == string(class) {
				n += src.Requests - src.Hairpin
				addresses = append(addresses, src.Address)
			}
		}
		if n > 0 {
			slices.Sort(addresses)
			parts = append(parts, fmt.Sprintf("%s in %d (%s)", class, n, listed(addresses)))
		}
	}
	setting, hop := "externalTrafficPolicy: Cluster", "kube-proxy on the node that was dialled"
	remedies := []Remedy{
		{What: "externalTrafficPolicy: Local, at the price of uneven shares and of nodes without a pod that answer nobody", Predicted: map[string]any{"sourceIP": "client"}},
		{What: "an L7 proxy or load balancer in front that passes the address on: X-Forwarded-For or the PROXY protocol", Predicted: map[string]any{"sourceIP": "in a header"}},
	}
	why := fmt.Sprintf("%s replaces them under %s", hop, setting)
	if !bySettings {
		setting, hop = "", "something before or beside kube-proxy"
		why = "the Service's settings do not ask for that: look at what forwards to the nodes (a proxy, a published port, the CNI's own masquerading)"
		remedies = remedies[1:]
	}
	j.add(Finding{
		Code: SourceIPLost, Severity: Warning, Stream: s.name, ByDesign: bySettings,
		Summary:  fmt.Sprintf("the pods did not see the clients' addresses in %d of %d answered requests but %s; %s", lost, all, strings.Join(parts, ", "), why),
		Evidence: map[string]any{"requests": all, "lost": lost, "sources": sourceTable(s.report.Sources), "setting": setting, "hop": hop},
		Remedies: remedies,
	})
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
	if n == 0 {
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
	opened, crossed := s.crossedConnections()
	fraction := float64(farN) / float64(nearN+farN)
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
	j.add(Finding{Code: CrossNodeHops, Severity: Info, Stream: s.name, ByDesign: true, Summary: summary, Evidence: evidence})
}

func (t *traffic) crossedConnections() (known, crossed int) {
	for _, c := range t.rows {
		s := t.byKey[stratumKey{c.Agent, c.Address}]
		node := t.nodeOf(c.Backend)
		if c.Backend == "" || node == "" || s.at.Decider == "" {
			continue
		}
		known++
		if s.crosses(node) {
			crossed++
		}
	}
	return known, crossed
}
