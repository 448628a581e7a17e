#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# scale.sh [OUTDIR [PART...]] - what an operation costs as keys, values, members and writers grow.
#
#   keys      1,000 to 1,000,000 of them, in eight directories. RAFTFS_BENCH_MAX_KEYS bounds them, and
#             so does the time that making them takes, RAFTFS_BENCH_FILL_S (240): what has been
#             reached by then is measured
#   values    of 16 B to 1 MiB
#   members   1 to 7
#   writers   1 to 1,000
#
# Each on a fresh cluster; figures go to OUTDIR/PART.jsonl (OUTDIR: the current directory), tables and
# plots of them are made by performance.py.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
out=$(mkdir -p "${1:-.}" && cd "${1:-.}" && pwd)
parts=("${@:2}")
max_keys=${RAFTFS_BENCH_MAX_KEYS:-1000000} fill_s=${RAFTFS_BENCH_FILL_S:-240}
dirs=8 chunk=50000
need python3:python3 awk:mawk

# start NODE...: a fresh cluster; the first leads, $mount is its mount, $uses measures all.
start() {
    nodes=("$@")
    cluster_start "${nodes[@]}"
    [ $# = 1 ] || lead "$1" "${nodes[@]}"
    mount=${node_mount[$1]}
    measure_all
}
measure_all() { uses=(--pids "$(pids_of "${nodes[@]}")" --disk "$work"); }

# fill_to N: in chunks, until the time for it is over; $filled is what is there.
fill_to() {
    local to start
    while [ "$filled" -lt "$1" ] && below "$spent" "$fill_s"; do
        to=$((filled + chunk < $1 ? filled + chunk : $1)) start=$EPOCHREALTIME
        bench "fill-to-$to" fill --keys "$to" --from "$filled" --dirs $dirs -c 64 "$mount"
        filled=$to spent=$(awk "BEGIN { print $spent + $(seconds_since "$start") }")
    done
}
below() { awk "BEGIN { exit !($1 < $2) }"; }

take_snapshot() { echo >"${node_mount[$1]}/.raft/snapshot"; }

# keys_figures N: of a state of so many keys.
keys_figures() {
    local n=$1 start
    local set=(--keys "$n" --dirs "$dirs")
    bench "keys-$n-put" put "${set[@]}" -n 2000 "${uses[@]}" "$mount"
    bench "keys-$n-new" put --new -n 1000 "$mount"
    bench "keys-$n-get" get "${set[@]}" -n 2000 "${node_mount[s2]}"
    bench "keys-$n-stat" stat "${set[@]}" -n 2000 "${node_mount[s2]}"
    bench "keys-$n-list" list --dirs $dirs -n 1 -w 0 "${node_mount[s2]}"
    start=$EPOCHREALTIME
    take_snapshot s2
    value "keys-$n-snapshot" "$(seconds_since "$start")"
    bench "keys-$n-use" use -t 1 "${uses[@]}"
    node_kill s3
    node_argv s3
    bench "keys-$n-restart" restart "${node_mount[s3]}" -- "${argv[@]}"
    node_pid[s3]=$(field started_pid)
    wait_whole "${nodes[@]}"
    measure_all
}

by_keys() {
    local n i filled=0 spent=0
    start s1 s2 s3
    for i in $(seq 0 $((dirs - 1))); do mkdir "$mount/d$i"; done
    for n in 1000 10000 100000 1000000; do
        [ "$n" -le "$max_keys" ] && below "$spent" "$fill_s" || break
        fill_to "$n"
        keys_figures "$filled"
    done
    cluster_stop "${nodes[@]}"
}

by_values() {
    local bytes n
    start s4 s5 s6
    mkdir "$work/ext4"
    for bytes in 16 256 4096 65536 1048576; do
        n=$((bytes > 65536 ? 100 : 1000))
        bench "values-$bytes-put" put -b "$bytes" -n "$n" "${uses[@]}" "$mount"
        bench "values-$bytes-get" get -b "$bytes" -n "$n" "${node_mount[s5]}"
        bench "values-$bytes-put-8" put -b "$bytes" -c 8 -t 3 "$mount"
        bench "values-$bytes-ext4" put --sync -b "$bytes" -n "$n" "$work/ext4"
    done
    cluster_stop "${nodes[@]}"
}

by_members() {
    local n i all
    for n in 1 2 3 5 7; do
        all=()
        for i in $(seq "$n"); do all+=("m$n$i"); done
        start "${all[@]}"
        bench "members-$n-put" put -n 2000 "${uses[@]}" "$mount"
        bench "members-$n-put-64" put -c 64 -t 3 "${uses[@]}" "$mount"
        cluster_stop "${nodes[@]}"
    done
}

by_writers() {
    local n
    start s7 s8 s9
    for n in 1 2 4 8 16 32 64 128 256 512 1000; do
        bench "writers-$n" put -c "$n" -w 2 -t 3 "${uses[@]}" "$mount"
    done
    cluster_stop "${nodes[@]}"
}

if [ ${#parts[@]} != 1 ]; then
    [ ${#parts[@]} -gt 0 ] || parts=(writers members values keys)
    one_by_one "$out"
    exit
fi
case ${parts[0]} in
keys | values | members | writers) ;;
*) die "there is no part ${parts[0]}" ;;
esac
lib_start "$out/${parts[0]}.jsonl"
"by_${parts[0]}"
