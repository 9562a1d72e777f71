// Package shadow looks, again and again, whether what we would do is what kube-proxy
// does on this node, and tells of each Service where it isn't.
//
//	Services as they are programmed --view--\
//	                                         Compare -> seen twice? -> told
//	kube-proxy's rules --kubeproxy--> view --/
//
// Both proxies take their time after a change, and kube-proxy's rules are not read of
// one moment: a difference counts when two looks after one another show the same.
package shadow
