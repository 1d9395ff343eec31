package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// ending makes pods go so long after they were told to, and nobody replace them.
func (w *world) ending(after time.Duration) {
	var told time.Time
	w.PrependReactor("delete-collection", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
		told = time.Now()
		return true, nil, nil
	})
	w.PrependReactor("list", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
		if told.IsZero() {
			return false, nil, nil
		}
		if time.Since(told) >= after {
			return true, &corev1.PodList{}, nil
		}
		return true, &corev1.PodList{Items: []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "echo-0", Namespace: "podskew-d0"}}}}, nil
	})
}

func TestVacateTakesAwayWhatNodesKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, nil), keepalive())
		w.ending(0)
		if err := r.Vacate(t.Context()); err != nil {
			t.Fatal(err)
		}
		did := w.did()
		before(t, did, "delete namespaces/podskew-d0", "delete all pods")
		before(t, did, "delete namespaces/podskew-d0", "delete services/echo")
		before(t, did, "delete all pods", "delete all endpointslices")
		if !slices.Contains(did, "delete services/canary") {
			t.Errorf("the canary stays: %v", did)
		}
		if err := r.Remove(t.Context()); err != nil {
			t.Errorf("removing the rest: %v", err)
		}
	})
}

func TestVacateWaitsForThePods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, nil), keepalive())
		w.ending(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := r.Vacate(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err %v while a pod is still there", err)
		}
	})
}

func TestAPIsThatAreNeeded(t *testing.T) {
	w := newWorld()
	w.Resources = []*metav1.APIResourceList{{GroupVersion: "v1"}, {GroupVersion: "networking.istio.io/v1"}, {GroupVersion: "networking.istio.io/v1beta1"}}
	c := w.cluster(t, nil)
	for _, row := range []struct {
		name string
		need []string
		want string
	}{
		{"none", nil, ""},
		{"all there", []string{"v1", "networking.istio.io/v1"}, ""},
		{"some missing", []string{"networking.istio.io/v1", "networking.istio.io/v2", "a.b/v1"}, "the API server has no networking.istio.io/v2, a.b/v1"},
	} {
		err := c.NeedAPIs(t.Context(), row.need)
		lacking, ok := errors.AsType[*LackingError](err)
		if (row.want == "") != (err == nil) || err != nil && (!ok || lacking.What != row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}
