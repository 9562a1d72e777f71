package dataplane_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

// This kernel has all that both layouts need, and is as before when it was asked.
func TestThisKernelHasAll(t *testing.T) {
	for name, layout := range map[string]layoutOf{"maps": flat, "chains": chained} {
		ns := testbed.NewTestNamespace(t)
		w := adopt(t, ns, layout)
		w.program(service("a", "tcp/80", "10.96.0.1", "10.254.0.1:80"))
		before := listing(t, ns, name)
		generation := w.generation()
		if err := dataplane.Check(w.conn, layout(config)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if after := listing(t, ns, name); after != before || w.generation() != generation {
			t.Errorf("%s: the check has changed the kernel:\n%s", name, after)
		}
	}
}

// lesser is a kernel that lacks some expressions: the real one, which all have,
// would say the same of one that it does not know.
type lesser struct{ lacks []string }

func (k lesser) Probe(tx nft.Transaction) (refusals []kernel.Refusal, err error) {
	for i := range tx {
		op := &tx[i]
		if op.Rule == nil {
			continue
		}
		for _, e := range op.Rule.Program(op.Table.Family) {
			data, err := e.Marshal(op.Table.Family)
			if err != nil {
				return nil, err
			}
			for _, lack := range k.lacks {
				if strings.Contains(string(data), lack+"\x00") {
					refusals = append(refusals, kernel.Refusal{OpError: kernel.OpError{Op: *op, Err: unix.ENOENT}, Expression: lack})
				}
			}
		}
	}
	return refusals, nil
}

// What a kernel lacks is named by its option, once.
func TestWhatAKernelLacksIsNamed(t *testing.T) {
	for _, tc := range []struct {
		lacks []string
		want  string
	}{
		{[]string{"numgen"}, `it needs CONFIG_NFT_NUMGEN (the expression "numgen"); if this is built as a module that is not loaded: modprobe -a nft_numgen`},
		{[]string{"masq"}, `it needs CONFIG_NFT_MASQ (the expression "masq"); if this is built as a module that is not loaded: modprobe -a nft_masq`},
		{[]string{"fib"}, `it needs CONFIG_NFT_FIB_IPV4 (the expression "fib"), CONFIG_NFT_FIB_IPV6 (the expression "fib"); if this is built as a module that is not loaded: modprobe -a nft_fib_ipv4 nft_fib_ipv6`},
		{[]string{"reject"}, `CONFIG_NFT_REJECT_IPV4 (the expression "reject"), CONFIG_NFT_REJECT_IPV6`},
		{[]string{"ct", "nat"}, `CONFIG_NFT_CT (the expression "ct")`},
		{[]string{"dynset"}, `this kernel refuses part of our tables, which need Linux 5.9 or newer: add rule ip kube-verdict-probe `},
	} {
		err := dataplane.Check(lesser{tc.lacks}, flat(config))
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "nft_numgen") != (tc.lacks[0] == "numgen") {
			t.Errorf("without %v: %v, want %s", tc.lacks, err, tc.want)
		}
	}
}
