package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

func TestDeployAppliesInOrder(t *testing.T) {
	w := newWorld(labNodes()...)
	c := w.cluster(t, nil)
	var steps []string
	r, err := c.Deploy(t.Context(), deploymentOf(etpLocal()), func(s string) { steps = append(steps, s) })
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	did := w.did()
	for _, then := range []string{"create serviceaccounts/podskew", "apply leases/run", "apply services/echo"} {
		before(t, did, "apply namespaces/podskew-d0", then)
	}
	before(t, did, "apply services/echo", "apply services/canary")
	for _, then := range []string{"apply pods/outside-0", "apply pods/inside-1", "apply deployments/echo-0-worker", "apply deployments/echo-1-worker2"} {
		before(t, did, "create secrets/agent", then)
		before(t, did, then, "apply endpointslices/canary")
	}
	before(t, did, "apply services/canary", "create secrets/agent")
	for _, want := range []string{"namespace podskew-d0", "service echo: NodePort 10.79.1.1, node port 30001", "8 of 8 pods ready", "endpoints complete: 4"} {
		if !slices.Contains(steps, want) {
			t.Errorf("progress has no %q: %q", want, steps)
		}
	}
}

func TestEverythingIsTheRunsAndPodskews(t *testing.T) {
	w := newWorld(labNodes()...)
	c := w.cluster(t, nil)
	w.deploy(t, c, etpLocal())
	n := 0
	for _, a := range w.Actions() {
		name, manager := "", ""
		switch a := a.(type) {
		case k8stesting.PatchActionImpl:
			name, manager = a.Name, a.PatchOptions.FieldManager
			if a.PatchOptions.Force == nil || !*a.PatchOptions.Force {
				t.Errorf("%s %s: force %v", a.Resource.Resource, name, a.PatchOptions.Force)
			}
		case k8stesting.CreateActionImpl:
			if o, err := meta.Accessor(a.Object); err == nil {
				name, manager = o.GetName(), a.CreateOptions.FieldManager
			}
		}
		if name == "" {
			continue
		}
		n++
		if manager != "podskew" {
			t.Errorf("%s %s: manager %q", a.GetResource().Resource, name, manager)
		}
		obj, err := w.Tracker().Get(a.GetResource(), a.GetNamespace(), name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := meta.Accessor(obj)
		if err != nil {
			t.Fatal(err)
		}
		if l := m.GetLabels(); l[labelRun] != "d0" || l[labelManagedBy] != "podskew" {
			t.Errorf("%s %s has labels %v", a.GetResource().Resource, name, l)
		}
	}
	if n < 14 {
		t.Errorf("only %d objects", n)
	}
}

func TestTheSecretHasTheTokenAndExactlyTheTargets(t *testing.T) {
	w := newWorld(labNodes()...)
	c := w.cluster(t, nil)
	r := w.deploy(t, c, etpLocal())
	s, err := w.CoreV1().Secrets(r.Namespace()).Get(t.Context(), secretName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := "10.77.0.11:30001\n10.77.0.11:30002\n10.77.0.12:30001\n10.77.0.12:30002\n10.77.0.13:30001\n10.77.0.13:30002\n"
	if diff := cmp.Diff(want, string(s.Data["targets"])); diff != "" {
		t.Error(diff)
	}
	if got := string(s.Data["token"]); got != r.token || len(got) < 20 {
		t.Errorf("token %q", got)
	}
}

func TestStreams(t *testing.T) {
	w := newWorld(labNodes()...)
	c := w.cluster(t, nil)
	got := w.deploy(t, c, etpLocal()).Streams()
	want := record.Stream{
		ID: "outside", Client: "outside", Vantage: "external", Target: "nodePort", Service: "echo", Protocol: "http1",
		Addresses: []record.Address{
			{HostPort: "10.77.0.11:30001", Node: "worker"}, {HostPort: "10.77.0.12:30001", Node: "worker2"}, {HostPort: "10.77.0.13:30001", Node: "worker3"},
		},
		Connections: 6, RequestsPerConnection: 1, Requests: 600, ConnectTimeout: 2, Timeout: 5,
	}
	agents := got[0].Agents
	got[0].Agents = nil
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
	if len(agents) != 2 || agents[0].Name != "outside-0" || agents[0].Node != "external" || len(agents[0].IPs) != 1 {
		t.Errorf("agents %+v", agents)
	}
	if len(got) != 2 || len(got[1].Addresses) != 2 {
		t.Errorf("the second stream: %+v", got[1])
	}
}

func TestStreamsToAClusterIP(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), keepalive())
	s := r.Streams()[0]
	if diff := cmp.Diff([]record.Address{{HostPort: "10.79.1.1:80"}}, s.Addresses); diff != "" {
		t.Error(diff)
	}
	if s.Connections != 8 || s.Duration != 5 || s.Requests != 0 {
		t.Errorf("%+v", s)
	}
	s.Agents[0].IPs[0] = "changed"
	if r.Streams()[0].Agents[0].IPs[0] == "changed" {
		t.Error("a stream is not the caller's own")
	}
}

func TestARunIDThatIsTakenIsRefusedAndLeftAlone(t *testing.T) {
	w := newWorld(labNodes()...)
	_ = w.Tracker().Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "podskew-d0"}})
	_, err := w.cluster(t, nil).Deploy(t.Context(), deploymentOf(keepalive()), nil)
	if err == nil || !strings.Contains(err.Error(), "exists already") || len(w.did()) != 0 {
		t.Errorf("err %v, did %v", err, w.did())
	}
}

func TestBadDeploymentsAreRefusedBeforeAnythingIsSent(t *testing.T) {
	for name, d := range map[string]Deployment{
		"no run id":            {Scenario: keepalive()},
		"a run id with spaces": {RunID: "a b", Scenario: keepalive()},
		"a run id too long":    {RunID: strings.Repeat("a", 41), Scenario: keepalive()},
		"no scenario":          {RunID: "d0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(labNodes()...)
			if _, err := w.cluster(t, nil).Deploy(t.Context(), d, nil); err == nil || len(w.Actions()) > 0 {
				t.Errorf("err %v after %v", err, w.Actions())
			}
		})
	}
}

func TestAFailedDeploymentIsRemoved(t *testing.T) {
	w := newWorld(labNodes()...)
	w.broken = func(p *corev1.Pod) {
		p.Status = waitingStatus("ErrImageNeverPull", `Container image "x" is not present with pull policy of Never`)
	}
	_, err := w.cluster(t, nil).Deploy(t.Context(), deploymentOf(keepalive()), nil)
	if err == nil || !strings.Contains(err.Error(), "is not present") || !strings.Contains(err.Error(), "and 7 others") {
		t.Errorf("err %v", err)
	}
	did := w.did()
	before(t, did, "apply namespaces/podskew-d0", "delete namespaces/podskew-d0")
	before(t, did, "delete namespaces/podskew-d0", "delete all pods")
	if list, _ := w.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); len(list.Items) > 0 {
		t.Errorf("left: %v", list.Items)
	}
}

func TestAFailedDeploymentIsKeptWhereThatIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		w.broken = func(p *corev1.Pod) { p.Status = waitingStatus("ErrImageNeverPull", "x") }
		d := deploymentOf(keepalive())
		d.Keep = true
		_, err := w.cluster(t, nil).Deploy(t.Context(), d, nil)
		before := w.did()
		time.Sleep(time.Minute)
		if err == nil || slices.Contains(before, "delete namespaces/podskew-d0") || len(w.did()) != len(before) {
			t.Errorf("err %v, did %v", err, w.did())
		}
	})
}

func TestAnInterruptedDeploymentIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		w.broken = func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(3 * time.Second)
			cancel()
		}()
		_, err := w.cluster(t, nil).Deploy(ctx, deploymentOf(keepalive()), nil)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err %v", err)
		}
		if !slices.Contains(w.did(), "delete namespaces/podskew-d0") {
			t.Errorf("did %v", w.did())
		}
	})
}

func TestADeploymentThatTakesTooLongSaysWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		w.broken = func(p *corev1.Pod) {
			if p.Name != "echo-2" {
				return
			}
			p.Status.Conditions[0].Status = corev1.ConditionFalse
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		}
		begun := time.Now()
		_, err := w.cluster(t, nil).Deploy(t.Context(), deploymentOf(keepalive()), nil)
		if err == nil || !strings.Contains(err.Error(), "pod echo-2 runs on worker, but its readiness probe does not succeed") || strings.Contains(err.Error(), "echo-1") {
			t.Errorf("err %v", err)
		}
		if d := time.Since(begun); d != defaultTimeout {
			t.Errorf("after %v", d)
		}
	})
}

func forbidden(resource, why string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "x", errors.New(why))
}

func TestARefusalNamesTheMissingRights(t *testing.T) {
	w := newWorld(labNodes()...)
	w.PrependReactor("patch", "services", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, forbidden("services", `User "bob" cannot patch resource "services"`)
	})
	w.PrependReactor("create", "selfsubjectaccessreviews", func(a k8stesting.Action) (bool, runtime.Object, error) {
		review := a.(k8stesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		r := review.Spec.ResourceAttributes
		review.Status.Allowed = r.Resource != "services" && r.Subresource != "proxy"
		return true, review, nil
	})
	_, err := w.cluster(t, nil).Deploy(t.Context(), deploymentOf(keepalive()), nil)
	if err == nil || !strings.Contains(err.Error(), "lacks the right to: get services, create services, patch services, create pods/proxy") {
		t.Errorf("err %v", err)
	}
}

func TestARefusalByAQuotaSaysWhatToDo(t *testing.T) {
	w := newWorld(labNodes()...)
	w.PrependReactor("patch", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, forbidden("pods", "exceeded quota: two")
	})
	w.PrependReactor("create", "selfsubjectaccessreviews", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, &authorizationv1.SelfSubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true}}, nil
	})
	_, err := w.cluster(t, nil).Deploy(t.Context(), deploymentOf(keepalive()), nil)
	if err == nil || !strings.Contains(err.Error(), "a ResourceQuota that is put into new namespaces leaves too little room") || strings.Contains(err.Error(), "lacks the right") {
		t.Errorf("err %v", err)
	}
}

func TestTargetsThatTheServiceDoesNotHave(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*scenarios.Scenario)
		want   string
	}{
		"a node port of a ClusterIP Service": {func(s *scenarios.Scenario) { s.Spec.Clients[0].Target = scenarios.TargetNodePort }, "needs spec.service.type NodePort"},
		"a gateway that is not described":    {func(s *scenarios.Scenario) { s.Spec.Clients[0].Target = scenarios.TargetGateway }, "target gateway needs spec.gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			s := keepalive()
			c.change(s)
			w := newWorld(labNodes()...)
			_, err := w.cluster(t, nil).Deploy(t.Context(), deploymentOf(s), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "spec.clients[0] (web)") {
				t.Errorf("err %v", err)
			}
		})
	}
}
