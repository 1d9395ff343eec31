package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// right is one thing a run must be allowed to do.
type right struct{ verb, group, resource, subresource string }

func (r right) String() string {
	out := r.resource
	if r.subresource != "" {
		out += "/" + r.subresource
	}
	if r.group != "" {
		out += "." + r.group
	}
	return r.verb + " " + out
}

// neededRights are all that a run cannot do without. Server-side apply needs create and patch.
func neededRights() []right {
	out := []right{
		{"list", "", "nodes", ""}, {"create", "", "pods", "proxy"}, {"deletecollection", "", "pods", ""},
		{"delete", "", "namespaces", ""}, {"get", "", "namespaces", ""}, {"get", "", "services", ""},
	}
	for _, r := range [][2]string{{"", "namespaces"}, {"", "pods"}, {"apps", "deployments"}, {"discovery.k8s.io", "endpointslices"}} {
		out = append(out, right{"list", r[0], r[1], ""}, right{"watch", r[0], r[1], ""})
	}
	for _, r := range [][2]string{
		{"", "namespaces"}, {"", "serviceaccounts"}, {"", "services"}, {"", "secrets"}, {"", "pods"},
		{"apps", "deployments"}, {"discovery.k8s.io", "endpointslices"}, {"coordination.k8s.io", "leases"},
	} {
		out = append(out, right{"create", r[0], r[1], ""}, right{"patch", r[0], r[1], ""})
	}
	return out
}

// explain adds to a refusal what the user is not allowed to do. A refusal for another reason, such as a quota or an
// admission policy, says so itself and stays as it is.
func (c *Cluster) explain(ctx context.Context, namespace string, err error) error {
	if !apierrors.IsForbidden(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	missing := c.missingRights(ctx, namespace)
	if len(missing) == 0 {
		return err
	}
	return fmt.Errorf("%w\n  the kubeconfig's user lacks the right to: %s", err, strings.Join(missing, ", "))
}

// missingRights asks the API server about each right; what it does not answer does not count as missing.
func (c *Cluster) missingRights(ctx context.Context, namespace string) []string {
	need := neededRights()
	denied := make([]bool, len(need))
	g, ctx := errgroup.WithContext(ctx)
	for i, r := range need {
		g.Go(func() error {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: namespace, Verb: r.verb, Group: r.group, Resource: r.resource, Subresource: r.subresource,
				},
			}}
			if r.resource == "nodes" || r.resource == "namespaces" {
				review.Spec.ResourceAttributes.Namespace = ""
			}
			answer, err := c.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			denied[i] = err == nil && !answer.Status.Allowed
			return nil
		})
	}
	_ = g.Wait() // nothing there fails
	var out []string
	for i, r := range need {
		if denied[i] {
			out = append(out, r.String())
		}
	}
	return out
}
