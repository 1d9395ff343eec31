package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// connectTimeout bounds the first question to the API server, so that a wrong address ends in a sentence.
const connectTimeout = 10 * time.Second

// Connect loads the kubeconfig and asks the API server for its version, so that a wrong file, context, address or
// certificate is told apart here and not in the middle of a run.
func Connect(ctx context.Context, cfg Config) (*Cluster, error) {
	rc, name, err := load(cfg)
	if err != nil {
		return nil, err
	}
	c := &Cluster{provider: cfg.Provider, context: name, notes: &notes{}}
	if c.provider == "" {
		c.provider = "current"
	}
	rc.QPS, rc.Burst = 100, 200 // a deployment is a burst of small objects; fairness is the server's business
	rc.WarningHandlerWithContext = warnings{c.notes}
	if cfg.UserAgent != "" {
		rc.UserAgent = cfg.UserAgent
	}
	if c.http, err = rest.HTTPClientFor(rc); err != nil {
		return nil, fmt.Errorf("reading the credentials of %s: %w", source(cfg, name), err)
	}
	if c.base, _, err = rest.DefaultServerUrlFor(rc); err != nil {
		return nil, fmt.Errorf("reading the server's address in %s: %w", source(cfg, name), err)
	}
	// All clients share connections: a second one would cost a second TLS handshake.
	client, err := kubernetes.NewForConfigAndClient(rc, c.http)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", source(cfg, name), err)
	}
	c.client = client
	if c.dynamic, err = dynamic.NewForConfigAndClient(rc, c.http); err != nil {
		return nil, fmt.Errorf("reading %s: %w", source(cfg, name), err)
	}
	return c, c.hello(ctx, source(cfg, name))
}

func load(cfg Config) (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cfg.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: cfg.Context})
	raw, err := loader.RawConfig()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", fmt.Errorf("there is no kubeconfig %s: start a cluster first, or name another file", cfg.Kubeconfig)
	case err != nil:
		return nil, "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	name := cfg.Context
	if name == "" {
		name = raw.CurrentContext
	}
	if _, ok := raw.Contexts[name]; !ok && (cfg.Context != "" || len(raw.Contexts) > 0) {
		return nil, "", noContext(name, raw)
	}
	rc, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, "", fmt.Errorf("no cluster to speak to: neither a kubeconfig was named nor does one of %s exist: start a cluster first",
			strings.Join(rules.Precedence, ", "))
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", source(cfg, name), err)
	}
	return rc, name, nil
}

func noContext(name string, raw clientcmdapi.Config) error {
	have := strings.Join(slices.Sorted(maps.Keys(raw.Contexts)), ", ")
	switch {
	case have == "":
		return fmt.Errorf("the kubeconfig has no context %q, and no other one", name)
	case name == "":
		return fmt.Errorf("the kubeconfig has no current context: name one of %s", have)
	}
	return fmt.Errorf("the kubeconfig has no context %q: it has %s", name, have)
}

// source names where the configuration came from, for errors.
func source(cfg Config, context string) string {
	out := "the kubeconfig"
	if cfg.Kubeconfig != "" {
		out += " " + cfg.Kubeconfig
	}
	if context != "" {
		out += fmt.Sprintf(" (context %q)", context)
	}
	return out
}

func (c *Cluster) hello(ctx context.Context, source string) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	body, err := c.get(ctx, "/version")
	if err == nil {
		c.version, err = gitVersion(body)
	}
	switch {
	case err == nil:
		return nil
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server at %s refuses the credentials of %s: %w", c.base, source, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the API server at %s of %s did not answer within %v: is the cluster up?", c.base, source, connectTimeout)
	}
	return fmt.Errorf("the API server at %s of %s cannot be used (is the cluster up?): %w", c.base, source, err)
}

// warnings turns the API server's warnings into notes.
type warnings struct{ notes *notes }

// HandleWarningHeaderWithContext is client-go's hook; code 299 is the only one that API servers send.
func (w warnings) HandleWarningHeaderWithContext(_ context.Context, code int, _, text string) {
	if code == 299 && text != "" {
		w.notes.add("the API server warns: " + text)
	}
}
