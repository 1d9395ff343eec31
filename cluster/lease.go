package cluster

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1ac "k8s.io/client-go/applyconfigurations/coordination/v1"
)

// A run is alive as long as its Lease is renewed. leaseRenew leaves room for two lost renewals.
const (
	leaseDuration = 10 * time.Second
	leaseRenew    = 3 * time.Second
)

// keeper renews a run's Lease until it is stopped.
type keeper struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// keep applies the Lease once, and then renews it in the background until stop.
func (c *Cluster) keep(ctx context.Context, runID, holder string) (*keeper, error) {
	if err := c.renew(ctx, runID, holder); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	k := &keeper{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(k.done)
		for pause(ctx, leaseRenew) == nil {
			if err := c.renew(ctx, runID, holder); err != nil && ctx.Err() == nil {
				c.notes.add(fmt.Sprintf("the lease of run %s could not be renewed: a clean may take the run for dead: %v", runID, err))
			}
		}
	}()
	return k, nil
}

// stop ends the renewals and waits for the last one. It may be called more than once, and on nil.
func (k *keeper) stop() {
	if k == nil {
		return
	}
	k.cancel()
	<-k.done
}

func (c *Cluster) renew(ctx context.Context, runID, holder string) error {
	ctx, cancel := context.WithTimeout(ctx, leaseDuration)
	defer cancel()
	spec := coordinationv1ac.LeaseSpec().WithHolderIdentity(holder).
		WithLeaseDurationSeconds(int32(leaseDuration / time.Second)).WithRenewTime(metav1.NewMicroTime(time.Now()))
	lease := coordinationv1ac.Lease(leaseName, namespaceOf(runID)).WithLabels(runLabels(runID)).WithSpec(spec)
	_, err := c.client.CoordinationV1().Leases(namespaceOf(runID)).Apply(ctx, lease, applyOptions())
	return err
}

func applyOptions() metav1.ApplyOptions {
	return metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
}

func createOptions() metav1.CreateOptions { return metav1.CreateOptions{FieldManager: fieldManager} }

// leaseLeft is how long the lease may still be alive; 0: it has expired. A renewal from a clock that is ahead of ours
// counts as one from now.
func leaseLeft(l *coordinationv1.Lease, now time.Time) time.Duration {
	if l == nil || l.Spec.RenewTime == nil {
		return 0
	}
	duration := leaseDuration
	if s := l.Spec.LeaseDurationSeconds; s != nil {
		duration = min(time.Duration(*s)*time.Second, time.Minute)
	}
	renewed := l.Spec.RenewTime.Time
	if renewed.After(now) {
		renewed = now
	}
	return max(0, duration-now.Sub(renewed))
}
