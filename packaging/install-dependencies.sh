#!/bin/bash
# Installs what is needed to build the kill switch and to show it, on Debian 12 and 13; with --tests also what its tests
# need. Does nothing when everything is there already.
set -euo pipefail

readonly BUILD=(
	g++ cmake ninja-build pkg-config
	libnftnl-dev libmnl-dev libsystemd-dev libsdbus-c++-dev
	libfmt-dev nlohmann-json3-dev libcli11-dev catch2
)
# what the kill switch works with, and what the laboratory is made of
readonly RUN=(openvpn nftables iproute2 iputils-ping dbus python3 dnsmasq-base busybox openssl binutils util-linux)
readonly TESTS=(
	# what else the laboratory tries
	strace jq iptables python3-firewall python3-nftables python3-dbus python3-gi gir1.2-glib-2.0
	# the Debian package, and machines of other releases to build and test it on
	build-essential debhelper systemd-container mmdebstrap debian-archive-keyring
	# virtual machines with other kernels, and what is tested in them alone
	qemu-system-x86 kmod conntrack wireguard-tools ppp pppoe
)
# firewalls and keepers of resolv.conf that the laboratory tries inside; installed here they would take over the machine's
# own, so that they are only fetched
readonly FETCHED=(ufw firewalld openresolv resolvconf)
# proxies and wrappers that carry OpenVPN in the laboratory; installing them would start services, so that they are fetched
# too, with the libraries that this machine lacks
readonly CARRIERS=(microsocks shadowsocks-libev stunnel4 tinyproxy-bin)
readonly CACHE=/var/cache/killswitch-lab

usage() {
	cat <<-END
		usage: sudo packaging/install-dependencies.sh [--tests]
		Installs, with apt-get: ${BUILD[*]} ${RUN[*]}
		  --tests   also, for tests/run.sh: ${TESTS[*]}
		            and fetches, without installing: ${FETCHED[*]} ${CARRIERS[*]}
	END
}

fail() {
	echo "install-dependencies: $*" >&2
	exit 1
}

installed() {
	[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

fetched() {
	compgen -G "$CACHE/$1_*.deb" >/dev/null
}

# Into the cache, unless they are there.
fetch() {
	local package
	mkdir -p "$CACHE"
	for package in "$@"; do
		(cd "$CACHE" && apt-get -qq -o APT::Sandbox::User=root download "$package") ||
			fail "apt-get could not download: $package"
	done
}

# The carriers that are neither installed nor in the cache.
missing_carriers() {
	local package
	for package in "${CARRIERS[@]}"; do
		installed "$package" || fetched "carriers/$package" || echo "$package"
	done
}

fetch_carriers() {
	mkdir -p "$CACHE/carriers/partial"
	apt-get -qq install --download-only --yes --no-install-recommends -o Dir::Cache::archives="$CACHE/carriers" \
		-o APT::Sandbox::User=root "$@" </dev/null >/dev/null || fail "apt-get could not download: $*"
}

main() {
	local wanted=("${BUILD[@]}" "${RUN[@]}") aside=() carriers=() missing=() unfetched=() package
	case ${1:-} in
	--tests)
		wanted+=("${TESTS[@]}")
		aside+=("${FETCHED[@]}")
		mapfile -t carriers < <(missing_carriers)
		;;
	-h | --help) usage && exit 0 ;;
	?*) usage >&2 && exit 2 ;;
	esac
	command -v apt-get >/dev/null ||
		fail "this is not Debian. Install the equivalents of these packages, then go on without it: ${wanted[*]}"
	for package in "${wanted[@]}"; do
		installed "$package" || missing+=("$package")
	done
	for package in "${aside[@]}"; do
		fetched "$package" || unfetched+=("$package")
	done
	[ $((${#missing[@]} + ${#unfetched[@]} + ${#carriers[@]})) -gt 0 ] || return 0
	[ "$(id -u)" -eq 0 ] ||
		fail "these packages are missing, and getting them needs root (sudo): ${missing[*]} ${unfetched[*]} ${carriers[*]}"
	apt-get -qq update || fail "apt-get update failed: is the network there, and /etc/apt/sources.list in order?"
	fetch "${unfetched[@]}"
	[ ${#carriers[@]} -eq 0 ] || fetch_carriers "${carriers[@]}"
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "installing: ${missing[*]}"
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}" </dev/null ||
		fail "apt-get could not install: ${missing[*]}"
}

main "$@"
