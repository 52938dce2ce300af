#!/usr/bin/env bash
# Builds the client programs that the tests use (the `tool` lines of go.mod) into a cache outside the clone.
# What is already built for exactly this go.mod and go.sum is left alone, so calling it again costs nothing.
#
#   tests/tools/build.sh          build what is missing, print the folder
#   tests/tools/build.sh --path   only print the folder
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

version=$(cat go.mod go.sum | sha256sum | cut -c1-16)
bin="${XDG_CACHE_HOME:-$HOME/.cache}/portolan/tools/$version"
if [[ "${1:-}" == --path ]]; then
    echo "$bin"
    exit 0
fi
if ! command -v go >/dev/null; then
    echo "tests/tools/build.sh: the test clients are built with Go, which is not installed." >&2
    echo "Install Go 1.21 or newer (https://go.dev/dl/) and run \`make tools\` again." >&2
    exit 1
fi

# The go line of go.mod may be newer than the Go installed here: since 1.21 it then fetches that toolchain itself.
export GOFLAGS=-buildvcs=false CGO_ENABLED=0 GOTOOLCHAIN=auto
mkdir -p "$bin"
go list tool | while read -r package; do
    name=$(basename "$package")
    [[ -x "$bin/$name" ]] && continue
    echo "building $name" >&2
    go build -o "$bin/.$name.$$" "$package"
    mv "$bin/.$name.$$" "$bin/$name"   # a build that was stopped half-way leaves no broken program behind
done
echo "$bin"
