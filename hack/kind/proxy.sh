# kube-proxy's DaemonSet, as kubeadm installs it. Sourced by kind.sh.

proxy() {
	must_exist
	case ${1:-} in
	add)
		case ${2:-} in
		nftables | iptables) proxy_add "$2" ;;
		*) fail "kube-proxy has no mode \"${2:-}\"; say nftables or iptables" ;;
		esac
		;;
	del) proxy_del ;;
	*) fail "say \"proxy add nftables\", \"proxy add iptables\" or \"proxy del\"" ;;
	esac
}

# in_cluster runs a command on the node of the control plane.
in_cluster() { docker exec -i "$CLUSTER-control-plane" "$@"; }

proxy_add() {
	local node
	say "installing kube-proxy in its mode $1 (about 10 s) ..."
	{
		in_cluster cat /kind/kubeadm.conf
		cat <<-EOF
			---
			apiVersion: kubeproxy.config.k8s.io/v1alpha1
			kind: KubeProxyConfiguration
			mode: $1
			clusterCIDR: $POD_CIDRS
			conntrack: {maxPerCore: 0, tcpBeLiberal: true} # the sysctl for the maximum is the machine's
		EOF
	} | in_cluster cp /dev/stdin /kind/kube-proxy.conf
	in_cluster kubeadm init phase addon kube-proxy --config /kind/kube-proxy.conf >"$STATE/kubeadm.log" 2>&1 || {
		tail -n 5 "$STATE/kubeadm.log" >&2
		fail "kubeadm could not install kube-proxy"
	}
	# Where it ran before, a new configuration alone would wait for the next restart.
	kubectl --namespace kube-system patch daemonset kube-proxy --type merge --patch \
		"{\"spec\": {\"template\": {\"metadata\": {\"annotations\": {\"mode\": \"$1\"}}}}}" >/dev/null
	kubectl --namespace kube-system rollout status daemonset/kube-proxy --timeout=180s >/dev/null ||
		fail "kube-proxy did not become ready: kubectl -n kube-system describe pods -l k8s-app=kube-proxy"
	for node in $(nodes); do serves "$node"; done
}

# serves waits until a node reaches the API server's Service: kube-proxy's pods are ready
# before they have written a rule.
serves() {
	local address=${SERVICE_CIDRS%%,*}
	address=${address%.*}.1
	for _ in $(seq 120); do
		if docker exec "$1" curl --silent --insecure --max-time 1 "https://$address/livez" >/dev/null; then return; fi
		sleep 0.5
	done
	fail "nobody serves https://$address on the node $1; kubectl -n kube-system logs -l k8s-app=kube-proxy has kube-proxy's reason"
}

proxy_del() {
	local node image
	image=$(kubectl --namespace kube-system get daemonset kube-proxy --ignore-not-found --output jsonpath='{.spec.template.spec.containers[0].image}')
	[ -n "$image" ] || return 0
	say "removing kube-proxy and its rules (about 5 s) ..."
	kubectl --namespace kube-system delete daemonset/kube-proxy configmap/kube-proxy --cascade=foreground >/dev/null
	for node in $(nodes); do
		docker exec "$node" ctr --namespace k8s.io run --rm --privileged --net-host "$image" kube-proxy-cleanup \
			/usr/local/bin/kube-proxy --cleanup >"$STATE/cleanup-$node.log" 2>&1 || true
		# It ends with 1 when there is nothing left to remove, so ask the kernel.
		if docker exec "$node" sh -c 'nft list ruleset; iptables-save; ip6tables-save' 2>/dev/null | grep -q -e '^table .* kube-proxy' -e '^:KUBE-SERVICES'; then
			fail "kube-proxy left rules on the node $node; what it said is in $STATE/cleanup-$node.log"
		fi
	done
}
