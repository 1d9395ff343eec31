package cluster

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestANodeIsTakenAtItsWordAndMissedOnlyAfterAWhile(t *testing.T) {
	silence := errors.New("refused")
	h := &health{}
	for i, step := range []struct {
		passes bool
		weight int
		err    error
		want   bool
	}{
		{true, 2, nil, true},
		{false, 0, silence, true}, {false, 0, silence, true}, {true, 2, nil, true}, // an answer in between: it counts anew
		{false, 0, silence, true}, {false, 0, silence, true}, {false, 0, silence, false},
		{true, 2, nil, true}, {false, 0, nil, false}, // it says no: at once
	} {
		h.update(step.passes, step.weight, step.err)
		if h.passes != step.want {
			t.Errorf("step %d: passes %t", i, h.passes)
		}
	}
	if h.update(true, 100_000, nil); h.weight != 256 {
		t.Errorf("weight %d: more than the kernel takes", h.weight)
	}
	if h.update(true, 0, nil); h.weight != 1 {
		t.Errorf("weight %d: a node that passes has a part", h.weight)
	}
}

func TestConnectionsAreDealtToNodesThatPass(t *testing.T) {
	nodes := Nodes(3)
	passes := func(weight int) *health { return &health{passes: true, weight: weight} }
	for _, c := range []struct {
		name     string
		known    map[string]*health
		weighted bool
		want     string
	}{
		{"evenly", map[string]*health{"worker": passes(1), "worker2": passes(3), "worker3": {}}, false, "worker=1,worker2=1"},
		{"by weight", map[string]*health{"worker": passes(1), "worker2": passes(3), "worker3": {}}, true, "worker=1,worker2=3"},
		{"to all, when none passes", map[string]*health{"worker": {}, "worker2": {weight: 3}}, true, "worker=1,worker2=1,worker3=1"},
		{"to all, before any was asked", map[string]*health{}, false, "worker=1,worker2=1,worker3=1"},
	} {
		shares, words := dealing(nodes, c.known, c.weighted)
		if words != c.want {
			t.Errorf("%s: %s, want %s", c.name, words, c.want)
		}
		for _, s := range shares {
			if s.Via == nodes[3].Address || s.Weight < 1 {
				t.Errorf("%s: %+v", c.name, s)
			}
		}
	}
}

func TestBalancersAreThoseWithAnAddress(t *testing.T) {
	b := newBalancers()
	with, without := balanced("with", corev1.ServiceTypeLoadBalancer, "10.80.0.1"), balanced("without", corev1.ServiceTypeLoadBalancer)
	b.see(with)
	b.see(without)
	b.see(balanced("node", corev1.ServiceTypeNodePort, "10.80.0.9"))
	if len(b.all()) != 1 || b.all()[nameOf(with)] == nil {
		t.Errorf("%v", b.all())
	}
	b.only([]corev1.Service{*balanced("other", corev1.ServiceTypeLoadBalancer, "10.80.0.2")})
	if len(b.all()) != 1 || b.all()[nameOf(with)] != nil {
		t.Errorf("after a new list: %v", b.all())
	}
	other := balanced("other", corev1.ServiceTypeLoadBalancer, "10.80.0.2")
	other.DeletionTimestamp = new(metav1.Now())
	if b.see(other); len(b.all()) != 0 {
		t.Errorf("one that ends: %v", b.all())
	}
}
