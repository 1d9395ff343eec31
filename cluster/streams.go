package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// Streams says what is dialled by whom: one stream per client of the scenario, in its order, with totals summed over
// the client's agents. Every call returns a copy of its own.
func (r *Run) Streams() []record.Stream {
	out := slices.Clone(r.streams)
	for i := range out {
		out[i].Addresses = slices.Clone(out[i].Addresses)
		out[i].Agents = slices.Clone(out[i].Agents)
		for j := range out[i].Agents {
			out[i].Agents[j].IPs = slices.Clone(out[i].Agents[j].IPs)
		}
	}
	return out
}

func (r *Run) planStreams() ([]record.Stream, error) {
	var out []record.Stream
	for i, c := range r.d.Scenario.Spec.Clients {
		s, err := r.planStream(c)
		if err != nil {
			return nil, fmt.Errorf("spec.clients[%d] (%s): %w", i, c.Name, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func (r *Run) planStream(c scenarios.Client) (record.Stream, error) {
	addresses, err := r.addresses(c, r.service)
	count := max(c.Count, 1)
	s := record.Stream{
		ID: c.Name, Client: c.Name, Vantage: string(c.Vantage), Target: string(c.Target), Service: serviceEcho,
		Addresses: addresses, Protocol: cmp.Or(c.Protocol, scenarios.ProtocolHTTP1),
		Connections: c.Connections * count, RequestsPerConnection: c.RequestsPerConnection,
		Requests: c.Requests * count, Duration: c.Duration.Seconds(), Rate: c.Rate * float64(count),
		ConnectTimeout: c.ConnectTimeout.Seconds(), Timeout: c.Timeout.Seconds(),
	}
	for _, a := range r.layout.agents {
		if a.client == c.Name {
			s.Agents = append(s.Agents, record.AgentRef{Name: a.name, Node: a.node})
		}
	}
	return s, err
}

// standAt fills in the addresses of the agents, known once their pods run.
func (r *Run) standAt(ips map[string][]string) {
	for i := range r.streams {
		for j := range r.streams[i].Agents {
			a := &r.streams[i].Agents[j]
			a.IPs = ips[a.Name]
		}
	}
}

// addresses are what the client would dial to reach the Service.
func (r *Run) addresses(c scenarios.Client, s *corev1.Service) ([]record.Address, error) {
	switch c.Target {
	case scenarios.TargetClusterIP, "":
		if ip := s.Spec.ClusterIP; ip != "" && ip != corev1.ClusterIPNone {
			return []record.Address{{HostPort: hostPort(ip, servicePort)}}, nil
		}
		return nil, errors.New("the Service has no cluster IP to dial")
	case scenarios.TargetNodePort:
		port := nodePort(s)
		if port == 0 {
			return nil, errors.New("the Service has no node port: target nodePort needs spec.service.type NodePort")
		}
		var out []record.Address
		for _, name := range r.layout.dialled[c.Name] {
			ip, err := r.layout.nodes[name].ip(ipv6(s))
			if err != nil {
				return nil, err
			}
			out = append(out, record.Address{HostPort: hostPort(ip.String(), port), Node: name})
		}
		return out, nil
	default:
		return nil, fmt.Errorf("target %s cannot be run yet", c.Target)
	}
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
	return out
}

func nodePort(s *corev1.Service) int {
	for _, p := range s.Spec.Ports {
		if p.NodePort > 0 {
			return int(p.NodePort)
		}
	}
	return 0
}

func ipv6(s *corev1.Service) bool {
	ip, err := netip.ParseAddr(s.Spec.ClusterIP)
	return err == nil && ip.Is6() || len(s.Spec.IPFamilies) > 0 && s.Spec.IPFamilies[0] == corev1.IPv6Protocol
}

func hostPort(ip string, port int) string {
	return net.JoinHostPort(strings.Trim(ip, "[]"), strconv.Itoa(port))
}
