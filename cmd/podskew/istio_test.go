package main_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/report"
)

// rulesAPI is the part of Istio's API that a run uses, with the types of its fields: what is not in it, the API server drops.
const rulesAPI = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: destinationrules.networking.istio.io}
spec:
  group: networking.istio.io
  scope: Namespaced
  names: {kind: DestinationRule, plural: destinationrules, singular: destinationrule, listKind: DestinationRuleList}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              required: [host]
              properties:
                host: {type: string}
                exportTo: {type: array, items: {type: string}}
                trafficPolicy:
                  type: object
                  properties:
                    loadBalancer:
                      type: object
                      oneOf: [{required: [simple]}, {required: [consistentHash]}]
                      properties:
                        simple: {type: string, enum: [UNSPECIFIED, RANDOM, PASSTHROUGH, ROUND_ROBIN, LEAST_REQUEST]}
                        localityLbSetting: {type: object, properties: {enabled: {type: boolean, nullable: true}}}
                        consistentHash:
                          type: object
                          oneOf: [{required: [httpHeaderName]}, {required: [httpCookie]}, {required: [useSourceIp]}]
                          properties:
                            httpHeaderName: {type: string}
                            useSourceIp: {type: boolean}
                            httpCookie: {type: object, required: [name], properties: {name: {type: string}, ttl: {type: string}}}
                            ringHash: {type: object, properties: {minimumRingSize: {type: integer, minimum: 0}}}
`

// emptySidecar puts a container that is called as a sidecar is into each pod of namespaces that ask for sidecars. Nothing is led
// through it: it stands for a mesh whose interception does not work.
const emptySidecar = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: empty-sidecar}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {istio-injection: enabled}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  failurePolicy: Fail
  reinvocationPolicy: Never
  mutations:
    - patchType: JSONPatch
      jsonPatch:
        expression: >
          [JSONPatch{op: "add", path: "/spec/containers/-", value: Object.spec.containers{
            name: "istio-proxy", image: "podskew.dev/pod:dev", imagePullPolicy: "IfNotPresent",
            args: ["echo", "--listen=127.0.0.1:18081", "--listen-tls=", "--listen-tcp=", "--listen-udp="]}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: empty-sidecar}
spec: {policyName: empty-sidecar}
`

// byCookie is a rule with all that those of the library do not have.
const byCookie = `apiVersion: podskew.dev/v1alpha1
kind: Scenario
metadata: {name: by-cookie}
spec:
  echo: {replicas: 2}
  destinationRule:
    revision: v9
    trafficPolicy:
      loadBalancer:
        consistentHash: {httpCookie: {name: user_id, ttl: 90s}, ringHash: {minimumRingSize: 512}}
  clients:
    - {name: web, connections: 2, requests: 10, session: {cookie: true}}
`

const withoutIstio = `apiVersion: podskew.dev/v1alpha1
kind: Scenario
metadata: {name: without-istio}
spec:
  echo: {replicas: 2}
  clients:
    - {name: web, connections: 2, requests: 10}
`

// istioLab is a lab that may get Istio's API, and no more of Istio than that.
type istioLab struct {
	*cli
	admin   *kubernetes.Clientset
	dynamic *dynamic.DynamicClient

	mu     sync.Mutex
	rules  map[string]any    // host → spec
	labels map[string]string // host's namespace → what asks for sidecars there
}

func newIstioLab(t *testing.T) *istioLab {
	t.Helper()
	l := &istioLab{cli: newCLI(t), rules: map[string]any{}, labels: map[string]string{}}
	l.lab(t, "nftables")
	cfg, err := clientcmd.BuildConfigFromFlags("", strings.TrimSpace(l.ok(t, "cluster", "up", "--proxy-mode", "nftables").stdout))
	if err != nil {
		t.Fatal(err)
	}
	if l.admin, err = kubernetes.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	if l.dynamic, err = dynamic.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"by-cookie.yaml": byCookie, "without.yaml": withoutIstio} {
		if err := os.WriteFile(filepath.Join(l.dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// create makes an object that has no namespace.
func (l *istioLab) create(t *testing.T, group, resource, text string) {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	api := l.dynamic.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource})
	if _, err := api.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// install gives the API server Istio's API, and notes the rules that come.
func (l *istioLab) install(t *testing.T) {
	t.Helper()
	l.create(t, "apiextensions.k8s.io", "customresourcedefinitions", rulesAPI)
	rules := l.dynamic.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "destinationrules"})
	ctx, cancel := context.WithCancel(t.Context())
	var watcher sync.WaitGroup
	t.Cleanup(func() { cancel(); watcher.Wait() })
	until(t, 30*time.Second, "the API server serves Istio's API", func() bool {
		w, err := rules.Watch(ctx, metav1.ListOptions{})
		if err != nil {
			return false
		}
		watcher.Go(func() {
			for e := range w.ResultChan() {
				if rule, ok := e.Object.(*unstructured.Unstructured); ok && rule.GetKind() == "DestinationRule" {
					l.note(ctx, rule)
				}
			}
		})
		_, err = l.admin.Discovery().ServerResourcesForGroupVersion("networking.istio.io/v1")
		return err == nil
	})
}

func (l *istioLab) note(ctx context.Context, rule *unstructured.Unstructured) {
	asked := ""
	if ns, err := l.admin.CoreV1().Namespaces().Get(ctx, rule.GetNamespace(), metav1.GetOptions{}); err == nil {
		for _, key := range []string{"istio-injection", "istio.io/rev"} {
			if value, ok := ns.Labels[key]; ok {
				asked += key + "=" + value
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	host, _, _ := unstructured.NestedString(rule.Object, "spec", "host")
	l.rules[host] = rule.Object["spec"]
	if l.labels[host] == "" {
		l.labels[host] = asked
	}
}

// TestScenariosOfIstioWithoutIstio: where the API is not there they are skipped, and where only the API is there they say that
// nobody put sidecars into the pods. Where sidecars lead nothing through themselves the report says that. Nothing is left
// behind, and whatever else runs is as it was.
func TestScenariosOfIstioWithoutIstio(t *testing.T) {
	l := newIstioLab(t)
	names := []string{"istio-header-hash", "istio-round-robin", "by-cookie.yaml", "without.yaml"}
	run := func() *report.Summary {
		r := l.run(t, append([]string{"run", "--cluster", "lab", "-o", "json=series.json"}, names...)...)
		if r.code != 0 {
			t.Fatalf("exit code %d\n%s\n%s", r.code, r.stdout, r.stderr)
		}
		return seriesOf(t, filepath.Join(l.dir, "series.json"))
	}
	check := func(s *report.Summary, why ...string) {
		t.Helper()
		if len(s.Runs) != 4 || s.Counts[report.Skipped] != 3 || s.Runs[3].Outcome != report.Passed {
			t.Fatalf("the series: %+v", s.Runs)
		}
		for i, run := range s.Runs[:3] {
			if !strings.Contains(run.Detail, why[i]) || strings.Contains(run.Detail, "\n") {
				t.Errorf("%s is %s: %s, want %q", run.Scenario, run.Outcome, run.Detail, why[i])
			}
		}
	}
	const noAPI = "the API server has no networking.istio.io/v1"
	check(run(), noAPI, noAPI, noAPI)
	if r := l.run(t, "run", "istio-header-hash", "--cluster", "lab"); r.code != 3 || !strings.Contains(r.stderr, "skipped: "+noAPI) {
		t.Errorf("exit code %d\n%s", r.code, r.stderr)
	}

	l.install(t)
	const noSidecar = "Istio's API is installed, but the run's pods got no sidecar"
	check(run(), noSidecar, noSidecar, "label istio.io/rev=v9")
	if r := l.run(t, "run", "by-cookie.yaml", "--cluster", "lab"); r.code != 3 || !strings.Contains(r.stderr, "skipped: "+noSidecar) {
		t.Errorf("exit code %d\n%s", r.code, r.stderr)
	}
	l.checkRules(t)
	l.besideSidecars(t)

	left, err := l.admin.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: "podskew.dev/run"})
	if err != nil || len(left.Items) > 0 {
		t.Errorf("namespaces are left: %v, %v", namesOf(left.Items), err)
	}
	if clean := l.ok(t, "clean"); !strings.Contains(clean.stdout, "nothing to clean") {
		t.Errorf("the runs left something:\n%s", clean.stdout)
	}
}

// besideSidecars runs where pods have a sidecar and traffic does not pass it: with another container in all pods the run goes
// through, and its report does not take kube-proxy's choice for the mesh's.
func (l *istioLab) besideSidecars(t *testing.T) {
	t.Helper()
	policy, binding, _ := strings.Cut(emptySidecar, "---\n")
	l.create(t, "admissionregistration.k8s.io", "mutatingadmissionpolicies", policy)
	l.create(t, "admissionregistration.k8s.io", "mutatingadmissionpolicybindings", binding)
	var r result
	until(t, time.Minute, "pods get sidecars", func() bool {
		r = l.run(t, "run", "istio-round-robin", "--cluster", "lab", "-o", "json")
		return strings.HasPrefix(r.stdout, "{")
	})
	rep := reportOf(t, r.stdout)
	if r.code != 1 || rep.Passed || !slices.Contains(codes(rep), analyze.MeasurementArtefact) || !strings.Contains(r.stderr, "the clients' sidecars know the endpoints") {
		t.Errorf("exit code %d, findings %q\n%s", r.code, codes(rep), r.stderr)
	}
	if b := rep.BothEnds; b == nil || b.Requests != 1200 || b.PodRequests != 1200 {
		t.Errorf("both ends %+v", b)
	}
	want := &record.Mesh{Name: "istio", Image: "podskew.dev/pod:dev", Service: "echo", Policy: "roundRobin"}
	rec := readRecord(t, filepath.Join(l.dir, "runs", rep.Run.ID))
	if diff := cmp.Diff(want, rec.Facts.Mesh); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

func namesOf(items []corev1.Namespace) []string {
	var out []string
	for i := range items {
		out = append(out, items[i].Name)
	}
	return out
}

// checkRules looks at the rules as the API server took them.
func (l *istioLab) checkRules(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	want := map[string]string{ // loadBalancer → what asked for sidecars
		`{"consistentHash":{"httpHeaderName":"X-Execution-Pod"},"localityLbSetting":{"enabled":false}}`:                                             "istio-injection=enabled",
		`{"localityLbSetting":{"enabled":false},"simple":"ROUND_ROBIN"}`:                                                                            "istio-injection=enabled",
		`{"consistentHash":{"httpCookie":{"name":"user_id","ttl":"90s"},"ringHash":{"minimumRingSize":512}},"localityLbSetting":{"enabled":false}}`: "istio.io/rev=v9",
	}
	got := map[string]string{}
	for host, spec := range l.rules {
		balancer, _, err := unstructured.NestedMap(spec.(map[string]any), "trafficPolicy", "loadBalancer")
		if err != nil {
			t.Fatal(err)
		}
		text, err := (&unstructured.Unstructured{Object: balancer}).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		got[strings.TrimSpace(string(text))] = l.labels[host]
		if !strings.HasPrefix(host, "echo.podskew-") || !strings.HasSuffix(host, ".svc.cluster.local") {
			t.Errorf("a rule is for %s", host)
		}
		if to, _, _ := unstructured.NestedStringSlice(spec.(map[string]any), "exportTo"); len(to) != 1 || to[0] != "." {
			t.Errorf("a rule is exported to %q", to)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}
