package differential

// wanted are the differences that we want, by the reason. There are none so far in
// what is asked. Three that are not asked:
//
//   - Two Services that claim one address and port: the older one has it here. With
//     kube-proxy it is a matter of order, and an external IP wins over a NodePort.
//   - NodePorts at addresses that are local by a route and on no interface, with
//     "all": they answer with kube-proxy only.
//   - A Service that is given to another proxy stays ours for five seconds, so that
//     no connection fails until that one has written its rules. kube-proxy ends at
//     once. Both are asked when ours has ended, too.
var wanted = map[string]func(Difference) bool{}
