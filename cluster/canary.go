package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// A rollout is complete some 100 ms before the kube-proxies have programmed its endpoints; load that starts in between
// is spread over some of the pods only. The canary tells when that is over, through the data plane itself: a second
// Service whose one endpoint is applied after the API server has shown all endpoints of the first. A kube-proxy hears
// of endpoint slices in the order of their changes, on one watch, and programs all it has heard in one go, so that a
// node whose rules answer for the canary has programmed the run's endpoints, too.

const (
	probeTimeout = time.Second // of one attempt: where no rule exists yet, packets may lead nowhere
	firstPause   = 20 * time.Millisecond
	longestPause = 250 * time.Millisecond
)

// canaryProbe is one question to one node's rules.
type canaryProbe struct {
	agent   string
	from    string // the agent's node
	address string
	node    string // whose rules answer; "": the cluster's DNS does
}

func (r *Run) applyCanary(ctx context.Context, pod *corev1.Pod) error {
	if pod == nil {
		return nil // no echo pods: nothing to be programmed
	}
	_, err := r.c.client.DiscoveryV1().EndpointSlices(r.Namespace()).Apply(ctx, canarySliceObject(r.d, pod), applyOptions())
	if err == nil && needsCanaryName(r.d) {
		named := canarySliceObject(r.d, pod).WithName(serviceCanaryName)
		named.Labels[discoveryv1.LabelServiceName] = serviceCanaryName
		_, err = r.c.client.DiscoveryV1().EndpointSlices(r.Namespace()).Apply(ctx, named, applyOptions())
	}
	if err != nil {
		return fmt.Errorf("applying the canary's endpoint: %w", r.explained(ctx, err))
	}
	return nil
}

// canaryProbes asks every node in use once: the client's own node for a cluster IP, the dialled node for a node port,
// there from every node that dials it; and, for a name, whether the DNS of the client's node knows it.
func (r *Run) canaryProbes() []canaryProbe {
	if r.layout.replicas == 0 {
		return nil
	}
	return r.probesOf(httpPort(), true)
}

// canaryProbesOn asks every node in use once for the canary's port of an event.
func (r *Run) canaryProbesOn(p port) []canaryProbe { return r.probesOf(p, false) }

func (r *Run) probesOf(p port, names bool) []canaryProbe {
	var out []canaryProbe
	for _, c := range r.d.Scenario.Spec.Clients {
		// What a name or a gateway leads to says nothing of one event: they are asked whether they answer at all.
		if !names && (c.Target == scenarios.TargetHeadless || c.Target == scenarios.TargetGateway) {
			continue
		}
		addresses, err := r.canaryAddresses(c, p)
		if err != nil {
			continue // planStreams has refused it
		}
		for _, a := range r.agentsOf(c) {
			for _, to := range addresses {
				out = append(out, r.probeBy(a, c.Target, to, p))
			}
		}
	}
	asked := map[string]bool{}
	return slices.DeleteFunc(out, func(p canaryProbe) bool {
		key := p.from + " " + p.address
		again := asked[key]
		asked[key] = true
		return again
	})
}

// probeBy is the question of one agent to one address.
func (r *Run) probeBy(a agent, target scenarios.Target, to record.Address, p port) canaryProbe {
	if to.Node == "" && isLoopback(to.HostPort) {
		// Whether the node's rules answer there depends on kube-proxy's mode; at the node's address they do in any.
		if own, err := r.nodePortAddresses(r.canary, p, []string{a.node}); err == nil {
			to = own[0]
		}
	}
	node := cmp.Or(to.Node, a.node)
	if target == scenarios.TargetHeadless {
		node = ""
	}
	return canaryProbe{a.name, a.node, to.HostPort, node}
}

// WaitProgrammed returns when the kube-proxy of every node in use has programmed the endpoints of the run as they were
// when Deploy returned, and the cluster's DNS knows them where clients dial a name. It has probe ask for the canary, from agents, concurrently, until each was answered. Without a
// deadline on ctx it gives up after the deployment's timeout. Later changes of endpoints are not waited for.
func (r *Run) WaitProgrammed(ctx context.Context, probe Probe) error {
	ctx, cancel := context.WithTimeout(ctx, r.d.Timeout)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	for _, p := range r.canaryProbes() {
		g.Go(func() error {
			if err := p.answered(gctx, probe); err != nil {
				return r.withSidecar(p, err)
			}
			if p.node != "" && !meshed(r.d.Scenario) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.programmed[p.node] = true
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return r.waitBalanced(ctx)
}

func isLoopback(hostPort string) bool { return strings.HasPrefix(hostPort, loopback+":") }

func (p canaryProbe) answered(ctx context.Context, probe Probe) error {
	begun := time.Now()
	wait := firstPause
	for {
		attempt, cancel := context.WithTimeout(ctx, probeTimeout)
		err := probe(attempt, p.agent, p.address)
		cancel()
		if err == nil {
			return nil
		}
		if pause(ctx, wait) != nil {
			if context.Cause(ctx) == context.Canceled { //nolint:errorlint // the bare one: the caller gave up
				return ctx.Err()
			}
			took := time.Since(begun).Round(100 * time.Millisecond)
			if p.node == "" {
				return fmt.Errorf("the cluster's DNS does not know the run's pods within %v (is its domain %s?): %s, asked by %s on %s, says: %w",
					took, clusterDomain, p.address, p.agent, p.from, err)
			}
			return fmt.Errorf("the kube-proxy of node %s has not programmed the run's endpoints within %v (does it run?): %s, asked by %s, says: %w",
				p.node, took, p.address, p.agent, err)
		}
		wait = min(2*wait, longestPause)
	}
}

func (r *Run) isProgrammed(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.programmed[node]
}
