package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podskew/podskew/lab/podnet"
)

// Annotations of Services of type LoadBalancer.
const (
	// WeightsAnnotation says how the load balancer weighs nodes: the value endpoints means by the number of ready endpoints
	// that a node says it has; without it all nodes that pass get the same.
	WeightsAnnotation = "podskew.dev/load-balancer-weights"
	// NodesAnnotation is where the load balancer says which nodes it deals connections to, with their weights: "worker=1,worker2=3".
	NodesAnnotation = "podskew.dev/load-balancer-nodes"
)

const (
	healthEvery   = 200 * time.Millisecond // between two questions to a node
	healthTimeout = time.Second
	healthMisses  = 3     // questions in a row without an answer that take a node out
	proxyHealth   = 10256 // kube-proxy's healthzBindAddress
	weightHeader  = "X-Load-Balancing-Endpoint-Weight"
)

// health is what is known of one node as a way to one Service.
type health struct {
	passes bool
	weight int // at least 1 where it passes
	missed int
}

// balancers are the Services that the load balancer serves, and what it knows of their nodes. They are followed by the
// watch and read by the health checks.
type balancers struct {
	mu       sync.Mutex
	services map[types.NamespacedName]*corev1.Service
}

func newBalancers() *balancers {
	return &balancers{services: map[types.NamespacedName]*corev1.Service{}}
}

func nameOf(s *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// only takes up these Services and forgets all others.
func (b *balancers) only(list []corev1.Service) {
	b.mu.Lock()
	clear(b.services)
	b.mu.Unlock()
	for i := range list {
		b.see(&list[i])
	}
}

// see takes up a Service as it is now; one that has no load balancer, or ends, is left to itself.
func (b *balancers) see(s *corev1.Service) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := balancerAddress(s); !ok || s.DeletionTimestamp != nil {
		delete(b.services, nameOf(s))
		return
	}
	b.services[nameOf(s)] = s
}

func (b *balancers) forget(s *corev1.Service) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.services, nameOf(s))
}

func (b *balancers) all() map[types.NamespacedName]*corev1.Service {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.services)
}

// balancerAddress is the address that a Service has of the load balancer.
func balancerAddress(s *corev1.Service) (netip.Addr, bool) {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return netip.Addr{}, false
	}
	for _, i := range s.Status.LoadBalancer.Ingress {
		if ip, err := netip.ParseAddr(i.IP); err == nil {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// dealer asks nodes whether they want a Service's traffic and deals connections to those that do.
type dealer struct {
	s         *supervisor
	client    *http.Client
	known     map[types.NamespacedName]map[string]*health // by node
	dealt     map[netip.Addr]string                       // what is in force, as in NodesAnnotation
	announced map[types.NamespacedName]string
}

// checkHealth asks and deals until ctx ends.
func (s *supervisor) checkHealth(ctx context.Context) {
	d := &dealer{
		s: s, client: &http.Client{Timeout: healthTimeout, Transport: &http.Transport{DisableKeepAlives: true}},
		known: map[types.NamespacedName]map[string]*health{}, dealt: map[netip.Addr]string{}, announced: map[types.NamespacedName]string{},
	}
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := d.round(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("dealing connections to nodes", "error", err)
		}
	}
}

// round is one turn for all Services. What belonged to a Service that ended is taken away.
func (d *dealer) round(ctx context.Context) error {
	services := d.s.balancers.all()
	used := map[netip.Addr]bool{}
	for name, service := range services {
		ip, _ := balancerAddress(service)
		used[ip] = true
		if d.known[name] == nil {
			d.known[name] = map[string]*health{}
		}
		d.ask(ctx, service, d.known[name])
		if err := d.deal(ctx, service, ip, d.known[name]); err != nil {
			return err
		}
	}
	for name := range d.known {
		if services[name] == nil {
			delete(d.known, name)
			delete(d.announced, name)
		}
	}
	for ip := range d.dealt {
		if !used[ip] {
			if err := d.route(ip, nil); err != nil {
				return err
			}
			delete(d.dealt, ip)
		}
	}
	return nil
}

// ask puts the question of a Service to all nodes at once.
func (d *dealer) ask(ctx context.Context, service *corev1.Service, known map[string]*health) {
	port := proxyHealth
	if service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && service.Spec.HealthCheckNodePort > 0 {
		port = int(service.Spec.HealthCheckNodePort)
	}
	var wg sync.WaitGroup
	for _, n := range d.s.nodes {
		if n.External {
			continue
		}
		if known[n.Name] == nil {
			known[n.Name] = &health{}
		}
		h := known[n.Name]
		wg.Go(func() { h.update(d.question(ctx, netip.AddrPortFrom(n.Address, uint16(port)))) })
	}
	wg.Wait()
}

// question asks one node. No answer is an error; what does not say a weight has 1.
func (d *dealer) question(ctx context.Context, node netip.AddrPort) (passes bool, weight int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+node.String()+"/healthz", nil)
	if err != nil {
		return false, 0, err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return false, 0, err
	}
	defer resp.Body.Close()
	weight, err = strconv.Atoi(resp.Header.Get(weightHeader))
	if err != nil {
		weight = 1
	}
	return resp.StatusCode == http.StatusOK, weight, nil
}

// update takes an answer at its word, and believes in none only after some in a row.
func (h *health) update(passes bool, weight int, err error) {
	if err != nil {
		if h.missed++; h.missed >= healthMisses {
			h.passes = false
		}
		return
	}
	h.missed, h.passes, h.weight = 0, passes, min(max(weight, 1), podnet.MaxWeight)
}

// deal puts in force what the nodes said, if it is news, and announces it on the Service. With no node that passes, all
// get the same, as most load balancers do then.
func (d *dealer) deal(ctx context.Context, service *corev1.Service, ip netip.Addr, known map[string]*health) error {
	weighted := service.Annotations[WeightsAnnotation] == "endpoints"
	shares, words := dealing(d.s.nodes, known, weighted)
	if d.dealt[ip] != words {
		if err := d.route(ip, shares); err != nil {
			return err
		}
		d.dealt[ip] = words
	}
	name := nameOf(service)
	if d.announced[name] == words {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{NodesAnnotation: words}}})
	if err != nil {
		return err
	}
	_, err = d.s.client.CoreV1().Services(name.Namespace).Patch(ctx, name.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("announcing the nodes of Service %s: %w", name, err)
	}
	d.announced[name] = words
	return nil
}

// dealing is the part of each node, and the same in words.
func dealing(nodes []Node, known map[string]*health, weighted bool) (shares []podnet.Share, words string) {
	anybody := slices.ContainsFunc(nodes, func(n Node) bool { return known[n.Name] != nil && known[n.Name].passes })
	var parts []string
	for _, n := range nodes {
		h := known[n.Name]
		if n.External || (anybody && (h == nil || !h.passes)) {
			continue
		}
		weight := 1
		if weighted && anybody {
			weight = h.weight
		}
		shares = append(shares, podnet.Share{Via: n.Address, Weight: weight})
		parts = append(parts, fmt.Sprintf("%s=%d", n.Name, weight))
	}
	return shares, strings.Join(parts, ",")
}

// route sets the external node's way to an address.
func (d *dealer) route(ip netip.Addr, shares []podnet.Share) error {
	pid, err := d.s.nodePid(ExternalName)
	if err != nil {
		return err
	}
	return podnet.Deal(pid, netip.PrefixFrom(ip, ip.BitLen()), shares)
}
