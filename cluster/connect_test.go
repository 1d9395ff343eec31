package cluster

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const kubeconfigText = `apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: %q}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: one, context: {cluster: a, user: u}}, {name: two, context: {cluster: a, user: u}}]
%s
`

func kubeconfig(t *testing.T, server, more string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, fmt.Appendf(nil, kubeconfigText, server, more), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func apiServer(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestConnect(t *testing.T) {
	url := apiServer(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.UserAgent(), "podskew/") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/version" {
			fmt.Fprint(w, `{"gitVersion":"v1.36.3"}`)
			return
		}
		w.Header().Add("Warning", `299 - "v1 Nodes are old"`)
		fmt.Fprint(w, `{"kind":"NodeList","apiVersion":"v1","items":[]}`)
	})
	c, err := Connect(t.Context(), Config{Kubeconfig: kubeconfig(t, url, "current-context: one"), UserAgent: "podskew/v0"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Version() != "v1.36.3" || c.Context() != "one" || strings.TrimSuffix(c.Server(), "/") != url || c.provider != "current" {
		t.Errorf("version %s, context %s, server %s, provider %s", c.Version(), c.Context(), c.Server(), c.provider)
	}
	for range 2 {
		if _, err := c.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"the API server warns: v1 Nodes are old"}, c.Notes()); diff != "" {
		t.Error(diff)
	}
}

func TestConnectionsThatCannotBe(t *testing.T) {
	version := func(code int, body string) string {
		return apiServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		})
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	good := version(200, `{"gitVersion":"v1.36.3"}`)
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("clusters: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"a file that is not there":    {Config{Kubeconfig: "/nowhere/config"}, "there is no kubeconfig /nowhere/config: start a cluster first"},
		"a file that is broken":       {Config{Kubeconfig: broken}, broken},
		"a context that is not in":    {Config{Kubeconfig: kubeconfig(t, good, ""), Context: "three"}, `no context "three": it has one, two`},
		"no current context":          {Config{Kubeconfig: kubeconfig(t, good, "")}, "no current context: name one of one, two"},
		"a current context not in":    {Config{Kubeconfig: kubeconfig(t, good, "current-context: x")}, `no context "x": it has one, two`},
		"nobody listens":              {Config{Kubeconfig: kubeconfig(t, closed.URL, ""), Context: "one"}, "is the cluster up?"},
		"credentials are refused":     {Config{Kubeconfig: kubeconfig(t, version(401, `{"kind":"Status","reason":"Unauthorized","message":"Unauthorized","code":401}`), ""), Context: "one"}, "refuses the credentials"},
		"another server answers":      {Config{Kubeconfig: kubeconfig(t, version(200, "<html>hello</html>"), ""), Context: "one"}, `not a Kubernetes API server: /version says "<html>hello</html>"`},
		"another server says no":      {Config{Kubeconfig: kubeconfig(t, version(404, "<html>\n  no\n"), ""), Context: "one"}, "could not find the requested resource"},
		"a client certificate is bad": {Config{Kubeconfig: kubeconfig(t, "https://127.0.0.1:1", "users: [{name: u, user: {client-certificate: /nowhere, client-key: /nowhere}}]"), Context: "one"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			_, err := Connect(t.Context(), c.cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) || time.Since(begun) > 5*time.Second {
				t.Errorf("err %v after %v, want %q", err, time.Since(begun), c.want)
			}
		})
	}
}
