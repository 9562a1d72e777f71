// Package chains renders the model in the shape of kube-proxy's iptables rules,
// with the names that those have, for people who know them:
//
//	KUBE-SERVICES               VIP . protocol . port -> goto KUBE-SVC-BGNS3J6UB7MMLVDO
//	KUBE-SVC-BGNS3J6UB7MMLVDO   a random number, 0 to 5 -> goto KUBE-SEP-RM5SOZAKVKA2GMP7
//	KUBE-SEP-RM5SOZAKVKA2GMP7   mark if it comes from the endpoint itself, translate
//
// A Service has chains of its own here, and each of its endpoints has one, so that
// a change costs the kernel more the more Services there are: it checks all rules
// again. Package maps does without. Both know the same model.
//
// Layout is what is there for every set of Services; Elements and OwnChains are
// what one Service adds to it. All are pure.
package chains
