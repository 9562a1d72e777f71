// Package explain says what is known of one Service, in the order in which people
// ask: how it is defined, which pods it selects, what balances it, and by which
// rules, in the words of kube-proxy's iptables rules and in those of our maps.
//
//	Service, EndpointSlices, Node  --proxy.Explain--> reasons  \
//	all Services                   --proxy.Cluster--> granted   > Report --> text, JSON, YAML
//	tables in the kernel           --nft.Held-------> held     /
//
// Why an endpoint gets traffic or none is told by the model that chose it. Packet
// says likewise what becomes of one packet. Nothing here does I/O.
package explain
