#!/bin/sh
# Installs the load generators that can be had, and runs them beside `podskew load` on loopback (hack/benchpeers). As root on
# Debian: wrk, ab, h2load, hey, nginx and taskset. As Go modules, into .bin: fortio and k6. What cannot be had is left out.
# Arguments go to benchpeers: hack/bench-peers.sh -pin -rounds 7
set -u
PATH=$PATH:/usr/sbin:/sbin:$PWD/.bin
export PATH
GO=${GO:-go}

missing=""
for tool in wrk ab h2load hey nginx taskset; do command -v $tool >/dev/null 2>&1 || missing="$missing $tool"; done
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends wrk apache2-utils nghttp2-client hey nginx-light util-linux >&2 || true
fi
command -v nginx >/dev/null 2>&1 || { echo "bench-peers: nginx is missing: it is the server of all clients" >&2; exit 1; }
command -v fortio >/dev/null 2>&1 || (cd / && GOBIN=$OLDPWD/.bin CGO_ENABLED=0 "$GO" install fortio.org/fortio@v1.68.0) || echo "bench-peers: no fortio" >&2
command -v k6 >/dev/null 2>&1 || (cd / && GOBIN=$OLDPWD/.bin CGO_ENABLED=0 "$GO" install go.k6.io/k6@v1.8.1) || echo "bench-peers: no k6" >&2

"$GO" run ./hack/benchpeers "$@"
