#!/bin/bash
# Builds the Debian package from this tree: see --help.
set -euo pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly PROJECT
readonly CACHE=$PROJECT/build/machines

usage() {
	cat <<-'END'
		usage: packaging/build-deb.sh [--release bookworm|trixie] [--output DIR] [--quick] [--prebuilt BUILD_DIR]

		Builds killswitch_VERSION_ARCH.deb. For the Debian of this machine (the default) it needs what
		packaging/install-dependencies.sh --tests installs; for another release it needs root and makes that release's build
		environment with mmdebstrap (kept in build/machines, to be deleted at will).

		  --release NAME         for this Debian
		  --output DIR           where the package goes (default: build/packages/RELEASE)
		  --quick                without optimisation and without the unit tests; for trying out
		  --prebuilt BUILD_DIR   pack what is built there (this release only) instead of compiling
	END
}

fail() {
	echo "build-deb: $*" >&2
	exit 1
}

# What dpkg-buildpackage works on: the files of this tree, without what is built, and debian/ where it looks for it.
copy_source() { # DIRECTORY
	mkdir -p "$1"
	tar -C "$PROJECT" --create --exclude=./build --exclude=./.git . | tar -C "$1" --extract --no-same-owner
	cp -r "$1/packaging/debian" "$1/debian"
}

build_here() { # SOURCE
	(cd "$1" && dpkg-buildpackage --build=binary --no-sign --jobs="${JOBS:-$(nproc)}")
}

# The mirror that apt uses here, so that no other is needed.
mirror() {
	local site
	site=$(apt-get indextargets --format '$(SITE) $(ORIGIN)' 2>/dev/null | awk '/ Debian$/ { print $1; exit }')
	echo "${site:-http://deb.debian.org/debian}"
}

build_environment() { # RELEASE: its tarball
	local release=$1 tarball=$CACHE/$1-build.tar packages
	if [ ! -s "$tarball" ]; then
		command -v mmdebstrap >/dev/null || fail "a package for $release needs mmdebstrap: apt install mmdebstrap"
		packages=build-essential,debhelper,cmake,ninja-build,pkgconf,python3,catch2,ccache
		packages+=,libnftnl-dev,libmnl-dev,libsystemd-dev,libsdbus-c++-dev,libfmt-dev,nlohmann-json3-dev,libcli11-dev
		mkdir -p "$CACHE"
		mmdebstrap --quiet --format=tar --variant=minbase --include="$packages" "$release" "$tarball.new" "$(mirror)" ||
			fail "the build environment for $release could not be made"
		mv "$tarball.new" "$tarball"
	fi
	echo "$tarball"
}

build_in_chroot() { # RELEASE SOURCE
	local release=$1 source=$2 root=$WORK/root tarball
	[ "$(id -u)" -eq 0 ] || fail "a package for $release is built in a chroot, which needs root (sudo)"
	tarball=$(build_environment "$release")
	mkdir -p "$root"
	tar -C "$root" --extract --file "$tarball" --exclude=./dev/*
	mv "$source" "$root/source"
	mkdir -p "$root/ccache" "$CACHE/ccache"
	# Mounts of its own, gone with it; what was compiled once is kept beside the environment.
	unshare --mount --pid --fork --kill-child bash -euc '
		root=$1 cache=$2 jobs=$3
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount --bind "$cache" "$root/ccache"
		exec chroot "$root" env --ignore-environment --chdir=/source PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
			DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:-}" CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_DIR=/ccache \
			CCACHE_NOHASHDIR=1 dpkg-buildpackage --build=binary --no-sign --jobs="$jobs"
	' - "$root" "$CACHE/ccache" "${JOBS:-$(nproc)}"
	mv "$root"/killswitch*.deb "$WORK"
}

main() {
	local release output='' here
	here=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	release=$here
	while [ $# -gt 0 ]; do
		case $1 in
		--release) release=${2:?--release needs a name} && shift ;;
		--output) output=${2:?--output needs a directory} && shift ;;
		--quick) export DEB_BUILD_OPTIONS="nocheck noopt noautodbgsym ${DEB_BUILD_OPTIONS:-}" ;;
		--prebuilt)
			KILLSWITCH_PREBUILT=$(realpath "${2:?--prebuilt needs a directory}")
			export KILLSWITCH_PREBUILT DEB_BUILD_OPTIONS="nocheck noautodbgsym ${DEB_BUILD_OPTIONS:-}"
			shift
			;;
		-h | --help) usage && exit 0 ;;
		*) usage >&2 && exit 2 ;;
		esac
		shift
	done
	output=${output:-$PROJECT/build/packages/$release}
	mkdir -p "$output" "$CACHE"
	WORK=$(mktemp -d "$CACHE/package.XXXXXX")
	trap 'rm -rf --one-file-system "$WORK"' EXIT
	copy_source "$WORK/source"
	if [ "$release" = "$here" ]; then
		build_here "$WORK/source"
	else
		[ -z "${KILLSWITCH_PREBUILT:-}" ] || fail "--prebuilt is for this machine's release ($here)"
		build_in_chroot "$release" "$WORK/source"
	fi
	mv "$WORK"/killswitch_*.deb "$output"
	rm -f "$output"/killswitch-dbgsym_*.deb
	ls "$output"/killswitch_*.deb
}

main "$@"
