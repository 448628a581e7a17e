#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh [unit|sim|e2e] - installs what is missing, builds, runs every test (or one kind) and counts.
#
# Unit tests run three times: as built for use, under ASan+UBSan, and under TSan. The simulator runs
# its ten thousand seeds and its mutants in the optimized build. The end-to-end tests run real nodes
# on real mounts, as built for use and under ASan+UBSan; without root or /dev/fuse they are skipped,
# which is said with the reason. The last line is the count.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(gcc meson ninja-build pkg-config python3 python3-pytest clang-format fuse3 iproute2
    libfuse3-dev libuv1-dev libsqlite3-dev libaio-dev libisal-dev libxxhash-dev libcmocka-dev)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
        missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "run.sh: install these Debian packages first: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

kind=${1:-all}
passed=0 failed=0 skipped=0

# count BUILD: adds up what meson's log of the last run says.
count() {
    local ok bad
    read -r ok bad < <(python3 - "$1/meson-logs/testlog.json" <<'PY'
import json, sys
results = [json.loads(line)['result'] for line in open(sys.argv[1])]
ok = sum(result == 'OK' for result in results)
print(ok, len(results) - ok)
PY
    )
    passed=$((passed + ok)) failed=$((failed + bad))
}

export ASAN_OPTIONS=abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1 TSAN_OPTIONS=halt_on_error=1

# build_with SANITIZER: builds everything in a directory of its own.
build_with() {
    [ -f "build/$1/build.ninja" ] ||
        meson setup "build/$1" -Db_sanitize="$1" -Db_lundef=false -Dbuildtype=debugoptimized
    ninja -C "build/$1"
}

# run SUITE SANITIZER: one suite of meson's.
run() {
    echo "== $1 tests, sanitizer: $2"
    build_with "$2"
    rm -f "build/$2/meson-logs/testlog.json"
    meson test -C "build/$2" --no-rebuild --print-errorlogs --timeout-multiplier 4 --suite "$1" || true
    count "build/$2"
}

# run_e2e SANITIZER: the tests on real mounts, with pytest. One that fails runs once more, when the
# machine has calmed down: it fails for good, or is named as unstable, for somebody to look into.
run_e2e() {
    local report=build/$1/e2e ok bad left_out
    echo "== end-to-end tests, sanitizer: $1"
    build_with "$1"
    rm -f "$report".xml "$report"-again.xml
    local pytest=(/usr/bin/python3 -m pytest tests/e2e -o "cache_dir=$PWD/build/$1/pytest")
    RAFTFS=$PWD/build/$1/src/raftfs "${pytest[@]}" --junitxml="$report.xml" ||
        RAFTFS=$PWD/build/$1/src/raftfs "${pytest[@]}" --last-failed --last-failed-no-failures none \
            --junitxml="$report-again.xml" || true
    read -r ok bad left_out < <(python3 - "$report" <<'PY'
import os, sys, xml.etree.ElementTree as tree
def outcomes(path):
    kinds = {}
    for case in tree.parse(path).iter('testcase'):
        bad = case.find('failure') is not None or case.find('error') is not None
        left_out = case.find('skipped') is not None
        name = f"{case.get('classname')}.{case.get('name')}"
        kinds[name] = 'bad' if bad else 'left out' if left_out else 'ok'
    return kinds
first = outcomes(sys.argv[1] + '.xml')
again = outcomes(sys.argv[1] + '-again.xml') if os.path.exists(sys.argv[1] + '-again.xml') else {}
for name, kind in again.items():
    if first.get(name) == 'bad' and kind == 'ok':
        print(f'unstable: {name} failed, and passed when it ran again', file=sys.stderr)
        first[name] = 'ok'
print(*(list(first.values()).count(kind) for kind in ('ok', 'bad', 'left out')))
PY
    )
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + left_out))
}

check_format() {
    echo "== formatting"
    if find src tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror; then
        passed=$((passed + 1))
    else
        echo "run.sh: run clang-format -i on the files above" >&2
        failed=$((failed + 1))
    fi
}

if [ "$kind" = all ] || [ "$kind" = unit ]; then
    check_format
    run unit none
    run unit address,undefined
    run unit thread
fi
if [ "$kind" = all ] || [ "$kind" = sim ]; then
    run sim none
    run sim address,undefined
fi
if [ "$kind" = all ] || [ "$kind" = e2e ]; then
    run_e2e none
    run_e2e address,undefined
fi

[ "$skipped" = 0 ] || echo "$skipped tests were left out; the reasons stand above"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
