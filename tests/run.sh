#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh [unit|sim] - installs what is missing, builds, runs every test (or one kind) and counts.
#
# Unit tests run three times: as built for use, under ASan+UBSan, and under TSan. The simulator runs
# its ten thousand seeds and its mutants in the optimized build. The last line is the count.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(gcc meson ninja-build pkg-config python3 clang-format libfuse3-dev libuv1-dev
    libsqlite3-dev libisal-dev libxxhash-dev libcmocka-dev)
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
passed=0 failed=0

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

# run SUITE SANITIZER: builds in a directory of its own and runs one suite.
run() {
    local build=build/$2
    echo "== $1 tests, sanitizer: $2"
    [ -f "$build/build.ninja" ] ||
        meson setup "$build" -Db_sanitize="$2" -Db_lundef=false -Dbuildtype=debugoptimized
    ninja -C "$build"
    rm -f "$build/meson-logs/testlog.json"
    ASAN_OPTIONS=abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1 TSAN_OPTIONS=halt_on_error=1 \
        meson test -C "$build" --no-rebuild --print-errorlogs --suite "$1" || true
    count "$build"
}

check_format() {
    echo "== formatting"
    if git ls-files 'src/*.[ch]' 'tests/*.[ch]' | xargs clang-format --dry-run -Werror; then
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

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
