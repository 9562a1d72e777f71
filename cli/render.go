package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/nft"
)

func newRender(o *options) *cobra.Command {
	var files []string
	var output, layoutName string
	cmd := &cobra.Command{
		Use:   "render -f FILE|DIR|-",
		Short: "Print the ruleset that manifests stand for",
		Long: `Prints the tables that "apply" would make of the manifests, without touching the
kernel; it needs no right. The output is a script that "nft -f" accepts and that
replaces both tables in one transaction, or JSON for other programs. The script's
first line names the versions of nft that load it.`,
		Example: `  kube-verdict render -f examples/dns-default.yaml --pod-cidrs 10.254.0.0/16
  kube-verdict render -f services/ | nft -f -
  kube-verdict render -f services/ --layout chains   # KUBE-SVC-... and KUBE-SEP-... chains
  kube-verdict render -f services/ -o json | jq '.tables[].sets[] | {name, elements: (.elements | length)}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return errors.New("nothing to render: name a file, a directory, or - for standard input with -f")
			}
			if output != "nft" && output != "json" {
				return fmt.Errorf("-o %s: must be nft or json", output)
			}
			config, err := o.layout()
			if err != nil {
				return err
			}
			tables, err := layoutNamed(layoutName, config)
			if err != nil {
				return err
			}
			input, err := o.read(cmd.Context(), files, cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			contents, err := dataplane.Contents(tables, input.networks, input.granted(cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			if output == "json" {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				err = encoder.Encode(nft.Document(contents...))
			} else {
				err = nft.WriteScript(cmd.OutOrStdout(), contents...)
			}
			if err == nil && input.wrong {
				err = errors.New("some input was left out (see above)")
			}
			return err
		},
	}
	cmd.Flags().StringSliceVarP(&files, "filename", "f", nil, "file, directory (its *.yaml, *.yml and *.json), or - for standard input; may be given several times")
	addLayout(cmd.Flags(), &layoutName)
	cmd.Flags().StringVarP(&output, "output", "o", "nft", "nft for a script, json for other programs")
	return cmd
}
