#!/bin/sh
# Installs the host tools that are missing. Without an argument: what the lab and the scenarios need, nft and iptables
# (kube-proxy's two modes), conntrack, ip. With "test": what some tests ask for besides and are skipped without, a browser
# and an independent implementation of the statistics. Does nothing when all is there; without root it says what to install.
set -eu
PATH=$PATH:/usr/sbin:/sbin

missing=""
lack() { command -v "$1" >/dev/null 2>&1 || missing="$missing $1"; }
case ${1:-} in
"")
	for tool in nft iptables conntrack ip; do lack $tool; done
	apt="nftables iptables conntrack iproute2"
	dnf="nftables iptables-nft conntrack-tools iproute"
	apk="nftables iptables conntrack-tools iproute2"
	;;
test)
	lack chromium
	lack haproxy
	lack nginx
	/usr/bin/python3 -c 'import scipy' 2>/dev/null || missing="$missing scipy"
	apt="chromium python3-scipy haproxy nginx-light"
	dnf="chromium python3-scipy haproxy nginx"
	apk="chromium py3-scipy haproxy nginx"
	;;
*)
	echo "deps: unknown set \"$1\": want nothing or test" >&2
	exit 2
	;;
esac
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null 2>&1; then
	install="apt-get install -y --no-install-recommends $apt"
	refresh="apt-get update -q"
elif command -v dnf >/dev/null 2>&1; then
	install="dnf install -y $dnf"
	refresh=true
elif command -v apk >/dev/null 2>&1; then
	install="apk add $apk"
	refresh="apk update"
else
	echo "deps: missing:$missing; install $apt (Debian's names) with your package manager" >&2
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
