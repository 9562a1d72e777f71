#!/bin/bash
# Runs the tests with the race detector. Arguments go to go test; without a package
# among them, all packages are tested but e2e/kind, which hack/e2e.sh has a cluster for,
# and so is the module charts/alerts, without the race detector: most of it is Prometheus.
#
# With CI=true a skipped test is a failure: what did not run proves nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

# Two packages at a time: more control planes at once only wait for each other.
packages=() alerts=
case " $* " in
*" ./"* | *" github.com/"*) ;;
*)
	mapfile -t packages < <(go list ./... | grep -v '/e2e/kind$')
	alerts=yes
	;;
esac
run() {
	local status=0
	go test -race -p 2 -timeout 40m "$@" "${packages[@]}" || status=$?
	# Its results are not kept: go test does not see when files outside of a module change.
	[ -z "$alerts" ] || go -C charts/alerts test -count=1 "$@" ./... || status=$?
	return $status
}

if [ "${CI:-}" != true ]; then
	run "$@"
	exit
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# The full log is for the search below; the console gets it without the noise of
# tests that start and pass.
run -v "$@" 2>&1 | tee "$log" |
	{ grep --line-buffered -Ev '^ *(=== (RUN|PAUSE|CONT|NAME)|--- PASS:)|^PASS$|no test files' || true; } || status=$?
skipped=$(grep -E '^ *--- SKIP:' "$log" || true)
if [ -n "$skipped" ]; then
	echo "test: skipped tests are failures in CI:" >&2
	echo "$skipped" >&2
	status=1
fi
[ $status = 0 ] || grep -E '^ *--- FAIL:|^FAIL' "$log" >&2 || true
exit $status
