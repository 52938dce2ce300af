#!/usr/bin/env bash
# Builds the programs that the tests use into a cache outside the clone: the `tool` lines of go.mod, servers/go.mod and
# buildkit/go.mod (apart because they do not agree on their libraries), harborclient, which is ours, and the clients in
# other languages: ociclient (Rust), sigstore (Node) and jib (Maven). Each program is kept under its version, so adding
# one builds that one alone, and calling this again costs nothing. The folder that is printed has a link to each program.
#
#   tests/tools/build.sh           build what is missing, one program after the other; print the folder
#   tests/tools/build.sh --peers   build also the registries that the benchmarks compare with (peers/go.mod)
#   tests/tools/build.sh --path    only print the folder
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cache="${XDG_CACHE_HOME:-$HOME/.cache}/portolan/tools"
others=(ociclient/Cargo.{toml,lock} ociclient/src/main.rs sigstore/{package,package-lock}.json sigstore/attach.mjs jib/pom.xml)
bin="$cache/$(cat {.,servers,buildkit,harborclient}/go.{mod,sum} harborclient/main.go "${others[@]}" | sha256sum | cut -c1-16)"
if [[ "${1:-}" == --path ]]; then
    echo "$bin"
    exit 0
fi
if ! command -v go >/dev/null; then
    echo "tests/tools/build.sh: most test clients are built with Go, which is not installed." >&2
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
folders=(. servers buildkit)
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

# --- clients in other languages: each is left out, with a word, where its language is not installed -------------------

version_of() {   # version_of FILE…: what tells one state of the files from another
    cat "$@" | sha256sum | cut -c1-16
}

is_missing() {   # is_missing PROGRAM CLIENT
    command -v "$1" >/dev/null && return 1
    echo "tests/tools/build.sh: $1 is not installed, so $2 is not built and its tests are skipped" >&2
}

script() {   # script PATH COMMAND: a program that is the command, and what is given to it
    printf '#!/bin/sh\nexec %s "$@"\n' "$2" >"$1.$$"
    chmod +x "$1.$$"
    mv "$1.$$" "$1"
}

built() {   # built NAME STARTED: the folder NAME.new is whole
    mv "$1.new" "$1"
    echo "built $(basename "$1") in $((SECONDS - $2)) s" >&2
}

build_ociclient() {
    local folder started=$SECONDS
    folder="$cache/programs/ociclient@$(version_of ociclient/Cargo.{toml,lock} ociclient/src/main.rs)"
    if [[ ! -d "$folder" ]]; then
        is_missing cargo ociclient && return
        rm -rf "$folder.new" "$folder.target"
        cargo build --quiet --locked --manifest-path ociclient/Cargo.toml --target-dir "$folder.target" >&2
        mkdir "$folder.new"
        mv "$folder.target/debug/ociclient" "$folder.new/"
        rm -rf "$folder.target"
        built "$folder" "$started"
    fi
    ln -sfn "$folder/ociclient" "$bin/ociclient"
}

build_sigstore() {
    local folder started=$SECONDS
    folder="$cache/programs/sigstore@$(version_of sigstore/{package,package-lock}.json sigstore/attach.mjs)"
    if [[ ! -d "$folder" ]]; then
        is_missing npm @sigstore/oci && return
        rm -rf "$folder.new"
        cp -r sigstore "$folder.new"
        npm ci --prefix "$folder.new" --ignore-scripts --no-audit --no-fund --silent >&2
        built "$folder" "$started"
    fi
    script "$bin/sigstore-attach" "node '$folder/attach.mjs'"
}

# Maven with the plugin that jib/pom.xml names, and all that it needs, in a repository of its own: nothing is downloaded later.
build_jib() {
    local folder started=$SECONDS
    folder="$cache/programs/jib@$(version_of jib/pom.xml)"
    if [[ ! -d "$folder" ]]; then
        is_missing mvn jib && return
        rm -rf "$folder.new"
        mkdir -p "$folder.new/project/target/classes"
        cp jib/pom.xml "$folder.new/project/"
        touch "$folder.new/project/target/classes/none"
        mvn -B -q -f "$folder.new/project" "-Dmaven.repo.local=$folder.new/m2" jib:buildTar -Djib.from.image=scratch \
            -Djib.to.image=none -Djib.container.mainClass=none >&2
        built "$folder" "$started"
    fi
    script "$bin/jib" "mvn -B -q '-Dmaven.repo.local=$folder/m2'"
}

build_ociclient
build_sigstore
build_jib
echo "$bin"
