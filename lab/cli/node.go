package cli

import (
	"github.com/spf13/cobra"

	"github.com/podskew/podskew/lab/cluster"
	"github.com/podskew/podskew/lab/launch"
)

// node does to nodes what no API server can.
func (a *app) node() *cobra.Command {
	parent := &cobra.Command{
		Use:   "node",
		Short: "Take the power from a node, start it anew, or restart its kube-proxy",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, row := range []struct{ action, short, long string }{
		{
			cluster.NodeKill, "Take the power from a node",
			"Take the power from a node: its interface goes down, and kubelet, kube-proxy and all containers on it end at once.\n" +
				"The cluster finds out as from any node that is gone, after 50 seconds or so.",
		},
		{cluster.NodeStart, "Start a killed node anew", "Start a killed node anew, with empty disks, and wait until it is ready. One that runs is left alone."},
		{cluster.NodeRestartProxy, "Restart the kube-proxy of a node", "End the kube-proxy of a node as if its pod were deleted, and start another. The rules stay meanwhile."},
	} {
		parent.AddCommand(&cobra.Command{
			Use: row.action + " NODE", Short: row.short, Long: row.long,
			Args: func(c *cobra.Command, args []string) error {
				if err := cobra.ExactArgs(1)(c, args); err != nil {
					return usageError{err}
				}
				return nil
			},
			RunE: func(c *cobra.Command, args []string) error {
				ctx, signals := notifySignals(c.Context())
				defer signals.stop()
				err := launch.ChangeNode(ctx, a.runDir, cluster.NodeRequest{Node: args[0], Action: row.action})
				if err != nil && ctx.Err() != nil {
					return errInterrupted
				}
				return err
			},
		})
	}
	return parent
}
