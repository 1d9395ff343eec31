#!/bin/sh
# What a commit is checked for besides tests and lint: formatting, vet, tidy modules.
set -eu
export CGO_ENABLED=0
cd "$(dirname "$0")/.."
go=${GO:-go}
unformatted=$(git ls-files '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	echo "verify: gofmt would change (run make fmt):" >&2
	echo "$unformatted" >&2
	exit 1
fi
for module in . lab; do
	(cd $module && $go vet ./... && $go mod tidy -diff && $go mod verify >/dev/null)
done
echo "verify: formatted, vetted, modules tidy"
