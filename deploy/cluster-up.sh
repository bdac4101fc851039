#!/usr/bin/env bash
# Starts a cluster on this machine: three storage nodes (two copies of every sample), an insert node, a query node, a
# compactor, and MinIO as the object store. Everything lies below one folder. Run again after cluster-down.sh, it goes on
# with the same data.
#
#   CLUSTER_DIR       where data, logs and process ids go   (default: ./marigram-cluster)
#   CLUSTER_PORT      first of the ports                    (default: 9300, see below)
#   REPLICA_LABEL     the label that tells the Prometheus servers of an HA pair apart   (default: replica)
#   MARIGRAM_BINARY   the marigram to run                   (default: built from this checkout, in release mode)
#   MARIGRAM_BUCKET   an own bucket instead of MinIO: s3://bucket/prefix (with the usual AWS_* variables) or file:///dir
#   MARIGRAM_MINIO    a MinIO binary; without it, the one of the PATH, else one is built once (deploy/minio.sh)
#
# Ports, all on 127.0.0.1, counted from CLUSTER_PORT: +1 insert, +2 query, +3 compactor, +11 to +13 the HTTP of the storage
# nodes, +21 to +23 their gRPC, +30 MinIO, +31 MinIO's console.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
dir="${CLUSTER_DIR:-$PWD/marigram-cluster}"
port="${CLUSTER_PORT:-9300}"
replica_label="${REPLICA_LABEL:-replica}"
ready_within_s=120

fail() { echo "cluster-up.sh: $*" >&2; exit 1; }

case "$port" in '' | *[!0-9]*) fail "CLUSTER_PORT=$port is not a number" ;; esac
[ "$port" -le 65500 ] || fail "CLUSTER_PORT=$port leaves no room for the ports above it"
mkdir -p "$dir/log" "$dir/run" "$dir/data"
dir="$(cd "$dir" && pwd)"

if compgen -G "$dir/run/*.pid" >/dev/null; then
    fail "a cluster of $dir runs or was not stopped in good order: CLUSTER_DIR=$(printf %q "$dir") $here/cluster-down.sh"
fi

# ---- what to run ---------------------------------------------------------------------------------------------------

marigram="${MARIGRAM_BINARY:-}"
if [ -z "$marigram" ]; then
    command -v cargo >/dev/null 2>&1 || fail "there is no cargo to build marigram with (https://rustup.rs); or set MARIGRAM_BINARY"
    echo "building marigram"
    (cd "$here/.." && cargo build --release --locked --bin marigram)
    marigram="$here/../target/release/marigram"
fi
[ -x "$marigram" ] || fail "$marigram cannot be run"

bucket="${MARIGRAM_BUCKET:-}"
minio=""
if [ -n "$bucket" ]; then
    echo "the bucket is $bucket (MARIGRAM_BUCKET), so no MinIO is started"
elif minio="$("$here/minio.sh")"; then
    bucket="s3://marigram/cluster"
else
    mkdir -p "$dir/data/bucket"
    bucket="file://$dir/data/bucket"
    echo "without MinIO the bucket is a folder: $bucket"
fi

# ---- starting ------------------------------------------------------------------------------------------------------

# start NAME COMMAND...: runs it in the background, and notes its process id.
start() {
    local name="$1"
    shift
    nohup "$@" >>"$dir/log/$name.log" 2>&1 </dev/null &
    echo $! >"$dir/run/$name.pid"
}

# Status line of GET $2 at port $1; nothing while nobody answers there.
status() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&3 && head -n 1 <&3) 2>/dev/null || true
}

# wait_ready NAME PORT PATH: until it answers 200; ends all if it cannot.
wait_ready() {
    local until=$((SECONDS + ready_within_s)) answer
    while true; do
        answer="$(status "$2" "$3")"
        case "$answer" in *' 200 '*) return 0 ;; esac
        if ! kill -0 "$(cat "$dir/run/$1.pid")" 2>/dev/null || [ "$SECONDS" -ge "$until" ]; then
            echo "$1 is not ready (${answer:-no answer}); the end of $dir/log/$1.log:" >&2
            tail -n 5 "$dir/log/$1.log" >&2
            CLUSTER_DIR="$dir" "$here/cluster-down.sh" >&2 || true
            fail "the cluster was stopped again"
        fi
        sleep 0.2
    done
}

if [ -n "$minio" ]; then
    # A folder below MinIO's own is a bucket.
    mkdir -p "$dir/data/minio/marigram"
    export AWS_ENDPOINT_URL="http://127.0.0.1:$((port + 30))" AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=marigram AWS_SECRET_ACCESS_KEY=marigram-on-one-machine
    MINIO_ROOT_USER="$AWS_ACCESS_KEY_ID" MINIO_ROOT_PASSWORD="$AWS_SECRET_ACCESS_KEY" MINIO_UPDATE=off \
        start minio "$minio" server --quiet --address "127.0.0.1:$((port + 30))" \
        --console-address "127.0.0.1:$((port + 31))" "$dir/data/minio"
    wait_ready minio $((port + 30)) /minio/health/ready
fi

storage_nodes=""
for n in 1 2 3; do
    storage_nodes="${storage_nodes:+$storage_nodes,}127.0.0.1:$((port + 20 + n))"
done
# What one role does not use, it ignores: one environment serves all.
export MARIGRAM_STORAGE_NODE="$storage_nodes" MARIGRAM_BUCKET="$bucket"
export MARIGRAM_REPLICATION_FACTOR="${MARIGRAM_REPLICATION_FACTOR:-2}" MARIGRAM_REPLICA_LABEL="$replica_label"

for n in 1 2 3; do
    start "storage-$n" "$marigram" storage --node-name "node-$n" --data-dir "$dir/data/storage-$n" \
        --http-listen "127.0.0.1:$((port + 10 + n))" --grpc-listen "127.0.0.1:$((port + 20 + n))"
done
start compact "$marigram" compact --data-dir "$dir/data/compact" --http-listen "127.0.0.1:$((port + 3))"
start insert "$marigram" insert --data-dir "$dir/data/insert" --http-listen "127.0.0.1:$((port + 1))"
start query "$marigram" query --data-dir "$dir/data/query" --http-listen "127.0.0.1:$((port + 2))"
for n in 1 2 3; do wait_ready "storage-$n" $((port + 10 + n)) /-/ready; done
wait_ready compact $((port + 3)) /-/ready
wait_ready insert $((port + 1)) /-/ready
wait_ready query $((port + 2)) /-/ready

# ---- what to do with it --------------------------------------------------------------------------------------------

cat <<END

The cluster is ready: three storage nodes, $MARIGRAM_REPLICATION_FACTOR copies of every sample.

  write    http://127.0.0.1:$((port + 1))/api/v1/write   (Prometheus remote write)
  query    http://127.0.0.1:$((port + 2))                (Prometheus HTTP API: the URL for Grafana)
  status   $marigram status --url http://127.0.0.1:$((port + 2))
END
if [ -n "$minio" ]; then
    echo "  bucket   http://127.0.0.1:$((port + 31))                (MinIO's console: user $AWS_ACCESS_KEY_ID, password $AWS_SECRET_ACCESS_KEY)"
else
    echo "  bucket   $bucket"
fi
cat <<END
  data     $dir/data
  logs     $dir/log
  stop     CLUSTER_DIR=$(printf %q "$dir") $(printf %q "$here/cluster-down.sh")
END
