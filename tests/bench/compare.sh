#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# compare.sh [ROUNDS [MINUTES [OUTDIR [PART...]]]] - raftfs beside its peers and its machine, in one go.
#
#   side-by-side  three nodes of raftfs, etcd and libraft each, bindfs on the local disk, measured in
#                 turn, figure by figure, ROUNDS times (3), so that what the machine does meanwhile
#                 falls on all of them; a figure is the median of its rounds
#   killed        from kill -9 of a leader to the next write, raftfs's and etcd's
#   pulled        from the loss of a leader's network to the next write
#   ten-thousand  restart, memory and idling with 10,000 keys, raftfs's and etcd's
#   busy          false elections within MINUTES (10) of 64 writers with every core busy
#
# Each PART (all of them) has its figures in OUTDIR/PART.jsonl; OUTDIR is the current directory. At the
# end each figure is printed with its bar, and OUTDIR/compare.json says the same. Exit status 1 if a
# bar is missed or could not be measured.
#
# Clients of raftfs and etcd talk to the leader unless the figure says otherwise. etcd is driven
# through its native gRPC interface by the bench's own client, without a Go client's cost.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
rounds=${1:-3} minutes=${2:-10} out=$(mkdir -p "${3:-.}" && cd "${3:-.}" && pwd)
parts=("${@:4}")
failovers=${RAFTFS_BENCH_FAILOVERS:-10}
[[ $rounds =~ ^[1-9][0-9]*$ && $minutes =~ ^[0-9.]+$ ]] ||
    die "usage: $me [ROUNDS [MINUTES [OUTDIR [PART...]]]]"
need python3:python3 awk:mawk

limits() {
    try fdatasync-1 put "disk:$work" -n 1000
    try fdatasync-3 put "disk:$work" -n 3000 -c 3
    try tcp put tcp: -n 5000
    try fuse put fuse: -n 2000
    try fuse-noflush put fuse:noflush -n 2000
    try fuse-uncached put fuse:uncached -n 2000
    try fuse-get get fuse:noflush -n 2000
    try ext4-stat stat "$work/ext4" -n 20000
}

local_disk() {
    try ext4-put put --sync "$work/ext4" -n 1000
    try ext4-put-new put --sync --new "$work/ext4" -n 1000
    try bindfs-put put --sync "$work/bindfs" -n 1000
    try bindfs-put-new put --sync --new "$work/bindfs" -n 1000
}

one_writer() {
    try etcd-put put "etcd:$etcd_leader" -n 2000
    try raftfs-put put "${node_mount[$leader]}" -n 2000 "${uses[@]}"
    try libraft-put put "$libraft" -n 2000
    try fuse-libraft-put put "fuse:libraft:${libraft#raft:}" -n 2000
    try etcd-put-new put --new "etcd:$etcd_leader" -n 2000
    try raftfs-put-new put --new "${node_mount[$leader]}" -n 2000
    try etcd-put-follower put "etcd:$etcd_follower" -n 2000
    try raftfs-put-follower put "${node_mount[l2]}" -n 2000
}

many_writers() {
    try etcd-put-64 put "etcd:$etcd_leader" -c 64 -t 4
    try raftfs-put-64 put "${node_mount[$leader]}" -c 64 -t 4 "${uses[@]}"
    try libraft-put-64 put "$libraft" -c 64 -t 4
    mounts_of "${nodes[@]}"
    try raftfs-put-64-all put "${at[@]}" -c 64 -t 4
}

readers() {
    try etcd-get-follower get "etcd:$etcd_follower" -n 2000
    try raftfs-get-follower get "${node_mount[l2]}" -n 2000
    try raftfs-get-leader get "${node_mount[l1]}" -n 2000
    try etcd-lag lag "etcd:$etcd_leader" "etcd:$etcd_follower" -n 500
    try raftfs-lag lag "${node_mount[l1]}" "${node_mount[l2]}" -n 500
}

# Only for these is l3 mounted so: it drops what its kernel caches at each change, which costs.
with_consistency_local() {
    node_stop l3
    node_start l3 -o consistency=local
    wait_whole "${nodes[@]}"
    try raftfs-get-local get "${node_mount[l3]}" -n 2000
    try raftfs-stat-local stat "${node_mount[l3]}" -n 20000
    node_stop l3
    node_start l3
    wait_whole "${nodes[@]}"
}

large_file() {
    local size=$((64 << 20)) block=$((128 << 10))
    try ext4-file file-write "$work/ext4" -b $block --file-bytes $size
    try bindfs-file file-write "$work/bindfs" -b $block --file-bytes $size
    try raftfs-file file-write "${node_mount[$leader]}" -b $block --file-bytes $size
    try raftfs-file-read file-read "${node_mount[$leader]}" -b $block --file-bytes $size
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
    node_start l3 -join "${node_addr[l1]}"
    wait_whole "${nodes[@]}"
    for round in $(seq "$rounds"); do
        say "-- round $round of $rounds"
        lead l1 "${nodes[@]}"
        uses=(--pids "$(pids_of "${nodes[@]}")" --disk "$work")
        limits
        local_disk
        one_writer
        many_writers
        readers
        with_consistency_local
        large_file
    done
    others_stop
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

kill_leader() {
    bench "$1" failover --kill "${node_pid[$leader]}" "${at[@]}"
}
kill_leader_over() {
    end_of "${node_pid[$leader]}"
    node_start "$leader"
}

pull_leader() {
    bench "$1" failover --shell "ip link set ${link_of[$leader]} down" "${at[@]}"
}
pull_leader_over() { ip link set "${link_of[$leader]}" up; }

burn() { while :; do :; done; }

# etcd_failovers: from kill -9 of its leader to the next put that succeeds. By etcdctl, both that are
# left at once, which gives up after 200 ms and tries again: a put that went to the dead leader is lost.
etcd_failovers() {
    local n member start
    "$bench_exe" fill --keys 1 "etcd:$etcd_leader" >/dev/null
    for n in $(seq "$rounds"); do
        wait_for 60 "etcd's election" etcd_roles "$etcd_all"
        member=$(etcd_at "$etcd_leader")
        start=$EPOCHREALTIME
        kill -9 "${other_pid[etcd$member]}"
        etcd_put
        value etcd-failover "$(seconds_since "$start")"
        end_of "${other_pid[etcd$member]}"
        etcd_node "$member"
        wait_for 60 "etcd's restart" etcd_answers "$member"
    done
}

etcd_put() {
    local address pids=()
    for address in "${etcd_client[@]}"; do
        [ "$address" != "$etcd_leader" ] || continue
        until etcdctl --endpoints "$address" --command-timeout=200ms put failover x; do :; done \
            >/dev/null 2>&1 &
        pids+=($!)
    done
    wait -n "${pids[@]}"
    kill "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" || true
}

# etcd_restarts: until a node answers what it has, asking nobody, as a mount does.
etcd_restarts() {
    local n start member
    member=$(etcd_at "$etcd_follower")
    for n in $(seq "$rounds"); do
        kill -9 "${other_pid[etcd$member]}"
        end_of "${other_pid[etcd$member]}"
        start=$EPOCHREALTIME
        etcd_node "$member"
        wait_for 60 "etcd's restart" etcd_answers "$member"
        value etcd-restart "$(seconds_since "$start")"
    done
}

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
    try raftfs-busy put "${at[@]}" -c 64 -t "$(awk "BEGIN { print $minutes * 60 }")"
    others_stop
    roles "${nodes[@]}"
    value busy-minutes "$minutes"
    value false-elections $(($(status_of "$leader" term) - before))
}

killed() {
    nodes=(f1 f2 f3)
    cluster_start "${nodes[@]}"
    fail raftfs-failover kill_leader
    wait_whole "${nodes[@]}"
    cluster_stop "${nodes[@]}"
    etcd_start
    etcd_failovers
    others_stop
}

pulled() {
    nodes=(p1 p2 p3)
    net_start "${nodes[@]}"
    cluster_start "${nodes[@]}"
    fail raftfs-pulled pull_leader
    cluster_stop "${nodes[@]}"
}

ten_thousand() {
    local n
    nodes=(k1 k2 k3)
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
    etcd_start
    bench etcd-fill fill --keys 10000 -c 16 "etcd:$etcd_leader"
    bench etcd-idle use --pids "${other_pid[etcd1]},${other_pid[etcd2]},${other_pid[etcd3]}" -t 20
    etcd_restarts
    others_stop
}

busy() {
    nodes=(b1 b2 b3)
    cluster_start "${nodes[@]}"
    false_elections
    cluster_stop "${nodes[@]}"
}

if [ ${#parts[@]} != 1 ]; then
    [ ${#parts[@]} -gt 0 ] || parts=(side-by-side killed pulled ten-thousand busy)
    one_by_one "$rounds" "$minutes" "$out" || say "$me: not everything could be measured"
    exec "$top/tests/bench/figures.py" compare "$out"
fi
case ${parts[0]} in
side-by-side | killed | pulled | ten-thousand | busy) ;;
*) die "there is no part ${parts[0]}" ;;
esac
lib_start "$out/${parts[0]}.jsonl"
"${parts[0]//-/_}"
