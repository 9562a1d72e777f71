#!/bin/bash
# Runs Kubernetes' own end-to-end specs of sig-network on a cluster in kind, with
# kube-verdict in the place of kube-proxy, or with kube-proxy to compare.
#
#   hack/conformance/run.sh [ginkgo's flags]
#
# Variables:
#   PROXY   kube-verdict, with the scope all and without kube-proxy (default), or
#           kube-proxy, or kube-proxy-iptables
#   FOCUS   a regular expression for the specs' names; default: all of sig-network
#   SKIP    and one for those to leave out; default: those that need what is not here
#   KIND_WORKERS   workers of the cluster (default: 3; with 6 no spec lacks nodes)
#
# Logs, reports in JUnit's form and, when a spec failed, what the cluster looks like are in
# bin/conformance/PROXY; summary.md there compares all proxies that have been run.
set -euo pipefail
cd "$(dirname "$0")/../.."
PROXY=${PROXY:-kube-verdict}
FOCUS=${FOCUS:-'\[sig-network\]'}
# What these need is not here: a cloud, a way to the internet, an implementation of
# NetworkPolicies, SCTP in the kernel, an alpha feature of kube-proxy; or they measure.
needs='LoadBalancer|Networking-IPv4|Networking-IPv6|Networking-DNS|NetworkPolicy|SCTPConnectivity|LocalhostNodePorts|PerformanceDNS|Networking-Performance'
SKIP=${SKIP:-"\[Provider:|\[Feature:($needs)\]|DNS configMap nameserver Forward PTR"}

# Some specs want three zones, and three more want two workers in each.
export KIND_CLUSTER=${KIND_CLUSTER:-conformance} KIND_WORKERS=${KIND_WORKERS:-3}
cluster=hack/kind/kind.sh
out=$PWD/bin/conformance/$PROXY
archive=$PWD/bin/conformance/images.tar

say() { echo "conformance: $*" >&2; }

case $PROXY in
kube-verdict | kube-proxy | kube-proxy-iptables) ;;
*) say "PROXY is \"$PROXY\"; say kube-verdict, kube-proxy or kube-proxy-iptables"; exit 1 ;;
esac

hack/deps.sh e2e
hack/tools.sh kind kubectl helm conformance
tools=$(hack/tools.sh --path)
eval "$("$cluster" env)"
rm -rf "$out"
mkdir -p "$out"

finish() {
	local status=$?
	trap - EXIT
	if [ $status != 0 ] && [ -e "$KUBECONFIG" ]; then "$cluster" logs "$out/cluster" || true; fi
	"$cluster" down || true
	exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

case $PROXY in
kube-verdict) "$cluster" up none ;;
kube-proxy) "$cluster" up nftables ;;
kube-proxy-iptables) "$cluster" up iptables ;;
esac
# As kubeadm leaves it: no pods on the control plane, which specs of zones leave out.
"$tools/kubectl" taint node "$KIND_CLUSTER-control-plane" node-role.kubernetes.io/control-plane=:NoSchedule >/dev/null
zone=0
for node in $("$tools/kubectl" get nodes --output name --selector '!node-role.kubernetes.io/control-plane'); do
	"$tools/kubectl" label "$node" "topology.kubernetes.io/zone=zone-$((zone++ % 3))" >/dev/null
done
[ -e "$archive" ] || hack/conformance/images.sh "$archive" "$tools"
say "bringing the images to the nodes ..."
"$cluster" load "$archive"

if [ "$PROXY" = kube-verdict ]; then
	arch=$(go env GOARCH)
	go run ./hack/image -o bin/conformance/image -platforms "linux/$arch" -tag kube-verdict:conformance -sbom=false
	"$cluster" load "bin/conformance/image/kube-verdict-$arch.tar"
	# With the ports and the label that kube-proxy has, as specs ask for them.
	"$tools/helm" install kube-verdict charts/kube-verdict --namespace kube-system --wait \
		--set image.repository=docker.io/library/kube-verdict --set image.tag=conformance --set 'podCIDRs={node}' \
		--set "kubernetesServiceHost=$("$tools/kubectl" get node "$KIND_CLUSTER-control-plane" --output jsonpath='{.status.addresses[0].address}')" \
		--set healthPort=10256 --set metrics.port=10249 --set podLabels.k8s-app=kube-proxy >"$out/helm.txt"
fi
"$tools/kubectl" --namespace kube-system rollout status deployment/coredns --timeout 180s >/dev/null

# specs NAME FOCUS SKIP [ginkgo's flags]
specs() {
	local name=$1 focus=$2 skip=$3
	shift 3
	"$tools/ginkgo" --no-color --silence-skips --timeout=3h --focus="$focus" --skip="$skip" \
		--output-dir="$out" --junit-report="junit-$name.xml" "$@" \
		"$tools/e2e.test" -- --kubeconfig="$KUBECONFIG" --provider=skeleton --num-nodes="$KIND_WORKERS" >"$out/$name.log" 2>&1
}

say "running the specs (15 minutes or more); the logs are in $out"
status=0
specs specs "$FOCUS" "$SKIP|\[Disruptive\]" --procs=6 "$@" || status=$?
# By themselves, as they stop what others need.
specs disruptive "$FOCUS.*\[Disruptive\]" "$SKIP" "$@" || status=$?
go run ./hack/conformance bin/conformance | tee bin/conformance/summary.md
exit $status
