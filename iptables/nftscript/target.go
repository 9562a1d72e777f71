package nftscript

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/kube-verdict/kube-verdict/iptables"
)

// target is what a rule does, or why that has no translation.
func (t *translator) target(tab *table, r *iptables.Rule, of string) (text, why string) {
	switch target := r.Target.(type) {
	case nil:
		return "counter", ""
	case iptables.Jump:
		if !isVerdict(target.To) && tab.chains[target.To] == nil {
			return "", fmt.Sprintf("chain %s is not one of kube-proxy's", target.To)
		}
		if target.To == iptables.Accept && tab.others {
			t.warn(r.Line, "-j ACCEPT does not spare packets the rules of others, which stay in iptables")
		}
		return t.verdict(tab, target), ""
	case iptables.SetMark:
		return setMark(target), ""
	case iptables.DNAT:
		return dnat(target, of)
	case iptables.Masquerade:
		return masquerade(target, of)
	case iptables.Reject:
		return reject(target, of)
	case iptables.OtherTarget:
		return "", fmt.Sprintf("-j %s has no translation", target.Name)
	}
	return "", fmt.Sprintf("%T has no translation", r.Target)
}

func setMark(m iptables.SetMark) string {
	switch {
	case m.Value == m.Mask:
		return fmt.Sprintf("meta mark set meta mark | 0x%08x", m.Value)
	case m.Mask == 0:
		return fmt.Sprintf("meta mark set meta mark ^ 0x%08x", m.Value)
	case m.Mask == 1<<32-1:
		return fmt.Sprintf("meta mark set 0x%08x", m.Value)
	case m.Value == 0:
		return fmt.Sprintf("meta mark set meta mark & 0x%08x", ^m.Mask)
	}
	return fmt.Sprintf("meta mark set meta mark & 0x%08x ^ 0x%08x", ^m.Mask, m.Value)
}

func dnat(d iptables.DNAT, of string) (string, string) {
	if len(d.To) != 1 || d.To[0].Base != 0 {
		return "", "more than one --to-destination, or a port to count from, has no translation"
	}
	to := d.To[0]
	if to.FromPort != 0 && of == "" {
		return "", "a port to translate to needs -p tcp, udp or sctp"
	}
	text := "dnat to "
	if to.From.IsValid() {
		text += bracketed(to.From, to.FromPort != 0)
		if to.To != to.From {
			text += "-" + bracketed(to.To, to.FromPort != 0)
		}
	}
	if to.FromPort != 0 {
		text += fmt.Sprintf(":%d", to.FromPort)
		if to.ToPort != to.FromPort {
			text += fmt.Sprintf("-%d", to.ToPort)
		}
	}
	if d.Random {
		text += " random"
	}
	if d.Persistent {
		text += " persistent"
	}
	return text, ""
}

func bracketed(a netip.Addr, port bool) string {
	if a.Is6() && port {
		return "[" + a.String() + "]"
	}
	return a.String()
}

func masquerade(m iptables.Masquerade, of string) (string, string) {
	text := "masquerade"
	if m.ToPorts != "" {
		if of == "" {
			return "", "--to-ports needs -p tcp, udp or sctp"
		}
		if !isWord(m.ToPorts) {
			return "", "--to-ports has no ports"
		}
		text += " to :" + m.ToPorts
	}
	if m.Random {
		text += " random"
	}
	if m.RandomFully {
		text += " fully-random"
	}
	return text, ""
}

// rejects are nft's words for iptables' answers.
var rejects = map[string]string{
	"":                      "",
	"icmp-port-unreachable": "icmp type port-unreachable", "icmp-net-unreachable": "icmp type net-unreachable",
	"icmp-host-unreachable": "icmp type host-unreachable", "icmp-proto-unreachable": "icmp type prot-unreachable",
	"icmp-net-prohibited": "icmp type net-prohibited", "icmp-host-prohibited": "icmp type host-prohibited",
	"icmp-admin-prohibited":  "icmp type admin-prohibited",
	"icmp6-port-unreachable": "icmpv6 type port-unreachable", "icmp6-no-route": "icmpv6 type no-route",
	"icmp6-adm-prohibited": "icmpv6 type admin-prohibited", "icmp6-addr-unreachable": "icmpv6 type addr-unreachable",
	"icmp6-policy-fail": "icmpv6 type policy-fail", "icmp6-reject-route": "icmpv6 type reject-route",
}

func reject(r iptables.Reject, of string) (string, string) {
	if r.With == "tcp-reset" {
		if of != "tcp" {
			return "", "tcp-reset needs -p tcp"
		}
		return "reject with tcp reset", ""
	}
	answer, known := rejects[r.With]
	switch {
	case !known:
		return "", fmt.Sprintf("--reject-with %s has no translation", r.With)
	case answer == "" || strings.HasSuffix(answer, " port-unreachable"):
		return "reject", "" // what nft takes by itself
	}
	return "reject with " + answer, ""
}
