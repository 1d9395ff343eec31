package cluster

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/scenarios"
)

// rightsTimeout bounds all questions about rights together.
const rightsTimeout = 10 * time.Second

// grant is a row of the table of rights: some verbs on one resource, and what a run does with them.
type grant struct {
	group, resource string // resource with its subresource: pods/proxy
	verbs           []string
	why             string // continues "the run …"
	wide            bool   // a resource without a namespace
	namespace       string // the one namespace it is about; "": the run's
	name            string // the one object it is about; "": any
	optional        bool   // a run goes on without it; why then says what stays unknown
}

// grants are all a run does to an API server: what RBACManifest prints and what is asked for before a deployment. Server-side apply needs patch and, for what is not there, create.
func grants() []grant {
	apply, follow := []string{"create", "patch"}, []string{"list", "watch"}
	return []grant{
		{resource: "nodes", wide: true, verbs: []string{"get", "list"}, why: "places pods on nodes and reads zones and addresses"},
		{resource: "namespaces", wide: true, verbs: []string{"get", "list", "watch", "create", "patch", "delete"}, why: "makes a namespace of its own and removes it"},
		{resource: "serviceaccounts", verbs: []string{"create"}, why: "gives its pods an account without rights"},
		{resource: "secrets", verbs: []string{"create"}, why: "hands its agents their token"},
		{resource: "configmaps", verbs: []string{"create"}, why: "hands a gateway its configuration"},
		{resource: "services", verbs: append([]string{"get"}, apply...), why: "makes the Service under test"},
		{group: "networking.k8s.io", resource: "networkpolicies", verbs: []string{"create"}, why: "closes its pods' other ports"},
		{group: "apps", resource: "deployments", verbs: append(follow, apply...), why: "deploys and scales echo pods"},
		{resource: "pods", verbs: append([]string{"list", "watch", "deletecollection"}, apply...), why: "starts agents, follows and ends pods"},
		{resource: "pods/proxy", verbs: []string{"create"}, why: "sends plans to its agents, and reads their results and what echo pods counted"},
		{group: "discovery.k8s.io", resource: "endpointslices", verbs: append(follow, apply...), why: "waits for endpoints, and for kube-proxy by its canary"},
		{group: "coordination.k8s.io", resource: "leases", verbs: append([]string{"get"}, apply...), why: "shows that it is alive"},

		{resource: "pods/log", verbs: []string{"get"}, optional: true, why: "what a pod that crashes said last"},
		{resource: "nodes/proxy", wide: true, verbs: []string{"get"}, optional: true, why: "kube-proxy's mode and state, asked from kube-proxy itself, and health checks; it opens the kubelet's API, too"},
		{resource: "configmaps", namespace: metav1.NamespaceSystem, name: "kube-proxy", verbs: []string{"get"}, optional: true, why: "kube-proxy's mode, from its configuration"},
	}
}

// right is one verb of a grant.
type right struct {
	grant
	verb string
}

// String names verb, resource and namespace: "create pods/proxy".
func (r right) String() string {
	out := r.verb + " " + r.resource
	if r.group != "" {
		out += "." + r.group
	}
	if r.name != "" {
		out += " " + r.name
	}
	return out
}

// where says in which namespace the right is lacking.
func (r right) where(runNamespace string) string {
	if r.wide {
		return "in the whole cluster"
	}
	return "in namespace " + cmp.Or(r.namespace, runNamespace)
}

func (r right) review(runNamespace string) *authorizationv1.SelfSubjectAccessReview {
	resource, sub, _ := strings.Cut(r.resource, "/")
	a := &authorizationv1.ResourceAttributes{
		Namespace: cmp.Or(r.namespace, runNamespace), Verb: r.verb, Group: r.group, Resource: resource, Subresource: sub, Name: r.name,
	}
	if r.wide {
		a.Namespace = ""
	}
	return &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: a}}
}

// demand is what a scenario has that takes more rights than every run needs.
type demand struct {
	events []scenarios.Event
	rule   bool // a DestinationRule
}

func demandOf(s *scenarios.Scenario) demand { return demand{s.Spec.Events, meshed(s)} }

// grants are the table's, and those of the demand.
func (d demand) grants() []grant {
	out := append(grants(), eventGrants(d.events)...)
	if d.rule {
		out = append(out, ruleGrants()...)
	}
	return out
}

func rights(d demand) []right {
	var out []right
	for _, g := range d.grants() {
		for _, v := range g.verbs {
			out = append(out, right{g, v})
		}
	}
	return out
}

// RightsError says which rights a run needs and the kubeconfig's user lacks.
type RightsError struct {
	User    string   // as the API server names the kubeconfig's user; "" if it does not tell
	Missing []string // "create pods/proxy in namespace podskew-x: the run sends plans …"
}

// Error lists all of them: one at a time would cost a round with the cluster's administrator each.
func (e *RightsError) Error() string {
	who := "the kubeconfig's user"
	if e.User != "" {
		who = e.User
	}
	return fmt.Sprintf("nothing was deployed: %s may not\n  %s", who, strings.Join(e.Missing, "\n  "))
}

// CheckRights asks the API server, before anything is deployed, whether the run may do all it needs to, what its
// scenario has of its own included; a *RightsError lists what it may not. Lacking rights that a run can do without become notes, as does an API server that does not say.
func (c *Cluster) CheckRights(ctx context.Context, runID string, s *scenarios.Scenario) error {
	ctx, cancel := context.WithTimeout(ctx, rightsTimeout)
	defer cancel()
	missing, asked := c.missingRights(ctx, namespaceOf(runID), demandOf(s))
	if asked != nil {
		if ctx.Err() != nil && context.Cause(ctx) == context.Canceled { //nolint:errorlint // the bare one: the caller gave up
			return ctx.Err()
		}
		c.notes.add(fmt.Sprintf("the API server did not say which rights the kubeconfig's user has: %v", asked))
	}
	var lacking []string
	for _, r := range missing {
		if r.optional {
			c.notes.add(fmt.Sprintf("without the right to %s %s this stays unknown: %s", r, r.where(namespaceOf(runID)), r.why))
			continue
		}
		lacking = append(lacking, fmt.Sprintf("%s %s: the run %s", r, r.where(namespaceOf(runID)), r.why))
	}
	if len(lacking) == 0 {
		return nil
	}
	return &RightsError{User: c.user(ctx), Missing: lacking}
}

// user is who the API server takes us for; "" if it does not tell.
func (c *Cluster) user(ctx context.Context) string {
	answer, err := c.client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	return answer.Status.UserInfo.Username
}

// explain adds to a refusal what the user is not allowed to do, or what a quota means. A refusal by another admission
// policy says so itself and stays as it is.
func (c *Cluster) explain(ctx context.Context, namespace string, err error) error {
	return c.explainFor(ctx, namespace, demand{}, err)
}

// explainFor is explain for a run that needs more than every run does.
func (c *Cluster) explainFor(ctx context.Context, namespace string, more demand, err error) error {
	if !apierrors.IsForbidden(err) {
		return err
	}
	if what := admissionSentence(err.Error()); what != "" {
		return fmt.Errorf("%w\n  %s", err, what)
	}
	ctx, cancel := context.WithTimeout(ctx, rightsTimeout/2)
	defer cancel()
	all, _ := c.missingRights(ctx, namespace, more)
	var missing []string
	for _, r := range all {
		if !r.optional {
			missing = append(missing, r.String())
		}
	}
	if len(missing) == 0 {
		return err
	}
	return fmt.Errorf("%w\n  the kubeconfig's user lacks the right to: %s", err, strings.Join(missing, ", "))
}

// missingRights asks the API server about each right; what it does not answer does not count as missing. err is one of
// the answers that did not come.
func (c *Cluster) missingRights(ctx context.Context, namespace string, more demand) (missing []right, err error) {
	all := rights(more)
	denied := make([]bool, len(all))
	errs := make([]error, len(all))
	var g errgroup.Group
	g.SetLimit(16)
	for i, r := range all {
		g.Go(func() error {
			answer, err := c.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, r.review(namespace), metav1.CreateOptions{})
			denied[i], errs[i] = err == nil && !answer.Status.Allowed, err
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	for i, r := range all {
		err = cmp.Or(err, errs[i])
		if denied[i] {
			missing = append(missing, r)
		}
	}
	return missing, err
}
