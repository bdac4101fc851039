#!/usr/bin/env bash
# Stops the cluster that cluster-up.sh started, by the process ids that it wrote, and says where its data is. Deletes nothing.
#
#   CLUSTER_DIR   the folder of the cluster   (default: ./marigram-cluster)
set -euo pipefail

dir="${CLUSTER_DIR:-$PWD/marigram-cluster}"
ended_within_s=30

[ -d "$dir/run" ] || { echo "cluster-down.sh: there is no cluster in $dir" >&2; exit 1; }
dir="$(cd "$dir" && pwd)"

# Whether the process $1 was started for this folder: after a restart of the machine its number may be another's.
is_ours() {
    [ -r "/proc/$1/environ" ] && kill -0 "$1" 2>/dev/null && tr '\0' '\n' <"/proc/$1/cmdline" | grep -qF "$dir/data"
}

# Writers first, the object store last.
for name in insert query compact storage-1 storage-2 storage-3 minio; do
    file="$dir/run/$name.pid"
    [ -f "$file" ] || continue
    pid="$(cat "$file")"
    if is_ours "$pid"; then
        kill -TERM "$pid"
        until=$((SECONDS + ended_within_s))
        while is_ours "$pid"; do
            if [ "$SECONDS" -ge "$until" ]; then
                echo "$name does not end within $ended_within_s s, and is killed"
                kill -KILL "$pid"
                until=$((SECONDS + ended_within_s))
            fi
            sleep 0.1
        done
        echo "stopped $name"
    else
        echo "$name does not run"
    fi
    rm -f "$file"
done
echo "the data is in $dir/data, the logs are in $dir/log"
