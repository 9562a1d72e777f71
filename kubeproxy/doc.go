// Package kubeproxy reads what kube-proxy has on this node, from the kernel and
// without running a program, as a view.View.
//
//	mode nftables  tables ip kube-proxy, ip6 kube-proxy -- nft/walk ------------> View
//	mode iptables  tables nat and filter of either backend
//	                 -- xtables --> iptables.Dump -- iptables.Interpret --------> View
//
// A Reader finds out which of them kube-proxy works in.
package kubeproxy
