package cluster

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"golang.org/x/sync/errgroup"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// allServices are the Services under test, with their names, spec.service first.
func allServices(s *scenarios.Scenario) []scenarios.Service {
	out := append([]scenarios.Service{s.Spec.Service}, s.Spec.Services...)
	out[0].Name = cmp.Or(out[0].Name, serviceEcho)
	return out
}

// firstService is the name of spec.service.
func (d Deployment) firstService() string { return allServices(d.Scenario)[0].Name }

// dialledService is the Service that a client dials. Validation has seen to it that there is one.
func (r *Run) dialledService(c scenarios.Client) *corev1.Service {
	if s := r.services[cmp.Or(c.Service, r.d.firstService())]; s != nil {
		return s
	}
	return r.service
}

// streamService is the name of the Service of a client's stream.
func (r *Run) streamService(c scenarios.Client) string {
	return cmp.Or(c.Service, r.d.firstService())
}

// applyServices applies the Services under test, and the canary after them: every kube-proxy hears of them in this order, too.
func (r *Run) applyServices(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	all := allServices(r.d.Scenario)
	made := make([]*corev1.Service, len(all))
	for i, s := range all {
		g.Go(func() (err error) {
			made[i], err = r.applyService(gctx, serviceObject(r.d, s))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.service, r.services = made[0], map[string]*corev1.Service{}
	for i, s := range all {
		r.services[s.Name] = made[i]
	}
	var err error
	if r.canary, err = r.applyService(ctx, canaryServiceObject(r.d)); err != nil {
		return err
	}
	r.canaryName = r.canary
	if needsCanaryName(r.d) {
		r.canaryName, err = r.applyService(ctx, canaryNameObject(r.d))
	}
	return err
}

// canaryHeadless reports whether the canary has no address: because no Service has.
func canaryHeadless(d Deployment) bool {
	return !slices.ContainsFunc(allServices(d.Scenario), func(s scenarios.Service) bool { return s.ClusterIP != corev1.ClusterIPNone })
}

// needsCanaryName reports whether some Services have an address and others none, so that a canary of each sort is needed.
func needsCanaryName(d Deployment) bool {
	return !canaryHeadless(d) && slices.ContainsFunc(allServices(d.Scenario), func(s scenarios.Service) bool { return s.ClusterIP == corev1.ClusterIPNone })
}

// canaryNameObject is the canary that tells whether DNS knows the run's pods, where the other one has an address.
func canaryNameObject(d Deployment) *corev1ac.ServiceApplyConfiguration {
	spec := corev1ac.ServiceSpec().WithType(corev1.ServiceTypeClusterIP).WithClusterIP(corev1.ClusterIPNone).WithPorts(httpPort().onService())
	return corev1ac.Service(serviceCanaryName, namespaceOf(d.RunID)).WithLabels(runLabels(d.RunID)).WithSpec(spec)
}

// anyNodePort reports whether a Service under test has node ports.
func anyNodePort(d Deployment) bool {
	return slices.ContainsFunc(allServices(d.Scenario), func(s scenarios.Service) bool { return serviceType(s) != corev1.ServiceTypeClusterIP })
}

// waitEndpoints waits until each Service that selects the echo pods lists exactly these as ready, and returns their addresses.
func (r *Run) waitEndpoints(ctx context.Context, pods []string) (addresses []netip.Addr, err error) {
	for _, service := range r.echoServices() {
		if addresses, err = waitEndpoints(ctx, r.c.client, r.Namespace(), service, pods); err != nil {
			return nil, err
		}
	}
	return addresses, nil
}

// readServices are the facts about the Services under test, and readEndpoints those about their endpoints.
func (r *Run) readServices(ctx context.Context) ([]record.Service, error) {
	all := allServices(r.d.Scenario)
	out := make([]record.Service, len(all))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i, own := range all {
		g.Go(func() error {
			s, err := r.c.client.CoreV1().Services(r.Namespace()).Get(ctx, own.Name, metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("reading service %s: %w", own.Name, r.explained(ctx, err))
			}
			out[i] = serviceFact(s)
			return nil
		})
	}
	return out, g.Wait()
}

func (r *Run) readEndpoints(ctx context.Context) ([]record.Endpoint, error) {
	var names []string
	for _, s := range allServices(r.d.Scenario) {
		names = append(names, s.Name)
	}
	selector := fmt.Sprintf("%s in (%s)", discoveryv1.LabelServiceName, strings.Join(names, ","))
	l, err := r.c.client.DiscoveryV1().EndpointSlices(r.Namespace()).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("reading endpoint slices: %w", r.explained(ctx, err))
	}
	return endpointFacts(l.Items), nil
}
