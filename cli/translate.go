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
	write      func(w io.Writer, d *iptables.Dump, reading *iptables.Reading, node string) ([]iptables.Warning, error)
}

// forms are all that translate writes; the first is the default.
func forms() []form {
	return []form{
		{"nft", "a script for \"nft -f\" with the same chains, which does the same", func(w io.Writer, d *iptables.Dump, reading *iptables.Reading, _ string) ([]iptables.Warning, error) {
			warnings, err := nftscript.Write(w, d)
			if reading.Empty {
				warnings = append(warnings, iptables.Warning{Text: "kube-proxy serves no Service here"})
			}
			return warnings, err
		}},
		{"manifests", "Services and EndpointSlices, as \"apply\" reads them", func(w io.Writer, _ *iptables.Dump, reading *iptables.Reading, node string) ([]iptables.Warning, error) {
			err := translate.Manifests(w, reading, node)
			return reading.Warnings, err
		}},
		{"json", "what connections to each frontend meet, and the warnings, for other programs", func(w io.Writer, _ *iptables.Dump, reading *iptables.Reading, _ string) ([]iptables.Warning, error) {
			err := translate.JSON(w, reading)
			return reading.Warnings, err
		}},
	}
}

// translated writes a dump in one form, and gives what is to be warned of. It is an error
// if no Service is among the rules, unless the dump is that of a kube-proxy without any.
func translated(dump *iptables.Dump, as form, node string) (string, []iptables.Warning, error) {
	_, err := dump.Family()
	whole := iptables.Complete(dump) // once for all that read it
	reading := iptables.Interpret(whole)
	switch {
	case len(reading.View) == 0 && !reading.Empty && (err == nil || errors.Is(err, iptables.ErrNoFamily)):
		return "", reading.Warnings, errNoService // which says more of a text that has no rules
	case err != nil:
		return "", dump.Warnings, err
	}
	var text strings.Builder
	warnings, err := as.write(&text, whole, reading, node)
	return text.String(), warnings, err
}

// errNoService is for rules of which nothing is left.
var errNoService = errors.New("there is no Service among the rules that could be read: the input is what iptables-save prints on a node with kube-proxy in iptables mode")

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

Rules of others are left alone. Listings that were pasted from a terminal, a mail, a
log or a document are read as well: with prompts, notes, indentation, numbers in
front, damaged quotes, and lines that are there twice. What such a listing lacks of
the rules that kube-proxy always has is added. What can't be carried over, what
contradicts itself, what was added and what is not understood is named on standard
error, with its line; what is written is the rest.

The input is of one IP family: a dump of both, or one that does not show which, is
refused. It is an error, with nothing written, if no Service can be read. Only the
whole dump of a kube-proxy that serves no Service is translated to one without any.

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
			text, warnings, err := translated(dump, all[i], node)
			for _, w := range warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
			}
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", names[0], "what to write; "+strings.Join(helps, "; "))
	return cmd
}
