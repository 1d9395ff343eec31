package cluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func waitingStatus(reason, message string) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}, ContainerStatuses: []corev1.ContainerStatus{{
		Image: "podskew.dev/pod:dev", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}}}
}

func terminated(code int32, reason string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
}

func unschedulable() corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/4 nodes are available: 4 Insufficient memory.",
	}}}
}

func TestPodTrouble(t *testing.T) {
	crashing := waitingStatus("CrashLoopBackOff", "back-off 10s")
	crashing.ContainerStatuses[0].RestartCount = 2
	crashing.ContainerStatuses[0].LastTerminationState = terminated(2, "Error")
	for name, c := range map[string]struct {
		status  corev1.PodStatus
		restart corev1.RestartPolicy
		want    string // "" no trouble
		final   bool
		logs    bool
	}{
		"a pod nobody has looked at yet":   {corev1.PodStatus{Phase: corev1.PodPending}, "Always", "", false, false},
		"a container that is being made":   {waitingStatus("ContainerCreating", ""), "Always", "", false, false},
		"a node that lacks memory":         {unschedulable(), "Always", "cannot be scheduled: 0/4 nodes are available: 4 Insufficient memory.", false, false},
		"a first failed pull":              {waitingStatus("ErrImagePull", "no such host"), "Always", `cannot get image "podskew.dev/pod:dev": no such host (ErrImagePull)`, false, false},
		"a pull that failed again":         {waitingStatus("ImagePullBackOff", "no such host"), "Always", "no such host (ImagePullBackOff)", true, false},
		"a crash loop":                     {crashing, "Always", "crashed with exit code 2 (2 restarts)", true, true},
		"a container that cannot be made":  {waitingStatus("CreateContainerConfigError", `secret "agent" not found`), "Always", "cannot start its container: secret", false, false},
		"an agent that was killed":         {corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{State: terminated(137, "Error")}}}, "Never", "ended with exit code 137, killed (SIGKILL)", true, true},
		"an agent out of memory":           {corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{State: terminated(137, "OOMKilled")}}}, "Never", "killed for want of memory", true, true},
		"an agent that was evicted":        {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on\nresource: memory."}, "Never", "ended: The node was low on resource: memory. (Evicted)", true, false},
		"an agent that lived too long":     {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "DeadlineExceeded"}, "Never", "longer than its expiry", true, false},
		"an agent that ended of itself":    {corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{{State: terminated(0, "Completed")}}}, "Never", "ended with exit code 0", true, true},
		"an echo pod that was evicted":     {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}, "Always", "ended: Evicted", false, false},
		"a container that ended just now":  {corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{State: terminated(1, "Error")}}}, "Always", "crashed with exit code 1", false, true},
		"a pod that failed without a word": {corev1.PodStatus{Phase: corev1.PodFailed}, "Never", "nobody said why", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := podTrouble(&corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: c.restart}, Status: c.status})
			if got == nil {
				if c.want != "" {
					t.Errorf("no trouble, want %q", c.want)
				}
				return
			}
			if c.want == "" || !strings.Contains(got.sentence, c.want) || got.final != c.final || got.logs != c.logs {
				t.Errorf("got %+v, want %q, final %v, logs %v", got, c.want, c.final, c.logs)
			}
		})
	}
}

func echoPodObject(name string, status corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", Labels: map[string]string{labelRole: roleEcho}}, Status: status}
}

func readyStatus() corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
}

func newWait(c *fake.Clientset, echo int) *readyWait {
	return &readyWait{client: c, namespace: "ns", echo: echo, agents: map[string]bool{}, progress: func(string) {}}
}

func TestWhatMayPassIsWaitedForOnlySoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset(echoPodObject("a", unschedulable()), echoPodObject("b", readyStatus()))
		begun := time.Now()
		_, err := newWait(c, 2).wait(t.Context())
		if err == nil || err.Error() != "pod a cannot be scheduled: 0/4 nodes are available: 4 Insufficient memory." {
			t.Errorf("err %v", err)
		}
		if d := time.Since(begun); d != patience {
			t.Errorf("after %v", d)
		}
	})
}

func TestPodsThatRecoverAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset(echoPodObject("a", unschedulable()))
		begun := time.Now()
		go func() {
			time.Sleep(patience - time.Second)
			_, _ = c.CoreV1().Pods("ns").Update(t.Context(), echoPodObject("a", readyStatus()), metav1.UpdateOptions{})
		}()
		pods, err := newWait(c, 1).wait(t.Context())
		if err != nil || len(pods) != 1 || time.Since(begun) != patience-time.Second {
			t.Errorf("pods %d, err %v, after %v", len(pods), err, time.Since(begun))
		}
	})
}

func TestPodsThatComeLaterAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset()
		go func() {
			for i := range 3 {
				time.Sleep(time.Second)
				_, _ = c.CoreV1().Pods("ns").Create(t.Context(), echoPodObject(fmt.Sprint("p", i), readyStatus()), metav1.CreateOptions{})
			}
		}()
		begun := time.Now()
		pods, err := newWait(c, 3).wait(t.Context())
		if err != nil || len(pods) != 3 || time.Since(begun) != 3*time.Second {
			t.Errorf("pods %d, err %v, after %v", len(pods), err, time.Since(begun))
		}
	})
}

func TestAControllerThatMayNotMakePodsEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "echo", Namespace: "ns"}}
		d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "exceeded quota: two"}}
		begun := time.Now()
		_, err := newWait(fake.NewClientset(d), 3).wait(bounded(t, time.Minute))
		if err == nil || !strings.HasPrefix(err.Error(), "no pods for deployment echo: exceeded quota: two (FailedCreate)\n  a ResourceQuota") || time.Since(begun) != patience/2 {
			t.Errorf("err %v after %v", err, time.Since(begun))
		}
	})
}

func TestATimeoutNamesWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pulling := waitingStatus("ContainerCreating", "")
		pulling.Phase = corev1.PodPending
		a := echoPodObject("a", pulling)
		a.Spec.NodeName = "worker"
		w := newWait(fake.NewClientset(a, echoPodObject("b", corev1.PodStatus{})), 4)
		w.agents["web-0"] = true
		_, err := w.wait(bounded(t, 20*time.Second))
		want := "the pods did not get ready in time:\n  pod a waits on worker: ContainerCreating\n" +
			"  pod b waits for the scheduler\n  pod web-0 is not there\n  the controllers have created 2 of 4 echo pods"
		if err == nil || err.Error() != want {
			t.Errorf("err %v", err)
		}
	})
}

func TestCrashesComeWithTheEndOfTheLog(t *testing.T) {
	s := waitingStatus("CrashLoopBackOff", "")
	s.ContainerStatuses[0].LastTerminationState = terminated(2, "Error")
	w := newWait(fake.NewClientset(echoPodObject("a", s)), 1)
	_, err := w.wait(t.Context())
	err = w.logTail(t.Context(), err)
	if err == nil || !strings.Contains(err.Error(), "pod a crashed with exit code 2") || !strings.Contains(err.Error(), "says last: fake logs") {
		t.Errorf("err %v", err)
	}
	if plain := errors.New("x"); !errors.Is(w.logTail(t.Context(), plain), plain) {
		t.Error("another error was changed")
	}
}

func TestSentencesAboutManyPodsAreGrouped(t *testing.T) {
	var s sentences
	for i := range 3 {
		s.add(fmt.Sprint("a", i), "waits")
	}
	s.add("b", "sleeps")
	s.add("b2", "sleeps")
	if got, want := s.String(), "pod a0 and 2 others waits\n  pod b and 1 other sleeps"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for i := range 10 {
		s.add("c", fmt.Sprint("says ", i))
	}
	if got := s.String(); !strings.HasSuffix(got, "\n  … and 6 more") {
		t.Errorf("got %q", got)
	}
}

func endpointSlice(ready map[string]bool) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: serviceEcho}}}
	for name, r := range ready {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{Name: name}, Conditions: discoveryv1.EndpointConditions{Ready: new(r)}})
	}
	return s
}

func TestEndpointsAreCompleteWhenEveryPodIsListedReadyAndNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		have map[string]bool
		want string // "" complete
	}{
		"all are there":         {map[string]bool{"a": true, "b": true}, ""},
		"one is missing":        {map[string]bool{"a": true}, "not listed as ready: b; listed though not asked for: none"},
		"one is not ready":      {map[string]bool{"a": true, "b": false}, "not listed as ready: b"},
		"one is from elsewhere": {map[string]bool{"a": true, "b": true, "c": true}, "though not asked for: c"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := waitEndpoints(bounded(t, 10*time.Second), fake.NewClientset(endpointSlice(c.have)), "ns", serviceEcho, []string{"a", "b"})
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("err %v, want %q", err, c.want)
				}
			})
		})
	}
}

func TestEndpointsThatGetCompleteEndTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset(endpointSlice(map[string]bool{"a": true}))
		go func() {
			time.Sleep(2500 * time.Millisecond)
			_, _ = c.DiscoveryV1().EndpointSlices("ns").Update(t.Context(), endpointSlice(map[string]bool{"a": true, "b": true}), metav1.UpdateOptions{})
		}()
		begun := time.Now()
		if _, err := waitEndpoints(t.Context(), c, "ns", serviceEcho, []string{"a", "b"}); err != nil || time.Since(begun) != 2500*time.Millisecond {
			t.Errorf("err %v after %v", err, time.Since(begun))
		}
	})
}
