#!/bin/sh
# Fuzzes every fuzz target of both modules, FUZZTIME (default 20s) each.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}
for module in . lab; do
	(cd $module && git ls-files '*_test.go' | xargs grep -l '^func Fuzz' | while read -r file; do
		sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$file" | while read -r target; do
			echo "$(dirname "$file"): $target"
			$go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-20s}"
		done
	done)
done
