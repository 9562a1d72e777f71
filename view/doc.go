// Package view says what a connection to each frontend meets, in one form for
// every source that can be asked: the model, our tables in the kernel, kube-proxy's
// nftables, and iptables rules. Two Views of the same Services are equal when
// connections can't tell them apart, whatever they are made of.
//
//	proxy.Service         -- Of -------\
//	our tables            -- nft/walk --\
//	kube-proxy's nftables -- nft/walk ---> View --Compare--> Differences,
//	iptables rules        -- iptables --/                    by Service
//
//	10.96.0.10:53/udp  -> Balanced  10.254.0.92:5353  33.3 %
//	                                10.254.1.115:5353 33.3 %
//	                                10.254.2.131:5353 33.3 %
//	0.0.0.0:30083/tcp  -> Rejected
//
// A View has no word of netfilter and does no I/O. It leaves out what no single
// frontend has: the addresses by which pods are told, the networks of ClusterIPs,
// and an endpoint that reaches itself.
package view
