package analyze_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// seen makes all pods of a run have seen this address, or what it says for a pod.
func seen(rec *record.Record, address func(pod, node string) string) *record.Record {
	nodes := map[string]string{}
	for _, p := range rec.Facts.Pods {
		nodes[p.Name] = p.Node
	}
	for i := range rec.Connections {
		if c := &rec.Connections[i]; c.Backend != "" {
			c.Observed = fmt.Sprintf("%s:%d", address(c.Backend, nodes[c.Backend]), 10_000+i)
		}
	}
	for i := range rec.Tallies {
		if t := &rec.Tallies[i]; t.Backend != "" {
			t.Observed = address(t.Backend, nodes[t.Backend])
		}
	}
	rec.Servers = nil
	return rec
}

func always(address string) func(string, string) string {
	return func(string, string) string { return address }
}

// oneClient has one pod on the first of three workers.
func oneClient(target string, targets ...int) simulate.Scene {
	return simulate.Scene{Seed: 7, Placement: []int{2, 2, 2}, Streams: []simulate.Stream{{Name: "web", Target: target, TargetNodes: targets, Connections: 600}}}
}

// Who rewrote the address, and which setting makes it do so.
func TestTheHopThatRewroteTheAddress(t *testing.T) {
	local := func(s simulate.Scene) simulate.Scene { s.ExternalLocal = true; return s }
	node := func(s simulate.Scene) simulate.Scene { s.Streams[0].Vantage = "node"; return s }
	gatewayOf := func(_, node string) string {
		return simulate.Gateway(slices.Index([]string{"worker", "worker2", "worker3"}, node))
	}
	for _, c := range []struct {
		name         string
		rec          *record.Record
		class        string
		hop, setting string
		expected     bool
		lost         bool   // SourceIPLost
		mention      string // in its summary
	}{
		{"policy, other node's pods", outside(false).Record(), "receiving-node", "kube-proxy on worker3", "externalTrafficPolicy: Cluster", true, true, "kube-proxy"},
		{"policy, the node's own pods", outside(false).Record(), "pod-gateway", "kube-proxy on worker2", "externalTrafficPolicy: Cluster", true, true, "externalTrafficPolicy: Cluster"},
		{"CNI, pods to another node", local(oneClient("nodePort", 1)).Record(), "client-node", "the network plugin on worker", "masquerading of pods towards what is no pod", true, false, ""},
		{"clients that are no pods", node(oneClient("clusterIP")).Record(), "pod-gateway", "kube-proxy on worker", "clients outside the pod network are masqueraded (clusterCIDR)", true, false, ""},
		{"masqueradeAll", seen(oneClient("clusterIP").Record(), always(simulate.NodeIP(0))), "client-node", "kube-proxy on worker",
			"masqueradeAll, or a clusterCIDR without the client's address", false, true, "masqueradeAll"},
		{"CNI or userspace proxy at the pods' end", seen(oneClient("clusterIP").Record(), gatewayOf), "pod-gateway", "the network plugin, or a userspace proxy, on worker2",
			"masquerading on the pod's own node", false, true, "userspace proxy"},
		{"a proxy pod", seen(oneClient("clusterIP").Record(), always("10.78.32.99")), "proxy-pod", "a pod in between, a proxy or mesh",
			"it ends the client's connection; X-Forwarded-For may name the client", false, true, "proxy-pod in 600"},
		{"a sidecar", seen(oneClient("clusterIP").Record(), always("127.0.0.6")), "loopback", "a sidecar in the pod", "it hands connections over on loopback", false, true, "sidecar"},
		{"a proxy of the CNI", seen(oneClient("clusterIP").Record(), always("169.254.42.1")), "link-local", "a proxy of the network plugin on the node", "", false, true, "link-local"},
		{"a balancer with an address of its own", seen(outside(true).Record(), always("10.79.0.20")), "service-vip", "a load balancer or proxy with the Service's address",
			"X-Forwarded-For or the PROXY protocol may name the client", false, true, "load balancer"},
		{"nobody knows", seen(outside(true).Record(), always("192.0.2.77")), "unknown", "something on the way that the facts do not know", "", false, true, "facts do not know"},
		{"rules beside kube-proxy's", seen(outside(true).Record(), always(simulate.Gateway(1))), "pod-gateway", "a userspace proxy, or rules beside kube-proxy's, on worker2", "", false, true, "rules beside"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, c.rec)
			if !slices.ContainsFunc(r.Streams[0].Sources, func(s analyze.Source) bool {
				return s.Class == c.class && s.Hop == c.hop && s.Setting == c.setting && s.Expected == c.expected && s.Requests > 0
			}) {
				t.Errorf("sources %+v", r.Streams[0].Sources)
			}
			if has(r, analyze.SourceIPLost) != c.lost {
				t.Fatalf("findings %v", found(r))
			}
			if c.lost {
				if f := finding(t, r, analyze.SourceIPLost); !strings.Contains(f.Summary, c.mention) || f.ByDesign != (c.expected) {
					t.Errorf("by design %v: %s", f.ByDesign, f.Summary)
				}
			}
		})
	}
}

// A port that the host publishes for a node of kind is the container engine's doing.
func TestTheContainerEnginesGateway(t *testing.T) {
	rec := seen(outside(true).Record(), always("10.77.0.1"))
	rec.Facts.Cluster.Provider = "kind"
	st := &rec.Streams[0]
	for i := range st.Addresses {
		st.Addresses[i].HostPort = fmt.Sprintf("127.0.0.1:%d", 31_080+i)
	}
	at := map[string]string{}
	for i, a := range outside(true).Record().Streams[0].Addresses {
		at[a.HostPort] = st.Addresses[i].HostPort
	}
	for i := range rec.Connections {
		rec.Connections[i].Address = at[rec.Connections[i].Address]
	}
	for i := range rec.Tallies {
		rec.Tallies[i].Address = at[rec.Tallies[i].Address]
	}
	r := report(t, rec)
	src := r.Streams[0].Sources[0]
	if src.Class != "docker-gateway" || src.Hop != "the container engine of the host" || !src.Expected {
		t.Errorf("%+v", src)
	}
	if f := finding(t, r, analyze.SourceIPLost); f.ByDesign || !strings.Contains(f.Summary, "container engine") {
		t.Errorf("%s", f.Summary)
	}
}

func TestForwardedFor(t *testing.T) {
	rec := seen(oneClient("clusterIP").Record(), always("10.78.32.99"))
	own := rec.Streams[0].Agents[0].IPs[0]
	for i := range rec.Connections {
		switch c := &rec.Connections[i]; {
		case i < 400:
			c.Forwarded = own + ", 10.78.32.99"
		case i < 500:
			c.Forwarded = "203.0.113.5"
		}
	}
	r := report(t, rec)
	if f := r.Streams[0].Forwarded; f == nil || *f != (analyze.Forwarded{Connections: 500, Client: 400, Other: 100}) {
		t.Errorf("%+v", f)
	}
	if f := finding(t, r, analyze.SourceIPLost); !strings.Contains(f.Summary, "X-Forwarded-For names the client in 400 of 500") {
		t.Errorf("%s", f.Summary)
	}
	if f := report(t, fresh().Record()).Streams[0].Forwarded; f != nil {
		t.Errorf("%+v without any header", f)
	}
}

// Requests of one connection share its luck: the interval of what a hop costs goes by connections.
func TestWhatAHopCosts(t *testing.T) {
	rec := simulate.Scene{Seed: 7, Placement: []int{2, 2, 2}, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 60, Requests: 10}}}.Record()
	nodes := map[string]string{}
	for _, p := range rec.Facts.Pods {
		nodes[p.Name] = p.Node
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var latencies []record.Latencies
	for _, c := range rec.Connections {
		own := 300e-6 + 40e-6*rng.NormFloat64()
		if nodes[c.Backend] != nodes[c.Agent] {
			own += 100e-6
		}
		l := record.Latencies{Stream: "web", Agent: c.Agent}
		for range c.Requests {
			one := own + 5e-6*rng.NormFloat64()
			rec.Samples = append(rec.Samples, record.Sample{Stream: "web", Agent: c.Agent, Connection: c.ID, Sent: c.Opened, Latency: one})
			l.Connections = append(l.Connections, uint32(c.ID))
			l.Buckets = append(l.Buckets, uint16(record.BucketIndex(int64(one*1e9))))
		}
		latencies = append(latencies, l)
	}
	check := func(rec *record.Record) {
		t.Helper()
		h := report(t, rec).Streams[0].CrossNodeHop
		if h == nil || h.Interval == nil || h.Interval[0] > 100e-6 || h.Interval[1] < 100e-6 || h.Interval[0] <= 50e-6 || h.Connections[0]+h.Connections[1] != 120 {
			t.Fatalf("%+v", h)
		}
		if h.Expected < 0.66 || h.Expected > 0.67 {
			t.Errorf("expected fraction %v, want 2/3", h.Expected)
		}
	}
	check(rec)
	rec.Samples, rec.Latencies = nil, latencies
	check(rec)
	rec.Latencies = nil
	if h := report(t, rec).Streams[0].CrossNodeHop; h.Interval != nil || h.MedianOther <= h.MedianSame {
		t.Errorf("without samples: %+v", h)
	}
}
