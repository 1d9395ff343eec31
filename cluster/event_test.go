package cluster

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// doEvent does one event to a run, as if its scenario had it.
func doEvent(t *testing.T, r *Run, e scenarios.Event) (*Done, error) {
	t.Helper()
	s := *r.d.Scenario
	s.Spec.Events = []scenarios.Event{e}
	r.d.Scenario = &s
	return r.Do(t.Context(), 0)
}

func doScale(t *testing.T, r *Run, n int) error {
	t.Helper()
	_, err := doEvent(t, r, scenarios.Event{Scale: &n})
	return err
}

// eventful is a scenario with events, so that its pods and its canary are made for them.
func eventful(events ...scenarios.Event) *scenarios.Scenario {
	s := keepalive()
	s.Spec.Echo.Replicas, s.Spec.Echo.Standby = 3, 2
	s.Spec.Events = events
	return s
}

func TestScaleChangesTheNumberOnly(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), keepalive())
	done, err := doEvent(t, r, scenarios.Event{Scale: new(12)})
	if err != nil {
		t.Fatal(err)
	}
	if e := done.Event; e.Before != "6" || e.After != "12" || e.What != "scaled echo to 12" {
		t.Errorf("event %+v", e)
	}
	d, err := w.AppsV1().Deployments(r.Namespace()).Get(t.Context(), "echo", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *d.Spec.Replicas != 12 || len(d.Spec.Template.Spec.Containers) != 1 {
		t.Errorf("%d replicas, containers %v", *d.Spec.Replicas, d.Spec.Template.Spec.Containers)
	}
	done, err = doEvent(t, r, scenarios.Event{Scale: new(0)})
	if err != nil || done.Event.Before != "12" || done.Event.After != "0" {
		t.Errorf("err %v, event %+v", err, done)
	}
}

func TestAPlacementCannotBeScaled(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), etpLocal())
	if err := doScale(t, r, 12); err == nil || !strings.Contains(err.Error(), "spec.echo.replicas") {
		t.Errorf("err %v", err)
	}
}

func TestARestartKeepsTheNumberOfPods(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), eventful())
	if err := doScale(t, r, 5); err != nil {
		t.Fatal(err)
	}
	if _, err := doEvent(t, r, scenarios.Event{Restart: true}); err != nil {
		t.Fatal(err)
	}
	api := w.AppsV1().Deployments(r.Namespace())
	d, err := api.Get(t.Context(), "echo", metav1.GetOptions{})
	if err != nil || *d.Spec.Replicas != 5 || d.Spec.Template.Annotations[annotationRestarted] == "" {
		t.Errorf("%v: %d replicas, annotations %v", err, *d.Spec.Replicas, d.Spec.Template.Annotations)
	}
	standby, err := api.Get(t.Context(), "echo-standby", metav1.GetOptions{})
	if err != nil || len(standby.Spec.Template.Annotations) > 0 {
		t.Errorf("%v: pods in standby restart, too: %v", err, standby.Spec.Template.Annotations)
	}
}

func TestPodsAreNumberedByNameThoseInStandbyLast(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), eventful())
	pods, err := r.echoPodList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range pods {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"echo-0", "echo-1", "echo-2", "echo-standby-0", "echo-standby-1"}, names); diff != "" {
		t.Error(diff)
	}
	if _, err := doEvent(t, r, scenarios.Event{DeletePod: new(5)}); err == nil || !strings.Contains(err.Error(), "there is no echo pod 5 now: there are 5") {
		t.Errorf("err %v", err)
	}
	done, err := doEvent(t, r, scenarios.Event{DeletePod: new(1)})
	if err != nil || done.Event.Target != "echo-1" || !slices.Contains(w.did(), "delete pods/echo-1") {
		t.Errorf("%v: %+v, did %q", err, done, w.did())
	}
}

func TestALabelTakesAPodOutOfTheServiceAndLeavesItToItsReplicaSet(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), eventful())
	d, err := w.AppsV1().Deployments(r.Namespace()).Get(t.Context(), "echo", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		pod      int
		selected bool
		name     string
		ready    []string
	}{
		{1, false, "echo-1", []string{"echo-0", "echo-2"}},
		{1, true, "echo-1", []string{"echo-0", "echo-1", "echo-2"}},
		{3, true, "echo-standby-0", []string{"echo-0", "echo-1", "echo-2"}}, // selected with its own set only
	} {
		done, err := doEvent(t, r, scenarios.Event{Label: &scenarios.Label{Pod: row.pod, Selected: row.selected}})
		if err != nil || done.Event.Target != row.name {
			t.Fatalf("%v: %+v", err, done)
		}
		ready, err := r.readyPods(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, name := range row.ready {
			want[name] = true
		}
		if diff := cmp.Diff(want, ready); diff != "" {
			t.Errorf("%+v: %s", row, diff)
		}
		p, err := w.CoreV1().Pods(r.Namespace()).Get(t.Context(), row.name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range d.Spec.Selector.MatchLabels {
			if !strings.Contains(row.name, setStandby) && p.Labels[key] != value {
				t.Errorf("its ReplicaSet would lose %s: label %s is %q", row.name, key, p.Labels[key])
			}
		}
	}
}

func TestASwapSelectsTheOtherPodsWithOnePatch(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), eventful())
	w.ClearActions()
	done, err := doEvent(t, r, scenarios.Event{Swap: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"apply services/echo"}, w.did()); diff != "" {
		t.Error(diff)
	}
	ready, err := r.readyPods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"echo-standby-0": true, "echo-standby-1": true}, ready); diff != "" {
		t.Error(diff)
	}
	if done.Event.What != "the Services select 2 other pods" || done.Event.Kind != record.EventSwap {
		t.Errorf("%+v", done.Event)
	}
	if done, err = doEvent(t, r, scenarios.Event{Swap: true}); err != nil || done.Event.After != setActive {
		t.Errorf("and back: %v, %+v", err, done)
	}
}

func TestAPatchSaysWhatItChanged(t *testing.T) {
	w := newWorld(labNodes()...)
	s := eventful()
	r := w.deploy(t, w.cluster(t, nil), s)
	affinity := &scenarios.SessionAffinityConfig{}
	affinity.ClientIP.TimeoutSeconds = 7
	done, err := doEvent(t, r, scenarios.Event{PatchService: &scenarios.ServicePatch{
		SessionAffinity: "ClientIP", SessionAffinityConfig: affinity, InternalTrafficPolicy: "Local", TrafficDistribution: "PreferClose",
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := record.Event{
		What: "set sessionAffinity: ClientIP, timeoutSeconds: 7, internalTrafficPolicy: Local, trafficDistribution: PreferClose of Service echo",
		Kind: record.EventPolicy, Target: "echo",
		Before: "sessionAffinity: none, timeoutSeconds: none, internalTrafficPolicy: Cluster, trafficDistribution: none",
		After:  "sessionAffinity: ClientIP, timeoutSeconds: 7, internalTrafficPolicy: Local, trafficDistribution: PreferClose",
	}
	if diff := cmp.Diff(want, done.Event); diff != "" {
		t.Error(diff)
	}
	done, err = doEvent(t, r, scenarios.Event{PatchService: &scenarios.ServicePatch{SessionAffinity: "None", TrafficDistribution: "none"}})
	if err != nil || done.Event.After != "sessionAffinity: None, timeoutSeconds: none, trafficDistribution: none" {
		t.Errorf("%v: %+v", err, done)
	}
}

func TestEchoPodsAreToldWithTheirToken(t *testing.T) {
	w := newWorld(labNodes()...)
	var told []string
	var token string
	c := w.cluster(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		told = append(told, r.Method+" "+r.URL.String())
		token = r.Header.Get(tokenHeader)
	}))
	r := w.deploy(t, c, eventful(scenarios.Event{Readiness: &scenarios.Readiness{}}))
	for _, e := range []scenarios.Event{
		{Readiness: &scenarios.Readiness{Pod: 2}}, {Readiness: &scenarios.Readiness{Pod: 2, Ready: true}},
		{Slow: &scenarios.Slow{Pod: 0, Delay: 50 * time.Millisecond}},
	} {
		if _, err := doEvent(t, r, e); err != nil {
			t.Fatal(err)
		}
	}
	const base = "POST /api/v1/namespaces/podskew-d0/pods/"
	want := []string{base + "echo-2:8080/proxy/readyz?ready=false", base + "echo-2:8080/proxy/readyz?ready=true", base + "echo-0:8080/proxy/slow?delay=50ms"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	secret, err := w.CoreV1().Secrets(r.Namespace()).Get(t.Context(), echoSecretName, metav1.GetOptions{})
	if err != nil || token == "" || string(secret.Data["token"]) != token || token == r.token {
		t.Errorf("%v: told with token %q, the pods have %q, the agents %q", err, token, secret.Data["token"], r.token)
	}
}

func TestOnlyRunsThatTellEchoPodsThingsGiveThemAToken(t *testing.T) {
	for _, told := range []bool{false, true} {
		s := eventful(scenarios.Event{Restart: true})
		if told {
			s = eventful(scenarios.Event{Slow: &scenarios.Slow{}})
		}
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, nil), s)
		d, err := w.AppsV1().Deployments(r.Namespace()).Get(t.Context(), "echo", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c := d.Spec.Template.Spec.Containers[0]
		given := slices.Contains(c.Args, "--token-file=/etc/podskew-echo/token")
		volume := slices.ContainsFunc(d.Spec.Template.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == echoSecretName })
		mounted := slices.ContainsFunc(c.VolumeMounts, func(v corev1.VolumeMount) bool { return v.Name == echoSecretName })
		_, err = w.CoreV1().Secrets(r.Namespace()).Get(t.Context(), echoSecretName, metav1.GetOptions{})
		if given != told || volume != told || mounted != told || (err == nil) != told || (c.ReadinessProbe.FailureThreshold == 1) != told {
			t.Errorf("told %v: flag %v, volume %v, mounted %v, secret %v, threshold %d", told, given, volume, mounted, err, c.ReadinessProbe.FailureThreshold)
		}
	}
}

func TestTheGraceOfEchoPods(t *testing.T) {
	for _, row := range []struct {
		grace      *time.Duration
		args       []string
		terminates int64
	}{
		{nil, []string{"--grace=3s", "--drain=2s"}, 10},
		{new(time.Duration(0)), []string{"--grace=0s", "--drain=0s"}, 10},
		{new(20 * time.Second), []string{"--grace=20s", "--drain=2s"}, 27},
	} {
		s := keepalive()
		s.Spec.Echo.Grace = row.grace
		pod := echoPod(deploymentOf(s), zoneLiteral("a"))
		if got := pod.Containers[0].Args[1:3]; !slices.Equal(got, row.args) || *pod.TerminationGracePeriodSeconds != row.terminates {
			t.Errorf("grace %v: %q, killed after %d s", row.grace, got, *pod.TerminationGracePeriodSeconds)
		}
	}
}

func tooMany() error {
	return apierrors.NewTooManyRequests("the disruption budget needs 1 healthy pod", 0)
}

// evicts has w's evictions delete pods, after a budget has forbidden the first.
func evicts(w *world) {
	forbidden := false
	w.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		if !forbidden {
			forbidden = true
			return true, nil, tooMany()
		}
		name := a.(k8stesting.CreateAction).GetObject().(*policyv1.Eviction).Name
		return true, nil, w.Tracker().Delete(resourceOf("", "pods"), a.GetNamespace(), name)
	})
}

func TestADrainEvictsTheRunsPodsAndIsUndone(t *testing.T) {
	w := newWorld(labNodes()...)
	evicts(w)
	r := w.deploy(t, w.cluster(t, nil), eventful())
	done, err := doEvent(t, r, scenarios.Event{Drain: "worker"})
	if err != nil {
		t.Fatal(err)
	}
	if done.Event.What != "drained node worker of 5 echo pods" {
		t.Errorf("%+v", done.Event)
	}
	node := func() *corev1.Node {
		n, err := w.CoreV1().Nodes().Get(t.Context(), "worker", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := node(); !n.Spec.Unschedulable || n.Annotations[annotationCordoned] != "d0" {
		t.Errorf("not cordoned: %+v", n.Spec)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel() // Ctrl-C
	if err := r.Restore(context.WithoutCancel(ended)); err != nil {
		t.Fatal(err)
	}
	if n := node(); n.Spec.Unschedulable || n.Annotations[annotationCordoned] != "" {
		t.Errorf("still cordoned: %+v", n.Spec)
	}
	w.ClearActions()
	if err := r.Restore(t.Context()); err != nil || len(w.did()) > 0 {
		t.Errorf("restoring again: %v, did %q", err, w.did())
	}
}

func TestWhatSomebodyElseCordonedStaysCordoned(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), eventful())
	n, err := w.CoreV1().Nodes().Get(t.Context(), "worker2", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.Spec.Unschedulable = true
	if _, err := w.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.ClearActions()
	done, err := doEvent(t, r, scenarios.Event{Cordon: "worker2"})
	if err != nil || done.Event.Before != "cordoned" {
		t.Errorf("%v: %+v", err, done)
	}
	if _, err := doEvent(t, r, scenarios.Event{Uncordon: "worker2"}); err == nil || !strings.Contains(err.Error(), "this run has not cordoned it") {
		t.Errorf("err %v", err)
	}
	if err := r.Restore(t.Context()); err != nil || len(w.did()) > 0 {
		t.Errorf("%v, did %q", err, w.did())
	}
}

func TestCleanTakesTheCordonsOfADeadRunAway(t *testing.T) {
	w := newWorld(labNodes()...)
	c := w.cluster(t, nil)
	r := w.deploy(t, c, eventful())
	if _, err := doEvent(t, r, scenarios.Event{Cordon: "worker2"}); err != nil {
		t.Fatal(err)
	}
	r.Close() // podskew dies
	if _, err := c.Clean(t.Context(), CleanOptions{All: true}, nil); err != nil {
		t.Fatal(err)
	}
	n, err := w.CoreV1().Nodes().Get(t.Context(), "worker2", metav1.GetOptions{})
	if err != nil || n.Spec.Unschedulable || n.Annotations[annotationCordoned] != "" {
		t.Errorf("%v: still cordoned: %+v", err, n)
	}
}

// machines notes what it is told.
type machines struct {
	told []string
	fail error
}

func (m *machines) KillNode(_ context.Context, node string) error {
	m.told = append(m.told, "kill "+node)
	return m.fail
}

func (m *machines) StartNode(_ context.Context, node string) error {
	m.told = append(m.told, "start "+node)
	return nil
}

func (m *machines) RestartProxy(_ context.Context, node string) error {
	m.told = append(m.told, "restart "+node)
	return m.fail
}

func TestKilledNodesAreStartedAgain(t *testing.T) {
	for name, fail := range map[string]error{"killed": nil, "perhaps killed": errors.New("no answer")} {
		t.Run(name, func(t *testing.T) {
			w, m := newWorld(labNodes()...), &machines{fail: fail}
			r := w.deploy(t, w.cluster(t, nil), eventful())
			r.d.Machines = m
			if _, err := doEvent(t, r, scenarios.Event{KillNode: "worker3"}); !errors.Is(err, fail) {
				t.Fatal(err)
			}
			if err := r.Restore(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"kill worker3", "start worker3"}, m.told); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProxiesAreRestartedByTheLabOrByTheirPods(t *testing.T) {
	w, m := newWorld(labNodes()...), &machines{}
	for _, node := range []string{"worker", "worker2"} {
		w.add(t, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy-" + node, Namespace: "kube-system", Labels: map[string]string{"k8s-app": "kube-proxy"}},
			Spec:       corev1.PodSpec{NodeName: node},
		})
	}
	r := w.deploy(t, w.cluster(t, nil), eventful())
	w.ClearActions()
	if _, err := doEvent(t, r, scenarios.Event{RestartKubeProxy: "worker2"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"delete pods/kube-proxy-worker2"}, w.did()); diff != "" {
		t.Error(diff)
	}
	if _, err := doEvent(t, r, scenarios.Event{RestartKubeProxy: "worker3"}); err == nil || !strings.Contains(err.Error(), "kube-proxy is something else here") {
		t.Errorf("err %v", err)
	}
	r.d.Machines = m
	if _, err := doEvent(t, r, scenarios.Event{RestartKubeProxy: "all"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"restart control-plane", "restart worker", "restart worker2", "restart worker3"}, m.told); diff != "" {
		t.Error(diff)
	}
}

func TestEventsThatWouldFailAreRefusedBeforeAnythingIsDeployed(t *testing.T) {
	for name, row := range map[string]struct {
		event   scenarios.Event
		machine Machines
		want    string
	}{
		"a node that is not there":             {scenarios.Event{Drain: "worker7"}, nil, `spec.events[0].drain: the cluster has no node "worker7"`},
		"no lab":                               {scenarios.Event{KillNode: "worker3"}, nil, "only the lab can take the power from a node: podskew run --cluster lab"},
		"the node of a client":                 {scenarios.Event{KillNode: "worker2"}, &machines{}, "client web stands on node worker2"},
		"a node outside the Services' network": {scenarios.Event{RestartKubeProxy: "external"}, &machines{}, "no kube-proxy runs on node external"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(labNodes()...)
			d := deploymentOf(eventful(row.event))
			d.Machines = row.machine
			_, err := w.cluster(t, nil).Deploy(t.Context(), d, nil)
			if err == nil || !strings.Contains(err.Error(), row.want) || len(w.did()) > 0 {
				t.Errorf("err %v, did %q", err, w.did())
			}
		})
	}
}

func TestAnEventIsEffectiveWhenEachNodeAnswersForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		s := eventful(scenarios.Event{Cordon: "worker3"}, scenarios.Event{Label: &scenarios.Label{Pod: 0}}, scenarios.Event{PatchService: &scenarios.ServicePatch{InternalTrafficPolicy: "Local"}})
		r := w.deploy(t, w.cluster(t, nil), s)
		slice := func() []string {
			s, err := w.DiscoveryV1().EndpointSlices(r.Namespace()).Get(t.Context(), "canary", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range s.Ports {
				names = append(names, *p.Name)
			}
			return names
		}
		if diff := cmp.Diff([]string{"http", "event-2"}, slice()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"10.79.1.2:10001", "10.79.1.2:10002"}, slices.Compact(slices.Sorted(slices.Values(r.eventTargets())))); diff != "" {
			t.Error(diff)
		}
		for i, want := range []struct {
			unknown bool
			slice   []string
			service []string
		}{
			{true, []string{"http", "event-2"}, []string{"http", "event-1", "closed-event-2"}},
			{false, []string{"http", "event-2", "event-1"}, []string{"http", "event-1", "closed-event-2"}},
			{false, []string{"http", "event-2", "event-1"}, []string{"http", "event-1", "event-2"}},
		} {
			done, err := r.Do(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var asked []string
			unknown, err := r.WaitEffective(t.Context(), done, func(_ context.Context, agent, address string) error {
				mu.Lock()
				defer mu.Unlock()
				if asked = append(asked, agent+" "+address); len(asked) < 3 {
					return errors.New("refused")
				}
				return nil
			})
			if err != nil || unknown != want.unknown || !unknown && len(asked) < 3 {
				t.Errorf("event %d: %v, unknown %v, asked %q", i, err, unknown, asked)
			}
			if diff := cmp.Diff(want.slice, slice()); diff != "" {
				t.Errorf("event %d: %s", i, diff)
			}
			s, err := w.CoreV1().Services(r.Namespace()).Get(t.Context(), "canary", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range s.Spec.Ports {
				names = append(names, p.Name)
			}
			if diff := cmp.Diff(want.service, names); diff != "" {
				t.Errorf("event %d: %s", i, diff)
			}
		}
		r.Close()
	})
}

func TestAnEventThatNothingComesOfIsNotWaitedForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, nil), eventful(scenarios.Event{Scale: new(9)}))
		done, err := r.Do(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		done.settled = func(*endpointView) bool { return false }
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := r.WaitEffective(ctx, done, nil); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "scaled echo to 9") {
			t.Errorf("err %v", err)
		}
		r.Close()
	})
}

func TestChangesOfEndpoints(t *testing.T) {
	view := func(pods map[string]endpointState) *endpointView { return &endpointView{pods: pods} }
	ready, unready, ending := endpointState{ready: true}, endpointState{}, endpointState{terminating: true}
	before := view(map[string]endpointState{"stays": ready, "comes": unready, "fails": ready, "ends": ready, "goes": ending, "waits": unready})
	after := view(map[string]endpointState{"stays": ready, "comes": ready, "fails": unready, "ends": ending, "waits": unready, "new": unready, "fast": ready})
	var got []string
	for _, e := range before.changes(after) {
		got = append(got, string(e.Kind)+" "+e.What)
	}
	want := []string{
		"ready comes is a ready endpoint", "unready ends is ending, no ready endpoint any more", "unready fails is an endpoint that is not ready",
		"ready fast is a ready endpoint", "removed goes is no endpoint any more", "unready new is an endpoint that is not ready",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEndpointsAreFollowedUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(labNodes()...)
		r := w.deploy(t, w.cluster(t, nil), eventful())
		ctx, cancel := context.WithCancel(t.Context())
		var seen []record.Event
		var following sync.WaitGroup
		following.Go(func() {
			if err := r.FollowEndpoints(ctx, func(events []record.Event) { seen = append(seen, events...) }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		s, err := w.DiscoveryV1().EndpointSlices(r.Namespace()).Get(t.Context(), "echo-x1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s = s.DeepCopy()
		s.Endpoints[0].Conditions.Ready = new(false)
		if _, err := w.DiscoveryV1().EndpointSlices(r.Namespace()).Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		following.Wait()
		if len(seen) != 1 || seen[0].Kind != record.EventUnready || seen[0].Target != s.Endpoints[0].TargetRef.Name {
			t.Errorf("seen %+v", seen)
		}
		r.Close()
	})
}
