package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// Exit statuses of diff, as diff(1) has them.
const (
	statusDifferent = 1
	statusTrouble   = 2
)

func newDiff(o *options) *cobra.Command {
	d := &differ{options: o}
	cmd := &cobra.Command{
		Use:   "diff A B [NAMESPACE/NAME]",
		Short: "Compare what connections to Services meet, by two sources",
		Long: `Compares what connections to each Service meet on this node, as two sources have
it: which endpoints they get and how often, what happens without any, whose
address is masqueraded, session affinity, who may connect. How rules are written
does not matter, so that sources of any kind compare. Each is one of

  desired              what the Services and EndpointSlices say: of the API server,
                       or of manifests with -f
  kernel               our tables in this network namespace
  kube-proxy           kube-proxy's rules here, in whichever mode it works
  kube-proxy-nftables  those of its nftables mode
  kube-proxy-iptables  those of its iptables mode, iptables-nft or iptables-legacy
  FILE                 a dump of iptables-save or ip6tables-save, or - for standard
                       input; only its address family is compared

With a Service's name only that one is compared. A NodePort is shown with the
address 0.0.0.0, or [::] over IPv6. Services that a label gives to another proxy
than kube-proxy are left out when kube-proxy, or a dump, is compared.

Nothing is changed, and no other program is run. How pods are told from other
clients (--pod-cidrs, --pod-interface, --masquerade-all) need not be said: it is
taken as our tables in the kernel have it, or, without any, as usual: by addresses.

The exit status is 0 without a difference, 1 with some, 2 in trouble.`,
		Example: `  kube-verdict diff desired kube-proxy               # is kube-proxy right on this node?
  kube-verdict diff desired kernel shop/cart         # does the kernel have this Service?
  kube-verdict diff kube-proxy kernel                # would anybody notice a take-over?
  iptables-save | kube-verdict diff -f services/ desired -
  kube-verdict diff yesterday.txt kube-proxy-iptables -o json | jq -r '.differences[].service'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 || len(args) > 3 {
				return trouble(errors.New("two sources to compare, such as desired and kube-proxy, and maybe a Service as NAMESPACE/NAME: see kube-verdict diff --help"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			d.cmd = cmd
			if err := d.scope.Validate(); err != nil {
				return trouble(fmt.Errorf("--%w", err))
			}
			different, err := d.run(args)
			switch {
			case err != nil:
				return trouble(err)
			case different:
				return &statusError{status: statusDifferent}
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return trouble(err) })
	flags := cmd.Flags()
	d.source.addTo(flags)
	flags.StringVarP(&d.output, "output", "o", "", "json for other programs")
	flags.StringVar((*string)(&d.scope), "scope", string(proxy.ScopeAll), "which Services are desired, as with the agent's --scope (default: the scope that our tables in the kernel were made for)")
	return cmd
}

func trouble(err error) error { return &statusError{err, statusTrouble} }

// differ is one run of diff.
type differ struct {
	options *options
	source  source
	cmd     *cobra.Command
	output  string
	scope   proxy.Scope
	// known are addresses of this node's from its Node object.
	known []netip.Addr
	// onNode are the endpoints on this node.
	onNode []netip.AddrPort
}

// comparison is what diff prints with -o json.
type comparison struct {
	Want        string            `json:"want"`
	Have        string            `json:"have"`
	Frontends   int               `json:"frontends"`
	Differences []view.Difference `json:"differences"`
	// Unhooked are base chains that do not lead to kube-proxy's rules.
	Unhooked []string `json:"unhooked,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

func (d *differ) run(args []string) (different bool, err error) {
	if d.output != "" && d.output != "json" {
		return false, fmt.Errorf("-o %s: must be json", d.output)
	}
	service := ""
	if len(args) == 3 {
		name, err := parseName(args[2])
		if err != nil {
			return false, err
		}
		service = name.String()
	}
	sides, err := d.read(args[0], args[1])
	if err != nil {
		return false, err
	}
	want, have := sides[0], sides[1]
	c := comparison{Want: want.name, Have: have.name, Notes: slices.Concat(want.notes, have.notes)}
	if service != "" {
		want.view, have.view = only(want.view, service), only(have.view, service)
		if len(want.view)+len(have.view) == 0 {
			return false, fmt.Errorf("neither %s nor %s has frontends of Service %s", want.name, have.name, service)
		}
	}
	all := maps.Clone(want.view)
	maps.Copy(all, have.view)
	c.Frontends = len(all)
	c.Differences = append([]view.Difference{}, view.Compare(want.view, have.view)...)
	for _, side := range sides {
		for _, u := range side.unhooked {
			c.Unhooked = append(c.Unhooked, side.name+": "+u)
		}
	}
	return len(c.Differences)+len(c.Unhooked) > 0, d.print(c)
}

// only are the frontends of one Service. A frontend whose Service a source does not
// know is none.
func only(v view.View, service string) view.View {
	kept := view.View{}
	for key, port := range v {
		if port.ServiceName() == service {
			kept[key] = port
		}
	}
	return kept
}

func (d *differ) print(c comparison) error {
	out, errs := d.cmd.OutOrStdout(), d.cmd.ErrOrStderr()
	if d.output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(c)
	}
	for _, note := range c.Notes {
		fmt.Fprintf(errs, "note: %s\n", note)
	}
	for _, difference := range c.Differences {
		if _, err := fmt.Fprint(out, difference.Text(c.Want, c.Have)); err != nil {
			return err
		}
	}
	for _, u := range c.Unhooked {
		fmt.Fprintln(out, u)
	}
	switch n := len(c.Differences); {
	case n+len(c.Unhooked) == 0:
		fmt.Fprintf(errs, "no difference: %s and %s have the same at %s\n", c.Want, c.Have, count(c.Frontends, "frontend"))
	default:
		fmt.Fprintf(errs, "%s with differences, of %s compared\n", count(n, "Service"), count(c.Frontends, "frontend"))
	}
	return nil
}
