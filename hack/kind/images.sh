# The images that a cluster is made of. Sourced by kind.sh.
#
# Images are archives as "docker save" writes them. Ours are put together without
# docker or a registry: a directory, its hash and a few lines of JSON.

# What kind 0.33.0 takes by default.
PUBLISHED=kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5

# Debian 12: its systemd still runs on cgroup v1. The second line is what kind's own node
# image has; the third what agnhost's has.
SUITE=bookworm
PACKAGES=systemd,systemd-sysv,dbus,ca-certificates,procps,hostname,util-linux,mount,kmod\
,iptables,nftables,conntrack,iproute2,ethtool,ebtables,socat,libseccomp2,jq,rsync,curl\
,netbase,netcat-openbsd,bind9-dnsutils

hash() { sha256sum | cut -c 1-12; }
ROOTFS=$CACHE/rootfs-$(echo "$SUITE $PACKAGES" | hash)
KEY=$(cat "$HERE/images.sh" "$HERE"/node/* "$ROOT/hack/tools.sh" | hash)
BUILT=$CACHE/images-$KEY

# images sees to it that docker has the node image, and sets IMAGES and NODE_IMAGE.
images() {
	IMAGES=${KIND_IMAGES:-}
	case $IMAGES in
	published | local) ;;
	"") choose_images ;;
	*) fail "KIND_IMAGES is \"$IMAGES\"; say published or local" ;;
	esac
	if [ "$IMAGES" = published ]; then
		NODE_IMAGE=$PUBLISHED
		pull "$PUBLISHED"
		pull "$AGNHOST"
		return
	fi
	NODE_IMAGE=kube-verdict/kind-node:$KEY
	[ -e "$BUILT" ] || build_images
	docker image inspect "$NODE_IMAGE" >/dev/null 2>&1 || {
		say "loading the node image into docker (about 10 s) ..."
		docker load --quiet --input "$BUILT/node-image.tar" >/dev/null
	}
}

choose_images() {
	IMAGES=local
	[ ! -e "$BUILT" ] || return 0
	if docker image inspect "$PUBLISHED" >/dev/null 2>&1; then
		IMAGES=published
		return
	fi
	say "looking for kind's published node image ..."
	if timeout 20 docker manifest inspect "$PUBLISHED" >/dev/null 2>&1; then
		IMAGES=published
	else
		say "it cannot be reached from here, so images are built"
	fi
}

pull() {
	docker image inspect "$1" >/dev/null 2>&1 && return
	say "pulling $1 ..."
	docker pull --quiet "$1" >/dev/null || fail "cannot pull $1; KIND_IMAGES=local builds what is needed"
}

# The node image has all but the tests' own.
load_published() { kind load docker-image --quiet --name "$CLUSTER" "$AGNHOST"; }

build_images() {
	local started=$SECONDS
	tool node
	[ -e "$ROOTFS" ] || bootstrap
	say "putting the images together (about 30 s) ..."
	WORK=$(mktemp -d "$CACHE/.build.XXXXXX")
	trap 'rm -rf "$WORK"' EXIT
	mkdir -p "$WORK/out/node" "$WORK/out/control-plane"
	pods_images
	node_image
	mv "$WORK/out" "$BUILT"
	rm -rf "$WORK"
	trap - EXIT
	say "the images are in $BUILT after $((SECONDS - started)) s"
}

bootstrap() {
	local work=$ROOTFS.new
	command -v debootstrap >/dev/null || fail "there is no debootstrap; \"hack/deps.sh e2e\" installs it"
	say "getting the Debian packages of the nodes (about two minutes) ..."
	rm -rf "$work"
	debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$work" >"$CACHE/debootstrap.log" 2>&1 || {
		tail -n 5 "$CACHE/debootstrap.log" >&2
		fail "debootstrap failed; all that it said is in $CACHE/debootstrap.log"
	}
	rm -rf "$work"/var/cache/apt/archives/*.deb "$work"/var/lib/apt/lists/* "$work"/usr/share/{doc,man,locale}/*
	mv "$work" "$ROOTFS"
}

# archive FILE NAME DIRECTORY [CONFIG] makes an image of one layer. CONFIG is more of the
# image's configuration, as JSON.
archive() {
	local file=$1 name=$2 directory=$3 config=${4:-} dir=$WORK/archive hash
	mkdir -p "$dir"
	tar -C "$directory" --numeric-owner -cf "$dir/layer.tar" .
	hash=$(sha256sum "$dir/layer.tar" | cut -d ' ' -f 1)
	cat >"$dir/config.json" <<-EOF
		{"os": "linux", "architecture": "$(go env GOARCH)", "created": "1970-01-01T00:00:00Z",
		 "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]${config:+, $config}},
		 "rootfs": {"type": "layers", "diff_ids": ["sha256:$hash"]}}
	EOF
	echo "[{\"Config\": \"config.json\", \"RepoTags\": [\"$name\"], \"Layers\": [\"layer.tar\"]}]" >"$dir/manifest.json"
	tar -C "$dir" -cf "$file" manifest.json config.json layer.tar
	rm -r "$dir"
}

# tree NAME [TOOL...] makes an empty root with these programs, and says where it is.
tree() {
	local root=$WORK/$1
	shift
	mkdir -p "$root"/usr/{local/bin,bin,sbin,lib,lib64} "$root"/{etc,tmp,run,var}
	chmod 1777 "$root/tmp"
	ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root"
	ln -s ../run "$root/var/run"
	for name in "$@"; do cp "$TOOLS/$name" "$root/usr/local/bin/"; done
	echo "$root"
}

# with_libraries ROOT FILE... copies Debian's files with the libraries that they link to;
# a program needs no path.
with_libraries() {
	local root=$1 file files
	shift
	files=$(chroot "$ROOTFS" bash -c 'for file; do type -P "$file" || echo "$file"; done' - "$@")
	# shellcheck disable=SC2086 # a list of files
	for file in $files $(chroot "$ROOTFS" ldd $files | sed -n 's#.*[[:space:]]\(/[^ ]*\) (0x.*#\1#p' | sort -u); do
		mkdir -p "$root/$(dirname "$file")"
		cp "$ROOTFS$(chroot "$ROOTFS" readlink -f "$file")" "$root$file"
	done
}

# pods_images makes the images of the pods: kubeadm says under which names and versions
# it looks for them. etcd is the one that all other tests have.
pods_images() {
	local root name image sources
	sources=$(cd "$ROOT" && go mod download -json "k8s.io/kubernetes@$("$TOOLS/kubeadm" version -o short)" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
	for image in $("$TOOLS/kubeadm" config images list --kubernetes-version "$("$TOOLS/kubeadm" version -o short)"); do
		name=${image##*/}
		name=${name%:*}
		case $name in
		etcd)
			root=$(tree etcd etcd etcdctl)
			archive "$WORK/out/control-plane/etcd.tar" "$image" "$root"
			;;
		coredns)
			root=$(tree coredns coredns)
			mv "$root/usr/local/bin/coredns" "$root/coredns"
			archive "$WORK/out/node/coredns.tar" "$image" "$root" '"Entrypoint": ["/coredns"]'
			;;
		pause)
			root=$(tree pause)
			gcc -static -Os -s -DVERSION="${image##*:}" -o "$root/pause" "$sources/build/pause/linux/pause.c"
			archive "$WORK/out/node/pause.tar" "$image" "$root" '"Entrypoint": ["/pause"]'
			PAUSE=$image
			;;
		kube-proxy)
			root=$(tree kube-proxy kube-proxy)
			# shellcheck disable=SC2046 # one word for each extension of iptables
			with_libraries "$root" nft xtables-nft-multi conntrack $(chroot "$ROOTFS" bash -c 'echo /usr/lib/*/xtables/*.so')
			for name in ip{,6}tables{,-save,-restore}; do ln -s xtables-nft-multi "$root/usr/sbin/$name"; done
			# Without it nft calls TCP 6. kube-proxy, when it starts, takes an element of that name
			# for one that is to go, and removes it after it has added its own.
			cp "$ROOTFS/etc/protocols" "$root/etc/"
			archive "$WORK/out/node/kube-proxy.tar" "$image" "$root"
			;;
		*)
			root=$(tree "$name" "$name")
			archive "$WORK/out/control-plane/$name.tar" "$image" "$root"
			;;
		esac
	done
	# Where agnhost's has Alpine's programs, this has Debian's.
	[ "${AGNHOST##*:}" = "$(cat "$sources/test/images/agnhost/VERSION")" ] || fail "hack/kind/common.sh names $AGNHOST, and these sources of Kubernetes are for $(cat "$sources/test/images/agnhost/VERSION")"
	root=$(tree agnhost)
	with_libraries "$root" sh bash cat date echo env grep head hostname ls printf seq sleep timeout true wc curl nc dig ip ss
	cp "$TOOLS/agnhost" "$sources"/test/images/agnhost/porter/localhost.{crt,key} "$root/"
	mkdir "$root/uploads"
	archive "$WORK/out/node/agnhost.tar" "$AGNHOST" "$root" '"Entrypoint": ["/agnhost"], "Cmd": ["pause"]'
}

# node_image makes a node: Debian, the files of kind's own base image, and what runs pods.
node_image() {
	local root=$WORK/root kind unit
	kind=$(cd "$ROOT" && go mod download -json "sigs.k8s.io/kind@$(kind version | cut -d ' ' -f 2)" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
	cp -a "$ROOTFS" "$root"
	# No services that make no sense in a container, as kind has it.
	rm -f "$root"/lib/systemd/system/{multi-user,local-fs,basic}.target.wants/* "$root"/etc/systemd/system/*.wants/* \
		"$root"/lib/systemd/system/sockets.target.wants/*{udev,initctl}* "$root"/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service
	echo "ReadKMsg=no" >>"$root/etc/systemd/journald.conf"
	ln -sf /dev/null "$root/etc/systemd/system/systemd-binfmt.service"
	ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"

	cp -r --no-preserve=mode,ownership "$kind/images/base/files/." "$root/"
	chmod 755 "$root"/usr/local/bin/* "$root"/kind/bin/*
	mkdir -p "$root"/opt/cni/bin "$root"/etc/cni/net.d "$root"/kind/manifests "$root"/etc/kubernetes/manifests
	(
		cd "$TOOLS"
		cp containerd containerd-shim-runc-v2 ctr "$root/usr/local/bin/"
		cp runc "$root/usr/local/sbin/"
		cp ptp loopback host-local portmap "$root/opt/cni/bin/"
		cp kubelet kubeadm kubectl "$root/usr/bin/"
	)
	"$TOOLS/kubeadm" version -o short >"$root/kind/version"
	"$TOOLS/ctr" oci spec | jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' >"$root/etc/containerd/cri-base.json"
	sed -i "s#sandbox_image = .*#sandbox_image = \"$PAUSE\"#" "$root/etc/containerd/config.toml"
	# kind asks for a default; no test stores anything.
	cat >"$root/kind/manifests/default-storage.yaml" <<-EOF
		apiVersion: storage.k8s.io/v1
		kind: StorageClass
		metadata: {name: standard}
		provisioner: kubernetes.io/no-provisioner
	EOF
	cp "$HERE/node/pod-routes.sh" "$root/kind/bin/"
	cp "$HERE"/node/*.service "$root/etc/systemd/system/"
	mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
	for unit in containerd kubelet undo-mount-hacks preload-images pod-routes; do
		ln -s "/etc/systemd/system/$unit.service" "$root/etc/systemd/system/multi-user.target.wants/"
	done
	# systemd ends on this signal, and only on it.
	archive "$WORK/out/node-image.tar" "kube-verdict/kind-node:$KEY" "$root" \
		'"Entrypoint": ["/usr/local/bin/entrypoint", "/sbin/init"], "StopSignal": "SIGRTMIN+3"'
}
