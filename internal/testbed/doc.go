// Package testbed makes the closed worlds in which kube-verdict is tested, shown
// and measured: network namespaces that route like a node, pods that answer real
// packets, and real Kubernetes control planes.
//
// Nothing in it leads out of the machine: namespaces are linked to each other and
// never to the one the caller started in, so that a packet for a Service that
// nobody serves meets an error instead of a stranger's reply.
package testbed
