#!/bin/bash
# Builds the real programs that the tests run: etcd, kube-apiserver,
# kube-controller-manager, kubectl, kube-proxy and helm.
#
#   hack/tools.sh [name...]     default: all six
#
# They come from their Go modules, so neither a registry of images nor a download
# of binaries is needed. The results are kept in $KUBE_VERDICT_TOOLS (default: the
# user's cache directory); what is already there is not built again.
set -euo pipefail

KUBERNETES=1.37.2
ETCD=3.7.3
HELM=3.22.0
TOOLS=${KUBE_VERDICT_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/kube-verdict/tools-$KUBERNETES}

# Roughly how long each takes on two cores with an empty build cache. The first
# Kubernetes program compiles most of what the others share.
declare -A SECONDS_COLD=(
	[etcd]=25 [kube-apiserver]=235 [kube-controller-manager]=85 [kubectl]=20 [kube-proxy]=10
	[helm]=90
)
ALL="etcd kube-apiserver kube-controller-manager kubectl kube-proxy helm"

fail() {
	echo "hack/tools.sh: $*" >&2
	exit 1
}

missing() {
	local name
	for name in "$@"; do
		[ -n "${SECONDS_COLD[$name]:-}" ] || fail "unknown tool \"$name\"; there are: $ALL"
		[ -f "$TOOLS/$name" ] || echo "$name"
	done
}

# A module of its own is needed for each: upstream's have replace directives, which
# "go install module@version" refuses, or may get them.
etcd_module() { module_for etcd go.etcd.io/etcd/server/v3 "$ETCD" go.etcd.io/etcd/server/v3; }

helm_module() { module_for helm helm.sh/helm/v3 "$HELM" helm.sh/helm/v3/cmd/helm; }

# module_for NAME MODULE VERSION PACKAGE
module_for() {
	cat >go.mod <<-EOT
		module tools/$1

		go 1.26.0

		require $2 v$3
	EOT
	cat >tools.go <<-EOT
		//go:build tools

		package tools

		import _ "$4"
	EOT
	go mod tidy
}

# Upstream's go.mod points its staging modules into its own source tree, which the
# published module lacks; each is published on its own as v0.(minor).(patch).
kubernetes_module() {
	local upstream name
	upstream=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
	[ -r "$upstream" ] || fail "go mod download k8s.io/kubernetes@v$KUBERNETES left no go.mod; is the Go module proxy reachable?"
	{
		echo "module tools/kubernetes"
		grep -E '^(go|godebug) ' "$upstream"
		echo "require k8s.io/kubernetes v$KUBERNETES"
		sed -n "s#^[[:space:]]*\(k8s.io/[^ ]*\) => ./staging/.*#replace \1 => \1 v0.${KUBERNETES#1.}#p" "$upstream"
	} >go.mod
	{
		echo "//go:build tools"
		echo "package tools"
		for name in kube-apiserver kube-controller-manager kube-proxy kubectl; do
			echo "import _ \"k8s.io/kubernetes/cmd/$name\""
		done
	} >tools.go
	go mod tidy
}

# Without these an API server calls itself v0.0.0, and clients believe it.
version_flags() {
	local package minor=${KUBERNETES#1.}
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		echo "-X $package.gitVersion=v$KUBERNETES -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
		echo "-X $package.gitTreeState=clean -X $package.buildDate=1970-01-01T00:00:00Z"
	done
}

build() {
	local name=$1 module package flags="-s -w"
	case $name in
	etcd)
		module=etcd package=go.etcd.io/etcd/server/v3
		;;
	helm)
		module=helm package=helm.sh/helm/v3/cmd/helm
		flags+=" -X helm.sh/helm/v3/internal/version.version=v$HELM"
		;;
	*)
		module=kubernetes package=k8s.io/kubernetes/cmd/$name
		flags+=" $(version_flags | tr '\n' ' ')"
		;;
	esac
	mkdir -p "$WORK/$module-module"
	cd "$WORK/$module-module"
	if [ ! -e go.sum ]; then
		"${module}_module" 2>"$WORK/log" || {
			cat "$WORK/log" >&2
			fail "cannot resolve the modules that $name needs; is the Go module proxy reachable?"
		}
	fi
	# Built elsewhere and then moved: a file with the tool's name is a complete one.
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$flags" -o "$WORK/$name" "$package" ||
		fail "building $name failed; see above"
	mv "$WORK/$name" "$TOOLS/$name"
}

# shellcheck disable=SC2086 # ALL is a list of words
todo=$(missing ${@:-$ALL})
[ -n "$todo" ] || exit 0

command -v go >/dev/null || fail "go is not in PATH; install Go 1.26.8 or newer"
mkdir -p "$TOOLS"
exec 9>"$TOOLS/.lock"
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
