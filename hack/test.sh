#!/bin/bash
# Runs the tests with the race detector. Arguments go to go test; without a package
# among them, all packages are tested but e2e/kind, which hack/e2e.sh has a cluster for.
#
# With CI=true a skipped test is a failure: what did not run proves nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

# Two packages at a time: more control planes at once only wait for each other.
test=(go test -race -p 2 -timeout 40m)
case " $* " in
*" ./"* | *" github.com/"*) ;;
*)
	# shellcheck disable=SC2046 # one word for each package
	set -- "$@" $(go list ./... | grep -v '/e2e/kind$')
	;;
esac

[ "${CI:-}" = true ] || exec "${test[@]}" "$@"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# The full log is for the search below; the console gets it without the noise of
# tests that start and pass.
"${test[@]}" -v "$@" 2>&1 | tee "$log" |
	{ grep --line-buffered -Ev '^ *(=== (RUN|PAUSE|CONT|NAME)|--- PASS:)|^PASS$|no test files' || true; } || status=$?
skipped=$(grep -E '^ *--- SKIP:' "$log" || true)
if [ -n "$skipped" ]; then
	echo "test: skipped tests are failures in CI:" >&2
	echo "$skipped" >&2
	status=1
fi
[ $status = 0 ] || grep -E '^ *--- FAIL:|^FAIL' "$log" >&2 || true
exit $status
