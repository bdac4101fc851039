#!/usr/bin/env bash
# Fetches what the tests need, and runs them all: quick checks first, whole-system tests last.
#
# Needs Rust (the version of rust-toolchain.toml), a C compiler, Debian's apt-get and dpkg for the real Prometheus and
# node_exporter that the whole-system tests talk to, and Go, with which MinIO is built once (some minutes) into the cache
# folder. No root; no system service is started or touched.
#
#   MARIGRAM_TEST_CACHE      where the packages are kept   (default: ~/.cache/marigram-test)
#   MARIGRAM_PROMETHEUS      a Prometheus binary to use instead of Debian's
#   MARIGRAM_PROMTOOL        the same for promtool
#   MARIGRAM_NODE_EXPORTER   a node_exporter binary to use instead of Debian's
#   MARIGRAM_MINIO           a MinIO binary to use instead of building one
#   MARIGRAM_REAL_SCRAPES    folder with recorded remote-write traffic, *.rw1.zst (default: ../shared/real-scrapes)
#   PROMQLTEST_DIR           folder with Prometheus' *.test scripts (default: ../shared/promql/testdata)
#
# What cannot be had is named at the start; the rest still runs, and the run ends as failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

. tests/needs.sh
export RUST_BACKTRACE="${RUST_BACKTRACE:-1}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

report=()
failures=0

say() { printf '\n== %s\n' "$*"; }

# ---- what the tests need -------------------------------------------------------------------------------------------

# Sets MARIGRAM_MINIO, unless it is set, to a MinIO that is built where the cache does not hold it yet.
need_minio() {
    local path
    if ! path="$(deploy/minio.sh --pinned)"; then
        miss "minio (cannot be built; set MARIGRAM_MINIO to use another)"
    elif ! "$path" --version >/dev/null 2>&1; then
        miss "minio ($path does not run)"
        unset MARIGRAM_MINIO
    else
        export MARIGRAM_MINIO="$path"
        echo "MARIGRAM_MINIO=$MARIGRAM_MINIO"
    fi
}

say "what the tests need"
have cargo || { echo "cargo is not installed; see https://rustup.rs" >&2; echo "test.sh: FAILED"; exit 1; }
have cc || have gcc || have clang || miss "a C compiler"
cargo --version || miss "the Rust version that rust-toolchain.toml names"
need_binary MARIGRAM_PROMETHEUS prometheus prometheus
need_binary MARIGRAM_PROMTOOL prometheus promtool
need_binary MARIGRAM_NODE_EXPORTER prometheus-node-exporter prometheus-node-exporter
need_minio
need_folder MARIGRAM_REAL_SCRAPES ../shared/real-scrapes '*.rw1.zst' "recorded remote-write traffic: the replay tests are left out"
need_folder PROMQLTEST_DIR ../shared/promql/testdata '*.test' "Prometheus' promqltest scripts: the tests that count them are left out"
for thing in ${missing[@]+"${missing[@]}"}; do echo "MISSING: $thing"; done

# ---- the steps -----------------------------------------------------------------------------------------------------

# step NAME COMMAND...: runs it, times it, remembers how it went.
step() {
    local name="$1" started=$SECONDS
    shift
    say "$name"
    if "$@"; then
        report+=("passed  $name ($((SECONDS - started)) s)")
    else
        report+=("FAILED  $name ($((SECONDS - started)) s)")
        failures=$((failures + 1))
    fi
}

step "formatting" cargo fmt --all --check
step "clippy, warnings denied" cargo clippy --locked --workspace --all-targets -- -D warnings
step "unit tests" cargo test --locked --workspace --no-fail-fast --lib --bins
step "documentation, warnings denied" env RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked --workspace --no-deps --document-private-items
step "examples in the documentation" cargo test --locked --workspace --no-fail-fast --doc
step "whole-system tests" cargo test --locked --workspace --no-fail-fast --test '*'

# ---- the summary ---------------------------------------------------------------------------------------------------

say "summary, after $SECONDS s"
for line in "${report[@]}"; do echo "$line"; done
for thing in ${missing[@]+"${missing[@]}"}; do echo "MISSING $thing"; done
if [ "$failures" -gt 0 ] || [ "${#missing[@]}" -gt 0 ]; then
    echo "test.sh: FAILED ($failures of ${#report[@]} steps failed, ${#missing[@]} things missing)"
    exit 1
fi
echo "test.sh: passed (${#report[@]} steps)"
