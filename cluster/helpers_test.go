package cluster

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/podskew/podskew/scenarios"
)

// newNodeObject is a ready node.
func newNodeObject(name, ip, zone string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{labelZone: zone, labelHostname: name}},
		Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: ip}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, f := range change {
		f(n)
	}
	return n
}

func tainted(key string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
	}
}

func external(n *corev1.Node) {
	n.Labels[labelExternal] = ""
	tainted(labelExternal)(n)
}

// labNodes are a control plane, three workers and an external node.
func labNodes() []*corev1.Node {
	return []*corev1.Node{
		newNodeObject("worker3", "10.77.0.13", "c"),
		newNodeObject("control-plane", "10.77.0.10", "", tainted("node-role.kubernetes.io/control-plane")),
		newNodeObject("worker", "10.77.0.11", "a"),
		newNodeObject("worker2", "10.77.0.12", "b"),
		newNodeObject("external", "10.77.0.14", "", external),
	}
}

func nodeList(nodes []*corev1.Node) []corev1.Node {
	var out []corev1.Node
	for _, n := range nodes {
		out = append(out, *n)
	}
	return out
}

func keepalive() *scenarios.Scenario {
	return &scenarios.Scenario{
		Metadata: scenarios.Metadata{Name: "keepalive"},
		Spec: scenarios.Spec{
			Echo:    scenarios.Echo{Replicas: 6},
			Service: scenarios.Service{Type: "ClusterIP"},
			Clients: []scenarios.Client{{
				Name: "web", Vantage: scenarios.VantagePod, Count: 2, Target: scenarios.TargetClusterIP, Connections: 4,
				Duration: 5 * time.Second, ConnectTimeout: 2 * time.Second, Timeout: 5 * time.Second,
			}},
		},
	}
}

func etpLocal() *scenarios.Scenario {
	client := func(name string, v scenarios.Vantage, nodes ...string) scenarios.Client {
		return scenarios.Client{
			Name: name, Vantage: v, Count: 2, Target: scenarios.TargetNodePort, TargetNodes: nodes, Connections: 3,
			RequestsPerConnection: 1, Requests: 300, ConnectTimeout: 2 * time.Second, Timeout: 5 * time.Second,
		}
	}
	s := scenarios.Service{Type: "NodePort", ExternalTrafficPolicy: "Local", SessionAffinity: "ClientIP", SessionAffinityConfig: &scenarios.SessionAffinityConfig{}}
	s.SessionAffinityConfig.ClientIP.TimeoutSeconds = 60
	return &scenarios.Scenario{
		Metadata: scenarios.Metadata{Name: "etp-local"},
		Spec: scenarios.Spec{
			Echo:    scenarios.Echo{Placement: map[string]int{"worker": 1, "worker2": 3, "worker3": 0}},
			Service: s,
			Clients: []scenarios.Client{client("outside", scenarios.VantageExternal), client("inside", scenarios.VantageNode, "worker", "worker2")},
		},
	}
}

func deploymentOf(s *scenarios.Scenario) Deployment {
	return Deployment{RunID: "d0", Scenario: s}
}

// completed is a deployment with defaults and its layout on the lab's nodes.
func completed(t *testing.T, s *scenarios.Scenario) (Deployment, *layout) {
	t.Helper()
	d := deploymentOf(s)
	if err := d.complete(); err != nil {
		t.Fatal(err)
	}
	l, err := newLayout(d, nodeList(labNodes()))
	if err != nil {
		t.Fatal(err)
	}
	return d, l
}

// world is a fake API server with just enough controllers: Services get addresses, Deployments pods, pods run, and
// EndpointSlices list them.
type world struct {
	*fake.Clientset
	mu     sync.Mutex
	broken func(*corev1.Pod) // changes pods that would be ready

	ingress []corev1.LoadBalancerIngress // of Services of type LoadBalancer

	rules *dynamicfake.FakeDynamicClient // has what Kubernetes has no types of
}

func newWorld(nodes ...*corev1.Node) *world {
	var objects []runtime.Object
	for _, n := range nodes {
		objects = append(objects, n)
	}
	w := &world{Clientset: fake.NewClientset(objects...), rules: dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())}
	w.rules.PrependReactor("patch", "*", func(a k8stesting.Action) (bool, runtime.Object, error) {
		rule := &unstructured.Unstructured{}
		return true, rule, rule.UnmarshalJSON(a.(k8stesting.PatchAction).GetPatch())
	})
	w.PrependReactor("patch", "services", w.service)
	w.PrependReactor("list", "pods", w.pods)
	w.PrependReactor("list", "endpointslices", w.slices)
	return w
}

// cluster is a connection to w; raw requests go to handler, which may be nil.
func (w *world) cluster(t *testing.T, handler http.Handler) *Cluster {
	t.Helper()
	c := &Cluster{client: w, dynamic: w.rules, provider: "lab", version: "v1.36.3", notes: &notes{}, base: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}
	c.http = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, fmt.Errorf("connection refused") })}
	if handler != nil {
		s := httptest.NewServer(handler)
		t.Cleanup(s.Close)
		c.http = s.Client()
		c.base, _ = url.Parse(s.URL)
	}
	return c
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (w *world) service(a k8stesting.Action) (bool, runtime.Object, error) {
	_, obj, err := k8stesting.ObjectReaction(w.Tracker())(a)
	s, ok := obj.(*corev1.Service)
	if err != nil || !ok {
		return true, obj, err
	}
	s = s.DeepCopy()
	if s.Spec.ClusterIP == "" {
		s.Spec.ClusterIP = map[string]string{serviceEcho: "10.79.1.1", serviceCanary: "10.79.1.2", serviceGateway: "10.79.1.3", "local": "10.79.1.5", "nobody": "10.79.1.4"}[s.Name]
	}
	s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	if s.Spec.Type != corev1.ServiceTypeClusterIP {
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = map[string]int32{serviceEcho: 30001, serviceCanary: 30002, serviceGateway: 30003, "local": 30004}[s.Name] + int32(100*i)
		}
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		s.Status.LoadBalancer.Ingress = w.ingress
	}
	return true, s, w.Tracker().Update(a.GetResource(), s, s.Namespace)
}

func resourceOf(group, resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}
}

// items reads all objects of a kind from the tracker, which, unlike the client, may be used inside a reactor.
func items[T any](w *world, group, resource, kind, namespace string, get func(runtime.Object) []T) []T {
	l, err := w.Tracker().List(resourceOf(group, resource), schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind}, namespace)
	if err != nil {
		return nil
	}
	return get(l)
}

func (w *world) podItems(namespace string) []corev1.Pod {
	return items(w, "", "pods", "Pod", namespace, func(l runtime.Object) []corev1.Pod { return l.(*corev1.PodList).Items })
}

func (w *world) pods(a k8stesting.Action) (bool, runtime.Object, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ns := a.GetNamespace()
	have := map[string]bool{}
	for _, p := range w.podItems(ns) {
		have[p.Name] = true
	}
	number := 10
	for _, d := range items(w, "apps", "deployments", "Deployment", ns, func(l runtime.Object) []appsv1.Deployment { return l.(*appsv1.DeploymentList).Items }) {
		for i := range int(*d.Spec.Replicas) {
			if name := fmt.Sprintf("%s-%d", d.Name, i); !have[name] {
				p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns, Labels: d.Spec.Template.Labels}, Spec: d.Spec.Template.Spec}
				_ = w.Tracker().Add(p)
			}
		}
	}
	for _, p := range w.podItems(ns) {
		if p.Spec.NodeName == "" {
			number++
			w.run(&p, number)
			_ = w.Tracker().Update(resourceOf("", "pods"), &p, ns)
		}
	}
	return false, nil, nil
}

func (w *world) run(p *corev1.Pod, number int) {
	p.UID = types.UID("uid-" + p.Name)
	p.Spec.NodeName = "worker"
	if a := p.Spec.Affinity; a != nil {
		if f := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields; len(f) > 0 {
			p.Spec.NodeName = f[0].Values[0]
		}
	}
	ip := fmt.Sprintf("10.78.1.%d", number)
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	if w.broken != nil {
		w.broken(p)
	}
}

func (w *world) slices(a k8stesting.Action) (bool, runtime.Object, error) {
	ns := a.GetNamespace()
	for _, service := range []string{serviceEcho, "local", "names"} {
		w.slice(ns, service)
	}
	return false, nil, nil
}

// slice lists the echo pods as endpoints of a Service.
func (w *world) slice(ns, service string) {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: service + "-x1", Namespace: ns, Labels: map[string]string{discoveryv1.LabelServiceName: service}}}
	for _, p := range w.podItems(ns) {
		if w.selects(&p) {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{p.Status.PodIP}, NodeName: new(p.Spec.NodeName), Zone: new("a"),
				Conditions: discoveryv1.EndpointConditions{Ready: new(podReady(&p))},
				TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: p.Name},
				Hints:      &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}}},
			})
		}
	}
	slices.SortFunc(s.Endpoints, func(a, b discoveryv1.Endpoint) int { return strings.Compare(b.TargetRef.Name, a.TargetRef.Name) })
	_ = w.Tracker().Delete(resourceOf("discovery.k8s.io", "endpointslices"), ns, s.Name)
	_ = w.Tracker().Add(s)
}

// selects reports whether the echo Service selects a pod.
func (w *world) selects(p *corev1.Pod) bool {
	o, err := w.Tracker().Get(resourceOf("", "services"), p.Namespace, serviceEcho)
	if err != nil {
		return false
	}
	for key, value := range o.(*corev1.Service).Spec.Selector {
		if p.Labels[key] != value {
			return false
		}
	}
	return true
}

// did lists the writes to the fake API server as "verb resource/name".
func (w *world) did() []string {
	var out []string
	for _, a := range w.Actions() {
		switch a.GetVerb() {
		case "patch":
			out = append(out, "apply "+a.GetResource().Resource+"/"+a.(k8stesting.PatchAction).GetName())
		case "create":
			if o, err := meta.Accessor(a.(k8stesting.CreateAction).GetObject()); err == nil && o.GetName() != "" {
				out = append(out, "create "+a.GetResource().Resource+"/"+o.GetName())
			}
		case "delete":
			out = append(out, "delete "+a.GetResource().Resource+"/"+a.(k8stesting.DeleteAction).GetName())
		case "delete-collection":
			out = append(out, "delete all "+a.GetResource().Resource)
		}
	}
	return out
}

// deploy deploys s into w and closes the run at the test's end.
func (w *world) deploy(t *testing.T, c *Cluster, s *scenarios.Scenario) *Run {
	t.Helper()
	r, err := c.Deploy(t.Context(), deploymentOf(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func before(t *testing.T, did []string, first, then string) {
	t.Helper()
	i, j := slices.Index(did, first), slices.Index(did, then)
	if i < 0 || j < 0 || i > j {
		t.Errorf("%q (at %d) does not come before %q (at %d)", first, i, then, j)
	}
}

// bounded is the test's context with a deadline.
func bounded(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
