package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

func runNamespace(run string, created time.Time) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespaceOf(run), UID: "u-" + "x", Labels: runLabels(run), CreationTimestamp: metav1.NewTime(created),
	}}
}

func leaseObject(run string, renewed time.Time) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: leaseName, Namespace: namespaceOf(run)},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("ann@laptop"), LeaseDurationSeconds: new(int32(10)), RenewTime: new(metav1.NewMicroTime(renewed)),
		},
	}
}

func (w *world) add(t *testing.T, objects ...runtime.Object) {
	t.Helper()
	for _, o := range objects {
		if err := w.Tracker().Add(o); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) namespaces(t *testing.T) []string {
	t.Helper()
	l, err := w.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, n := range l.Items {
		out = append(out, n.Name)
	}
	slices.Sort(out)
	return out
}

func TestRemoveEndsThePodsAndTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, nil), keepalive())
		time.Sleep(7 * time.Second)
		if err := r.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		did := w.did()
		before(t, did, "delete namespaces/podskew-d0", "delete all pods")
		renewals := len(slices.DeleteFunc(slices.Clone(did), func(s string) bool { return s != "apply leases/run" }))
		if renewals != 3 { // at 0, 3 and 6 s
			t.Errorf("%d renewals: %v", renewals, did)
		}
		time.Sleep(time.Minute)
		if now := w.did(); len(now) != len(did) {
			t.Errorf("after Remove: %v", now[len(did):])
		}
		if err := r.Remove(t.Context()); err != nil {
			t.Errorf("removing again: %v", err)
		}
	})
}

func TestAForeignNamespaceIsNotRemoved(t *testing.T) {
	w := newWorld()
	w.add(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "podskew-d0"}})
	err := w.cluster(t, nil).removeNamespace(t.Context(), "podskew-d0")
	if err == nil || !strings.Contains(err.Error(), "not podskew's") || len(w.did()) > 0 {
		t.Errorf("err %v, did %v", err, w.did())
	}
}

// stuck makes namespaces stay when they are deleted, as long as their pods have not been forced out.
func (w *world) stuck() {
	w.PrependReactor("delete", "namespaces", func(k8stesting.Action) (bool, runtime.Object, error) { return true, nil, nil })
}

func TestPodsThatDoNotGoAreForcedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ns := runNamespace("d0", time.Now())
		ns.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue, Message: "Some resources are remaining: pods. has 1 resource instances"}}
		w.add(t, ns)
		w.stuck()
		var graces []int64
		w.PrependReactor("delete-collection", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
			graces = append(graces, *a.(k8stesting.DeleteCollectionActionImpl).DeleteOptions.GracePeriodSeconds)
			return false, nil, nil
		})
		begun := time.Now()
		err := w.cluster(t, nil).removeNamespace(t.Context(), "podskew-d0")
		want := "namespace podskew-d0 is being deleted but not gone after 1m0s: Some resources are remaining: pods. has 1 resource instances"
		if err == nil || err.Error() != want || time.Since(begun) != removeTimeout {
			t.Errorf("err %v after %v", err, time.Since(begun))
		}
		if diff := cmp.Diff([]int64{1, 0}, graces); diff != "" {
			t.Error(diff)
		}
	})
}

func TestANamespaceOfTheSameNameButAnotherIsGoneToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.add(t, runNamespace("d0", time.Now()))
		w.stuck()
		go func() {
			time.Sleep(3 * time.Second)
			other := runNamespace("d0", time.Now())
			other.UID = "another"
			_, _ = w.CoreV1().Namespaces().Update(t.Context(), other, metav1.UpdateOptions{})
		}()
		begun := time.Now()
		if err := w.cluster(t, nil).removeNamespace(t.Context(), "podskew-d0"); err != nil || time.Since(begun) != 3*time.Second {
			t.Errorf("err %v after %v", err, time.Since(begun))
		}
	})
}

func TestCleanRemovesTheDeadAndKeepsTheLiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		now := time.Now()
		w.add(t, runNamespace("dead", now), leaseObject("dead", now.Add(-time.Hour)))
		w.add(t, runNamespace("crashed", now), leaseObject("crashed", now.Add(-4*time.Second)))
		w.add(t, runNamespace("alive", now), leaseObject("alive", now.Add(-2*time.Second)))
		w.add(t, runNamespace("never", now.Add(-time.Hour)), runNamespace("new", now.Add(-time.Second)))
		w.add(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "podskew-foreign"}})
		c := w.cluster(t, nil)
		k, err := c.keep(t.Context(), "alive", "bob@desk")
		if err != nil {
			t.Fatal(err)
		}
		defer k.stop()
		var steps []string
		got, err := c.Clean(t.Context(), CleanOptions{}, func(s string) { steps = append(steps, s) })
		if err != nil {
			t.Fatal(err)
		}
		want := []Cleaned{
			{"podskew-alive", "alive", false, "the run is alive: bob@desk renews its lease"},
			{"podskew-crashed", "crashed", true, "its lease has expired: ann@laptop renewed it last at " + now.Add(-4*time.Second).UTC().Format(time.RFC3339)},
			{"podskew-dead", "dead", true, "its lease has expired: ann@laptop renewed it last at " + now.Add(-time.Hour).UTC().Format(time.RFC3339)},
			{"podskew-never", "never", true, "it has no lease: podskew died while deploying"},
			{"podskew-new", "new", true, "it has no lease: podskew died while deploying"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"podskew-alive", "podskew-foreign"}, w.namespaces(t)); diff != "" {
			t.Error(diff)
		}
		if d := time.Since(now); d != 9*time.Second { // until the lease that never came would have expired
			t.Errorf("took %v", d)
		}
		if !slices.Contains(steps, "namespace podskew-crashed: its run may still be alive; waiting up to 6s to see whether it renews its lease") {
			t.Errorf("progress %q", steps)
		}
	})
}

func TestCleanAllRemovesTheLivingToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.add(t, runNamespace("alive", time.Now()), leaseObject("alive", time.Now()))
		w.add(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "podskew-foreign"}})
		begun := time.Now()
		got, err := w.cluster(t, nil).Clean(t.Context(), CleanOptions{All: true}, nil)
		if err != nil || len(got) != 1 || !got[0].Removed || time.Since(begun) != 0 {
			t.Errorf("got %+v, err %v after %v", got, err, time.Since(begun))
		}
		if diff := cmp.Diff([]string{"podskew-foreign"}, w.namespaces(t)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOneNamespaceThatCannotBeCleanedDoesNotStopTheOthers(t *testing.T) {
	w := newWorld()
	old := time.Now().Add(-time.Hour)
	w.add(t, runNamespace("a", old), runNamespace("b", old))
	w.PrependReactor("delete", "namespaces", func(a k8stesting.Action) (bool, runtime.Object, error) {
		if a.(k8stesting.DeleteAction).GetName() == "podskew-a" {
			return true, nil, errors.New("no")
		}
		return false, nil, nil
	})
	got, err := w.cluster(t, nil).Clean(t.Context(), CleanOptions{}, nil)
	if err == nil || !strings.Contains(err.Error(), "podskew-a") || got[0].Removed || !got[1].Removed {
		t.Errorf("got %+v, err %v", got, err)
	}
}

func TestAnInterruptedCleanRemovesNothingThatMayBeAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.add(t, runNamespace("d0", time.Now()), leaseObject("d0", time.Now()))
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(3 * time.Second)
			cancel()
		}()
		got, err := w.cluster(t, nil).Clean(ctx, CleanOptions{}, nil)
		if !errors.Is(err, context.Canceled) || got[0].Removed || len(w.did()) > 0 {
			t.Errorf("got %+v, err %v, did %v", got, err, w.did())
		}
	})
}

func TestLeaseLeft(t *testing.T) {
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	lease := func(renewed time.Duration, seconds int32) *coordinationv1.Lease {
		l := leaseObject("d0", now.Add(renewed))
		l.Spec.LeaseDurationSeconds = &seconds
		return l
	}
	for name, c := range map[string]struct {
		lease *coordinationv1.Lease
		want  time.Duration
	}{
		"no lease":                          {nil, 0},
		"never renewed":                     {&coordinationv1.Lease{}, 0},
		"renewed now":                       {lease(0, 10), 10 * time.Second},
		"renewed four seconds ago":          {lease(-4*time.Second, 10), 6 * time.Second},
		"renewed long ago":                  {lease(-time.Hour, 10), 0},
		"renewed by a clock that is ahead":  {lease(time.Hour, 10), 10 * time.Second},
		"with a duration that makes no end": {lease(0, 1<<30), time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			if got := leaseLeft(c.lease, now); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestLostRenewalsAreNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := w.cluster(t, nil)
		begun := time.Now()
		w.PrependReactor("patch", "leases", func(k8stesting.Action) (bool, runtime.Object, error) {
			return time.Since(begun) > 0, nil, fmt.Errorf("gone")
		})
		k, err := c.keep(t.Context(), "d0", "ann")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		k.stop()
		k.stop()
		if got := c.Notes(); len(got) != 1 || !strings.Contains(got[0], "lease of run d0 could not be renewed") {
			t.Errorf("notes %q", got)
		}
	})
}
