// Package walk says what tables of Service traffic do, by walking them as packets
// would: whoever wrote them, and whatever their shape. It knows nftables and the
// hooks that a packet passes, and nothing of kube-proxy's or our names.
//
//	tables as the kernel has them --Compile--> Ruleset
//	a frontend, a kind of client --walk--> endpoints and their shares, masquerade,
//	                                       affinity, sources, or why there are none
//	all frontends that a map has a key for --View--> view.View
//	one packet --Follow--> outcomes, with each rule on the way
//
// A packet to a frontend has a source that is not known; so are random numbers. A rule that asks
// for them is gone through in each way that it can go, with the probability of
// each. There are three kinds of clients: pods, this node, and all others.
package walk
