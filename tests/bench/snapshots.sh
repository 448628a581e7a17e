#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# snapshots.sh [OUTDIR [GIB]] - what snapshots cost those who write meanwhile, and what a large state does.
#
#   1. 200,000 keys: latency of four writers without snapshots, and while one node after the
#      other takes one, without a pause
#   2. a node that was stopped during 50,000 writes catches up, by a snapshot, while writing goes on
#   3. resident memory of empty nodes, with a state of GIB GiB (1), and of a new node that fetches it
#
# Prints a table, and writes it to OUTDIR/snapshots.md (OUTDIR: the current directory), where
# performance.py takes it in, and snapshots.jsonl beside it. RAFTFS_BENCH_MAX_KEYS bounds the keys.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
out=$(mkdir -p "${1:-.}" && cd "${1:-.}" && pwd) gib=${2:-1}
seconds=10 keys=200000 writes=50000 dirs=8 # one would hold the makers of keys up
[ "${RAFTFS_BENCH_MAX_KEYS:-$keys}" -ge $keys ] || keys=$RAFTFS_BENCH_MAX_KEYS
need awk:mawk
lib_start "$out/snapshots.jsonl"
nodes=(n1 n2 n3)

whole() { printf '%.0f' "$1"; }
mb() { awk "BEGIN { printf \"%.0f\", $1 / 1000000 }"; }
# megabytes FIELD: of each process of the last figure.
megabytes() {
    grep -o "\"$1\":[0-9]*" <<<"$last" | awk -F: '{ printf "%s%.0f", sep, $2 / 1e6; sep = ", " }'
}
same_state() { [ "$(state_of "$1")" = "$(state_of "$2")" ]; }
state_of() { status_of "$1" applied_index; status_of "$1" fingerprint; }

# rows: a Markdown table's, of the latencies of four writers.
rows=
latency() {
    bench "$1" put --keys "$keys" --dirs $dirs -c 4 -t "$3" "${node_mount[n1]}"
    rows+="| $2 | $(whole "$(field ops_per_s)") | $(whole "$(field p50_us)") "
    rows+="| $(whole "$(field p99_us)") | $(whole "$(field max_us)") |"$'\n'
}

snapshots_forever() {
    local name
    while :; do
        for name in "${nodes[@]}"; do
            echo >"${node_mount[$name]}/.raft/snapshot" || exit 1
            echo "$name $(head -n 1 "${node_mount[$name]}/.raft/snapshot")" >>"$work/taken"
        done
    done
}

with_and_without() {
    local i
    cluster_start "${nodes[@]}"
    lead n1 "${nodes[@]}"
    for i in $(seq 0 $((dirs - 1))); do mkdir "${node_mount[n1]}/d$i"; done
    bench fill fill --keys "$keys" --dirs $dirs -c 64 "${node_mount[n1]}"
    echo >"${node_mount[n1]}/.raft/snapshot"
    snapshot_bytes=$(sed -n 's/^bytes: //p' "${node_mount[n1]}/.raft/snapshot")
    latency before "no snapshot is taken" $seconds
    : >"$work/taken"
    snapshots_forever &
    other_pid[snapshots]=$!
    disown
    latency during "snapshots without a pause" $seconds
    kill "${other_pid[snapshots]}"
    end_of "${other_pid[snapshots]}"
    unset "other_pid[snapshots]"
    taken=$(sort -u "$work/taken" | wc -l)
    latency after "none again" $seconds
}

catching_up() {
    local name start
    # Fewer entries are kept then, and a snapshot is taken of what n3 missed: the log is cut, and n3
    # comes back by a snapshot.
    for name in "${nodes[@]}"; do
        node_stop "$name"
        node_start "$name" -o snapshot=1000
    done
    lead n1 "${nodes[@]}"
    node_stop n3
    bench missed put --keys "$keys" --dirs $dirs -n $writes -c 64 "${node_mount[n1]}"
    for name in n1 n2; do echo >"${node_mount[$name]}/.raft/snapshot"; done
    : >"$work/n3.log"
    start=$EPOCHREALTIME
    "$bench_exe" put --json --name catching-up --keys "$keys" --dirs $dirs -c 4 -t $seconds \
        "${node_mount[n1]}" >"$work/catching-up.json" &
    writer=$!
    node_start n3 -o snapshot=1000
    wait_for 120 "the catching up of n3" caught_up
    caught_up_s=$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $start }")
    wait "$writer"
    last=$(<"$work/catching-up.json")
    last=${last//$work/.} # temporary paths are not for publishing
    printf '%s\n' "$last" >>"$results"
    rows+="| a node catches up | $(whole "$(field ops_per_s)") | $(whole "$(field p50_us)") "
    rows+="| $(whole "$(field p99_us)") | $(whole "$(field max_us)") |"$'\n'
    wait_for 60 "equal states" same_state n1 n3
    by="by the log alone"
    ! grep -q "the snapshot of entry .* is installed" "$work/n3.log" || by="by a snapshot and the log"
    cluster_stop "${nodes[@]}"
}

# n3 has applied what was committed when it was asked: one look, by its own word.
caught_up() {
    local committed
    committed=$(status_of n1 commit_index)
    [ "$(status_of n3 applied_index)" -ge $((committed - 1000)) ]
}

memory() {
    local count=$((gib * 16384))
    nodes=(g1 g2 g3)
    cluster_start "${nodes[@]}"
    bench empty-use use -t 1 --pids "$(pids_of "${nodes[@]}")"
    empty=$(megabytes rss_bytes)
    bench large-fill fill --keys "$count" -b 65536 -c 8 --pids "$(pids_of "${nodes[@]}")" \
        "${node_mount[g1]}"
    peaks=$(megabytes peak_rss_bytes)
    fill_rate=$(field mib_per_s)
    bench large-use use -t 1 --pids "$(pids_of "${nodes[@]}")"
    resident=$(megabytes rss_bytes)
    echo >"${node_mount[g1]}/.raft/snapshot"
    node_start g4 -join "${node_addr[g1]}"
    wait_for 300 "the state on g4" same_state g1 g4
    nodes+=(g4)
    bench fetched-use use -t 1 --pids "$(pids_of "${nodes[@]}")"
    fetched=$(megabytes peak_rss_bytes)
    cluster_stop "${nodes[@]}"
}

with_and_without
catching_up
memory
tee "$out/snapshots.md" <<MD
## Snapshots

Four writers that overwrite random ones of $keys keys, through the leader; times in microseconds.

| | writes/s | p50 | p99 | max |
| --- | ---: | ---: | ---: | ---: |
$rows
A snapshot of it is $(mb "$snapshot_bytes") MB; $taken were taken in those $seconds s. The node that caught up had
missed $writes writes and was level after $caught_up_s s, $by.

Resident memory: $empty MB of empty nodes; $resident MB with a state of $gib GiB in values of 64 KiB, and
at most $peaks MB while it was written at $fill_rate MiB/s; at most $fetched MB until a fourth node (the last
figure) had fetched it.
MD
