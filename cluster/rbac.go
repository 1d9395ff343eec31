package cluster

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/scenarios"
)

// RBAC says which manifest RBACManifest writes.
type RBAC struct {
	// Namespace of the service account. "" is podskew.
	Namespace string
	// Events are those of the scenarios that the account is to run: some need rights of their own. nil: none do.
	Events []scenarios.Event
	// DestinationRule is whether one of these scenarios has one.
	DestinationRule bool
	// NeededOnly leaves out the rights that a run can do without.
	NeededOnly bool
}

const rbacHead = `# The rights of a podskew run on a cluster of your own, as "podskew rbac" prints them.
#
# A run makes a namespace podskew-<run id> and removes it. Its name is not known beforehand, so that what a run does inside
# must be granted for every namespace: give these rights to an account that is used for nothing else.
apiVersion: v1
kind: Namespace
metadata:
  name: %[1]s
  labels:
    pod-security.kubernetes.io/enforce: restricted
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: podskew
  namespace: %[1]s
automountServiceAccountToken: false
`

const rbacOptional = `---
# Optional: without what follows a run goes on, and what is said here stays unknown.
`

// RBACManifest is the YAML of a service account with the least rights a run needs: what CheckRights asks for and no
// more. The same options always give the same bytes.
func RBACManifest(o RBAC) string {
	if o.Namespace == "" {
		o.Namespace = fieldManager
	}
	var b strings.Builder
	fmt.Fprintf(&b, rbacHead, o.Namespace)
	b.WriteString("---\n")
	o.role(&b, "ClusterRole", "podskew", "", func(g grant) bool { return !g.optional && g.namespace == "" })
	if elsewhere := func(g grant) bool { return !g.optional && g.namespace != "" }; slices.ContainsFunc(o.grants(), elsewhere) {
		b.WriteString("---\n")
		o.role(&b, "Role", "podskew", metav1.NamespaceSystem, elsewhere) // no run looks into another
	}
	if o.NeededOnly {
		return b.String()
	}
	b.WriteString(rbacOptional)
	o.role(&b, "ClusterRole", "podskew-optional", "", func(g grant) bool { return g.optional && g.namespace == "" })
	for _, g := range o.grants() {
		if g.optional && g.namespace != "" {
			b.WriteString("---\n")
			o.role(&b, "Role", "podskew-optional", g.namespace, func(other grant) bool { return other.optional && other.namespace == g.namespace })
			break // one namespace, kube-system, is all that runs look into
		}
	}
	return b.String()
}

func (o RBAC) grants() []grant { return demand{o.Events, o.DestinationRule}.grants() }

// role writes a role with the grants that are chosen, and its binding.
func (o RBAC) role(b *strings.Builder, kind, name, namespace string, chosen func(grant) bool) {
	metadata := "metadata:\n  name: " + name + "\n"
	if namespace != "" {
		metadata += "  namespace: " + namespace + "\n"
	}
	fmt.Fprintf(b, "apiVersion: rbac.authorization.k8s.io/v1\nkind: %s\n%srules:\n", kind, metadata)
	for _, g := range o.grants() {
		if !chosen(g) {
			continue
		}
		fmt.Fprintf(b, "  # %s\n  - apiGroups: [%q]\n    resources: [%s]\n", g.why, g.group, g.resource)
		if g.name != "" {
			fmt.Fprintf(b, "    resourceNames: [%s]\n", g.name)
		}
		fmt.Fprintf(b, "    verbs: [%s]\n", strings.Join(g.verbs, ", "))
	}
	fmt.Fprintf(b, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: %sBinding\n%s", kind, metadata)
	fmt.Fprintf(b, "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: %s, name: %s}\n", kind, name)
	fmt.Fprintf(b, "subjects:\n  - {kind: ServiceAccount, name: podskew, namespace: %s}\n", o.Namespace)
}
