#!/bin/bash
# Builds the release and measures it: the transactions alone, and the daemon in the laboratory. For a machine that has
# nothing else to do. Options are daemon_bench.py's (--json, --rounds N, …).
set -euo pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly PROJECT
readonly BUILD=$PROJECT/build/release

if [ "$(id -u)" -ne 0 ]; then
	echo "run.sh: the laboratory makes network namespaces of its own, which needs root: sudo tests/bench/run.sh" >&2
	exit 1
fi
"$PROJECT/packaging/build.sh" release killswitch killswitchd firewall_bench >&2
exec python3 "$PROJECT/tests/bench/daemon_bench.py" --bin-dir "$BUILD/bin" \
	--firewall-bench "$BUILD/tests/bench/firewall_bench" "$@"
