package main_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

// foreign is the lab taken for somebody else's cluster: podskew sees it through a kubeconfig of a service account that
// has what "podskew rbac" printed; the test looks on as its administrator.
type foreign struct {
	*cli
	admin      *kubernetes.Clientset
	user       *kubernetes.Clientset
	kubeconfig string

	mu     sync.Mutex
	levels map[string]string // run's namespace → Pod Security level it enforces
}

func newForeign(t *testing.T) *foreign {
	t.Helper()
	f := &foreign{cli: newCLI(t), levels: map[string]string{}}
	f.lab(t, "nftables")
	own := strings.TrimSpace(f.ok(t, "cluster", "up", "--proxy-mode", "nftables").stdout) // the one that is up
	cfg, err := clientcmd.BuildConfigFromFlags("", own)
	if err != nil {
		t.Fatal(err)
	}
	if f.admin, err = kubernetes.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	f.apply(t, f.ok(t, "rbac", "--namespace", "tools", "--needed-only").stdout)
	f.kubeconfig = f.login(t, own)
	f.watch(t)
	return f
}

// apply creates what a manifest has; what is there already stays.
func (f *foreign) apply(t *testing.T, manifest string) {
	t.Helper()
	for doc := range strings.SplitSeq(manifest, "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatal(err)
		}
		var err error
		rbac, o := f.admin.RbacV1(), metav1.CreateOptions{}
		switch kind.Kind {
		case "Namespace":
			_, err = f.admin.CoreV1().Namespaces().Create(t.Context(), parsed[corev1.Namespace](t, doc), o)
		case "ServiceAccount":
			a := parsed[corev1.ServiceAccount](t, doc)
			_, err = f.admin.CoreV1().ServiceAccounts(a.Namespace).Create(t.Context(), a, o)
		case "ClusterRole":
			_, err = rbac.ClusterRoles().Create(t.Context(), parsed[rbacv1.ClusterRole](t, doc), o)
		case "ClusterRoleBinding":
			_, err = rbac.ClusterRoleBindings().Create(t.Context(), parsed[rbacv1.ClusterRoleBinding](t, doc), o)
		case "Role":
			r := parsed[rbacv1.Role](t, doc)
			_, err = rbac.Roles(r.Namespace).Create(t.Context(), r, o)
		case "RoleBinding":
			b := parsed[rbacv1.RoleBinding](t, doc)
			_, err = rbac.RoleBindings(b.Namespace).Create(t.Context(), b, o)
		default:
			t.Fatalf("what is this?\n%s", doc)
		}
		if err != nil && !strings.Contains(err.Error(), "already exists") {
			t.Fatal(err)
		}
	}
}

func parsed[T any](t *testing.T, doc string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(doc), out); err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	return out
}

// login writes a kubeconfig of the service account.
func (f *foreign) login(t *testing.T, own string) string {
	t.Helper()
	token, err := f.admin.CoreV1().ServiceAccounts("tools").CreateToken(t.Context(), "podskew", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := clientcmd.LoadFromFile(own)
	if err != nil {
		t.Fatal(err)
	}
	for name := range raw.AuthInfos {
		raw.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	file := filepath.Join(f.dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*raw, file); err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	if f.user, err = kubernetes.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	return file
}

// watch notes every namespace of a run and the level of Pod Security it enforces.
func (f *foreign) watch(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w, err := f.admin.CoreV1().Namespaces().Watch(ctx, metav1.ListOptions{LabelSelector: "podskew.dev/run"})
	if err != nil {
		t.Fatal(err)
	}
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for e := range w.ResultChan() {
			if ns, ok := e.Object.(*corev1.Namespace); ok {
				f.mu.Lock()
				f.levels[ns.Name] = ns.Labels["pod-security.kubernetes.io/enforce"]
				f.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() { cancel(); watcher.Wait() })
}

func (f *foreign) seen() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.levels)
}

// waitAllowed waits until the API server has noticed a change of rights: it reads them from a cache.
func (f *foreign) waitAllowed(t *testing.T, verb, resource, sub string, want bool) {
	t.Helper()
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "podskew-x", Verb: verb, Resource: resource, Subresource: sub},
	}}
	until(t, 10*time.Second, fmt.Sprintf("%s %s/%s allowed: %v", verb, resource, sub, want), func() bool {
		got, err := f.user.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		return err == nil && got.Status.Allowed == want
	})
}

func (f *foreign) flags(more ...string) []string {
	return append([]string{"--cluster", "current", "--kubeconfig", f.kubeconfig, "--image", "podskew.dev/pod:dev"}, more...)
}

func TestScenariosOnAForeignCluster(t *testing.T) {
	f := newForeign(t)
	f.waitAllowed(t, "create", "pods", "proxy", true)

	t.Run("with nothing but the rights that are needed", func(t *testing.T) {
		rep, _ := f.scenario(t, "keepalive", f.flags()...)
		if rep.Cluster.ProxyMode != "unknown" || rep.Cluster.CNI != "unknown" {
			t.Errorf("the report knows proxy mode %q and plugin %q, which nobody told it", rep.Cluster.ProxyMode, rep.Cluster.CNI)
		}
		notes := strings.Join(rep.Notes, "\n")
		for _, want := range []string{"without the right to get nodes/proxy", "the load was held to 500 requests per second"} {
			if !strings.Contains(notes, want) {
				t.Errorf("no note %q among\n%s", want, notes)
			}
		}
		if n := rep.Streams[0].Requests; n < 500 || n > 5100 {
			t.Errorf("%d requests in 5 s, want up to 1,000 per second", n)
		}
	})

	f.apply(t, f.ok(t, "rbac", "--namespace", "tools").stdout)
	f.waitAllowed(t, "get", "nodes", "proxy", true)
	for name, more := range map[string][]string{
		"fresh": nil, "affinity-clientip": nil, "etp-cluster": {"--allow-host-network"}, "etp-local": {"--allow-host-network"},
	} {
		t.Run(name, func(t *testing.T) {
			before := f.seen()
			rep, _ := f.scenario(t, name, f.flags(more...)...)
			if rep.Cluster.ProxyMode != "nftables" {
				t.Errorf("the report says proxy mode %q", rep.Cluster.ProxyMode)
			}
			want := "restricted"
			if more != nil {
				want = "privileged"
			}
			for ns, level := range f.seen() {
				if _, old := before[ns]; !old && level != want {
					t.Errorf("namespace %s enforces %q, want %q", ns, level, want)
				}
			}
			if len(f.seen()) == len(before) {
				t.Error("the run made no namespace")
			}
		})
	}
	t.Run("with one verb removed", func(t *testing.T) { f.refusedWithoutAVerb(t) })
	left, err := f.admin.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: "podskew.dev/run"})
	if err != nil || len(left.Items) > 0 {
		t.Errorf("namespaces are left: %v, %v", left, err)
	}
}

func (f *foreign) refusedWithoutAVerb(t *testing.T) {
	t.Helper()
	api := f.admin.RbacV1().ClusterRoles()
	role, err := api.Get(t.Context(), "podskew", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.Rules = slices.DeleteFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "pods/proxy") })
	if _, err := api.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.waitAllowed(t, "create", "pods", "proxy", false)
	before := f.seen()
	r := f.run(t, append([]string{"run", "keepalive"}, f.flags()...)...)
	for _, want := range []string{"nothing was deployed", "system:serviceaccount:tools:podskew may not", "create pods/proxy in namespace podskew-", "podskew rbac"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("no %q in\n%s", want, r.stderr)
		}
	}
	if r.code != 3 || strings.Count(r.stderr, "in namespace podskew-") != 1 {
		t.Errorf("exit code %d, want 3 and one right\n%s", r.code, r.stderr)
	}
	if after := f.seen(); len(after) != len(before) {
		t.Errorf("something was deployed: %v", after)
	}
	if dirs, _ := os.ReadDir(filepath.Join(f.dir, "runs")); len(dirs) != len(before) {
		t.Errorf("%d run folders for %d runs", len(dirs), len(before))
	}
}
