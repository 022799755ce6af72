#!/usr/bin/env bash
# gobuild.sh NAME ARGS...: go build ARGS, with a line of progress every ten seconds for builds that take so long.
set -uo pipefail
name=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
go build -v "$@" 2>"$log" &
build=$!
trap 'kill "$build" 2>/dev/null; rm -f "$log"' INT TERM
started=$SECONDS said=$SECONDS
while kill -0 "$build" 2>/dev/null; do
	sleep 0.2
	if ((SECONDS - said >= 10)); then
		said=$SECONDS
		echo "  $name: $(wc -l <"$log") packages compiled, $((SECONDS - started)) s"
	fi
done
wait "$build" && exit 0
cat "$log" >&2
exit 1
