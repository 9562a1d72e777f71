#!/bin/bash
# Builds the real programs that the tests run.
#
#   hack/tools.sh [name|group...]     default: the group test
#   hack/tools.sh --path              where they are
#
#   test    etcd, a few Kubernetes programs and helm: what "make test" needs
#   node    what a node image and the images of a cluster in kind are made of
#   conformance   Kubernetes' end-to-end tests, and what their images are made of
#
# They come from their Go modules, so neither a registry of images nor a download
# of binaries is needed. The results are kept in $KUBE_VERDICT_TOOLS (default: the
# user's cache directory); what is already there is not built again.
#
# With KUBE_VERDICT_KUBERNETES=1.31.13, or another version, the group test has that
# version's kube-apiserver and kube-controller-manager, in a directory of their own.
set -euo pipefail

KUBERNETES=1.37.2
CONTROL_PLANE=${KUBE_VERDICT_KUBERNETES:-$KUBERNETES}
TOOLS=${KUBE_VERDICT_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/kube-verdict/tools-$KUBERNETES}

# Where each comes from: module, version, packages that are built of it.
declare -A MODULE=(
	[etcd]="go.etcd.io/etcd/server/v3 3.7.3"
	[etcdctl]="go.etcd.io/etcd/etcdctl/v3 3.7.3"
	[helm]="helm.sh/helm/v3 3.22.0"
	[kind]="sigs.k8s.io/kind 0.33.0"
	[containerd]="github.com/containerd/containerd/v2 2.4.2"
	[runc]="github.com/opencontainers/runc 1.5.2"
	[cni]="github.com/containernetworking/plugins 1.9.1"
	[coredns]="github.com/coredns/coredns 1.14.6"
	[kubernetes]="k8s.io/kubernetes $KUBERNETES"
	[control-plane]="k8s.io/kubernetes $CONTROL_PLANE"
	[conformance]="k8s.io/kubernetes $KUBERNETES"
)

# Each tool, the seconds that it takes on two cores with an empty build cache, its
# module and its package. The first of a module compiles most of what the others share.
TABLE="
etcd                      25 etcd       go.etcd.io/etcd/server/v3
kube-apiserver           235 kubernetes k8s.io/kubernetes/cmd/kube-apiserver
kube-controller-manager   85 kubernetes k8s.io/kubernetes/cmd/kube-controller-manager
kubectl                   20 kubernetes k8s.io/kubernetes/cmd/kubectl
kube-proxy                10 kubernetes k8s.io/kubernetes/cmd/kube-proxy
helm                      90 helm       helm.sh/helm/v3/cmd/helm
kind                      15 kind       sigs.k8s.io/kind
etcdctl                   15 etcdctl    go.etcd.io/etcd/etcdctl/v3
kubelet                   20 kubernetes k8s.io/kubernetes/cmd/kubelet
kubeadm                   10 kubernetes k8s.io/kubernetes/cmd/kubeadm
kube-scheduler            10 kubernetes k8s.io/kubernetes/cmd/kube-scheduler
agnhost                   10 kubernetes k8s.io/kubernetes/test/images/agnhost
containerd                60 containerd github.com/containerd/containerd/v2/cmd/containerd
containerd-shim-runc-v2   10 containerd github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
ctr                       10 containerd github.com/containerd/containerd/v2/cmd/ctr
runc                      20 runc       github.com/opencontainers/runc
ptp                       15 cni        github.com/containernetworking/plugins/plugins/main/ptp
loopback                   5 cni        github.com/containernetworking/plugins/plugins/main/loopback
host-local                 5 cni        github.com/containernetworking/plugins/plugins/ipam/host-local
portmap                    5 cni        github.com/containernetworking/plugins/plugins/meta/portmap
coredns                  150 coredns    github.com/coredns/coredns
e2e.test                 240 conformance k8s.io/kubernetes/test/e2e
ginkgo                    10 conformance github.com/onsi/ginkgo/v2/ginkgo
regression-issue-74839     5 conformance k8s.io/kubernetes/test/images/regression-issue-74839
"
declare -A SECONDS_COLD=() MODULE_OF=() PACKAGE=()
while read -r name seconds module package; do
	[ -n "$name" ] || continue
	SECONDS_COLD[$name]=$seconds MODULE_OF[$name]=$module PACKAGE[$name]=$package
done <<<"$TABLE"

declare -A GROUP=(
	[test]="etcd kube-apiserver kube-controller-manager kubectl kube-proxy helm"
	[node]="etcd etcdctl kube-apiserver kube-controller-manager kube-scheduler kubectl kube-proxy
		kubelet kubeadm agnhost containerd containerd-shim-runc-v2 ctr runc
		ptp loopback host-local portmap coredns"
	[conformance]="e2e.test ginkgo agnhost regression-issue-74839 coredns"
)

fail() {
	echo "hack/tools.sh: $*" >&2
	exit 1
}

if [ "$CONTROL_PLANE" != "$KUBERNETES" ]; then
	[[ $CONTROL_PLANE =~ ^1\.[0-9]+\.[0-9]+$ ]] || fail "KUBE_VERDICT_KUBERNETES=$CONTROL_PLANE: say a whole version, for example 1.31.13"
	for name in kube-apiserver kube-controller-manager; do
		# internal/testbed has the same path.
		other=kubernetes-$CONTROL_PLANE/$name
		SECONDS_COLD[$other]=${SECONDS_COLD[$name]} MODULE_OF[$other]=control-plane PACKAGE[$other]=${PACKAGE[$name]}
		GROUP[test]=${GROUP[test]/$name/$other}
	done
fi

missing() {
	local name
	for name in "$@"; do
		[ -n "${SECONDS_COLD[$name]:-}" ] || fail "unknown tool \"$name\"; there are: ${!PACKAGE[*]}"
		[ -f "$TOOLS/$name" ] || echo "$name"
	done
}

# A module of its own is needed for each: upstream's have replace directives, which
# "go install module@version" refuses, or may get them.
#
# plain_module MODULE VERSION PACKAGE...
plain_module() {
	printf 'module tools\n\ngo 1.26.0\n\nrequire %s v%s\n' "$1" "$2" >go.mod
	shift 2
	imports "$@"
	go mod tidy
}

# imports makes the packages those that the module needs.
imports() {
	{
		printf '//go:build tools\n\npackage tools\n\n'
		printf 'import _ "%s"\n' "$@"
	} >tools.go
}

# Upstream's go.mod points its staging modules into its own source tree, which the
# published module lacks; each is published on its own as v0.(minor).(patch).
#
# kubernetes_module k8s.io/kubernetes VERSION PACKAGE...
kubernetes_module() {
	local version=$2 upstream
	upstream=$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
	[ -r "$upstream" ] || fail "go mod download k8s.io/kubernetes@v$version left no go.mod; is there such a version, and is the Go module proxy reachable?"
	{
		echo "module tools/kubernetes"
		grep -E '^(go|godebug) ' "$upstream"
		echo "require k8s.io/kubernetes v$version"
		sed -n "s#^[[:space:]]*\(k8s.io/[^ ]*\) => ./staging/.*#replace \1 => \1 v0.${version#1.}#p" "$upstream"
	} >go.mod
	shift 2
	imports "$@"
	go mod tidy
}

# Without these an API server calls itself v0.0.0, and clients believe it.
#
# version_flags VERSION
version_flags() {
	local package minor=${1#1.}
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		echo "-X $package.gitVersion=v$1 -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
		echo "-X $package.gitTreeState=clean -X $package.buildDate=1970-01-01T00:00:00Z"
	done
}

# packages_of MODULE: what is built of it.
packages_of() {
	local name
	for name in "${!PACKAGE[@]}"; do
		[ "${MODULE_OF[$name]}" != "$1" ] || echo "${PACKAGE[$name]}"
	done
}

# build NAME
build() {
	local name=$1 module=${MODULE_OF[$1]} resolve=plain_module compile="go build" cgo=0 tags="" flags="-s -w"
	case $module in
	kubernetes | control-plane | conformance)
		resolve=kubernetes_module flags+=" $(version_flags "${MODULE[$module]#* }" | tr '\n' ' ')"
		;;
	helm) flags+=" -X helm.sh/helm/v3/internal/version.version=v${MODULE[helm]#* }" ;;
	containerd) tags=no_btrfs,no_devmapper,no_zfs ;;
	# The only one in C. Static, as the node has another C library than this machine.
	runc) cgo=1 tags=seccomp,netgo,osusergo flags+=" -linkmode external -extldflags -static" ;;
	esac
	case $name in *.test) compile="go test -c" ;; esac
	mkdir -p "$WORK/$module-module" "$(dirname "$WORK/$name")" "$(dirname "$TOOLS/$name")"
	cd "$WORK/$module-module"
	if [ ! -e go.sum ]; then
		# shellcheck disable=SC2046,SC2086 # module and version, and one package in each word
		"$resolve" ${MODULE[$module]} $(packages_of "$module") 2>"$WORK/log" || {
			cat "$WORK/log" >&2
			fail "cannot resolve the modules that $name needs; is the Go module proxy reachable?"
		}
	fi
	# Built elsewhere and then moved: a file with the tool's name is a complete one.
	# shellcheck disable=SC2086 # a command
	CGO_ENABLED=$cgo $compile -trimpath -buildvcs=false -tags "$tags" -ldflags "$flags" -o "$WORK/$name" "${PACKAGE[$name]}" ||
		fail "building $name failed; see above"
	mv "$WORK/$name" "$TOOLS/$name"
}

# expand puts a group's names in the place of the group's.
expand() {
	local word
	for word in "$@"; do echo "${GROUP[$word]:-$word}"; done
}

if [ "${1:-}" = --path ]; then
	echo "$TOOLS"
	exit
fi
# shellcheck disable=SC2046 # lists of words
todo=$(missing $(expand "${@:-test}"))
[ -n "$todo" ] || exit 0

command -v go >/dev/null || fail "go is not in PATH; install Go 1.26.8 or newer"
mkdir -p "$TOOLS"
exec 9>"$TOOLS/.lock-$CONTROL_PLANE"
if ! flock -n 9; then
	echo "tools: waiting for another build in $TOOLS"
	flock 9
	todo=$(missing $todo)
fi
WORK=$(mktemp -d "$TOOLS/.build.XXXXXX")
trap 'rm -rf "$WORK"' EXIT

total=0
for name in $todo; do total=$((total + SECONDS_COLD[$name])); done
echo "tools: building" $todo "into $TOOLS"
echo "tools: once only; about $(((total + 59) / 60)) min on two cores, less with a warm build cache"
for name in $todo; do
	started=$SECONDS
	echo "tools: $name (about ${SECONDS_COLD[$name]} s) ..."
	(build "$name")
	echo "tools: $name done in $((SECONDS - started)) s"
done
