#!/bin/bash
# Writes an archive of the images that the specs' pods run.
#
#   hack/conformance/images.sh FILE TOOLS
#
# They are Kubernetes' own where its registry can be reached. Elsewhere they are built:
# agnhost and regression-issue-74839 of their sources (in the directory TOOLS), the others,
# and the programs beside agnhost, of Debian's packages instead of Alpine's and of what
# upstream compiles.
set -euo pipefail
file=$1 tools=$2

# Only those that specs of sig-network without a cloud start.
WANTED='/(agnhost:2\.6|busybox:1\.37|nginx:|glibc-dns-testing:|regression-issue-74839:|distroless-iptables:)'
images=$("$tools/e2e.test" --list-images 2>/dev/null | grep -E "^registry.k8s.io/.*$WANTED" | grep -v authenticated)

# GNU's wget, as BusyBox's crashes when it is linked to glibc.
PACKAGES=bash,bind9-dnsutils,busybox,conntrack,curl,iperf,iproute2,iptables,netcat-openbsd,nftables,nginx-light,socat,wget

say() { echo "conformance: $*" >&2; }

pull() {
	local image
	for image in $images; do
		docker image inspect "$image" >/dev/null 2>&1 || timeout 300 docker pull --quiet "$image" >/dev/null 2>&1 || return
	done
}

build() {
	docker build --quiet --tag "$1" --file - "$work" >"$work/log" 2>&1 || {
		cat "$work/log" >&2
		exit 1
	}
}

build_all() {
	local image version sources
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	say "building images of Debian's packages (about three minutes) ..."
	debootstrap --variant=minbase --include="$PACKAGES" bookworm "$work/debian" >"$work/log" 2>&1 || {
		tail -n 5 "$work/log" >&2
		exit 1
	}
	rm -rf "$work"/debian/var/cache/apt/archives/*.deb "$work"/debian/var/lib/apt/lists/* "$work"/debian/usr/share/{doc,man,locale}/*
	tar -C "$work/debian" -c . | docker import - conformance-debian >/dev/null
	rm -rf "$work/debian"
	version=$("$tools/kubectl" version --client --output json | jq -r .clientVersion.gitVersion)
	sources=$(go mod download -json "k8s.io/kubernetes@$version" | jq -r .Dir)
	cp "$sources"/test/images/agnhost/porter/localhost.{crt,key} "$tools"/{agnhost,regression-issue-74839,coredns} "$work/"
	for image in $images; do
		case $image in
		*/agnhost:*)
			build "$image" <<-'EOF'
				FROM conformance-debian
				RUN for a in $(busybox --list); do command -v $a >/dev/null || ln -s /bin/busybox /usr/local/bin/$a; done && mkdir /uploads
				COPY agnhost coredns localhost.crt localhost.key /
				ENTRYPOINT ["/agnhost"]
				CMD ["pause"]
			EOF
			;;
		*/busybox:*)
			build "$image" <<-'EOF'
				FROM conformance-debian
				RUN mkdir /busybox && /bin/busybox --install -s /busybox
				ENV PATH=/busybox
				CMD ["sh"]
			EOF
			;;
		*/nginx:*)
			build "$image" <<-'EOF'
				FROM conformance-debian
				CMD ["nginx", "-g", "daemon off;"]
			EOF
			;;
		*/regression-issue-74839:*)
			build "$image" <<-'EOF'
				FROM scratch
				COPY regression-issue-74839 /
				ENTRYPOINT ["/regression-issue-74839"]
			EOF
			;;
		*) build "$image" <<<'FROM conformance-debian' ;;
		esac
	done
}

pull || build_all
mkdir -p "$(dirname "$file")"
# shellcheck disable=SC2086 # a list of words
docker save --output "$file.new" $images
mv "$file.new" "$file"
