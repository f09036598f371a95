#!/bin/bash
# Builds the release and measures it: the transactions alone, the daemon in the laboratory, and what a packet costs. For
# a machine that has nothing else to do. --json prints one JSON object a line; --rounds N is how often (see --help of
# daemon_bench.py and tunnel_bench.py).
set -euo pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly PROJECT
readonly BUILD=$PROJECT/build/release

if [ "$(id -u)" -ne 0 ]; then
	echo "run.sh: the laboratory makes network namespaces of its own, which needs root: sudo tests/bench/run.sh" >&2
	exit 1
fi
"$PROJECT/packaging/build.sh" release killswitch killswitchd firewall_bench >&2
for option; do
	case $option in
	-h | --help)
		for program in daemon_bench tunnel_bench; do python3 "$PROJECT/tests/bench/$program.py" --help; done
		exit
		;;
	esac
done
python3 "$PROJECT/tests/bench/daemon_bench.py" --bin-dir "$BUILD/bin" \
	--firewall-bench "$BUILD/tests/bench/firewall_bench" "$@"
[[ " $* " == *" --json "* ]] || echo
python3 "$PROJECT/tests/bench/tunnel_bench.py" --bin-dir "$BUILD/bin" "$@"
