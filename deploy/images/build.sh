#!/usr/bin/env bash
# build.sh: builds the static binaries of the services, the console and the shop, and packs each into an OCI archive
# out/images/<name>.tar, named localhost/ringfence/<name>:dev, without a container engine. An archive whose binary has
# not changed is left as it is. Prints one line per image.
#   build.sh [NAME...]     only these images
set -euo pipefail
cd "$(dirname "$0")/../.."
export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"
images=$PWD/out/images
binaries=$PWD/out/images/bin
mkdir -p "$binaries"

# name=package, in the workspace
packages=(
	watcher=./services/watcher/cmd/watcher
	pce-bridge=./services/pce-bridge/cmd/pce-bridge
	policy-store=./services/policy-store/cmd/policy-store
	enforcer=./services/enforcer/cmd/enforcer
	pce=./tools/pce/cmd/pce
	shop=./tools/shop/cmd/shop
)

pack() { # name binary archive, of which the digest is not shown
	[ -x "$binaries/lab" ] || GOWORK=off go -C tools/lab build -o "$binaries/lab" .
	"$binaries/lab" pack --name "localhost/ringfence/$1:dev" --entrypoint "/$1" -o "$3" "$2=/$1" >/dev/null
}

wanted() { # name
	[ ${#names[@]} -eq 0 ] || [[ " ${names[*]} " == *" $1 "* ]]
}

build() { # name package
	local started=$SECONDS binary=$binaries/$1 archive=$images/$1.tar hash
	tools/dev/gobuild.sh "$1" -ldflags '-s -w' -o "$binary" "$2"
	hash=$(sha256sum <"$binary" | cut -d' ' -f1)
	if [ -e "$archive" ] && [ "$(cat "$archive.binary" 2>/dev/null)" = "$hash" ]; then
		echo "$1: unchanged ($((SECONDS - started)) s)"
		return
	fi
	pack "$1" "$binary" "$archive.new"
	mv "$archive.new" "$archive"
	echo "$hash" >"$archive.binary"
	echo "$1: packed, $(($(stat -c %s "$archive") / 1048576)) MiB ($((SECONDS - started)) s)"
}

names=("$@")
rm -f "$binaries/lab" # its build is cached; an old packer must not be used
for entry in "${packages[@]}"; do
	if wanted "${entry%%=*}"; then
		build "${entry%%=*}" "${entry#*=}"
	fi
done
