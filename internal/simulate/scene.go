// Package simulate makes records of runs that never were: a cluster, clients and
// a kube-proxy that chooses at random, as the real one does, or with a fault on
// purpose. Tests use it to ask how often an analysis is wrong about runs whose
// truth is known. It knows the rules of kube-proxy on its own account and shares
// no code with the analysis.
package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/podskew/podskew/record"
)

// Service and Port are what every scene is about.
const (
	Service  = "echo"
	Port     = 80
	NodePort = 30080
)

// Scene is a cluster and the clients in front of it. The zero value of every field but Placement and Streams is usable.
type Scene struct {
	ID        string // of the run; "simulated"
	Seed      uint64 // of everything random in it
	ProxyMode string // "nftables"
	Placement []int  // echo pods on each worker node

	ExternalLocal   bool    // externalTrafficPolicy: Local
	InternalLocal   bool    // internalTrafficPolicy: Local
	AffinitySeconds int     // ClientIP session affinity with this timeout; 0: none
	AffinityList    int     // client addresses that a node remembers for each pod, the oldest are forgotten; 0: no limit
	Hot             float64 // the first pod is this much likelier to be chosen than the settings say; 0 or 1: no fault

	Events []Event // by time

	Streams []Stream
}

// Stream is one group of clients of a scene.
type Stream struct {
	Name        string
	Vantage     string  // pod, node or external; "pod"
	Target      string  // clusterIP or nodePort; "clusterIP"
	Clients     int     // each with an address of its own; 0: 1
	Connections int     // of each client, one after the other
	Requests    int     // on each connection; 0: 1
	Spread      float64 // sigma of a lognormal factor on Requests; 0: the same on each
	TargetNodes []int   // nodePort: indices of the workers dialled in turn; nil: all
	// Lifetime is how many seconds a connection is kept open before another takes its place; infinity: as long as the scene plays. Then
	// Connections are held at a time, each carries Requests a second, and the target is clusterIP from pods. 0: they come one after the other.
	Lifetime float64
}

// Record plays the scene and returns what a run would have recorded. Equal scenes give equal records.
func (s Scene) Record() *record.Record {
	if s.ID == "" {
		s.ID = "simulated"
	}
	if s.ProxyMode == "" {
		s.ProxyMode = "nftables"
	}
	p := &play{scene: s, eras: s.eras(), rng: rand.New(rand.NewPCG(s.Seed, 0x5ce7e)), memory: map[[2]string]memory{}} // #nosec G404 -- repeatable on purpose
	p.rec = &record.Record{
		Run:   record.Run{ID: s.ID, Scenario: "simulated", Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seed: s.Seed, Tool: "simulate"},
		Facts: s.facts(), Events: s.happened(),
	}
	for i, st := range s.Streams {
		p.stream(i, st.filled())
	}
	after := s.facts()
	after.At = 10
	p.finalEndpoints(&after)
	p.rec.FactsAfter = &after
	for _, st := range s.Streams {
		p.agentPods(st.filled())
	}
	p.rec.End = &record.End{Seconds: 10}
	p.servers()
	return p.rec
}

func (st Stream) filled() Stream {
	if st.Vantage == "" {
		st.Vantage = "pod"
	}
	if st.Target == "" {
		st.Target = "clusterIP"
	}
	st.Clients = max(st.Clients, 1)
	st.Requests = max(st.Requests, 1)
	return st
}

// NodeName returns the name of worker i, from 0.
func NodeName(i int) string {
	if i == 0 {
		return "worker"
	}
	return fmt.Sprintf("worker%d", i+1)
}

// NodeIP returns the address of worker i.
func NodeIP(i int) string { return fmt.Sprintf("10.77.0.%d", 11+i) }

// Gateway returns the address by which worker i's pods see what it masquerades.
func Gateway(i int) string { return fmt.Sprintf("10.78.%d.1", 16*(1+i)) }

// PodName returns the name of the echo pod k, from 0, of worker i.
func PodName(i, k int) string { return fmt.Sprintf("echo-%c%d", 'a'+rune(i), k) }

func podIP(i, k int) string { return fmt.Sprintf("10.78.%d.%d", 16*(1+i), 10+k) }

const externalNode = "external"

func (s Scene) facts() record.Facts {
	f := record.Facts{At: -1, Cluster: record.Cluster{Provider: "lab", Version: "v1.36.3", ProxyMode: s.ProxyMode}}
	for i, pods := range s.Placement {
		f.Cluster.Nodes = append(f.Cluster.Nodes, record.Node{
			Name: NodeName(i), IPs: []string{NodeIP(i)}, PodCIDRs: []string{fmt.Sprintf("10.78.%d.0/20", 16*(1+i))},
			Zone: string('a' + rune(i)), Ready: true, Proxy: record.Proxy{Mode: s.ProxyMode, Programmed: true},
		})
		for k := range pods {
			f.Endpoints = append(f.Endpoints, record.Endpoint{
				Service: Service, Address: podIP(i, k), Pod: PodName(i, k), Node: NodeName(i), Zone: string('a' + rune(i)), Ready: true, Serving: true,
			})
			f.Pods = append(f.Pods, record.Pod{
				Name: PodName(i, k), UID: fmt.Sprintf("uid-%d-%d", i, k), Role: "echo", IPs: []string{podIP(i, k)}, Node: NodeName(i), Ready: true,
			})
		}
	}
	f.Cluster.Nodes = append(f.Cluster.Nodes, record.Node{
		Name: externalNode, IPs: []string{"10.77.0.200"}, External: true, Ready: true, Proxy: record.Proxy{Mode: "none"},
	})
	f.Services = []record.Service{s.service()}
	return f
}

func (s Scene) service() record.Service {
	svc := record.Service{
		Name: Service, Namespace: "podskew-" + s.ID, Type: "NodePort", ClusterIPs: []string{"10.79.0.20"},
		Ports:                 []record.ServicePort{{Protocol: "TCP", Port: Port, TargetPort: "http", NodePort: NodePort}},
		ExternalTrafficPolicy: "Cluster", InternalTrafficPolicy: "Cluster", SessionAffinity: "None",
	}
	if s.ExternalLocal {
		svc.ExternalTrafficPolicy = "Local"
	}
	if s.InternalLocal {
		svc.InternalTrafficPolicy = "Local"
	}
	if s.AffinitySeconds > 0 {
		svc.SessionAffinity, svc.AffinitySeconds = "ClientIP", s.AffinitySeconds
	}
	return svc
}

// load returns how many requests a connection carries.
func (p *play) load(st Stream) int {
	if st.Spread == 0 {
		return st.Requests
	}
	return max(1, int(float64(st.Requests)*math.Exp(st.Spread*p.rng.NormFloat64())))
}
