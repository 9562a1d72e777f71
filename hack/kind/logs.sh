# What to look at when a test fails. Sourced by kind.sh.

logs() {
	local dir=${1:-} node
	[ -n "$dir" ] || fail "say into which directory"
	must_exist
	mkdir -p "$dir"
	docker ps --all >"$dir/containers.txt"
	nft list table "$GUARD" >"$dir/guard.nft" 2>&1 || true
	kubectl get events --all-namespaces --sort-by=.lastTimestamp >"$dir/events.txt" 2>&1 || true
	kubectl get nodes,pods,services,endpointslices --all-namespaces --output wide >"$dir/objects.txt" 2>&1 || true
	kubectl get services,endpointslices,daemonsets --all-namespaces --output yaml >"$dir/objects.yaml" 2>&1 || true
	kubectl get pods --all-namespaces --selector app.kubernetes.io/name=kube-verdict --output yaml >"$dir/agents.yaml" 2>&1 || true
	kubectl logs --namespace kube-system --selector app.kubernetes.io/name=kube-verdict --prefix --tail -1 >"$dir/agents.log" 2>&1 || true
	for node in $(nodes); do
		mkdir -p "$dir/$node"
		docker exec "$node" nft list ruleset >"$dir/$node/ruleset.nft" 2>&1 || true
		docker exec "$node" iptables-save >"$dir/$node/iptables-save.txt" 2>&1 || true
		docker exec "$node" ip6tables-save >"$dir/$node/ip6tables-save.txt" 2>&1 || true
		docker exec "$node" sh -c 'ip address; ip route; ip -6 route' >"$dir/$node/network.txt" 2>&1 || true
		docker exec "$node" conntrack -L >"$dir/$node/conntrack.txt" 2>&1 || true
		docker exec "$node" journalctl --no-pager >"$dir/$node/journal.txt" 2>&1 || true
		docker exec "$node" tar -C /var/log -cf - pods 2>/dev/null | tar -C "$dir/$node" -xf - || true
	done
	say "rulesets, events, objects and logs are in $dir"
}
