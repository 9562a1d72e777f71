package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/proxy"
)

// Prober says what the kernel would refuse; kernel.Conn is one.
type Prober interface {
	Probe(tx nft.Transaction) ([]kernel.Refusal, error)
}

// Check asks the kernel whether it can do all that a layout needs, and says what
// it lacks, by the names of the kernel's options. Nothing is written. The layout is
// not to be used for anything else.
func Check(k Prober, l Layout) error {
	for _, t := range l.Tables() {
		t.Name += "-probe"
	}
	written, err := specimen(l)
	if err != nil {
		return err
	}
	refusals, err := k.Probe(written)
	if err != nil {
		return err
	}
	return lacking(refusals)
}

// specimen makes tables with everything that Services can have.
func specimen(l Layout) (nft.Transaction, error) {
	p := &paper{}
	w := NewWriter(p, l)
	w.SetNetworks(layout.Networks{
		Pods:     []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:1::/64")},
		Services: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:2::/64")},
	})
	w.adopt(make([]*nft.Held, len(l.Tables())))
	_, err := w.Program(changesTo(specimens()))
	return p.written, err
}

func specimens() []proxy.Service {
	svc := proxy.Service{Name: proxy.Name{Namespace: "probe", Name: "probe"}}
	for i, f := range []struct{ frontend, endpoint, source string }{
		{"198.51.100.", "192.0.2.1:80", "192.0.2.0/25"}, {"2001:db8:2::", "[2001:db8:1::1]:80", "2001:db8:1::/65"},
	} {
		at := func(n int, kind proxy.FrontendKind) []proxy.Frontend {
			return []proxy.Frontend{{Addr: netip.MustParseAddr(fmt.Sprint(f.frontend, n)), Kind: kind}}
		}
		endpoints := []proxy.Endpoint{{AddrPort: netip.MustParseAddrPort(f.endpoint), Local: true}}
		id := uint32(2+4*i) << 20 // see proxy.IDBits
		svc.Ports = append(svc.Ports,
			proxy.Port{Protocol: proxy.TCP, Port: 80, Frontends: at(1, proxy.ClusterIP), Endpoints: endpoints},
			proxy.Port{Protocol: proxy.UDP, Port: 80, Frontends: at(1, proxy.ClusterIP)},
			proxy.Port{Protocol: proxy.TCP, Port: 81, Frontends: at(1, proxy.ClusterIP), Endpoints: endpoints, Affinity: time.Hour, ID: id},
			proxy.Port{Protocol: proxy.TCP, Port: 82, Frontends: at(2, proxy.ExternalIP), Endpoints: endpoints},
			proxy.Port{Protocol: proxy.TCP, Port: 83, Frontends: at(3, proxy.LoadBalancerIP), Endpoints: endpoints, LocalOnly: true, LocalEndpoints: endpoints,
				SourceRanges: []netip.Prefix{netip.MustParsePrefix(f.source)}},
			proxy.Port{Protocol: proxy.TCP, Port: 84, Frontends: at(4, proxy.NodePort), Endpoints: endpoints, LocalOnly: true, LocalEndpoints: endpoints, Affinity: time.Hour, ID: id + 2<<20},
			proxy.Port{Protocol: proxy.TCP, Port: 85, Frontends: at(4, proxy.NodePort)})
	}
	return []proxy.Service{svc}
}

// option is the kernel's option that brings an expression, and its module. Of what is
// part of nf_tables itself there is none.
func option(expression string, f nft.Family) (option, module string) {
	v6 := f == nft.IPv6
	switch {
	case expression == "numgen":
		return "CONFIG_NFT_NUMGEN", "nft_numgen"
	case expression == "ct":
		return "CONFIG_NFT_CT", "nft_ct"
	case expression == "nat":
		return "CONFIG_NFT_NAT", "nft_nat"
	case expression == "masq":
		return "CONFIG_NFT_MASQ", "nft_masq"
	case expression == "counter":
		return "CONFIG_NFT_COUNTER", "nft_counter"
	case expression == "fib" && v6:
		return "CONFIG_NFT_FIB_IPV6", "nft_fib_ipv6"
	case expression == "fib":
		return "CONFIG_NFT_FIB_IPV4", "nft_fib_ipv4"
	case expression == "reject" && v6:
		return "CONFIG_NFT_REJECT_IPV6", "nft_reject_ipv6"
	case expression == "reject":
		return "CONFIG_NFT_REJECT_IPV4", "nft_reject_ipv4"
	}
	return "", ""
}

// lacking says what refusals mean. One makes others: a rule is refused with the set
// that it looks up.
func lacking(refusals []kernel.Refusal) error {
	var lacks, modules []string
	var rest error
	for i := range refusals {
		r := &refusals[i]
		lack, module := lackOf(r)
		if lack == "" && rest == nil {
			rest = fmt.Errorf("this kernel refuses part of our tables, which need Linux 5.9 or newer: %w", &r.OpError)
		}
		if lack != "" && !slices.Contains(lacks, lack) {
			lacks = append(lacks, lack)
		}
		if module != "" && !slices.Contains(modules, module) {
			modules = append(modules, module)
		}
	}
	if len(lacks) == 0 {
		return rest
	}
	hint := ""
	if len(modules) > 0 {
		hint = "; if this is built as a module that is not loaded: modprobe -a " + strings.Join(modules, " ")
	}
	return errors.New("this kernel lacks what our tables are made of: it needs " + strings.Join(lacks, ", ") + hint)
}

// lackOf is what the kernel lacks for an operation, and the module that may bring it.
func lackOf(r *kernel.Refusal) (lack, module string) {
	op := &r.Op
	if o, module := option(r.Expression, op.Table.Family); o != "" {
		return fmt.Sprintf("%s (the expression %q)", o, r.Expression), module
	}
	switch {
	case op.Rule == nil && op.Chain != nil && op.Chain.Base != nil && op.Chain.Base.Type == "nat":
		return `CONFIG_NFT_NAT (chains of the type "nat")`, "nft_chain_nat"
	case op.Set != nil && op.Rule == nil && op.Set.Burst > 0:
		return "CONFIG_NFT_LIMIT (sets whose elements have a limit)", "nft_limit"
	case op.Set != nil && op.Rule == nil && op.Set.Interval && !op.Set.Paired():
		return "Linux 5.6 or newer (ranges of several fields)", ""
	}
	return "", ""
}
