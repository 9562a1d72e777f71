// Package xtables reads iptables rules from the kernel as values of package
// iptables, without running iptables, and for both of its backends:
//
//	iptables-nft     tables ip nat, ip filter, ... of nf_tables   -- FromNft -->  Dump
//	iptables-legacy  getsockopt IPT_SO_GET_ENTRIES, both families -- Legacy  -->  Dump
//
// Either holds the same structures of matches and targets. One that is not known
// here is kept by its name and bytes.
package xtables
