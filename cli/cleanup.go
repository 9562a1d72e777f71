package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
)

func newCleanup() *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup",
		Short: "Remove our tables from the kernel, and nothing else",
		Long: `Deletes the tables "ip kube-verdict" and "ip6 kube-verdict" from the current
network namespace, whichever their layout, in one transaction. New connections to
Services are then no longer translated by us.

Established ones go on as long as anyone has a chain of type nat in this namespace:
another proxy, a network plugin, or a rule of the administrator's. The kernel
translates their packets in the hooks of such chains; without any, connections
through a Service stop. Start the other proxy first.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := kernel.Open(0)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			removed, err := dataplane.Cleanup(conn, maps.NewLayout(layout.Config{}))
			if err != nil {
				return err
			}
			if len(removed) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing to remove: there is no table of ours in this network namespace")
			}
			for _, id := range removed {
				fmt.Fprintf(cmd.OutOrStdout(), "removed table %s\n", id)
			}
			return nil
		},
	}
}
