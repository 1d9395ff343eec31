package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// Facts reads what the cluster says about itself and the run now. zero is Run.Start, which all its instants count from.
// Nodes, Service, endpoints and pods must be readable; what kube-proxies do not tell is unknown, with a note (see Notes).
// Everything is ordered by name, endpoints by address.
func (r *Run) Facts(ctx context.Context, zero time.Time) (record.Facts, error) {
	out := record.Facts{At: time.Since(zero).Seconds(), Cluster: record.Cluster{Provider: r.c.provider, Version: r.c.version}}
	core, ns, whole := r.c.client.CoreV1(), r.Namespace(), ctx
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		out.Cluster.Nodes, err = r.readNodes(ctx, zero)
		return err
	})
	g.Go(func() (err error) {
		out.Services, err = r.readServices(ctx)
		return err
	})
	g.Go(func() (err error) {
		out.Endpoints, err = r.readEndpoints(ctx)
		return err
	})
	g.Go(func() error {
		l, err := core.Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: labelRole})
		if err != nil {
			return fmt.Errorf("reading pods: %w", r.explained(ctx, err))
		}
		out.Pods = podFacts(l.Items)
		return nil
	})
	if r.c.provider != "lab" { // whose network is its own, without a plugin
		g.Go(func() error {
			out.Cluster.CNI = r.c.readCNI(ctx)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return record.Facts{}, err
	}
	out.Cluster.ProxyMode = overall(out.Cluster.Nodes)
	out.HealthChecks = r.c.readHealthChecks(whole, out.Services, out.Cluster.Nodes)
	if out.Gateway = r.gatewayFact(); r.gateway != nil {
		out.Services = append(out.Services, serviceFact(r.gateway))
	}
	out.Mesh = r.meshFact()
	return out, nil
}

func (r *Run) readNodes(ctx context.Context, zero time.Time) ([]record.Node, error) {
	list, err := r.c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading nodes: %w", r.explained(ctx, err))
	}
	var out []record.Node
	var nodes []node
	for i := range list.Items {
		n := &list.Items[i]
		own := newNode(n)
		nodes = append(nodes, own)
		fact := record.Node{Name: n.Name, PodCIDRs: podCIDRs(n), Zone: own.zone, External: own.external, Ready: nodeReady(n)}
		for _, ip := range own.ips {
			fact.IPs = append(fact.IPs, ip.String())
		}
		out = append(out, fact)
	}
	proxies := r.c.readProxies(ctx, nodes, zero)
	for i := range out {
		out[i].Proxy = proxies[out[i].Name]
		out[i].Proxy.Programmed = r.isProgrammed(out[i].Name)
	}
	slices.SortFunc(out, func(a, b record.Node) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func podCIDRs(n *corev1.Node) []string {
	if len(n.Spec.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
		return []string{n.Spec.PodCIDR}
	}
	return n.Spec.PodCIDRs
}

func serviceFact(s *corev1.Service) record.Service {
	out := record.Service{
		Name: s.Name, Namespace: s.Namespace, Type: string(s.Spec.Type), ClusterIPs: s.Spec.ClusterIPs,
		ExternalTrafficPolicy: string(s.Spec.ExternalTrafficPolicy), InternalTrafficPolicy: string(corev1.ServiceInternalTrafficPolicyCluster),
		SessionAffinity: string(s.Spec.SessionAffinity), HealthCheckNodePort: int(s.Spec.HealthCheckNodePort),
	}
	if len(out.ClusterIPs) == 0 && s.Spec.ClusterIP != "" {
		out.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	out.Headless = s.Spec.ClusterIP == corev1.ClusterIPNone
	if p := s.Spec.InternalTrafficPolicy; p != nil {
		out.InternalTrafficPolicy = string(*p)
	}
	if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		out.AffinitySeconds = int(*c.ClientIP.TimeoutSeconds)
	}
	if t := s.Spec.TrafficDistribution; t != nil {
		out.TrafficDistribution = *t
	}
	for _, p := range s.Spec.Ports {
		out.Ports = append(out.Ports, record.ServicePort{
			Name: p.Name, Protocol: string(p.Protocol), Port: int(p.Port), TargetPort: p.TargetPort.String(), NodePort: int(p.NodePort),
		})
	}
	for _, i := range s.Status.LoadBalancer.Ingress {
		if i.IP != "" {
			out.LoadBalancerIPs = append(out.LoadBalancerIPs, i.IP)
		}
	}
	out.TopologyMode = s.Annotations[scenarios.AnnotationTopologyMode]
	out.Balancer = balancerNodes(s.Annotations[annotationBalancerNodes])
	return out
}

func endpointFacts(items []discoveryv1.EndpointSlice) []record.Endpoint {
	var out []record.Endpoint
	for _, s := range items {
		for _, e := range s.Endpoints {
			fact := endpointFact(e)
			fact.Service = s.Labels[discoveryv1.LabelServiceName]
			for _, a := range e.Addresses {
				fact.Address = a
				out = append(out, fact)
			}
		}
	}
	slices.SortFunc(out, func(a, b record.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Service, b.Service))
	})
	return out
}

// endpointFact reads conditions as kube-proxy does: unknown readiness counts as ready, unknown serving as the same.
func endpointFact(e discoveryv1.Endpoint) record.Endpoint {
	out := record.Endpoint{Node: text(e.NodeName), Zone: text(e.Zone)}
	out.Ready = isSet(e.Conditions.Ready, true)
	out.Serving = isSet(e.Conditions.Serving, out.Ready)
	out.Terminating = isSet(e.Conditions.Terminating, false)
	if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
		out.Pod = e.TargetRef.Name
	}
	if e.Hints == nil {
		return out
	}
	for _, z := range e.Hints.ForZones {
		out.HintZones = append(out.HintZones, z.Name)
	}
	for _, n := range e.Hints.ForNodes {
		out.HintNodes = append(out.HintNodes, n.Name)
	}
	return out
}

func isSet(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func podFacts(items []corev1.Pod) []record.Pod {
	var out []record.Pod
	for i := range items {
		p := &items[i]
		fact := record.Pod{
			Name: p.Name, UID: string(p.UID), Role: p.Labels[labelRole], IPs: podIPs(p), Node: p.Spec.NodeName,
			Ready: podReady(p), HostNetwork: p.Spec.HostNetwork, Standby: inStandby(p),
		}
		for _, c := range p.Status.ContainerStatuses {
			if whose(c.Name) == "" { // what a sidecar does is not the pod's own new start
				fact.Restarts += int(c.RestartCount)
			}
		}
		out = append(out, fact)
	}
	slices.SortFunc(out, func(a, b record.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
