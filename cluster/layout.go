package cluster

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podskew/podskew/scenarios"
)

// maxHostAgents keeps the ports of host-network agents below the NodePorts.
const maxHostAgents = 1900

// firstLocalPort is where the source ports of a client with few of them begin: the kernel's own beginning.
const firstLocalPort = 32768

// firstFreePort is the first port that every process may bind (net.ipv4.ip_unprivileged_port_start).
const firstFreePort = 1024

// node is what deploying needs to know about a node.
type node struct {
	name     string
	zone     string
	ips      []netip.Addr // InternalIPs, then ExternalIPs
	external bool
	worker   bool   // takes the deployment's pods
	spare    string // addresses, as CIDR, that agents may take; "": the node does not say
}

// agent is one agent pod.
type agent struct {
	name        string
	client      string // of the scenario
	node        string
	hostNetwork bool
	tolerate    bool // every NoSchedule taint: the scenario names the node
	external    bool
	port        int
	connections int
	lowPorts    bool         // it binds ports below 1024
	localPorts  int          // source ports it has; 0: the kernel's
	sources     []netip.Addr // what it adds to its node's interface and dials from; nil: it has its node's or pod's address
}

// layout is who stands where: the part of a deployment that is decided before anything is sent.
type layout struct {
	nodes     map[string]node
	workers   []string // sorted
	externals []string // sorted
	placement []placed // of the echo pods; nil: replicas spread by the scheduler
	replicas  int      // echo pods in total
	agents    []agent
	senders   map[string]string // client → whose agents send for it: its own, or another's that stands in the same place
	inEcho    []agent           // inside the echo pods, by name; nil: they are not known yet, or there are none
	gateways  []gatewayPod
	dialled   map[string][]string // client → nodes whose NodePort it dials
	free      *freeAddresses
}

// placed is a number of echo pods on one node.
type placed struct {
	node string
	n    int
}

func newLayout(d Deployment, list []corev1.Node) (*layout, error) {
	l := &layout{nodes: map[string]node{}, senders: map[string]string{}, dialled: map[string][]string{}, free: newFreeAddresses(d.NodeSubnet, d.RunID, list)}
	for i := range list {
		n := newNode(&list[i])
		n.worker = d.takes(&list[i])
		l.nodes[n.name] = n
		if n.external {
			l.externals = append(l.externals, n.name)
		} else if n.worker {
			l.workers = append(l.workers, n.name)
		}
	}
	slices.Sort(l.workers)
	slices.Sort(l.externals)
	if len(l.workers) == 0 {
		why := "every node is unready, cordoned, tainted or set apart for external clients"
		if len(d.NodeSelector) > 0 {
			why = "none with the labels of the node selector is ready, and neither cordoned, tainted nor set apart for external clients"
		}
		return nil, errors.New("no node takes pods: " + why)
	}
	if err := l.placeEcho(d.Scenario.Spec.Echo); err != nil {
		return nil, err
	}
	if err := l.placeGateway(d.Scenario.Spec.Gateway); err != nil {
		return nil, err
	}
	for i, c := range d.Scenario.Spec.Clients {
		if err := l.placeClient(c, d); err != nil {
			return nil, fmt.Errorf("spec.clients[%d] (%s): %w", i, c.Name, err)
		}
	}
	return l, l.checkEvents(d)
}

func newNode(n *corev1.Node) node {
	out := node{name: n.Name, zone: n.Labels[labelZone], spare: n.Annotations[annotationAddresses]}
	_, out.external = n.Labels[labelExternal]
	for _, t := range n.Spec.Taints {
		out.external = out.external || t.Key == labelExternal
	}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); a.Type == kind && err == nil {
				out.ips = append(out.ips, ip)
			}
		}
	}
	return out
}

func nodeReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func (l *layout) placeEcho(e scenarios.Echo) error {
	if len(e.Placement) == 0 {
		l.replicas = e.Replicas
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(e.Placement)) {
		n, err := l.resolve(name)
		if err != nil {
			return fmt.Errorf("spec.echo.placement: %w", err)
		}
		if n.external {
			return fmt.Errorf("spec.echo.placement: node %q is set apart for external clients and takes no echo pods", n.name)
		}
		if e.Placement[name] > 0 {
			l.placement = append(l.placement, placed{n.name, e.Placement[name]})
			l.replicas += e.Placement[name]
		}
	}
	return nil
}

func (l *layout) placeClient(c scenarios.Client, d Deployment) error {
	if c.Target == scenarios.TargetNodePort {
		nodes, err := l.dials(c)
		if err != nil {
			return err
		}
		l.dialled[c.Name] = nodes
	}
	if c.InEcho || l.shares(c, d.Scenario) {
		return nil
	}
	where, err := l.standing(c)
	if err != nil {
		return err
	}
	for i := range max(c.Count, 1) {
		a := agent{
			name: fmt.Sprintf("%s-%d", c.Name, i), client: c.Name, node: where[i%len(where)],
			hostNetwork: c.Vantage == scenarios.VantageNode || c.Vantage == scenarios.VantageExternal,
			external:    c.Vantage == scenarios.VantageExternal, tolerate: c.Node != "", port: agentPort,
			connections: c.Connections, localPorts: c.LocalPorts, lowPorts: c.SourcePorts != nil && c.SourcePorts.From < firstFreePort,
		}
		if c.SourceAddresses > 1 {
			if a.sources, err = l.free.take(l.nodes[a.node], c.SourceAddresses); err != nil {
				return fmt.Errorf("sourceAddresses: %w", err)
			}
		}
		if a.hostNetwork {
			taken := l.hostAgents()
			if taken == maxHostAgents {
				return fmt.Errorf("more than %d agents on the nodes' network: there are no ports for them", maxHostAgents)
			}
			a.port = hostPortBase(d.RunID) + taken
		}
		l.agents = append(l.agents, a)
	}
	return nil
}

// shares has agents of another client, that stands in the same place, send for this one, where the scenario asks for that.
func (l *layout) shares(c scenarios.Client, s *scenarios.Scenario) bool {
	l.senders[c.Name] = c.Name
	if !s.Spec.SharePods || alone(c) {
		return false
	}
	for _, other := range s.Spec.Clients {
		if other.Name == c.Name {
			return false
		}
		if other.InEcho || alone(other) || other.Vantage != c.Vantage || other.Node != c.Node || other.LocalPorts != c.LocalPorts || max(other.Count, 1) != max(c.Count, 1) {
			continue
		}
		l.senders[c.Name] = l.senders[other.Name]
		for i := range l.agents {
			if a := &l.agents[i]; a.client == l.senders[c.Name] {
				a.connections += c.Connections
			}
		}
		return true
	}
	return false
}

// alone reports whether a client's agents are its own under all circumstances: they have addresses, or rights, that others lack.
func alone(c scenarios.Client) bool { return c.SourceAddresses > 1 || c.SourcePorts != nil }

func (l *layout) hostAgents() (n int) {
	for _, a := range l.agents {
		if a.hostNetwork {
			n++
		}
	}
	return n
}

// standing lists the nodes that the client's agents are dealt to in turn.
func (l *layout) standing(c scenarios.Client) ([]string, error) {
	external := c.Vantage == scenarios.VantageExternal
	if c.Node != "" {
		n, err := l.resolve(c.Node)
		if err == nil && n.external != external {
			err = fmt.Errorf("node %q is set apart for external clients; vantage %s needs another node", n.name, c.Vantage)
			if external {
				err = fmt.Errorf("node %q is not set apart for external clients: label and taint it %s", n.name, labelExternal)
			}
		}
		return []string{n.name}, err
	}
	if !external {
		return l.workers, nil
	}
	if len(l.externals) == 0 {
		return nil, fmt.Errorf("vantage external needs a node set apart for it, and the cluster has none: "+
			"kubectl label node NAME %[1]s= && kubectl taint node NAME %[1]s=:NoSchedule", labelExternal)
	}
	return l.externals, nil
}

// dials lists the nodes whose NodePort the client dials.
func (l *layout) dials(c scenarios.Client) ([]string, error) {
	if len(c.TargetNodes) == 0 {
		return l.workers, nil
	}
	var out []string
	for _, name := range c.TargetNodes {
		if name == scenarios.Localhost {
			out = append(out, name)
			continue
		}
		n, err := l.resolve(name)
		if err != nil {
			return nil, fmt.Errorf("targetNodes: %w", err)
		}
		out = append(out, n.name)
	}
	return out, nil
}

// resolve finds a node by its name or, since some providers put the cluster's name in front, by the end of it.
func (l *layout) resolve(name string) (node, error) {
	if n, ok := l.nodes[name]; ok {
		return n, nil
	}
	var found []string
	for n := range l.nodes {
		if strings.HasSuffix(n, "-"+name) {
			found = append(found, n)
		}
	}
	if len(found) == 1 {
		return l.nodes[found[0]], nil
	}
	return node{}, fmt.Errorf("the cluster has no node %q; it has %s", name, strings.Join(slices.Sorted(maps.Keys(l.nodes)), ", "))
}

// ip is the node's first address of the family.
func (n node) ip(ipv6 bool) (netip.Addr, error) {
	for _, ip := range n.ips {
		if ip.Is6() == ipv6 {
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("node %q has no address of the Service's IP family", n.name)
}
