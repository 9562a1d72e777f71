# dockerd: the one that runs, or one of our own. Sourced by kind.sh.
DOCKERD=$CACHE/dockerd

# may_raise_limits says whether root has CAP_SYS_RESOURCE (24), which it lacks in some
# sandboxes. Containers that are privileged ask for it.
may_raise_limits() { (((0x$(awk '/^CapBnd/ { print $2 }' /proc/self/status) >> 24) & 1)); }

docker_up() {
	local data runtime=()
	if docker version >/dev/null 2>&1; then return; fi
	command -v dockerd >/dev/null || fail "there is no dockerd; \"hack/deps.sh e2e\" installs it"
	mkdir -p "$DOCKERD"
	# In memory where there is plenty: unpacking images on two nodes at once keeps a disk busy.
	data=$DOCKERD/data
	if [ "$(awk '/^MemAvailable/ { print int($2 / 1e6) }' /proc/meminfo)" -ge 12 ] && mountpoint -q /dev/shm; then data=/dev/shm/kube-verdict-docker; fi
	may_raise_limits || runtime=(--add-runtime "limited=$HERE/runc-limited.sh" --default-runtime limited)
	say "starting dockerd, with its data in $data"
	(
		# It outlives us: what we hold open, locks above all, it must not.
		for fd in /proc/"$BASHPID"/fd/*; do
			((${fd##*/} <= 2)) || eval "exec ${fd##*/}>&-"
		done
		exec setsid dockerd --data-root "$data" --exec-root "$DOCKERD/exec" --pidfile "$DOCKERD/pid" \
			--host "${DOCKER_HOST:-unix:///var/run/docker.sock}" "${runtime[@]}"
	) </dev/null >"$DOCKERD/log" 2>&1 &
	echo "$data" >"$DOCKERD/data-root"
	for _ in $(seq 150); do
		if docker version >/dev/null 2>&1; then return; fi
		kill -0 $! 2>/dev/null || break
		sleep 0.2
	done
	tail -n 5 "$DOCKERD/log" >&2
	fail "dockerd does not run; all that it said is in $DOCKERD/log"
}

# docker_down stops dockerd if we started it and nobody uses it.
docker_down() {
	local pid
	pid=$(cat "$DOCKERD/pid" 2>/dev/null) || return 0
	kill -0 "$pid" 2>/dev/null || return 0
	[ -z "$(docker ps -aq)" ] || return 0
	flock -nx 9 || return 0
	say "stopping dockerd"
	kill "$pid"
	while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
	case $(cat "$DOCKERD/data-root") in /dev/shm/*) rm -rf /dev/shm/kube-verdict-docker ;; esac
}
