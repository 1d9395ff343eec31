package cluster

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

// Toleration lets pods onto nodes with a taint.
type Toleration struct {
	Key    string
	Value  string // "": any
	Effect string // NoSchedule, PreferNoSchedule or NoExecute; "": every
}

var (
	taintKey   = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	taintValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$`)
)

// ParseToleration reads KEY[=VALUE][:EFFECT], as kubectl taint writes taints.
func ParseToleration(s string) (Toleration, error) {
	head, effect, hasEffect := strings.Cut(s, ":")
	key, value, _ := strings.Cut(head, "=")
	t := Toleration{Key: key, Value: value, Effect: effect}
	effects := []string{"NoSchedule", "PreferNoSchedule", "NoExecute"}
	switch {
	case !taintKey.MatchString(key) || !taintValue.MatchString(value):
		return Toleration{}, fmt.Errorf("toleration %q: write KEY, KEY=VALUE or KEY=VALUE:EFFECT, as in kubectl taint", s)
	case hasEffect && !slices.Contains(effects, effect):
		return Toleration{}, fmt.Errorf("toleration %q: the effect is one of %s", s, strings.Join(effects, ", "))
	}
	return t, nil
}

// ParseNodeSelector reads KEY=VALUE, a label that nodes must have.
func ParseNodeSelector(s string) (key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok || !taintKey.MatchString(key) || !taintValue.MatchString(value) {
		return "", "", fmt.Errorf("node selector %q: write KEY=VALUE", s)
	}
	return key, value, nil
}

func (t Toleration) tolerates(taint corev1.Taint) bool {
	return t.Key == taint.Key && (t.Value == "" || t.Value == taint.Value) && (t.Effect == "" || t.Effect == string(taint.Effect))
}

// tolerations are for every pod of a deployment.
func tolerations(d Deployment) []*corev1ac.TolerationApplyConfiguration {
	var out []*corev1ac.TolerationApplyConfiguration
	for _, t := range d.Tolerations {
		o := corev1ac.Toleration().WithKey(t.Key).WithOperator(corev1.TolerationOpExists)
		if t.Value != "" {
			o.WithOperator(corev1.TolerationOpEqual).WithValue(t.Value)
		}
		if t.Effect != "" {
			o.WithEffect(corev1.TaintEffect(t.Effect))
		}
		out = append(out, o)
	}
	return out
}

// takes reports whether a node takes the pods of a deployment that name no node.
func (d Deployment) takes(n *corev1.Node) bool {
	if !nodeReady(n) || n.Spec.Unschedulable {
		return false
	}
	for _, taint := range n.Spec.Taints {
		tolerated := slices.ContainsFunc(d.Tolerations, func(t Toleration) bool { return t.tolerates(taint) })
		if taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated {
			return false
		}
	}
	for key, value := range d.NodeSelector {
		if have, ok := n.Labels[key]; !ok || have != value {
			return false
		}
	}
	return true
}
