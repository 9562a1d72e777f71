#!/bin/bash
# Installs what is missing of the Debian packages that a task needs.
#
#   hack/deps.sh demo     what the demo and the benchmark run
#   hack/deps.sh test     also what the tests and the race detector need
#   hack/deps.sh e2e      also what a cluster in containers needs
#   hack/deps.sh kernels [arm64|s390x]   what boots other kernels, of this processor or another
#
# Says nothing when nothing is missing.
set -euo pipefail

fail() {
	echo "hack/deps.sh: $*" >&2
	exit 1
}

# One need per line: the package, a file or command it brings, and what it is for.
demo="
nftables   nft        to show and check the kernel's tables
"
all="$demo
iproute2   ip         to show links and routes
gcc        gcc        for the race detector
libc6-dev  /usr/include/stdlib.h  for the race detector
conntrack  conntrack  for kube-proxy, which the tests compare with
iptables   iptables   for kube-proxy, which the tests compare with
"
e2e="$all
docker.io       dockerd      to run the nodes of a cluster
jq              jq           to put images together
debootstrap     debootstrap  for the nodes' image, where none can be downloaded
debian-archive-keyring  /usr/share/keyrings/debian-archive-keyring.gpg  for debootstrap
libseccomp-dev  /usr/include/seccomp.h  for runc, which the nodes' image has
pkg-config      pkg-config   for runc, which the nodes' image has
"
# Debian 13 has docker's client in a package of its own.
if apt-cache show docker-cli >/dev/null 2>&1; then
	e2e+="docker-cli docker to run the nodes of a cluster"
fi

qemu=qemu-system-x86 emulator=qemu-system-x86_64
case ${2:-} in
arm64) qemu=qemu-system-arm emulator=qemu-system-aarch64 ;;
s390x) qemu=qemu-system-misc emulator=qemu-system-s390x ;;
esac
kernels="
$qemu  $emulator  to boot kernels
xz-utils  xz    to unpack kernels' modules
zstd      zstd  to unpack kernels' modules
debian-archive-keyring  /usr/share/keyrings/debian-archive-keyring.gpg  to know Debian's packages as Debian's
"

case ${1:-} in
demo) needs=$demo ;;
test) needs=$all ;;
e2e) needs=$e2e ;;
kernels) needs=$kernels ;;
*) fail "say what for: demo, test, e2e or kernels" ;;
esac

has() { # command or absolute path
	case $1 in
	/*) [ -e "$1" ] ;;
	*) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
	esac
}

packages=() reasons=()
while read -r package what why; do
	[ -n "$package" ] || continue
	has "$what" && continue
	packages+=("$package")
	reasons+=("  $package: $why")
done <<<"$needs"
[ ${#packages[@]} -gt 0 ] || exit 0

echo "deps: missing, to be installed with apt-get:"
printf '%s\n' "${reasons[@]}"
byhand="install these packages by hand: ${packages[*]}"
command -v apt-get >/dev/null || fail "there is no apt-get here; $byhand (under whatever names your distribution gives them)"
[ "$(id -u)" = 0 ] || fail "only root may install packages; $byhand (apt-get install ${packages[*]})"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { apt-get install -y --no-install-recommends "${packages[@]}" </dev/null >>"$log" 2>&1; }
# The package lists of a fresh machine are empty or too old; an update mends both.
install || { apt-get update >>"$log" 2>&1 && install; } || {
	tail -n 20 "$log" >&2
	fail "apt-get could not install them; $byhand"
}
