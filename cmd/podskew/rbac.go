package main

import (
	"io"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/cluster"
)

// namespaceName is what a namespace may be called: a DNS label.
var namespaceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (e *env) rbacCommand() *cobra.Command {
	var o cluster.RBAC
	var format string
	cmd := &cobra.Command{
		Use:   "rbac [SCENARIO...]",
		Short: "Print the least rights a run needs on your own cluster",
		Long: `Print the manifest of a service account with the least rights a run needs, for an administrator
to read and apply. Some scenarios need more, as for events that cordon a node or for a DestinationRule:
name them, and the manifest grants what they need. "podskew run --cluster current" asks the API server for the same
rights before it deploys anything, and names those that are lacking.`,
		Example: `  podskew rbac | kubectl apply -f -
  podskew rbac ./drain.yaml | kubectl apply -f -
  kubectl create token podskew --namespace podskew   # for a kubeconfig of that account`,
		ValidArgsFunction: completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case format != "yaml":
				return usageError("unknown format %q: write yaml", format)
			case !namespaceName.MatchString(o.Namespace):
				return usageError("--namespace %q: write lower-case letters, digits and dashes, up to 63", o.Namespace)
			}
			for _, arg := range args {
				s, err := loadScenario(arg)
				if err != nil {
					return err
				}
				o.Events = append(o.Events, s.Spec.Events...)
				o.DestinationRule = o.DestinationRule || s.Spec.DestinationRule != nil
			}
			_, err := io.WriteString(e.stdout, cluster.RBACManifest(o))
			return err
		},
	}
	cmd.Flags().StringVarP(&o.Namespace, "namespace", "n", "podskew", "namespace of the service account")
	cmd.Flags().BoolVar(&o.NeededOnly, "needed-only", false, "leave out the rights that a run can do without")
	cmd.Flags().StringVarP(&format, "output", "o", "yaml", "format: yaml")
	return cmd
}
