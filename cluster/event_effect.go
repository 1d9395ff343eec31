package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryv1ac "k8s.io/client-go/applyconfigurations/discovery/v1"
)

// When every node has learned of an event is found out as before the load (see canary.go), with one more port of the canary
// for each event. Its port is there from the start, since agents may only dial what they were told before, and leads
// nowhere. When the API server shows what came of the event, the canary's EndpointSlice gets the event's port: a kube-proxy
// that answers on it has programmed all endpoints up to then. Services are watched apart from endpoints: for an event that
// changes a Service the endpoint is there from the start, and the canary Service's port gets the endpoint's name.
//
// kube-proxy programs at most once a second or so, so that what is found can be later than the truth by as much.

// firstEventPort is the canary's port of the first event.
const firstEventPort = 10_000

// eventPort is the canary's port of an event; -1 has none.
func eventPort(index int) port {
	return port{fmt.Sprintf("event-%d", index), corev1.ProtocolTCP, firstEventPort + int32(index), httpPort().pod}
}

// closed is the name that an event's port has on a Service while it must lead nowhere.
func (p port) closed() port { p.name = "closed-" + p.name; return p }

// canaryPorts are the ports of the canary Service, as they are before the load, and those of its EndpointSlice.
func canaryPorts(d Deployment) (service, slice []port) {
	service, slice = []port{httpPort()}, []port{httpPort()}
	for i, e := range d.Scenario.Spec.Events {
		switch {
		case !canTell(e):
		case e.PatchService != nil:
			service, slice = append(service, eventPort(i).closed()), append(slice, eventPort(i))
		default:
			service = append(service, eventPort(i))
		}
	}
	return service, slice
}

// WaitEffective returns when the kube-proxy of every node in use has programmed what came of an event. It takes as long as
// that takes, a rollout included, and an error when ctx ends before. unknown: there is nothing that nodes could tell, and
// it returned as soon as the endpoints showed what came of the event.
func (r *Run) WaitEffective(ctx context.Context, done *Done, probe Probe) (unknown bool, err error) {
	if done.index < 0 || done.settled == nil {
		return true, nil
	}
	view, err := r.waitSettled(ctx, done)
	if err != nil {
		return false, fmt.Errorf("waiting for what comes of %q: %w", done.Event.What, err)
	}
	probes := r.canaryProbesOn(eventPort(done.index))
	if len(probes) == 0 {
		return true, nil
	}
	if done.service {
		err = r.openServicePort(ctx, done.index)
	} else if ip, node, ok := view.address(); ok {
		err = r.openSlicePort(ctx, done.index, ip.String(), node)
	} else {
		return true, nil // no pod is there to answer for it
	}
	if err != nil {
		return false, fmt.Errorf("changing the canary: %w", r.explained(ctx, err))
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, p := range probes {
		if r.isKilled(p.node) {
			continue // nothing is programmed there any more
		}
		g.Go(func() error { return p.answered(gctx, probe) })
	}
	return false, g.Wait()
}

// waitSettled waits until the endpoints of every Service show what came of an event, and returns those of the first.
func (r *Run) waitSettled(ctx context.Context, done *Done) (*endpointView, error) {
	services := r.echoServices()
	if len(services) == 0 {
		return nil, errors.New("no Service selects the echo pods")
	}
	var first *endpointView
	err := follow(ctx, sliceFeed(r.c.client, r.Namespace()), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName},
		func(all map[string]*discoveryv1.EndpointSlice) (bool, error) {
			first = viewOf(all, services[0])
			for _, service := range services {
				if !done.settled(viewOf(all, service)) {
					return false, nil
				}
			}
			return true, nil
		})
	return first, err
}

// openSlicePort lets the canary's EndpointSlice lead an event's port to a pod.
func (r *Run) openSlicePort(ctx context.Context, index int, ip, node string) error {
	r.canaryMu.Lock()
	defer r.canaryMu.Unlock()
	r.opened = append(r.opened, eventPort(index))
	_, ports := canaryPorts(r.d)
	endpoint := discoveryv1ac.Endpoint().WithAddresses(ip).
		WithConditions(discoveryv1ac.EndpointConditions().WithReady(true).WithServing(true).WithTerminating(false))
	if node != "" {
		endpoint.WithNodeName(node)
	}
	o := canarySlice(r.d, strings.Contains(ip, ":"), append(ports, r.opened...)).WithEndpoints(endpoint)
	_, err := r.c.client.DiscoveryV1().EndpointSlices(r.Namespace()).Apply(ctx, o, applyOptions())
	return err
}

// openServicePort gives an event's port of the canary Service the name that the EndpointSlice has had for it all along.
func (r *Run) openServicePort(ctx context.Context, index int) error {
	service, _ := canaryPorts(r.d)
	at := -1
	for i, p := range service {
		if p == eventPort(index).closed() {
			at = i
		}
	}
	patch := fmt.Sprintf(`[{"op":"test","path":"/spec/ports/%[1]d/port","value":%[2]d},{"op":"replace","path":"/spec/ports/%[1]d/name","value":%[3]q}]`,
		at, eventPort(index).service, eventPort(index).name)
	_, err := r.c.client.CoreV1().Services(r.Namespace()).Patch(ctx, serviceCanary, types.JSONPatchType, []byte(patch), patchOptions())
	return err
}

// eventTargets are the addresses that tell of events.
func (r *Run) eventTargets() []string {
	var out []string
	for i, e := range r.d.Scenario.Spec.Events {
		if !canTell(e) {
			continue
		}
		for _, p := range r.canaryProbesOn(eventPort(i)) {
			out = append(out, p.address)
		}
	}
	return out
}

// canarySlice is the canary's EndpointSlice without its endpoint.
func canarySlice(d Deployment, ipv6 bool, ports []port) *discoveryv1ac.EndpointSliceApplyConfiguration {
	labels := runLabels(d.RunID)
	labels[discoveryv1.LabelServiceName] = serviceCanary
	labels[discoveryv1.LabelManagedBy] = "podskew.dev"
	family := discoveryv1.AddressTypeIPv4
	if ipv6 {
		family = discoveryv1.AddressTypeIPv6
	}
	o := discoveryv1ac.EndpointSlice(serviceCanary, namespaceOf(d.RunID)).WithLabels(labels).WithAddressType(family)
	for _, p := range ports {
		o.WithPorts(p.onSlice())
	}
	return o
}

// onCanary is p on the canary Service, for which node ports are chosen by the API server.
func onCanary(spec *corev1ac.ServiceSpecApplyConfiguration, d Deployment) {
	service, _ := canaryPorts(d)
	for _, p := range service {
		spec.WithPorts(p.onService())
	}
}
