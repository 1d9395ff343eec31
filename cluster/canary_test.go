package cluster

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEveryNodeInUseIsAskedOnce(t *testing.T) {
	w := newWorld(labNodes()...)
	s := keepalive()
	s.Spec.Clients[0].Count = 5
	got := w.deploy(t, w.cluster(t, nil), s).canaryProbes()
	want := []canaryProbe{{"web-0", "worker", "10.79.1.2:80", "worker"}, {"web-1", "worker2", "10.79.1.2:80", "worker2"}, {"web-2", "worker3", "10.79.1.2:80", "worker3"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(canaryProbe{})); diff != "" {
		t.Error(diff)
	}
}

func TestDialledNodesAreAskedThroughTheirNodePorts(t *testing.T) {
	w := newWorld(labNodes()...)
	got := w.deploy(t, w.cluster(t, nil), etpLocal()).canaryProbes()
	want := []canaryProbe{
		{"outside-0", "external", "10.77.0.11:30002", "worker"}, {"outside-0", "external", "10.77.0.12:30002", "worker2"}, {"outside-0", "external", "10.77.0.13:30002", "worker3"},
		{"inside-0", "worker", "10.77.0.11:30002", "worker"}, {"inside-0", "worker", "10.77.0.12:30002", "worker2"},
		{"inside-1", "worker2", "10.77.0.11:30002", "worker"}, {"inside-1", "worker2", "10.77.0.12:30002", "worker2"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(canaryProbe{})); diff != "" {
		t.Error(diff)
	}
}

func TestTheCanaryPointsAtOneReadyEchoPod(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), keepalive())
	s, err := w.DiscoveryV1().EndpointSlices(r.Namespace()).Get(t.Context(), "canary", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Endpoints) != 1 || s.Endpoints[0].TargetRef.Name != "echo-0" || !*s.Endpoints[0].Conditions.Ready || s.Labels["kubernetes.io/service-name"] != "canary" {
		t.Errorf("%+v", s)
	}
}

func TestWaitProgrammedAsksUntilEachIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, nil), etpLocal())
		begun := time.Now()
		ready := map[string]time.Duration{"10.77.0.11:30002": 0, "10.77.0.12:30002": 2 * time.Second, "10.77.0.13:30002": 3 * time.Second}
		var mu sync.Mutex
		asked := map[string]int{}
		err := r.WaitProgrammed(t.Context(), func(ctx context.Context, _, address string) error {
			mu.Lock()
			asked[address]++
			mu.Unlock()
			switch left := ready[address] - time.Since(begun); {
			case left <= 0:
				return nil
			case address == "10.77.0.13:30002": // dropped packets: only the attempt's own deadline ends it
				<-ctx.Done()
				return ctx.Err()
			default:
				return errors.New("connection refused")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d < 3*time.Second || d > 3500*time.Millisecond {
			t.Errorf("took %v", d)
		}
		if asked["10.77.0.11:30002"] != 3 || asked["10.77.0.13:30002"] != 4 {
			t.Errorf("asked %v", asked)
		}
		if !r.isProgrammed("worker3") || r.isProgrammed("external") || r.isProgrammed("control-plane") {
			t.Errorf("programmed: %v", r.programmed)
		}
	})
}

func TestANodeThatIsNeverProgrammedIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, nil), etpLocal())
		err := r.WaitProgrammed(bounded(t, 10*time.Second), func(_ context.Context, _, address string) error {
			if address == "10.77.0.12:30002" {
				return errors.New("connection refused")
			}
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "the kube-proxy of node worker2 has not programmed the run's endpoints within 10s") || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("err %v", err)
		}
		if r.isProgrammed("worker2") || !r.isProgrammed("worker") {
			t.Errorf("programmed: %v", r.programmed)
		}
	})
}

func TestAnInterruptedWaitSaysSoAndNotThatAProxyIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, nil), keepalive())
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		err := r.WaitProgrammed(ctx, func(context.Context, string, string) error { return errors.New("refused") })
		if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "kube-proxy") {
			t.Errorf("err %v", err)
		}
	})
}

func TestWithoutEchoPodsThereIsNothingToWaitFor(t *testing.T) {
	w := newWorld(labNodes()...)
	s := keepalive()
	s.Spec.Echo.Replicas = 0
	r := w.deploy(t, w.cluster(t, nil), s)
	if err := r.WaitProgrammed(t.Context(), func(context.Context, string, string) error { return errors.New("asked") }); err != nil {
		t.Error(err)
	}
}
