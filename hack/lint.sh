#!/bin/bash
# Checks the source: gofmt, go vet, staticcheck and govulncheck, the latter two at
# fixed versions, so that a new release of either does not fail an old commit.
set -euo pipefail
cd "$(dirname "$0")/.."

STATICCHECK=v0.8.2
GOVULNCHECK=v1.9.0

unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	echo "lint: these files are not formatted; run gofmt -w on them:" >&2
	echo "$unformatted" >&2
	exit 1
fi
go vet ./...
go run "honnef.co/go/tools/cmd/staticcheck@$STATICCHECK" ./...

# Known vulnerabilities are a failure; not being able to ask for them is not.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
go run "golang.org/x/vuln/cmd/govulncheck@$GOVULNCHECK" ./... >"$log" 2>&1 || status=$?
if [ $status != 0 ] && grep -Eq 'fetching vulnerabilities: |HTTP GET .* returned unexpected status' "$log"; then
	echo "lint: the vulnerability database cannot be reached; known vulnerabilities were not looked for"
elif [ $status != 0 ]; then
	cat "$log" >&2
	exit 1
fi
