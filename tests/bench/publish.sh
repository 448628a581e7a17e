#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# publish.sh [MINUTES] - measures everything and writes docs/: comparison, report, performance.
#
# For a quiet machine; takes about half an hour and MINUTES (10) of load for false elections.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
docs=$here/../../docs
"$here/compare.sh" 3 "${1:-10}" "$docs/performance" || echo "publish.sh: a bar is missed" >&2
"$here/../../examples/poc-report.sh" "$docs/report" || echo "publish.sh: no-go" >&2
"$here/snapshots.sh" "$docs"
"$here/scale.sh" "$docs"
