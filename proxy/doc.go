// Package proxy is the model of a node's Service traffic: what a Service and
// its EndpointSlices mean for a packet, with no word about netfilter and no
// I/O.
//
//	Service, EndpointSlices, Node --Build--> Service --Cluster--> Service
//	     (API objects)                       (as asked for)       (as granted)
//
// Build is a pure function that reads one Service. Cluster holds all of them
// and settles what no single Service can know: which one owns a frontend that
// two of them claim.
package proxy
