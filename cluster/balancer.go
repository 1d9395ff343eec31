package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/scenarios"
)

const (
	balancerWithin = 60 * time.Second // clouds take half a minute for a load balancer, those inside a cluster a second
	balancerPause  = 250 * time.Millisecond
)

// waitBalancer waits until each Service whose load balancer a client dials has its address.
func (r *Run) waitBalancer(ctx context.Context, tell func(string)) error {
	waited := map[string]bool{}
	for _, c := range r.d.Scenario.Spec.Clients {
		name := r.streamService(c)
		if c.Target != scenarios.TargetLoadBalancer || waited[name] {
			continue
		}
		waited[name] = true
		tell("waiting for the load balancer's address")
		if err := r.waitBalancerOf(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) waitBalancerOf(ctx context.Context, service string) error {
	ctx, cancel := context.WithTimeout(ctx, balancerWithin)
	defer cancel()
	for {
		s, err := r.c.client.CoreV1().Services(r.Namespace()).Get(ctx, service, metav1.GetOptions{})
		switch {
		case err == nil && len(ingress(s)) > 0:
			if r.services[service] = s; service == r.d.firstService() {
				r.service = s
			}
			return nil
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("asking for the load balancer of service %s: %w", service, err)
		}
		if err := pause(ctx, balancerPause); err == nil {
			continue
		}
		if errors.Is(context.Cause(ctx), context.Canceled) {
			return ctx.Err()
		}
		return fmt.Errorf("nobody gave service %s the address of a load balancer within %v: "+
			"the cluster needs something that does, such as a cloud's controller or MetalLB; target: nodePort needs none", service, balancerWithin)
	}
}

// ingress is what the load balancer of a Service can be dialled at: addresses, or names where it has only those.
func ingress(s *corev1.Service) []string {
	var out []string
	for _, i := range s.Status.LoadBalancer.Ingress {
		if i.IP != "" {
			out = append(out, i.IP)
		} else if i.Hostname != "" {
			out = append(out, i.Hostname)
		}
	}
	return out
}
