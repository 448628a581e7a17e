#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# publish.sh [-m MINUTES] [PART...] - measures everything and writes docs/: report, performance.
#
# For a quiet machine; takes about half an hour, MINUTES (10) of them a load under which no election
# may happen. PARTs are those of compare.sh and scale.sh, `snapshots` (snapshots.sh), `report`
# (poc-report.sh) and `page`, which makes docs/performance.md of the figures that are there; it comes
# by itself at the end. Each part stands for itself: one that fails takes no other with it, keeps what
# it has measured, and can be repeated by its name.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
docs=$here/../../docs minutes=10
if [ "${1:-}" = -m ]; then
    minutes=$2
    shift 2
fi
parts=("$@")
[ $# -gt 0 ] || parts=(report side-by-side killed pulled ten-thousand writers members values keys
    snapshots busy)

run() {
    case $1 in
    side-by-side | killed | pulled | ten-thousand | busy)
        "$here/compare.sh" 3 "$minutes" "$docs/performance" "$1" ;;
    keys | values | members | writers) "$here/scale.sh" "$docs/performance" "$1" ;;
    snapshots) "$here/snapshots.sh" "$docs/performance" ;;
    report) "$here/../../examples/poc-report.sh" "$docs/report" ;;
    page) ;;
    *) echo "publish.sh: there is no part $1" >&2; return 2 ;;
    esac
}

failed=()
for part in "${parts[@]}"; do
    echo "== $part" >&2
    start=$SECONDS status=0
    run "$part" || status=$?
    [ "$status" -lt 128 ] || exit "$status" # interrupted
    [ "$status" = 0 ] || failed+=("$part")
    echo "== $part: $((SECONDS - start)) s" >&2
done
"$here/figures.py" compare "$docs/performance" || true # the bars that are missed are in the page
"$here/performance.py" "$docs/performance" >"$docs/performance.md"
[ ${#failed[@]} = 0 ] || { echo "publish.sh: failed: ${failed[*]}" >&2; exit 1; }
