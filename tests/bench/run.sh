#!/bin/bash
# Builds the release and measures it: the transactions alone, the daemon in the laboratory, who is asked for names, how
# soon a VPN protects (connect_bench: with and without the kill switch, and the proof of OpenVPN's socket alone), what a
# storm of unprivileged datagrams costs the daemon (storm_bench), and what a packet costs. For a machine that has nothing
# else to do. --json prints JSON, an object a line; --rounds N is how often (see --help, which is that of all the
# benchmarks; some have a limit of their own).
set -euo pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly PROJECT
readonly BUILD=$PROJECT/build/release

if [ "$(id -u)" -ne 0 ]; then
	echo "run.sh: the laboratory makes network namespaces of its own, which needs root: sudo tests/bench/run.sh" >&2
	exit 1
fi
"$PROJECT/packaging/build.sh" release killswitch killswitchd firewall_bench datagram_sender >&2
for option; do
	case $option in
	-h | --help)
		for program in daemon_bench names_bench connect_bench storm_bench tunnel_bench; do
			python3 "$PROJECT/tests/bench/$program.py" --help
		done
		exit
		;;
	esac
done
python3 "$PROJECT/tests/bench/daemon_bench.py" --bin-dir "$BUILD/bin" \
	--firewall-bench "$BUILD/tests/bench/firewall_bench" "$@"
readonly SENDER="--sender $BUILD/tests/bench/datagram_sender"
for program in names_bench "names_bench --owner networkmanager" "connect_bench $SENDER" "storm_bench $SENDER" \
	tunnel_bench; do
	[[ " $* " == *" --json "* ]] || echo
	read -ra words <<<"$program"
	python3 "$PROJECT/tests/bench/${words[0]}.py" "${words[@]:1}" --bin-dir "$BUILD/bin" "$@"
done
