package cluster

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestEchoPodsAreAskedThroughTheAPIServer(t *testing.T) {
	w := newWorld(labNodes()...)
	var asked []string
	c := w.cluster(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.String())
		_, _ = w.Write([]byte("counts"))
	}))
	r := w.deploy(t, c, keepalive())
	got, err := r.AskEcho(t.Context(), "echo-0", "/stats?rows=compact")
	if err != nil || string(got) != "counts" {
		t.Errorf("got %q, %v", got, err)
	}
	if diff := cmp.Diff([]string{"POST /api/v1/namespaces/podskew-d0/pods/echo-0:8080/proxy/stats?rows=compact"}, asked); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyRunningEchoPodsAreListed(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, nil), keepalive())
	for _, p := range w.podItems(r.Namespace()) {
		if p.Name == "echo-3" {
			p.Status.Phase = corev1.PodPending
			if err := w.Tracker().Update(resourceOf("", "pods"), &p, p.Namespace); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := r.EchoPods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"echo-0", "echo-1", "echo-2", "echo-4", "echo-5"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestEchoPodsWithoutPowerAreNotAsked(t *testing.T) {
	w := newWorld(labNodes()...)
	r := w.deploy(t, w.cluster(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })), keepalive())
	pods, err := r.EchoPods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	node := ""
	for _, p := range w.podItems(r.Namespace()) {
		if p.Name == pods[0] {
			node = p.Spec.NodeName
		}
	}
	r.killed = map[string]bool{node: true}
	_, err = r.AskEcho(t.Context(), pods[0], "/stats")
	if want := "asking pod " + pods[0] + ": node " + node + " has no power"; node == "" || err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
