#!/bin/sh
# Runs a command with a Docker engine: the one that answers, else a private one that lives as long as the command, in
# namespaces of its own, so that no bridge, firewall rule, mount or process of it is left. A private one needs root and
# dockerd. Exit code 77, with the reason on stderr: there is no engine to be had.
set -eu
PATH=$PATH:/usr/sbin:/sbin

none() { echo "docker.sh: $1" >&2; exit 77; }

inside() {
	dir=$1 engine="" command=""
	shift
	trap 'end 143' TERM
	trap 'end 130' INT HUP
	ip link set lo up
	mount -t tmpfs -o mode=755 none /run # where dockerd looks for a containerd that is not ours
	DOCKER_HOST=unix://$dir/docker.sock
	export DOCKER_HOST
	dockerd --data-root "$dir/data" --exec-root "$dir/run" --pidfile "$dir/pid" -H "$DOCKER_HOST" >"$dir/log" 2>&1 &
	engine=$!
	tries=0
	until docker info >/dev/null 2>&1; do
		tries=$((tries + 1))
		if [ $tries -gt 150 ] || ! kill -0 $engine 2>/dev/null; then
			tail -n 5 "$dir/log" >&2
			echo "docker.sh: a private dockerd does not start here" >&2
			end 77
		fi
		sleep 0.2
	done
	"$@" &
	command=$!
	code=0
	wait $command || code=$?
	end $code
}

# end stops what is left of the command, then the engine, which removes its containers' cgroups and mounts, and exits.
end() {
	trap '' TERM INT HUP
	[ -z "$command" ] || kill "$command" 2>/dev/null || true
	if kill "$engine" 2>/dev/null; then
		(sleep 20; kill -KILL "$engine" 2>/dev/null) &
		wait "$engine" || true
	fi
	rm -rf "$dir"
	exit "$1"
}

if [ "${1:-}" = --inside ]; then
	shift
	inside "$@"
fi
command -v docker >/dev/null 2>&1 || none "docker is not installed"
if docker info >/dev/null 2>&1; then
	exec "$@"
fi
command -v dockerd >/dev/null 2>&1 || none "no Docker engine answers, and there is no dockerd to start a private one with"
[ "$(id -u)" = 0 ] || none "no Docker engine answers, and only root can start a private one"
for tool in unshare setpriv ip; do
	command -v $tool >/dev/null 2>&1 || none "no Docker engine answers, and a private one needs $tool"
done

# unshare itself ignores signals, but its end, however it comes, ends what is inside in order: the folder goes last.
dir=$(mktemp -d /tmp/podskew-docker.XXXXXX)
child=""
stop() {
	trap '' TERM INT HUP
	[ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true
	tries=0
	while [ -d "$dir" ] && [ $tries -lt 125 ]; do
		tries=$((tries + 1))
		sleep 0.2
	done
	exit "$1"
}
trap 'stop 143' TERM
trap 'stop 130' INT HUP
setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child=TERM --mount-proc "$0" --inside "$dir" "$@" &
child=$!
code=0
wait $child || code=$?
rm -rf "$dir"
exit $code
