# The entrances. `just test` is what continuous integration runs.

# fmt, clippy and the tests that need nothing but Rust
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# everything, with the real Prometheus
test:
    ./test.sh

# formats the code
fmt:
    cargo fmt --all

# fuzzes one decoder for some seconds (fuzz/README.md lists them)
fuzz target seconds="120":
    cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}

# Prometheus' test scripts: how many cases pass
promqltest dir:
    cargo run --release -- promqltest {{dir}}

# what replication costs: CPU per sample of a cluster beside that of `single` (benches/README.md)
bench-replication:
    MARIGRAM_REAL_SCRAPES="${MARIGRAM_REAL_SCRAPES:-../shared/real-scrapes}" cargo bench --bench replication

# the storage core beside VictoriaMetrics and Prometheus, which are fetched (benches/README.md): half an hour
bench-peers *arguments:
    benches/peers.sh {{arguments}}

# queries over the load `main` beside VictoriaMetrics and Prometheus (benches/README.md): some minutes
bench-queries *arguments:
    benches/peers.sh --only queries {{arguments}}

# the parts of the storage core by themselves, in memory
bench-micro *arguments:
    cargo bench --bench micro -- {{arguments}}
