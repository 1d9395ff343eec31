package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestParseToleration(t *testing.T) {
	for in, want := range map[string]Toleration{
		"dedicated":                   {Key: "dedicated"},
		"dedicated=tests":             {Key: "dedicated", Value: "tests"},
		"dedicated=tests:NoSchedule":  {Key: "dedicated", Value: "tests", Effect: "NoSchedule"},
		"example.com/gpu:NoExecute":   {Key: "example.com/gpu", Effect: "NoExecute"},
		"node-role.kubernetes.io/a_b": {Key: "node-role.kubernetes.io/a_b"},
	} {
		if got, err := ParseToleration(in); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "=x", ":NoSchedule", "a b", "a=b c", "a:Never", "a:", "A.com/x", "a/b/c", "-a"} {
		if got, err := ParseToleration(in); err == nil {
			t.Errorf("%q: %+v", in, got)
		}
	}
}

func FuzzParseToleration(f *testing.F) {
	for _, seed := range []string{"a=b:NoSchedule", "x.y/z", ":::", "a=:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := ParseToleration(in)
		if err != nil {
			return
		}
		again := got.Key
		if got.Value != "" {
			again += "=" + got.Value
		}
		if got.Effect != "" {
			again += ":" + got.Effect
		}
		if same, err := ParseToleration(again); err != nil || same != got {
			t.Errorf("%q is %+v, written %q, which is %+v, %v", in, got, again, same, err)
		}
	})
}

func TestParseNodeSelector(t *testing.T) {
	if key, value, err := ParseNodeSelector("example.com/pool=tests"); key != "example.com/pool" || value != "tests" || err != nil {
		t.Error(key, value, err)
	}
	for _, in := range []string{"", "pool", "=x", "a=b=c", "a b=c"} {
		if _, _, err := ParseNodeSelector(in); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}

func TestTolerationsAndSelectorsSayWhichNodesTakePods(t *testing.T) {
	pool := func(n *corev1.Node) { n.Labels["pool"] = "tests" }
	nodes := []*corev1.Node{
		newNodeObject("a", "10.0.0.1", ""), newNodeObject("b", "10.0.0.2", "", pool),
		newNodeObject("c", "10.0.0.3", "", pool, tainted("dedicated")), newNodeObject("d", "10.0.0.4", "", tainted("other")),
	}
	for name, tc := range map[string]struct {
		d    Deployment
		want []string
	}{
		"neither":               {Deployment{}, []string{"a", "b"}},
		"a toleration":          {Deployment{Tolerations: []Toleration{{Key: "dedicated"}}}, []string{"a", "b", "c"}},
		"a selector":            {Deployment{NodeSelector: map[string]string{"pool": "tests"}}, []string{"b"}},
		"both":                  {Deployment{NodeSelector: map[string]string{"pool": "tests"}, Tolerations: []Toleration{{Key: "dedicated", Effect: "NoSchedule"}}}, []string{"b", "c"}},
		"of another value":      {Deployment{Tolerations: []Toleration{{Key: "dedicated", Value: "x"}}}, []string{"a", "b"}},
		"of another effect":     {Deployment{Tolerations: []Toleration{{Key: "dedicated", Effect: "NoExecute"}}}, []string{"a", "b"}},
		"of another key":        {Deployment{Tolerations: []Toleration{{Key: "dedicate"}}}, []string{"a", "b"}},
		"labels no node has":    {Deployment{NodeSelector: map[string]string{"pool": "x"}}, nil},
		"a label without value": {Deployment{NodeSelector: map[string]string{"pool": ""}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tc.d.RunID, tc.d.Scenario = "d0", keepalive()
			l, err := newLayout(tc.d, nodeList(nodes))
			if tc.want == nil {
				if err == nil || !strings.Contains(err.Error(), "none with the labels of the node selector") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || !cmp.Equal(l.workers, tc.want) {
				t.Errorf("got %v, %v, want %v", l, err, tc.want)
			}
		})
	}
}

func TestTolerationsAreOnEveryPodAndSelectorsOnThoseThatNameNoNode(t *testing.T) {
	d, l := completed(t, keepalive())
	d.Tolerations = []Toleration{{Key: "a"}, {Key: "b", Value: "c", Effect: "NoSchedule"}}
	d.NodeSelector = map[string]string{"pool": "tests"}
	echo, agent := echoDeployments(d, l)[0].Spec.Template.Spec, agentPod(d, l.agents[0]).Spec
	if !cmp.Equal(echo.NodeSelector, d.NodeSelector) || agent.NodeSelector != nil {
		t.Errorf("selectors %v and %v", echo.NodeSelector, agent.NodeSelector)
	}
	for _, ts := range [][]string{{*echo.Tolerations[0].Key, string(*echo.Tolerations[0].Operator)}, {*agent.Tolerations[0].Key, string(*agent.Tolerations[0].Operator)}} {
		if !cmp.Equal(ts, []string{"a", "Exists"}) {
			t.Errorf("tolerations %v", ts)
		}
	}
	second := echo.Tolerations[1]
	if *second.Key != "b" || *second.Operator != "Equal" || *second.Value != "c" || *second.Effect != "NoSchedule" {
		t.Errorf("toleration %+v", second)
	}
}

func TestTheNetworkPluginIsFoundByItsPods(t *testing.T) {
	pod := func(name, owner, key, value string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "any", Labels: map[string]string{key: value},
			OwnerReferences: []metav1.OwnerReference{{Kind: owner, Name: "x"}},
		}}
	}
	for name, tc := range map[string]struct {
		pods []*corev1.Pod
		want string
	}{
		"nothing that is known":       {[]*corev1.Pod{pod("a", "DaemonSet", "k8s-app", "kube-proxy")}, "unknown"},
		"a plugin":                    {[]*corev1.Pod{pod("a", "DaemonSet", "k8s-app", "calico-node"), pod("b", "DaemonSet", "k8s-app", "calico-node")}, "calico"},
		"a plugin by its other label": {[]*corev1.Pod{pod("a", "DaemonSet", "app", "kindnet"), pod("b", "DaemonSet", "k8s-app", "kindnet")}, "kindnet"},
		"a chain of two":              {[]*corev1.Pod{pod("a", "DaemonSet", "k8s-app", "aws-node"), pod("b", "DaemonSet", "k8s-app", "cilium")}, "cilium+aws-vpc-cni"},
		"an application of that name": {[]*corev1.Pod{pod("a", "ReplicaSet", "app", "flannel")}, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(labNodes()...)
			for _, p := range tc.pods {
				p.Spec.NodeName = "worker"
				w.add(t, p)
			}
			c := w.cluster(t, nil)
			c.provider = "current"
			r := &Run{c: c, d: deploymentOf(keepalive()), programmed: map[string]bool{}}
			if got := r.c.readCNI(t.Context()); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestFactsNameTheNetworkPluginButNotTheLabs(t *testing.T) {
	for provider, want := range map[string]string{"lab": "", "kind": "unknown"} {
		w := newWorld(labNodes()...)
		c := w.cluster(t, nil)
		c.provider = provider
		r := w.deploy(t, c, keepalive())
		f, err := r.Facts(t.Context(), time.Now())
		if err != nil || f.Cluster.CNI != want {
			t.Errorf("%s: plugin %q, %v, want %q", provider, f.Cluster.CNI, err, want)
		}
	}
}
