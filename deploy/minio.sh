#!/usr/bin/env bash
# Prints the path of a MinIO server: that of MARIGRAM_MINIO, of the PATH, or one that is built once into the cache folder
# (needs Go; takes some minutes and about 2 GB of Go's own caches). Used by cluster-up.sh and by ../test.sh.
#
#   deploy/minio.sh           any of the three
#   deploy/minio.sh --pinned  not the one of the PATH: the version below, which the tests know
#
#   MARIGRAM_MINIO        a MinIO binary to use
#   MARIGRAM_TEST_CACHE   where the built one is kept   (default: ~/.cache/marigram-test)
set -euo pipefail

# The last commit of its public repository: the module proxy has no tags of it.
version=v0.0.0-20260212201848-7aac2a2c5b7c
cache="${MARIGRAM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marigram-test}"
kept="$cache/minio-$version/minio"

if [ -n "${MARIGRAM_MINIO:-}" ]; then
    echo "$MARIGRAM_MINIO"
    exit 0
fi
if [ "${1:-}" != --pinned ] && command -v minio >/dev/null 2>&1; then
    command -v minio
    exit 0
fi
if [ ! -x "$kept" ]; then
    command -v go >/dev/null 2>&1 || { echo "there is no minio, and no Go (https://go.dev/dl) to build it with" >&2; exit 1; }
    echo "building MinIO $version, once, into $cache" >&2
    mkdir -p "$cache"
    work="$(mktemp -d "$cache/minio.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    # Run in an empty folder, so that no go.mod around changes what is built.
    if ! (cd "$work" && CGO_ENABLED=0 GOBIN="$work" nice go install -trimpath -ldflags='-s -w' "github.com/minio/minio@$version") >"$cache/minio.log" 2>&1; then
        grep -v '^go: downloading' "$cache/minio.log" >&2 || true
        echo "MinIO $version cannot be built; all of the output is in $cache/minio.log" >&2
        exit 1
    fi
    # Moved whole, so that a half-done copy is never taken for a good one; another run may have been faster.
    mkdir -p "$(dirname "$kept")"
    mv -f "$work/minio" "$kept"
fi
echo "$kept"
