// Package nftscript writes the rules that kube-proxy has in iptables as a script
// for nft that does the same, rule for rule and chain for chain, but for what nft
// has better words for:
//
//	a cascade of probabilities           numgen random mod 6 vmap { 0 : goto KUBE-SEP-..., ... }
//	rules for one frontend after another ip daddr . meta l4proto . th dport vmap @KUBE-SERVICES
//	-m recent                            a set of clients for each list, with a time-out
//
// Rules of others are left alone. What can't be carried over is a warning with its
// line, and stands in the script as a comment.
package nftscript
