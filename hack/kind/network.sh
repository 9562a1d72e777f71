# The pods' network where kindnet's image is not to be had: a veth pair for each pod,
# addresses from the node's own ranges, and static routes between the nodes. Sourced by
# kind.sh.

# podCIDRs NODE
pod_cidrs() {
	local cidrs
	for _ in $(seq 300); do
		cidrs=$(kubectl get node "$1" -o jsonpath='{.spec.podCIDRs[*]}')
		if [ -n "$cidrs" ]; then
			echo "$cidrs"
			return
		fi
		sleep 0.2
	done
	fail "the node $1 got no podCIDRs; does kube-controller-manager run?"
}

cni_config() { # CIDR...
	local ranges
	ranges=$(printf '[{"subnet":"%s"}]\n' "$@" | paste -sd,)
	cat <<-EOF
		{
		  "cniVersion": "1.0.0",
		  "name": "pods",
		  "plugins": [
		    {
		      "type": "ptp",
		      "ipam": {
		        "type": "host-local",
		        "dataDir": "/run/cni-ipam-state",
		        "ranges": [$ranges],
		        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
		      }
		    },
		    {"type": "portmap", "capabilities": {"portMappings": true}}
		  ]
		}
	EOF
}

network_up() {
	local node other cidr all
	all=$(nodes)
	for node in $all; do
		# shellcheck disable=SC2046 # one word for each CIDR
		cni_config $(pod_cidrs "$node") | docker exec -i "$node" cp /dev/stdin /etc/cni/net.d/10-pods.conflist
		for other in $all; do
			[ "$other" = "$node" ] || for cidr in $(pod_cidrs "$other"); do echo "$other $cidr"; done
		done | docker exec -i "$node" cp /dev/stdin /kind/pod-routes
		docker exec "$node" systemctl enable --quiet --now pod-routes.service
	done
}
