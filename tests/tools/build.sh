#!/usr/bin/env bash
# Builds the programs that the tests use (the `tool` lines of go.mod and servers/go.mod, apart because they do not agree
# on their libraries, and harborclient, which is ours) into a cache outside the clone. Each program is kept under its module's version, so adding one
# builds that one alone, and calling this again costs nothing. The folder that is printed has a link to each program.
#
#   tests/tools/build.sh           build what is missing, one program after the other; print the folder
#   tests/tools/build.sh --peers   build also the registries that the benchmarks compare with (peers/go.mod)
#   tests/tools/build.sh --path    only print the folder
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cache="${XDG_CACHE_HOME:-$HOME/.cache}/portolan/tools"
bin="$cache/$(cat {.,servers,harborclient}/go.{mod,sum} harborclient/main.go | sha256sum | cut -c1-16)"
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
export GOFLAGS="-buildvcs=false ${GOFLAGS:-}" CGO_ENABLED=0 GOTOOLCHAIN=auto

# module_of PACKAGE: "path version" of the module that go.mod requires for it, the longest whose path leads there.
module_of() {
    awk -v package="$1/" '$1 == "require" { sub(/^require[ \t]+/, "") }
        $2 ~ /^v/ && index(package, $1 "/") == 1 && length($1) > length(module) { module = $1; version = $2 }
        END { print module, version }' go.mod
}

build() {   # build PACKAGE PROGRAM
    local started=$SECONDS
    go build -o "$2.$$" "$1"
    mv "$2.$$" "$2"   # a build that was stopped half-way leaves no broken program behind
    echo "built $1 in $((SECONDS - started)) s" >&2
}

mkdir -p "$bin" "$cache/programs"
exec {lock}>"$cache/lock"
flock "$lock"   # two that start at once: the second finds everything built
folders=(. servers)
[[ "${1:-}" == --peers ]] && folders+=(peers)
for folder in "${folders[@]}"; do
    pushd "$folder" >/dev/null
    go list tool | while read -r package; do
        read -r _ version < <(module_of "$package")
        name=$(basename "$package")
        program="$cache/programs/$name@$version"
        [[ -x "$program" ]] || build "$package" "$program"
        ln -sfn "$program" "$bin/$name"
    done
    popd >/dev/null
done

# Our own program has the version of its text.
pushd harborclient >/dev/null
program="$cache/programs/harborclient@$(cat go.mod go.sum main.go | sha256sum | cut -c1-16)"
[[ -x "$program" ]] || build . "$program"
ln -sfn "$program" "$bin/harborclient"
popd >/dev/null
echo "$bin"
