package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// Forwarded compares what X-Forwarded-For said with the clients' own addresses. Anyone can send that header, so only what a proxy of
// one's own puts there means something.
type Forwarded struct {
	Connections int `json:"connections"` // whose pod got the header
	Client      int `json:"client"`      // of these, it names the client first
	Other       int `json:"other"`       // of these, it names somebody else
	Peer        int `json:"peer"`        // of these, the connection itself came from the client all the same
}

// sourceRows classifies every address the pods saw, and says which hop and which setting put it there.
func (t *traffic) sourceRows() []Source {
	found := map[Source]*Source{}
	for _, s := range t.strata {
		for key, n := range s.sources {
			class, node := classify(t.facts, t.plan, s.agent, s.addr, key.observed)
			self := s.agent.Name == key.pod
			id := Source{Class: string(class), Address: key.observed, Node: node, Expected: s.expects(key.pod, class)}
			id.Hop, id.Setting = t.rewritten(s, key.pod, class, node, id.Expected)
			r := found[id]
			if r == nil {
				r = new(id)
				found[id] = r
			}
			r.Requests += n
			if self {
				r.Hairpin += n
			}
		}
	}
	rows := []Source{}
	for _, r := range found {
		rows = append(rows, *r)
	}
	slices.SortFunc(rows, func(a, b Source) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Address, b.Address),
			cmp.Compare(a.Hop, b.Hop), cmp.Compare(a.Setting, b.Setting))
	})
	return rows
}

// expects reports whether the settings lead to a pod seeing an address of this class.
func (s *stratum) expects(pod string, class SourceClass) bool {
	want := s.sourceClass(pod)
	if want == class {
		return true
	}
	// Which node took it in is not known, nor then whether that is the pod's own.
	return s.at.Decider == "" && want == ReceivingNode && class == PodGateway
}

// rewritten names the hop that put an address of this class in the client's place, and the setting that makes it do so; "" and "" for
// the client's own. What the settings do not lead to can only be guessed at, by whose address it is.
func (t *traffic) rewritten(s *stratum, pod string, class SourceClass, node string, expected bool) (hop, setting string) {
	switch {
	case class == Client:
		return "", ""
	case expected && t.plan.Target == "gateway" && class == ProxyPod:
		return "the gateway, " + t.now.facts.Gateway.Proxy, "it ends the client's connection and opens its own"
	case expected && t.plan.Target == "gateway":
		return "kube-proxy on the node that was dialled", "externalTrafficPolicy: Cluster of the gateway's Service"
	case expected && class == Loopback && t.mesh() != nil:
		return "the sidecar of the pod", "it ends the connection of the client's sidecar and opens its own, on loopback"
	case expected && class == DockerGateway:
		return "the container engine of the host", "a published port"
	case expected && s.agent.Name == pod:
		return t.proxyOn(s.at.Decider), "a pod that reaches itself"
	case expected && class == ClientNode && t.plan.Target != "clusterIP":
		return "the network plugin on " + s.agent.Node, "masquerading of pods towards what is no pod"
	case expected && s.at.Policy == "":
		return "the kernel of " + node, "the route to the pod leaves by this address"
	case expected && t.plan.Target == "clusterIP":
		return t.proxyOn(s.at.Decider), "clients outside the pod network are masqueraded (clusterCIDR)"
	case expected && s.at.Policy == ClusterPolicy:
		return t.proxyOn(s.at.Decider), "externalTrafficPolicy: Cluster"
	case expected:
		return t.proxyOn(s.at.Decider), "processes of the node itself are masqueraded"
	}
	return t.suspect(s, pod, class, node)
}

func (t *traffic) proxyOn(node string) string {
	if node == "" {
		return "kube-proxy on the node that took it in"
	}
	return "kube-proxy on " + node
}

// suspect names what most likely rewrote an address that the settings leave alone.
func (t *traffic) suspect(s *stratum, pod string, class SourceClass, node string) (hop, setting string) {
	switch class {
	case ProxyPod:
		return "a pod in between, a proxy or mesh", "it ends the client's connection; X-Forwarded-For may name the client"
	case Loopback:
		return "a sidecar in the pod", "it hands connections over on loopback"
	case LinkLocal:
		return "a proxy of the network plugin on the node", ""
	case ServiceVIP:
		return "a load balancer or proxy with the Service's address", "X-Forwarded-For or the PROXY protocol may name the client"
	case DockerGateway:
		return "the container engine of the host", "a published port or its masquerading"
	default: // an address of a node, or of nobody known
	}
	switch {
	case node == "":
		return "something on the way that the facts do not know", ""
	case node == t.nodeOf(pod) && node != s.at.Decider:
		return "the network plugin, or a userspace proxy, on " + node, "masquerading on the pod's own node"
	case t.plan.Target == "clusterIP" && node == s.at.Decider:
		return t.proxyOn(node), "masqueradeAll, or a clusterCIDR without the client's address"
	case node == s.agent.Node:
		return "the network plugin on " + node, "masquerading of pods"
	}
	return "a userspace proxy, or rules beside kube-proxy's, on " + node, ""
}

// forwarded looks at what X-Forwarded-For said; nil if no pod got one.
func (t *traffic) forwarded() *Forwarded {
	f := &Forwarded{}
	for _, c := range t.rows {
		if c.Forwarded == "" {
			continue
		}
		f.Connections++
		s := t.byKey[stratumKey{c.Agent, c.Address}]
		own := ownAddress(s, c)
		first, _, _ := strings.Cut(c.Forwarded, ",")
		if ip := hostOf(strings.TrimSpace(first)); ip.IsValid() && ip.String() == own {
			f.Client++
		} else {
			f.Other++
		}
		if ip := hostOf(c.Observed); ip.IsValid() && ip.String() == own {
			f.Peer++
		}
	}
	if f.Connections == 0 {
		return nil
	}
	return f
}

// clause says what the header is good for.
func (f *Forwarded) clause() string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("; X-Forwarded-For names the client in %d of %d connections that brought it", f.Client, f.Connections)
}

// hops lists who rewrote and why, once each, those with most requests first.
func hops(rows []Source) (names []string, table []map[string]any) {
	table = []map[string]any{}
	for _, src := range rows {
		if src.Hop == "" {
			continue
		}
		text := src.Hop
		if src.Setting != "" {
			text += " (" + src.Setting + ")"
		}
		if !slices.Contains(names, text) {
			names = append(names, text)
		}
		table = append(table, map[string]any{"class": src.Class, "address": src.Address, "hop": src.Hop, "setting": src.Setting, "expected": src.Expected, "requests": src.Requests})
	}
	return names, table
}

// perConnection are the median latencies of connections, those whose pod is on the deciding node and those whose is on another.
type perConnection struct{ near, far []float64 }

// Bounds on what is held of samples, whatever their number.
const (
	mostConnectionsSampled = 2_000 // of a stream
	mostSamplesEach        = 200
)

// medians takes the latencies apart by connection, as those of one connection are not independent. Of many connections it looks at
// some, evenly over the run.
func (t *traffic) medians(rec *record.Record) perConnection {
	type connection struct {
		agent string
		id    int
	}
	stride := 1 + len(t.rows)/mostConnectionsSampled
	latencies := map[connection][]float64{}
	for i := 0; i < len(t.rows); i += stride {
		if c := t.rows[i]; c.Backend != "" {
			latencies[connection{c.Agent, c.ID}] = nil
		}
	}
	t.eachLatency(rec, func(agent string, id int, latency float64) {
		key := connection{agent, id}
		if have, wanted := latencies[key]; wanted && len(have) < mostSamplesEach {
			latencies[key] = append(have, latency)
		}
	})
	var out perConnection
	for i := 0; i < len(t.rows); i += stride {
		c := t.rows[i]
		values := latencies[connection{c.Agent, c.ID}]
		s, node := t.byKey[stratumKey{c.Agent, c.Address}], t.nodeOf(c.Backend)
		if len(values) == 0 || node == "" || s.at.Decider == "" {
			continue
		}
		slices.Sort(values)
		if middle := values[(len(values)-1)/2]; s.crosses(node) {
			out.far = append(out.far, middle)
		} else {
			out.near = append(out.near, middle)
		}
	}
	slices.Sort(out.near)
	slices.Sort(out.far)
	return out
}

// eachLatency goes through the samples of answered requests, in whichever form they were read.
func (t *traffic) eachLatency(rec *record.Record, do func(agent string, connection int, latency float64)) {
	for i := range rec.Samples {
		if s := &rec.Samples[i]; s.Stream == t.plan.ID && s.Error == "" {
			do(s.Agent, s.Connection, s.Latency)
		}
	}
	for _, l := range rec.Latencies {
		if l.Stream != t.plan.ID {
			continue
		}
		for i, id := range l.Connections[:min(len(l.Connections), len(l.Buckets))] {
			do(l.Agent, int(id), float64(record.BucketUpper(uint32(l.Buckets[i])))*1e-9)
		}
	}
}
