package xtables

import (
	"net/netip"
	"strconv"

	"github.com/kube-verdict/kube-verdict/iptables"
)

// target reads a target: its name, revision and structure.
func target(name string, revision uint32, d data, is4 bool) iptables.Target {
	switch {
	case name == "MARK" && revision == 2:
		return iptables.SetMark{Value: d.u32(0), Mask: d.u32(4)}
	case name == "DNAT" && is4 && revision == 0:
		return dnat(compatRange(d))
	case name == "DNAT" && revision <= 2:
		return dnat(natRange(d, is4, revision == 2))
	case name == "MASQUERADE" && revision == 0:
		r := natRange(d, is4, false)
		if is4 {
			r = compatRange(d)
		}
		m := iptables.Masquerade{Random: r.flags&natRandom != 0, RandomFully: r.flags&natRandomFully != 0}
		if r.flags&natPorts != 0 {
			m.ToPorts = strconv.Itoa(int(r.FromPort))
			if r.ToPort != r.FromPort {
				m.ToPorts += "-" + strconv.Itoa(int(r.ToPort))
			}
		}
		return m
	case name == "REJECT" && revision == 0:
		if with := rejection(d.u32(0), is4); with != "" {
			return iptables.Reject{With: with}
		}
	}
	return iptables.OtherTarget{Name: name, Text: raw(d)}
}

// Flags of a range of a translation.
const (
	natAddresses = 1 << iota
	natPorts
	natRandom
	natPersistent
	natRandomFully
	natOffset
)

// translation is where a connection is translated to.
type translation struct {
	flags uint32
	iptables.Destinations
}

// compatRange is struct nf_nat_ipv4_multi_range_compat, with its one range.
func compatRange(d data) translation {
	return translation{d.u32(4), iptables.Destinations{From: d.addr(8, true), To: d.addr(12, true), FromPort: d.be16(16), ToPort: d.be16(18)}}
}

// natRange is struct nf_nat_range, or nf_nat_range2, which has a base besides.
func natRange(d data, is4, base bool) translation {
	t := translation{d.u32(0), iptables.Destinations{From: d.addr(4, is4), To: d.addr(20, is4), FromPort: d.be16(36), ToPort: d.be16(38)}}
	if base && t.flags&natOffset != 0 {
		t.Base = d.be16(40)
	}
	return t
}

func dnat(t translation) iptables.Target {
	if t.flags&natAddresses == 0 {
		t.From, t.To = netip.Addr{}, netip.Addr{}
	}
	if t.flags&natPorts == 0 {
		t.FromPort, t.ToPort = 0, 0
	}
	return iptables.DNAT{To: []iptables.Destinations{t.Destinations}, Random: t.flags&natRandom != 0, Persistent: t.flags&natPersistent != 0}
}

// rejection is the name of what a rejected client is told.
func rejection(with uint32, is4 bool) string {
	names := []string{"icmp6-no-route", "icmp6-adm-prohibited", "", "icmp6-addr-unreachable", "icmp6-port-unreachable", "", "tcp-reset", "icmp6-policy-fail", "icmp6-reject-route"}
	if is4 {
		names = []string{"icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable", "icmp-port-unreachable", "", "icmp-net-prohibited", "icmp-host-prohibited", "tcp-reset", "icmp-admin-prohibited"}
	}
	if int(with) < len(names) {
		return names[with]
	}
	return ""
}
