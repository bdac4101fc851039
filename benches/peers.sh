#!/usr/bin/env bash
# Fetches the peers, and runs the benchmark of the storage core beside them (benches/README.md). Arguments are handed on:
#
#   benches/peers.sh [--only NAME,...] [--systems NAME,...] [--scale FACTOR]
#
#   MARIGRAM_TEST_CACHE         where the packages are kept   (default: ~/.cache/marigram-test)
#   MARIGRAM_PROMETHEUS         a Prometheus binary to use instead of Debian's
#   MARIGRAM_VICTORIA_METRICS   a VictoriaMetrics binary (single node) to use instead of Debian's
#   MARIGRAM_BINARY             a Marigram binary to use instead of the one that is built here
#   MARIGRAM_REAL_SCRAPES       folder with recorded remote-write traffic, *.rw1.zst (default: ../shared/real-scrapes)
#
# What cannot be had is named, and left out.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
. tests/needs.sh

need_binary MARIGRAM_PROMETHEUS prometheus prometheus
need_binary MARIGRAM_VICTORIA_METRICS victoria-metrics victoria-metrics
need_folder MARIGRAM_REAL_SCRAPES ../shared/real-scrapes '*.rw1.zst' "recorded remote-write traffic: the workload real is left out"
for thing in ${missing[@]+"${missing[@]}"}; do echo "MISSING: $thing"; done
cargo bench --locked --bench peers -- "$@"
