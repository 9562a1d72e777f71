#!/bin/bash
# Tests what users install on a real cluster: brings one up in kind, gives it the image
# of this source tree, runs the tests of e2e/kind, and takes it down again.
#
#   hack/e2e.sh [flags for go test]
#
# Variables: E2E=core runs the tests that CI does. E2E_KEEP=true leaves the cluster, and
# one that is up already is used as it is, and left: so a test can be run again at once.
# hack/kind/kind.sh has those of the cluster.
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=hack/kind/kind.sh
logs=$PWD/bin/e2e-logs

say() { echo "e2e: $*" >&2; }

finish() {
	local status=$?
	trap - EXIT
	if [ $status != 0 ]; then
		"$cluster" logs "$logs/cluster" || true
		say "failed; what is left to look at is in $logs"
	fi
	if [ -n "$keep" ]; then
		say "the cluster stays: eval \"\$($cluster env)\"; \"$cluster down\" removes it"
	else
		"$cluster" down || true
	fi
	exit $status
}

# images builds the image as docs/install.md does, and the same program under another tag:
# one is upgraded to the other.
images() {
	local arch
	arch=$(go env GOARCH)
	make image IMAGEFLAGS="-platforms linux/$arch -sbom=false"
	"$cluster" load "bin/image/kube-verdict-$arch.tar"
	go run ./hack/image -o bin/e2e-image -platforms "linux/$arch" -tag kube-verdict:test-2 -sbom=false
	"$cluster" load "bin/e2e-image/kube-verdict-$arch.tar"
}

hack/deps.sh e2e
hack/tools.sh kind kubectl helm
eval "$("$cluster" env)"
KUBE_VERDICT_IMAGE=kube-verdict:$(sed -n 's/^appVersion: *//p' charts/kube-verdict/Chart.yaml)
export KUBE_VERDICT_IMAGE KUBE_VERDICT_IMAGE_2=kube-verdict:test-2 E2E_LOGS=$logs
rm -rf "$logs"
mkdir -p "$logs"

keep=${E2E_KEEP:-}
trap finish EXIT
trap 'exit 130' INT TERM
if [ -e "$KUBECONFIG" ]; then
	say "using the cluster $KIND_CLUSTER, which is up"
	keep=yes
else
	"$cluster" up none
fi
say "building the image, and bringing it to the nodes (about 20 s) ..."
images
say "testing (${E2E:-all}) ..."
hack/test.sh -count=1 "$@" ./e2e/kind
