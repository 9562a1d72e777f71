#!/bin/bash
# A real cluster in kind: two nodes, dual stack, in containers on this machine.
#
#   hack/kind/kind.sh up [none|nftables|iptables]   make the cluster, with kube-proxy in
#                                 this mode or without (default: none)
#   hack/kind/kind.sh down        remove the cluster, and what "up" did to the machine
#   hack/kind/kind.sh proxy add nftables|iptables   install kube-proxy, or change its mode
#   hack/kind/kind.sh proxy del   remove kube-proxy, and its rules from the nodes
#   hack/kind/kind.sh load FILE...   bring archives of images to the nodes
#   hack/kind/kind.sh kubeconfig  where the administrator's kubeconfig is
#   hack/kind/kind.sh env         variables for a shell: eval "$(hack/kind/kind.sh env)"
#   hack/kind/kind.sh logs DIR    write rulesets, events, objects and logs into DIR
#   hack/kind/kind.sh image       only get the images: pull them, or build them
#   hack/kind/kind.sh clean       remove the images that were built
#
# Variables:
#   KIND_CLUSTER   the cluster's name (default: kube-verdict). The nodes' containers are
#                  NAME-control-plane and NAME-worker; the first takes pods, too.
#   KIND_WORKERS   how many workers there are (default: 1)
#   KIND_IMAGES    published: kind's node image, with its network kindnet;
#                  local: images built here from Debian packages and Go modules, with
#                  static routes between the nodes. Default: what was built here before,
#                  else what is published if it can be reached, else local.
#   KUBE_VERDICT_KIND   where built images and the clusters' files are kept (default: the
#                  user's cache directory)
#
# Needs root, Go, and the packages that "hack/deps.sh e2e" installs. A dockerd that runs
# is used; else one is started, and stopped when the last cluster goes. Cold, the
# images take up to ten minutes on two cores; a cluster takes about one.
set -euo pipefail
HERE=$(dirname "$(readlink -f "$0")")
. "$HERE/common.sh"
. "$HERE/docker.sh"
. "$HERE/guard.sh"
. "$HERE/images.sh"
. "$HERE/network.sh"
. "$HERE/proxy.sh"
. "$HERE/logs.sh"

config() {
	local worker='' control_plane='' containerd=''
	if [ "$IMAGES" = local ]; then
		worker="extraMounts: [{hostPath: $BUILT/node, containerPath: /kind/images/node, readOnly: true}]"
		control_plane="${worker%]}, {hostPath: $BUILT/control-plane, containerPath: /kind/images/control-plane, readOnly: true}]"
	fi
	# Without this right nobody may lower the score by which the kernel chooses its victims.
	may_raise_limits || containerd='containerdConfigPatches: ["[plugins.\"io.containerd.grpc.v1.cri\"]\n  restrict_oom_score_adj = true"]'
	cat <<-EOF
		kind: Cluster
		apiVersion: kind.x-k8s.io/v1alpha4
		name: $CLUSTER
		networking:
		  ipFamily: dual
		  podSubnet: $POD_CIDRS
		  serviceSubnet: $SERVICE_CIDRS
		  kubeProxyMode: none
		  disableDefaultCNI: $([ "$IMAGES" = local ] && echo true || echo false)
		nodes:
		- role: control-plane
		  $control_plane
		$(for _ in $(seq "${KIND_WORKERS:-1}"); do printf -- "- role: worker\n  %s\n" "$worker"; done)
		$containerd
		kubeadmConfigPatches:
		# etcd waits for no disk: the cluster is for tests, and its nodes share one.
		- |
		  kind: ClusterConfiguration
		  etcd: {local: {extraArgs: [{name: unsafe-no-fsync, value: "true"}]}}
		- |
		  kind: InitConfiguration
		  timeouts: {kubernetesAPICall: 5m0s, controlPlaneComponentHealthCheck: 8m0s, kubeletHealthCheck: 8m0s}
		- |
		  kind: JoinConfiguration
		  timeouts: {kubernetesAPICall: 5m0s, kubeletHealthCheck: 8m0s, tlsBootstrap: 8m0s}
		- |
		  kind: KubeletConfiguration
		  failCgroupV1: false
	EOF
}

# more_inotify raises limits that two nodes can reach: their kubelets and containerds
# are all root's. kind's "known issues" name these values.
more_inotify() {
	local key least
	while read -r key least; do
		[ "$(sysctl -n "$key")" -ge "$least" ] || sysctl -qw "$key=$least" ||
			fail "$key is too low for a cluster, and cannot be raised to $least; raise it on the host"
	done <<-EOF
		fs.inotify.max_user_instances 512
		fs.inotify.max_user_watches 524288
	EOF
}

up() {
	local mode=${1:-none} started
	case $mode in none | nftables | iptables) ;; *) fail "kube-proxy has no mode \"$mode\"; say none, nftables or iptables" ;; esac
	docker_up
	! exists || fail "there is a cluster \"$CLUSTER\" already: use it, remove it with \"hack/kind/kind.sh down\", or set KIND_CLUSTER"
	images
	mkdir -p "$STATE"
	config >"$STATE/config.yaml"
	guard_up
	more_inotify
	started=$SECONDS
	say "creating the cluster $CLUSTER (about 45 s) ..."
	# shellcheck disable=SC2046 # one argument or none
	kind create cluster --quiet --config "$STATE/config.yaml" --image "$NODE_IMAGE" --kubeconfig "$KUBECONFIG" ||
		fail "kind could not create the cluster; its config is $STATE/config.yaml, and with \"kind create cluster --retain\" the nodes stay to be looked at"
	guard_nodes
	kubectl taint node "$CLUSTER-control-plane" node-role.kubernetes.io/control-plane- >/dev/null
	[ "$IMAGES" = published ] || network_up
	kubectl wait --for=condition=Ready node --all --timeout=180s >/dev/null || fail "the nodes did not become ready; \"hack/kind/kind.sh logs DIR\" writes why"
	[ "$IMAGES" = local ] || load_published
	[ "$mode" = none ] || proxy_add "$mode"
	say "the cluster $CLUSTER is up after $((SECONDS - started)) s: KUBECONFIG=$KUBECONFIG"
}

down() {
	if docker version >/dev/null 2>&1; then
		if exists; then
			say "removing the cluster $CLUSTER ..."
			kind delete cluster --quiet --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
		fi
		docker_down
	fi
	guard_down
	rm -rf "$STATE"
}

load() {
	local file
	must_exist
	for file in "$@"; do
		[ -r "$file" ] || fail "there is no archive $file; \"make image\" makes one"
		kind load image-archive --quiet --name "$CLUSTER" "$file"
	done
}

env() {
	echo "export KUBECONFIG=$KUBECONFIG"
	echo "export KIND_CLUSTER=$CLUSTER"
	echo "export AGNHOST_IMAGE=$AGNHOST"
}

command=${1:-help}
[ $# = 0 ] || shift
case $command in
help | --help | -h) sed -n '2,/^set -euo/{/^set/d;s/^# \{0,1\}//p}' "$0" ;;
kubeconfig) echo "$KUBECONFIG" ;;
env) env ;;
image | up | down | load | logs | proxy | clean)
	[ "$(id -u)" = 0 ] || fail "only root may run containers and change the machine's rules; try sudo"
	hold
	case $command in
	image)
		docker_up
		images
		;;
	proxy) proxy "$@" ;;
	clean) rm -rf "$CACHE"/images-* "$CACHE"/rootfs-* ;;
	*) "$command" "$@" ;;
	esac
	;;
*) fail "unknown command \"$command\"; see hack/kind/kind.sh --help" ;;
esac
