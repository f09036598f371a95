#!/bin/bash
# Builds the kill switch and shows what it does; with --config also installs and enables it. See --help.
set -euo pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly PROJECT
readonly BUILD=$PROJECT/build/release
CALLED_FROM=$PWD
readonly CALLED_FROM

usage() {
	cat <<-'END'
		usage: sudo packaging/quickstart.sh [--config FILE.ovpn]

		Installs what is needed to build, builds the kill switch, and demonstrates it: in a laboratory made of network
		namespaces a real OpenVPN is killed under traffic, without and with the kill switch, and what leaves the laptop is
		counted at its access point. Your own network is not touched. Takes about five minutes, most of it compiling.

		  --config FILE.ovpn   afterwards installs the kill switch on this machine (in /usr) and enables it with this
		                       OpenVPN profile. From then on nothing leaves this machine but through the tunnel.
		  -h, --help           this text

		Ends with 0 if nothing leaked, 1 if something did or a step failed.
	END
}

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
	bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
else
	bold() { printf '\n%s\n' "$*"; }
fi

fail() {
	echo "quickstart: $*" >&2
	exit 1
}

# The absolute path of a file named relative to where the caller was.
absolute() {
	case $1 in
	/*) echo "$1" ;;
	*) echo "$CALLED_FROM/$1" ;;
	esac
}

demonstrate() {
	python3 "$PROJECT/tests/lab/demonstrate.py" --bin-dir "$BUILD/bin" ||
		fail "the demonstration did not succeed (see above). Nothing was installed. All its tests: sudo tests/run.sh"
}

install_and_enable() {
	local profile=$1
	[ -d /run/systemd/system ] ||
		fail "this machine is not run by systemd; installing by hand is described in the README"
	bold "Installing on this machine"
	cat <<-END
		  1. install the program, its service and its D-Bus policy in /usr  (cmake --install)
		  2. start it now, and lock before the network at every boot        (systemctl enable --now killswitchd …)
		  3. lock this machine to the tunnel of                             $profile
		Until OpenVPN is connected, this machine is then offline. The way back: sudo killswitch disable
		(and if the daemon should not run: sudo killswitch disable --offline)

	END
	"$PROJECT/packaging/build.sh" release all
	cmake --install "$BUILD" --prefix /usr >/dev/null || fail "cmake --install could not write to /usr"
	systemctl daemon-reload
	systemctl reload dbus 2>/dev/null || systemctl reload dbus-broker 2>/dev/null ||
		fail "the system bus did not read its new policy: sudo systemctl reload dbus, then sudo killswitch enable --config $profile"
	if systemctl --quiet is-active NetworkManager; then
		nmcli general reload conf || fail "NetworkManager did not read its configuration anew: sudo nmcli general reload conf"
	fi
	systemctl enable --now killswitchd killswitch-lock ||
		fail "the service did not start: journalctl -u killswitchd says why. The network is as it was before."
	killswitch enable --config "$profile" ||
		fail "the kill switch could not be enabled with $profile (see above); to undo: sudo killswitch disable"
	killswitch status || true
	bold "What to do next"
	cat <<-END
		  sudo killswitch connect $profile     connect; the kill switch guides OpenVPN
		  killswitch status                    protected?
		  sudo killswitch disable              give the network back
	END
}

next_steps() {
	bold "What to do next"
	cat <<-END
		  sudo packaging/quickstart.sh --config your.ovpn    install it here and lock this machine to your VPN
		  sudo tests/run.sh                                  all tests
		  sudo tests/lab/run_case.py shell --bin-dir build/release/bin    look around in the laboratory
	END
}

main() {
	local profile=
	while [ $# -gt 0 ]; do
		case $1 in
		--config)
			[ -n "${2:-}" ] || fail "--config needs an OpenVPN profile: --config FILE.ovpn"
			profile=$(absolute "$2")
			shift
			;;
		-h | --help) usage && exit 0 ;;
		*)
			echo "quickstart: unknown option '$1'" >&2
			usage >&2
			exit 2
			;;
		esac
		shift
	done
	[ "$(id -u)" -eq 0 ] || fail "it makes network namespaces and installs packages: run it as root (sudo $0)"
	[ -z "$profile" ] || [ -r "$profile" ] || fail "the profile $profile is not there or cannot be read"
	[ -c /dev/net/tun ] || modprobe tun 2>/dev/null || fail "/dev/net/tun is missing: OpenVPN needs the kernel module 'tun'"

	bold "Dependencies"
	"$PROJECT/packaging/install-dependencies.sh" || fail "dependencies are missing (see above)"
	bold "Building"
	"$PROJECT/packaging/build.sh" release killswitchd killswitch ||
		fail "the build failed (see above); the compiler must know C++20: g++ 12 or newer"
	bold "Demonstration"
	demonstrate
	if [ -n "$profile" ]; then
		install_and_enable "$profile"
	else
		next_steps
	fi
}

main "$@"
