package xtables_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/kubeproxy/xtables"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

// odd are rules of others, in forms that kube-proxy does not use.
const odd = `*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:mine - [0:0]
-A INPUT ! -s 10.0.0.0/9 -d 10.0.0.1/32 -i eth0 -p tcp -m tcp --sport 1:100 ! --dport 80 -m comment --comment "a \"b\" c" -j mine
-A INPUT -s 10.0.0.1/255.0.0.255 -i eth+ -j mine
-A INPUT -p udp -m udp ! --dport 53:54 -g mine
-A INPUT ! -p icmp -m mark ! --mark 0x10/0xf0 -j DROP
-A INPUT -p 200 -m mark --mark 0x7 -j REJECT --reject-with icmp-host-prohibited
-A INPUT -p tcp -m conntrack ! --ctstate INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED,SNAT,DNAT -j REJECT --reject-with tcp-reset
-A INPUT -p sctp -m sctp --sport 7 --dport 8:9 -m state --state NEW -m statistic --mode random ! --probability 0.25000000000 -j ACCEPT
-A INPUT -m addrtype ! --src-type LOCAL,BROADCAST --dst-type UNICAST -m recent --update --seconds 60 --reap --hitcount 3 --name X --mask 255.255.255.0 --rdest
-A FORWARD -i eth+ ! -o lo -g mine
-A mine -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.9:80-90 --random --persistent
-A PREROUTING -p tcp -j DNAT --to-destination :8080
-A PREROUTING -j DNAT --to-destination 10.0.0.1
-A POSTROUTING -p tcp -j MASQUERADE --to-ports 1024-2048 --random
COMMIT
`

func file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../../iptables/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// withoutAccounts leaves out rules that need accounts which nobody made here.
func withoutAccounts(dump string) string {
	var kept []string
	for line := range strings.Lines(dump) {
		if !strings.Contains(line, "nfacct") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// rules are the rules of some tables and their chains' policies, in no order of
// tables and chains.
func rules(d *iptables.Dump, tables ...string) []string {
	var list []string
	for _, name := range tables {
		table := d.Table(name)
		if table == nil {
			continue
		}
		for _, chain := range table.Chains {
			policy := chain.Policy
			if policy == "" {
				policy = "-"
			}
			list = append(list, fmt.Sprintf("%s :%s %s", name, chain.Name, policy))
			for i := range chain.Rules {
				list = append(list, fmt.Sprintf("%s %s %03d %s", name, chain.Name, i, chain.Rules[i].Text(chain.Name)))
			}
		}
	}
	slices.Sort(list)
	return list
}

// What the kernel has, read by us and by iptables-save, is the same.
func TestSameAsIptablesSave(t *testing.T) {
	tables := []string{"nat", "filter", "mangle"}
	for _, tc := range []struct {
		name, dump string
		is4        bool
	}{
		{"kube-proxy", withoutAccounts(file(t, "kube-proxy-1.37-ipv4.txt")), true},
		{"kube-proxy over IPv6", withoutAccounts(file(t, "kube-proxy-1.37-ipv6.txt")), false},
		{"others", odd, true},
	} {
		for _, backend := range []string{"nft", "legacy"} {
			t.Run(tc.name+"/"+backend, func(t *testing.T) {
				ns := testbed.NewTestNamespace(t)
				program, family := "iptables-"+backend, nft.IPv4
				if !tc.is4 {
					program, family = "ip6tables-"+backend, nft.IPv6
				}
				if _, err := ns.RunInput(strings.NewReader(tc.dump), program+"-restore"); err != nil {
					t.Fatal(err)
				}
				text, err := ns.Run(program + "-save")
				if err != nil {
					t.Fatal(err)
				}
				printed, err := iptables.Parse(strings.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				var dump *iptables.Dump
				err = ns.Do(func() error {
					if backend == "legacy" {
						dump, err = xtables.Legacy(tc.is4, tables...)
						return err
					}
					conn, err := kernel.Open(0)
					if err != nil {
						return err
					}
					defer func() { _ = conn.Close() }()
					o := kernel.NewOnlooker(conn)
					var all []*nft.Held
					for _, name := range tables {
						held, err := o.Look(nft.ID{Family: family, Name: name})
						if err != nil {
							return err
						}
						if held != nil {
							all = append(all, held)
						}
					}
					dump = xtables.FromNft(all)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				got, want := rules(dump, tables...), rules(printed, tables...)
				if len(want) < 20 {
					t.Fatalf("only %d rules", len(want))
				}
				for _, r := range want {
					if !slices.Contains(got, r) {
						t.Errorf("missing:    %s", r)
					}
				}
				for _, r := range got {
					if !slices.Contains(want, r) {
						t.Errorf("unexpected: %s", r)
					}
				}
			})
		}
	}
}

// Asking what iptables-legacy has makes no table of it.
func TestAskingMakesNoTables(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	for range 2 {
		err := ns.Do(func() error {
			dump, err := xtables.Legacy(true, "nat", "filter")
			if err != nil || len(dump.Tables) > 0 {
				t.Errorf("there are %v, %v", dump.Tables, err)
			}
			names, err := xtables.LegacyTables(true)
			if len(names) > 0 {
				t.Errorf("there are %v", names)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
