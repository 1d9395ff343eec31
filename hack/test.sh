#!/bin/sh
# Runs the tests of both modules and prints one line a package and a total. PODSKEW_BIN names the folder with the three
# binaries; the tests that need a lab fail, rather than skip, without it.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
: "${PODSKEW_BIN:=$PWD/bin}"
PODSKEW_LAB=$PODSKEW_BIN/podskew-lab
export PATH PODSKEW_BIN PODSKEW_LAB CGO_ENABLED=0
go=${GO:-go}
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
$go build -o "$tools/testcount" ./hack/testcount

# Of the lab only the packages with tests: the race detector would rebuild all of Kubernetes for the others, and the
# tests drive those from outside.
lab=$(cd lab && $go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | grep -v '/e2e$')

race() { CGO_ENABLED=1 $go test -json -race -shuffle=on -timeout 30m "$@" || true; }
# live runs the tests that take a cluster on a lab of their own.
live() {
	XDG_RUNTIME_DIR=$tools
	export XDG_RUNTIME_DIR
	kubeconfig=$("$PODSKEW_LAB" up --detach 2>"$tools/lab.log") || cat "$tools/lab.log"
	CGO_ENABLED=1 $go test -json -race -timeout 10m ./cluster -run Live -kubeconfig "$kubeconfig" || true
	"$PODSKEW_LAB" down 2>/dev/null
}

# What drives whole labs goes last and alone: two cores are few enough for one cluster.
{
	race $($go list ./... | grep -v '/cmd/podskew$')
	$go test -json ./analyze/... || true # calibration at full size: the race detector's takes a fifth of the runs
	(cd lab && race $lab)
	race -timeout 55m ./cmd/podskew # the whole library, in both proxy modes
	live
	(cd lab && $go test -json -shuffle=on -timeout 30m ./e2e) || true
} | "$tools/testcount"
