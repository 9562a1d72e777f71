# What the scripts of this directory share; sourced by kind.sh.
ROOT=$(dirname "$(dirname "$HERE")")
CLUSTER=${KIND_CLUSTER:-kube-verdict}
CACHE=${KUBE_VERDICT_KIND:-${XDG_CACHE_HOME:-$HOME/.cache}/kube-verdict/kind}
STATE=$CACHE/clusters/$CLUSTER
export KUBECONFIG=$STATE/kubeconfig

# A dual-stack cluster's usual addresses, which kind has as well.
POD_CIDRS=10.244.0.0/16,fd00:10:244::/56
SERVICE_CIDRS=10.96.0.0/16,fd00:10:96::/112

# The image of backends and clients, in the version that Kubernetes' own tests use.
AGNHOST=registry.k8s.io/e2e-test-images/agnhost:2.66.1

say() { echo "kind: $*" >&2; }

fail() {
	echo "hack/kind/kind.sh: $*" >&2
	exit 1
}

# tool NAME... builds these programs if they are missing.
tool() { "$ROOT/hack/tools.sh" "$@" >&2; }

kind() {
	tool kind
	"$TOOLS/kind" "$@"
}

kubectl() {
	tool kubectl
	"$TOOLS/kubectl" "$@"
}
TOOLS=$("$ROOT/hack/tools.sh" --path)

exists() { kind get clusters --quiet 2>/dev/null | grep -xF "$CLUSTER" >/dev/null; }

must_exist() { exists || fail "there is no cluster \"$CLUSTER\"; \"hack/kind/kind.sh up\" makes it"; }

nodes() { kind get nodes --name "$CLUSTER"; }

# hold keeps dockerd from being stopped by another "down" while this script runs.
hold() {
	mkdir -p "$CACHE"
	exec 9>"$CACHE/.lock"
	flock -s 9
}
