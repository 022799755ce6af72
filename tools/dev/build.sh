#!/usr/bin/env bash
# build.sh DIR: builds the developer tools that go.mod pins into DIR, once per version.
set -euo pipefail
mkdir -p "$1"
dir=$(cd "$1" && pwd)
cd "$(dirname "$0")"
stamp=$dir/.dev-tools-$(cat go.mod go.sum <(go version) | sha256sum | cut -c1-16)
[ -e "$stamp" ] && exit 0
rm -f "$dir"/.dev-tools-*
for tool in $(GOWORK=off go list tool); do
	start=$SECONDS
	echo "building developer tool ${tool##*/} (minutes the first time, seconds after)"
	GOWORK=off CGO_ENABLED=0 ./gobuild.sh "${tool##*/}" -trimpath -ldflags '-s -w' -o "$dir/" "$tool"
	echo "  ${tool##*/} built in $((SECONDS - start)) s"
done
touch "$stamp"
