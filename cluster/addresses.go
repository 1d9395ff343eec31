package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// addresses are what the client dials.
func (r *Run) addresses(c scenarios.Client) ([]record.Address, error) {
	p, service := portFor(c), r.dialledService(c)
	switch c.Target {
	case scenarios.TargetClusterIP, "":
		return clusterIPAddress(service, p)
	case scenarios.TargetNodePort:
		return r.nodePortAddresses(service, p, r.layout.dialled[c.Name])
	case scenarios.TargetLoadBalancer:
		var out []record.Address
		for _, to := range ingress(service) {
			out = append(out, record.Address{HostPort: hostPort(to, p.service)})
		}
		if len(out) == 0 {
			return nil, errors.New("the Service has no load balancer: target loadBalancer needs spec.service.type LoadBalancer")
		}
		return out, nil
	case scenarios.TargetHeadless:
		return headlessAddress(service, p)
	case scenarios.TargetGateway:
		return r.gatewayAddresses(c, gatewayPort())
	case scenarios.TargetPodIP:
		var out []record.Address
		for _, ip := range r.pods {
			out = append(out, record.Address{HostPort: hostPort(ip.String(), p.pod)})
		}
		if len(out) == 0 {
			return nil, errors.New("there are no pods to dial: write spec.echo.replicas")
		}
		return out, nil
	default:
		return nil, fmt.Errorf("target %s cannot be run yet", c.Target)
	}
}

func clusterIPAddress(s *corev1.Service, p port) ([]record.Address, error) {
	if ip := s.Spec.ClusterIP; ip != "" && ip != corev1.ClusterIPNone {
		return []record.Address{{HostPort: hostPort(ip, p.service)}}, nil
	}
	return nil, errors.New("the Service has no cluster IP to dial")
}

// headlessAddress is the Service's name, for the client to resolve to the addresses of pods. Nobody translates ports on
// the way to them.
func headlessAddress(s *corev1.Service, p port) ([]record.Address, error) {
	if s.Spec.ClusterIP != corev1.ClusterIPNone {
		return nil, errors.New("the Service's name stands for its cluster IP: target headless needs spec.service.clusterIP None")
	}
	return []record.Address{{HostPort: hostPort(dnsName(s.Name, s.Namespace), p.pod)}}, nil
}

func (r *Run) nodePortAddresses(s *corev1.Service, p port, nodes []string) ([]record.Address, error) {
	number := p.nodePort(s)
	if number == 0 {
		return nil, errors.New("the Service has no node port: target nodePort needs spec.service.type NodePort")
	}
	var out []record.Address
	for _, name := range nodes {
		if name == scenarios.Localhost {
			if ipv6(s) {
				return nil, errors.New("node ports of IPv6 Services are not served on a loopback address by any kube-proxy: name a node instead of localhost")
			}
			out = append(out, record.Address{HostPort: hostPort(loopback, number)})
			continue
		}
		ip, err := r.layout.nodes[name].ip(ipv6(s))
		if err != nil {
			return nil, err
		}
		out = append(out, record.Address{HostPort: hostPort(ip.String(), number), Node: name})
	}
	return out, nil
}

// canaryAddresses are what the client dials to find out whether what it is about to dial leads to all of the run's
// endpoints. None: nothing stands between it and the pods.
func (r *Run) canaryAddresses(c scenarios.Client, p port) ([]record.Address, error) {
	switch {
	case c.Target == scenarios.TargetPodIP:
		return nil, nil
	case c.Target == scenarios.TargetGateway:
		return r.gatewayAddresses(c, r.throughGateway())
	case c.Target == scenarios.TargetHeadless:
		return headlessAddress(r.canaryName, p)
	case c.Target == scenarios.TargetNodePort:
		return r.nodePortAddresses(r.canary, p, r.layout.dialled[c.Name])
	case c.Target == scenarios.TargetLoadBalancer && c.Vantage == scenarios.VantageExternal:
		// Which nodes the load balancer leads to, only it knows.
		return r.nodePortAddresses(r.canary, p, r.layout.workers)
	}
	return clusterIPAddress(r.canary, p)
}

// targets are all that agents may dial: the Service under test and its canary.
func (r *Run) targets() []string {
	var out []string
	for _, s := range r.streams {
		for _, a := range s.Addresses {
			out = append(out, a.HostPort)
		}
	}
	for _, p := range r.canaryProbes() {
		out = append(out, p.address)
	}
	return append(out, r.eventTargets()...)
}

// loopback is what localhost among the nodes that are dialled stands for.
const loopback = "127.0.0.1"

func ipv6(s *corev1.Service) bool {
	ip, err := netip.ParseAddr(s.Spec.ClusterIP)
	return err == nil && ip.Is6() || len(s.Spec.IPFamilies) > 0 && s.Spec.IPFamilies[0] == corev1.IPv6Protocol
}

func hostPort(host string, port int32) string {
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(port)))
}
