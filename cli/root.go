package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/plain"
)

// version is set by the linker.
var version = "devel"

// Main runs the command that args ask for and gives the exit status: 0 when
// all went well, 1 otherwise, or what the command says.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(interruptible{ctx, os.Stdin})
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	status := &statusError{err, 1}
	errors.As(err, &status)
	if status.error != nil {
		fmt.Fprintf(plain.NewWriter(os.Stderr), "error: %v\n", err)
	}
	return status.status
}

// statusError is an exit status of its own, and the reason for it, if it is to be
// told.
type statusError struct {
	error
	status int
}

func (e *statusError) Unwrap() error { return e.error }

func newRoot() *cobra.Command {
	options := &options{config: config.Default()}
	root := &cobra.Command{
		Use:   "kube-verdict",
		Short: "A Kubernetes Service proxy on nftables maps",
		Long: `kube-verdict programs the Services of a Kubernetes cluster into the node's
kernel, as kube-proxy does. A Service is elements of a few nftables maps that
all Services share, written over netlink:

  VIP . protocol . port         -> 0:6 -> goto cluster-6 (maps services, dispatch)
  a random slot in 0..5                                  (chain cluster-6)
  VIP . protocol . port . slot  -> address . port        (map endpoints)

Its tables are "ip kube-verdict" and "ip6 kube-verdict"; those of others are
never touched. See what is programmed with: nft list table ip kube-verdict`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		// Much of what is printed was written by others.
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			root := cmd.Root()
			root.SetOut(plain.NewWriter(root.OutOrStdout()))
			root.SetErr(plain.NewWriter(root.ErrOrStderr()))
		},
	}
	options.addTo(root.PersistentFlags())
	for _, group := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"program", "Programming the node:", []*cobra.Command{newRun(options), newApply(options), newRender(options), newCleanup()}},
		{"look", "Looking at Services and packets:", []*cobra.Command{newExplain(options), newDiff(options), newTrace()}},
		{"translate", "To iptables rules, and from them:", []*cobra.Command{newIptablesSave(options), newTranslate(options)}},
	} {
		root.AddGroup(&cobra.Group{ID: group.id, Title: group.title})
		for _, command := range group.commands {
			command.GroupID = group.id
			root.AddCommand(command)
		}
	}
	return root
}
