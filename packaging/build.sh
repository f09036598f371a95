#!/bin/bash
# Configures and builds one preset of CMakePresets.json into build/PRESET: build.sh PRESET [TARGET…]
# Under sudo it builds as the user who called it, so that the tree keeps its owner.
set -euo pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly PROJECT

# The caller, if the tree is theirs; else root.
as_owner() {
	if [ -n "${SUDO_USER:-}" ] && [ "$(id -u)" -eq 0 ] && runuser -u "$SUDO_USER" -- test -w "$PROJECT"; then
		if [ ! -e "$PROJECT/build" ] || runuser -u "$SUDO_USER" -- test -w "$PROJECT/build"; then
			runuser -u "$SUDO_USER" -- "$@"
			return
		fi
	fi
	"$@"
}

main() {
	if [ $# -eq 0 ] || [[ $1 == -* ]]; then
		echo "usage: packaging/build.sh PRESET [TARGET…]    (presets: cmake --list-presets)" >&2
		exit 2
	fi
	local preset=$1
	shift
	cd "$PROJECT"
	# the programs know where their data is: a build for /usr, as packages are
	as_owner cmake --preset "$preset" -DCMAKE_INSTALL_PREFIX=/usr --log-level=WARNING >/dev/null
	as_owner cmake --build --preset "$preset" --parallel "${JOBS:-$(nproc)}" ${1:+--target "$@"}
}

main "$@"
