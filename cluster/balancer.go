package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/scenarios"
)

const (
	balancerWithin = 60 * time.Second // clouds take half a minute for a load balancer, those inside a cluster a second
	balancerPause  = 250 * time.Millisecond
)

// waitBalancer waits until the Service has the address of a load balancer, if a client dials it.
func (r *Run) waitBalancer(ctx context.Context, tell func(string)) error {
	dialled := slices.ContainsFunc(r.d.Scenario.Spec.Clients, func(c scenarios.Client) bool { return c.Target == scenarios.TargetLoadBalancer })
	if !dialled {
		return nil
	}
	tell("waiting for the load balancer's address")
	ctx, cancel := context.WithTimeout(ctx, balancerWithin)
	defer cancel()
	for {
		s, err := r.c.client.CoreV1().Services(r.Namespace()).Get(ctx, serviceEcho, metav1.GetOptions{})
		switch {
		case err == nil && len(ingress(s)) > 0:
			r.service = s
			return nil
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("asking for the load balancer of service %s: %w", serviceEcho, err)
		}
		if err := pause(ctx, balancerPause); err == nil {
			continue
		}
		if errors.Is(context.Cause(ctx), context.Canceled) {
			return ctx.Err()
		}
		return fmt.Errorf("nobody gave service %s the address of a load balancer within %v: "+
			"the cluster needs something that does, such as a cloud's controller or MetalLB; target: nodePort needs none", serviceEcho, balancerWithin)
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
