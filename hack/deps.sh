#!/bin/sh
# Installs the host tools the lab and the tests need and that are missing: nft and iptables (kube-proxy's two
# modes), conntrack, ip. Does nothing when they are there; without root it says what to install.
set -eu
PATH=$PATH:/usr/sbin:/sbin

missing=""
for tool in nft iptables conntrack ip; do
	command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null 2>&1; then
	install="apt-get install -y --no-install-recommends nftables iptables conntrack iproute2"
	refresh="apt-get update -q"
elif command -v dnf >/dev/null 2>&1; then
	install="dnf install -y nftables iptables-nft conntrack-tools iproute"
	refresh=true
elif command -v apk >/dev/null 2>&1; then
	install="apk add nftables iptables conntrack-tools iproute2"
	refresh="apk update"
else
	echo "deps: missing:$missing; install nftables, iptables, conntrack-tools and iproute2 with your package manager" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "deps: missing:$missing; run: sudo $install" >&2
	exit 1
fi
echo "deps: installing what is missing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$refresh >&2
$install >&2
