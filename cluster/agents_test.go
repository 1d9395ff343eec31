package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPostGoesThroughThePodProxyWithTheToken(t *testing.T) {
	w := newWorld(labNodes()...)
	var got struct{ path, token, body string }
	r := w.deploy(t, w.cluster(t, http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		got.path, got.token, got.body = req.Method+" "+req.URL.Path, req.Header.Get("X-Podskew-Token"), string(body)
		fmt.Fprint(rw, "ok")
	})), keepalive())
	answer, err := r.Post(t.Context(), "web-1", "/v1/run", strings.NewReader("plan"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	text, _ := io.ReadAll(answer)
	if got.path != "POST /api/v1/namespaces/podskew-d0/pods/web-1:8080/proxy/v1/run" || got.token != r.token || got.body != "plan" || string(text) != "ok" {
		t.Errorf("%+v, answer %q", got, text)
	}
}

func TestPostReachesHostNetworkAgentsAtTheirOwnPorts(t *testing.T) {
	w := newWorld(labNodes()...)
	var path string
	r := w.deploy(t, w.cluster(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { path = req.URL.Path })), etpLocal())
	if _, err := r.Post(t.Context(), "outside-1", "x", nil); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("/pods/outside-1:%d/proxy/x", hostPortBase("d0")+1); !strings.HasSuffix(path, want) {
		t.Errorf("got %s, want %s", path, want)
	}
}

func TestAnswersStreamAsTheyCome(t *testing.T) {
	w := newWorld(labNodes()...)
	next := make(chan struct{})
	r := w.deploy(t, w.cluster(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			fmt.Fprintln(rw, "line", i)
			rw.(http.Flusher).Flush()
			<-next
		}
	})), keepalive())
	answer, err := r.Post(t.Context(), "web-0", "v1/run", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	lines := bufio.NewScanner(answer)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprint("line ", i) {
			t.Fatalf("line %d: %q, %v", i, lines.Text(), lines.Err())
		}
		next <- struct{}{} // only now may the next one be written
	}
}

func TestRefusedPosts(t *testing.T) {
	w := newWorld(labNodes()...)
	var code int
	var body string
	r := w.deploy(t, w.cluster(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(code)
		fmt.Fprint(rw, body)
	})), keepalive())
	for name, c := range map[string]struct {
		code int
		body string
		want string
		own  bool
	}{
		"by the agent":           {403, `{"error":"the plan carries another run's token"}`, "agent web-0: the plan carries another run's token", true},
		"by the API server":      {503, `{"kind":"Status","status":"Failure","message":"error trying to reach service: dial tcp 10.78.1.2:8080: connect: connection refused","reason":"ServiceUnavailable","code":503}`, "connection refused", false},
		"without a word of JSON": {502, "<b>bad\ngateway</b>", "<b>bad gateway</b>", false},
		"without a word":         {500, "", "agent web-0", false},
	} {
		t.Run(name, func(t *testing.T) {
			code, body = c.code, c.body
			_, err := r.Post(t.Context(), "web-0", "v1/run", nil)
			own, isOwn := errors.AsType[*AnswerError](err)
			if err == nil || !strings.Contains(err.Error(), c.want) || isOwn != c.own || isOwn && own.Code != c.code {
				t.Errorf("err %v", err)
			}
			if _, isStatus := errors.AsType[*apierrors.StatusError](err); isStatus == c.own {
				t.Errorf("a status error: %v", isStatus)
			}
		})
	}
	if _, err := r.Post(t.Context(), "nobody", "v1/run", nil); err == nil || !strings.Contains(err.Error(), `no agent "nobody"`) {
		t.Errorf("err %v", err)
	}
}

func TestAgentState(t *testing.T) {
	pods := func(w *world) *corev1.Pod {
		p, err := w.CoreV1().Pods("podskew-d0").Get(context.Background(), "web-0", metav1.GetOptions{})
		if err != nil {
			panic(err)
		}
		return p
	}
	end := func(status corev1.PodStatus) func(*world) {
		return func(w *world) {
			p := pods(w)
			p.Status = status
			_ = w.Tracker().Update(resourceOf("", "pods"), p, p.Namespace)
		}
	}
	for name, c := range map[string]struct {
		change  func(*world)
		want    string
		running bool
		within  time.Duration
	}{
		"it runs":       {func(*world) {}, "its pod runs on worker", true, settle},
		"it was killed": {end(corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{State: terminated(137, "Error")}}}), "ended with exit code 137, killed (SIGKILL)", false, 0},
		"it is told late": {func(w *world) {
			go func() {
				time.Sleep(2 * time.Second)
				end(corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{State: terminated(1, "Error")}}})(w)
			}()
		}, "ended with exit code 1", false, 2 * time.Second},
		"its pod is gone": {func(w *world) { _ = w.Tracker().Delete(resourceOf("", "pods"), "podskew-d0", "web-0") }, "its pod is gone", false, 0},
		"its node is lost": {func(w *world) {
			n := newNodeObject("worker", "10.77.0.11", "a")
			n.Status.Conditions[0] = corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status."}
			_ = w.Tracker().Update(resourceOf("", "nodes"), n, "")
		}, "its node worker is not ready since 00:00:00: Kubelet stopped posting node status. (NodeStatusUnknown)", false, settle},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(labNodes()...)
				r := w.deploy(t, w.cluster(t, nil), keepalive())
				c.change(w)
				begun := time.Now()
				got, err := r.AgentState(t.Context(), "web-0")
				if err != nil || got.Running != c.running || !strings.HasPrefix(got.Detail, c.want) || time.Since(begun) != c.within {
					t.Errorf("%+v, err %v after %v", got, err, time.Since(begun))
				}
			})
		})
	}
}

func FuzzStatusError(f *testing.F) {
	f.Add(400, []byte(`{"error":"x"}`))
	f.Add(503, []byte(`{"kind":"Status","message":"x"}`))
	f.Add(500, []byte("\xff<html>"))
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		if err := statusError(code, "POST", body); err == nil || err.Error() == "" {
			t.Errorf("no words for %d %q", code, body)
		}
	})
}
