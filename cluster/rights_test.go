package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/podskew/podskew/scenarios"
)

// foreignWorld is somebody else's cluster: its API server denies what denied says.
func foreignWorld(t *testing.T, denied func(a *authorizationv1.ResourceAttributes) bool) (*world, *Cluster) {
	t.Helper()
	w := newWorld(labNodes()...)
	w.PrependReactor("create", "selfsubjectaccessreviews", func(a k8stesting.Action) (bool, runtime.Object, error) {
		review := a.(k8stesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		review.Status.Allowed = !denied(review.Spec.ResourceAttributes)
		return true, review, nil
	})
	w.PrependReactor("create", "selfsubjectreviews", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, &authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: "ann"}}}, nil
	})
	c := w.cluster(t, nil)
	c.provider = "current"
	return w, c
}

func TestEachRightThatIsLackingIsNamedBeforeAnythingIsDeployed(t *testing.T) {
	for _, lacking := range rights(demand{}) {
		t.Run(lacking.String(), func(t *testing.T) {
			want := lacking.review(namespaceOf("d0")).Spec.ResourceAttributes
			w, c := foreignWorld(t, func(a *authorizationv1.ResourceAttributes) bool { return cmp.Equal(a, want) })
			r, err := c.Deploy(t.Context(), deploymentOf(keepalive()), nil)
			if lacking.optional {
				if err != nil || !strings.Contains(strings.Join(c.Notes(), "\n"), "without the right to "+lacking.String()) {
					t.Fatalf("an optional right: %v, notes %q", err, c.Notes())
				}
				r.Close()
				return
			}
			missing, ok := errors.AsType[*RightsError](err)
			if !ok || len(missing.Missing) != 1 || missing.User != "ann" || !strings.HasPrefix(missing.Missing[0], lacking.String()+" in ") {
				t.Errorf("got %v", err)
			}
			if did := w.did(); len(did) > 0 {
				t.Errorf("it did %q", did)
			}
		})
	}
}

func TestTheSentenceAboutRights(t *testing.T) {
	_, c := foreignWorld(t, func(a *authorizationv1.ResourceAttributes) bool {
		return a.Subresource == "proxy" || a.Resource == "nodes" && a.Verb == "list"
	})
	err := c.CheckRights(t.Context(), "d0", keepalive())
	want := `nothing was deployed: ann may not
  list nodes in the whole cluster: the run places pods on nodes and reads zones and addresses
  create pods/proxy in namespace podskew-d0: the run sends plans to its agents, and reads their results and what echo pods counted`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestAnAPIServerThatDoesNotSayIsNoRefusal(t *testing.T) {
	w, c := foreignWorld(t, func(*authorizationv1.ResourceAttributes) bool { return false })
	w.PrependReactor("create", "selfsubjectaccessreviews", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("not served here")
	})
	if err := c.CheckRights(t.Context(), "d0", keepalive()); err != nil {
		t.Error(err)
	}
	if n := c.Notes(); len(n) != 1 || !strings.Contains(n[0], "did not say which rights") || !strings.Contains(n[0], "not served here") {
		t.Errorf("notes %q", n)
	}
}

// used drives everything a run does to the API server, and returns it as "verb resource.group".
func used(t *testing.T) map[string]bool {
	t.Helper()
	w := newWorld(labNodes()...)
	w.add(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy", Namespace: "kube-system"}})
	c := w.cluster(t, nil)
	c.provider = "kind" // whose network plugin is asked for, and whose rights are not
	r := w.deploy(t, c, behind(scenarios.Gateway{Proxy: "nginx", Upstream: "service"}))
	if _, err := r.Facts(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, e := range []scenarios.Event{{Scale: new(7)}, {Restart: true}, {Label: &scenarios.Label{Pod: 1}}, {PatchService: &scenarios.ServicePatch{InternalTrafficPolicy: "Local"}}} {
		if _, err := doEvent(t, r, e); err != nil {
			t.Fatal(err)
		}
	}
	r.nodeTrouble(t.Context(), "worker")
	if _, err := tail(t.Context(), w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-0", Namespace: r.Namespace()}}, "", false); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := c.Clean(t.Context(), CleanOptions{All: true}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.lease(t.Context(), r.Namespace()); err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, a := range w.Actions() {
		resource := a.GetResource().Resource
		if s := a.GetSubresource(); s != "" {
			resource += "/" + s
		}
		if g := a.GetResource().Group; g != "" {
			resource += "." + g
		}
		switch verb := a.GetVerb(); verb {
		case "patch": // all are server-side applies
			out["patch "+resource], out["create "+resource] = true, true
		default:
			out[strings.ReplaceAll(verb, "-", "")+" "+resource] = true
		}
	}
	return out
}

func TestTheTableOfRightsIsWhatARunDoes(t *testing.T) {
	granted := map[string]bool{}
	for _, r := range rights(demand{}) {
		r.name = ""
		granted[r.String()] = true
	}
	did := used(t)
	for what := range did {
		if !granted[what] {
			t.Errorf("a run does %q, which the table does not have", what)
		}
	}
	raw := []string{"create pods/proxy", "get nodes/proxy"} // sent past the client the test looks at
	for what := range granted {
		if !did[what] && !slices.Contains(raw, what) && !strings.HasPrefix(what, "watch ") {
			t.Errorf("the table grants %q, which no run does", what)
		}
	}
}

func TestTheManifestIsTheOneInTheRepository(t *testing.T) {
	file := filepath.Join("..", "docs", "rbac.yaml")
	got := RBACManifest(RBAC{})
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", file, diff)
	}
}

// granted reads the rights of a manifest's roles, as "verb group/resource name in namespace".
func granted(t *testing.T, manifest string) (out []string, bound int) {
	t.Helper()
	for doc := range strings.SplitSeq(manifest, "---\n") {
		var role rbacv1.Role // a ClusterRole has the same fields and more
		var binding rbacv1.RoleBinding
		if err := yaml.Unmarshal([]byte(doc), &role); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(doc), &binding); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(role.Kind, "Binding") {
			s := rbacv1.Subject{Kind: "ServiceAccount", Name: "podskew", Namespace: "tools"}
			if binding.RoleRef.Name != role.Name || binding.RoleRef.Kind+"Binding" != role.Kind || !cmp.Equal(binding.Subjects, []rbacv1.Subject{s}) {
				t.Errorf("binding %+v", binding)
			}
			bound++
		}
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				out = append(out, fmt.Sprintf("%s %s/%s %v %s", verb, rule.APIGroups[0], rule.Resources[0], rule.ResourceNames, role.Namespace))
			}
		}
	}
	slices.Sort(out)
	return out, bound
}

func TestTheManifestGrantsTheTableAndNoMore(t *testing.T) {
	for _, row := range []struct {
		neededOnly bool
		events     []scenarios.Event
		roles      int
	}{{false, nil, 3}, {true, nil, 1}, {false, everyEvent(), 4}, {true, everyEvent(), 2}, {true, []scenarios.Event{{Restart: true}}, 1}} {
		neededOnly := row.neededOnly
		var want []string
		for _, r := range rights(demand{events: row.events}) {
			names := []string(nil)
			if r.name != "" {
				names = []string{r.name}
			}
			if !neededOnly || !r.optional {
				want = append(want, fmt.Sprintf("%s %s/%s %v %s", r.verb, r.group, r.resource, names, r.namespace))
			}
		}
		slices.Sort(want)
		got, bound := granted(t, RBACManifest(RBAC{Namespace: "tools", NeededOnly: neededOnly, Events: row.events}))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("needed only %v (-table +manifest):\n%s", neededOnly, diff)
		}
		if bound != row.roles {
			t.Errorf("needed only %v: %d bindings, want %d", neededOnly, bound, row.roles)
		}
	}
}

// everyEvent are events that need all rights any event needs.
func everyEvent() []scenarios.Event {
	return []scenarios.Event{{DeletePod: new(0)}, {Cordon: "worker"}, {Drain: "worker"}, {RestartKubeProxy: "all"}}
}

func TestEventsAskForTheRightsTheyNeedAndNoMore(t *testing.T) {
	base := len(rights(demand{}))
	for _, row := range []struct {
		event scenarios.Event
		want  []string
	}{
		{scenarios.Event{Scale: new(0)}, nil},
		{scenarios.Event{Restart: true}, nil},
		{scenarios.Event{Readiness: &scenarios.Readiness{}}, nil},
		{scenarios.Event{Label: &scenarios.Label{}}, nil},
		{scenarios.Event{Swap: true}, nil},
		{scenarios.Event{Slow: &scenarios.Slow{}}, nil},
		{scenarios.Event{PatchService: &scenarios.ServicePatch{}}, nil},
		{scenarios.Event{DeletePod: new(0)}, []string{"delete pods"}},
		{scenarios.Event{Cordon: "worker"}, []string{"patch nodes"}},
		{scenarios.Event{Uncordon: "worker"}, []string{"patch nodes"}},
		{scenarios.Event{Drain: "worker"}, []string{"patch nodes", "create pods/eviction"}},
		{scenarios.Event{KillNode: "worker"}, nil},
		{scenarios.Event{RestartKubeProxy: "all"}, []string{"list pods", "delete pods"}},
	} {
		var got []string
		for _, r := range rights(demand{events: []scenarios.Event{row.event}})[base:] {
			got = append(got, r.String())
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%+v: %s", row.event, diff)
		}
	}
}

func TestWhatAdmissionMeans(t *testing.T) {
	for message, want := range map[string]string{
		`pods "web-0" is forbidden: exceeded quota: two, requested: pods=1, used: pods=2, limited: pods=2`:                "a ResourceQuota",
		`pods "web-0" is forbidden: failed quota: cpu: must specify limits.cpu for: agent`:                                "demands limits",
		`pods "web-0" is forbidden: minimum memory usage per Container is 64Mi, but request is 24Mi`:                      "a LimitRange",
		`pods "web-0" is forbidden: memory max limit to request ratio per Container is 2, but provided ratio is 5.333333`: "a LimitRange",
		`pods "x" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)`:             "Pod Security",
		`User "ann" cannot create resource "pods"`:                                                                        "",
	} {
		if got := admissionSentence(message); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s:\n%q, want %q", message, got, want)
		}
	}
}
