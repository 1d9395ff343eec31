package cluster

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
