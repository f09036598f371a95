#!/bin/bash
# Fetches and unpacks NetworkManager, its OpenVPN plugin and systemd-resolved for the laboratory, into build/lab-packages.
# They are not installed: their install scripts would change the network of this machine.
set -euo pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly PROJECT
readonly PLACE=${1:-$PROJECT/build/lab-packages}
readonly WANTED=(network-manager network-manager-openvpn systemd-resolved)

fail() {
	echo "fetch_packages: $*" >&2
	exit 1
}

# Everything that apt-get would have to add to this machine; what is installed already is not fetched.
download() {
	apt-get -qq install --download-only --yes --no-install-recommends -o Dir::Cache::archives="$PLACE/archives" \
		-o APT::Sandbox::User=root "${WANTED[@]}" </dev/null
}

unpack() {
	local archive
	shopt -s nullglob
	for archive in "$PLACE"/archives/*.deb; do
		dpkg -x "$archive" "$PLACE/root"
	done
	# /lib is /usr/lib here
	if [ -d "$PLACE/root/lib" ] && [ ! -L "$PLACE/root/lib" ]; then
		cp -a "$PLACE/root/lib/." "$PLACE/root/usr/lib/"
		rm -r "$PLACE/root/lib"
	fi
}

main() {
	[ "$(id -u)" -eq 0 ] || fail "apt-get needs root (sudo)"
	mkdir -p "$PLACE"
	exec 9>"$PLACE/lock"
	flock 9
	[ ! -e "$PLACE/complete" ] || return 0
	mkdir -p "$PLACE/archives/partial" "$PLACE/root/etc" "$PLACE/root/var" "$PLACE/root/usr/lib"
	download >/dev/null 2>&1 || { apt-get -qq update && download >/dev/null; } ||
		fail "apt-get could not fetch: ${WANTED[*]}"
	unpack
	touch "$PLACE/complete"
}

main
