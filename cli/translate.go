package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/iptables/nftscript"
	"github.com/kube-verdict/kube-verdict/translate"
)

// form is one way to write a translation. It warns of what it can't carry over.
type form struct {
	name, help string
	write      func(w io.Writer, d *iptables.Dump, node string) ([]iptables.Warning, error)
}

// forms are all that translate writes; the first is the default.
func forms() []form {
	return []form{
		{"nft", "a script for \"nft -f\" with the same chains, which does the same", func(w io.Writer, d *iptables.Dump, _ string) ([]iptables.Warning, error) {
			return nftscript.Write(w, d)
		}},
		{"manifests", "Services and EndpointSlices, as \"apply\" reads them", func(w io.Writer, d *iptables.Dump, node string) ([]iptables.Warning, error) {
			reading := iptables.Interpret(d)
			err := translate.Manifests(w, reading, node)
			return reading.Warnings, err
		}},
		{"json", "what connections to each frontend meet, and the warnings, for other programs", func(w io.Writer, d *iptables.Dump, _ string) ([]iptables.Warning, error) {
			reading := iptables.Interpret(d)
			err := translate.JSON(w, reading)
			return reading.Warnings, err
		}},
	}
}

func newTranslate(o *options) *cobra.Command {
	var output string
	var names, helps []string
	for _, f := range forms() {
		names, helps = append(names, f.name), append(helps, f.name+": "+f.help)
	}
	cmd := &cobra.Command{
		Use:   "translate [FILE|-]",
		Short: "Translate kube-proxy's iptables rules",
		Long: `Reads what iptables-save or ip6tables-save printed on a node with kube-proxy in
iptables mode, of any release from 1.12 on and of either backend, from a file or
from standard input, and writes what it stands for. It needs no right, and no
cluster.

Rules of others are left alone. Listings that were pasted from a terminal, with
prompts, notes and lines that are there twice, are read as well. What can't be
carried over, what contradicts itself and what is not understood is named on
standard error, with its line; what is written is the rest.

The script for nft has a table of kube-verdict's name, with the chains of iptables,
and its priorities. A cascade of probabilities is one random number there: an even
one "numgen random mod 6 vmap { 0 : goto KUBE-SEP-..., ... }"; in one that is not,
shares are rounded to 1/65536 or finer, so that none is off by more than a
thousandth of itself. kube-proxy's own rules have to go before it is loaded, or both
would translate.`,
		Example: `  iptables-save | kube-verdict translate                        # as a script for nft
  kube-verdict translate node-7.txt -o manifests > services.yaml
  kube-verdict translate node-7.txt -o json | jq '.frontends[] | {frontend, service}'
  kube-verdict translate node-7.txt -o manifests | kube-verdict apply -f - --dry-run`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all := forms()
			i := slices.IndexFunc(all, func(f form) bool { return f.name == output })
			if i < 0 {
				return fmt.Errorf("-o %s: must be one of %s", output, strings.Join(names, ", "))
			}
			node, err := o.node()
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if len(args) > 0 && args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer func() { _ = file.Close() }()
				in = file
			}
			dump, err := iptables.Parse(in)
			if err != nil {
				return err
			}
			switch families := dump.Families(); {
			case families.Both():
				return fmt.Errorf("these are rules of iptables and of ip6tables (%s): translate each on its own", families)
			case len(dump.Tables) > 0 && families == iptables.Families{}:
				return errors.New("no address and no header says whether these rules are of iptables or of ip6tables: give the output of iptables-save or ip6tables-save from its first line on")
			}
			dump = iptables.Mend(dump)
			var text strings.Builder
			warnings, err := all[i].write(&text, dump, node)
			for _, w := range warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
			}
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text.String())
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", names[0], "what to write; "+strings.Join(helps, "; "))
	return cmd
}
