#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# compare.sh [ROUNDS [MINUTES [OUTDIR]]] - raftfs beside its peers and its machine, in one go.
#
# Starts three nodes of raftfs, etcd and libraft each, bindfs on the local disk, and measures them in
# turn, figure by figure, ROUNDS times (3), so that what the machine does meanwhile falls on all of
# them; a figure is the median of its rounds. Then come the figures that need a cluster of their own:
# failover, a pulled network, false elections within MINUTES (10) of 64 writers with every core busy,
# restart, memory and idling with 10,000 keys. Prints each figure with its bar, and writes
# compare.json and compare.md to OUTDIR (the current directory). Exit status 1 if a bar is missed.
#
# One of the followers, "l3", is mounted with consistency=local: its replica is as any other's.
# Clients of raftfs and etcd talk to the leader unless the figure says otherwise. etcd is driven
# through its native gRPC interface by the bench's own client, without a Go client's cost.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
rounds=${1:-3} minutes=${2:-10} out=$(mkdir -p "${3:-.}" && cd "${3:-.}" && pwd)
failovers=${RAFTFS_BENCH_FAILOVERS:-10}
[[ $rounds =~ ^[1-9][0-9]*$ && $minutes =~ ^[0-9.]+$ ]] || die "usage: $me [ROUNDS [MINUTES [OUTDIR]]]"
need python3:python3 awk:mawk
lib_start

limits() {
    bench fdatasync-1 put "disk:$work" -n 1000
    bench fdatasync-3 put "disk:$work" -n 3000 -c 3
    bench tcp put tcp: -n 5000
    bench fuse put fuse: -n 2000
    bench fuse-noflush put fuse:noflush -n 2000
    bench fuse-get get fuse:noflush -n 2000
    bench ext4-stat stat "$work/ext4" -n 20000
}

local_disk() {
    bench ext4-put put --sync "$work/ext4" -n 1000
    bench ext4-put-new put --sync --new "$work/ext4" -n 1000
    bench bindfs-put put --sync "$work/bindfs" -n 1000
    bench bindfs-put-new put --sync --new "$work/bindfs" -n 1000
}

one_writer() {
    bench etcd-put put "etcd:$etcd_leader" -n 2000
    bench raftfs-put put "${node_mount[$leader]}" -n 2000 "${uses[@]}"
    bench libraft-put put "$libraft" -n 2000
    bench etcd-put-new put --new "etcd:$etcd_leader" -n 2000
    bench raftfs-put-new put --new "${node_mount[$leader]}" -n 2000
    bench etcd-put-follower put "etcd:$etcd_follower" -n 2000
    bench raftfs-put-follower put "${node_mount[l2]}" -n 2000
}

many_writers() {
    bench etcd-put-64 put "etcd:$etcd_leader" -c 64 -t 4
    bench raftfs-put-64 put "${node_mount[$leader]}" -c 64 -t 4 "${uses[@]}"
    bench libraft-put-64 put "$libraft" -c 64 -t 4
    mounts_of "${nodes[@]}"
    bench raftfs-put-64-all put "${at[@]}" -c 64 -t 4
}

readers() {
    bench etcd-get-follower get "etcd:$etcd_follower" -n 2000
    bench raftfs-get-follower get "${node_mount[l2]}" -n 2000
    bench raftfs-get-leader get "${node_mount[l1]}" -n 2000
    bench raftfs-get-local get "${node_mount[l3]}" -n 2000
    bench raftfs-stat-local stat "${node_mount[l3]}" -n 20000
    bench etcd-lag lag "etcd:$etcd_leader" "etcd:$etcd_follower" -n 500
    bench raftfs-lag lag "${node_mount[l1]}" "${node_mount[l2]}" -n 500
}

large_file() {
    local size=$((64 << 20)) block=$((128 << 10))
    bench ext4-file file-write "$work/ext4" -b $block --file-bytes $size
    bench bindfs-file file-write "$work/bindfs" -b $block --file-bytes $size
    bench raftfs-file file-write "${node_mount[$leader]}" -b $block --file-bytes $size
    bench raftfs-file-read file-read "${node_mount[$leader]}" -b $block --file-bytes $size
}

side_by_side() {
    local round
    nodes=(l1 l2 l3)
    mkdir "$work/ext4"
    bindfs_start
    etcd_start
    libraft_start
    node_start l1
    node_start l2 -join "${node_addr[l1]}"
    node_start l3 -join "${node_addr[l1]}" -o consistency=local
    wait_whole "${nodes[@]}"
    uses=(--pids "$(pids_of "${nodes[@]}")" --disk "$work")
    for round in $(seq "$rounds"); do
        say "-- round $round of $rounds"
        lead l1 "${nodes[@]}"
        limits
        local_disk
        one_writer
        many_writers
        readers
        large_file
    done
    kill "${other_pid[@]}"
    for pid in "${other_pid[@]}"; do end_of "$pid"; done
    other_pid=()
    cluster_stop "${nodes[@]}"
}

# fail NAME HOW: $failovers times, HOW and HOW_over with the leader's name; the cluster is $nodes.
fail() {
    local n
    for n in $(seq "$failovers"); do
        wait_whole "${nodes[@]}"
        roles "${nodes[@]}"
        mounts_of "${followers[@]}"
        "$2" "$1"
        "$2_over"
    done
}

killed() {
    bench "$1" failover --kill "${node_pid[$leader]}" "${at[@]}"
}
killed_over() {
    end_of "${node_pid[$leader]}"
    node_start "$leader"
}

pulled() {
    bench "$1" failover --shell "ip link set ${link_of[$leader]} down" "${at[@]}"
}
pulled_over() { ip link set "${link_of[$leader]}" up; }

burn() { while :; do :; done; }

# false_elections: terms that a busy cluster goes through though nothing has failed.
false_elections() {
    local before n
    roles "${nodes[@]}"
    before=$(status_of "$leader" term)
    for n in $(seq "$(nproc)"); do
        burn &
        other_pid[burn$n]=$!
        disown
    done
    mounts_of "${nodes[@]}"
    bench raftfs-busy put "${at[@]}" -c 64 -t "$(awk "BEGIN { print $minutes * 60 }")"
    kill "${other_pid[@]}"
    for pid in "${other_pid[@]}"; do end_of "$pid"; done
    other_pid=()
    roles "${nodes[@]}"
    value false-elections $(($(status_of "$leader" term) - before))
}

failures() {
    nodes=(f1 f2 f3)
    say "-- killed leaders"
    cluster_start "${nodes[@]}"
    fail raftfs-failover killed
    wait_whole "${nodes[@]}"
    say "-- $minutes minutes of 64 writers, every core busy"
    false_elections
    cluster_stop "${nodes[@]}"

    nodes=(p1 p2 p3)
    say "-- pulled networks"
    net_start "${nodes[@]}"
    cluster_start "${nodes[@]}"
    fail raftfs-pulled pulled
    cluster_stop "${nodes[@]}"
}

ten_thousand_keys() {
    local n
    nodes=(k1 k2 k3)
    say "-- 10,000 keys"
    cluster_start "${nodes[@]}"
    lead k1 "${nodes[@]}"
    bench raftfs-fill fill --keys 10000 -c 16 "${node_mount[k1]}"
    bench raftfs-idle use --pids "$(pids_of "${nodes[@]}")" -t 20
    for n in $(seq "$rounds"); do
        node_kill k2
        node_argv k2
        bench raftfs-restart restart "${node_mount[k2]}" -- "${argv[@]}"
        node_pid[k2]=$(field started_pid)
        wait_whole "${nodes[@]}"
    done
    cluster_stop "${nodes[@]}"
}

side_by_side
failures
ten_thousand_keys
"$top/tests/bench/figures.py" compare "$results" "$out"
