"""Debian roots and packages to make machines of, kept in build/machines and build/packages between runs."""

import fcntl
import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.waiting import LabError

PROJECT = Path(__file__).resolve().parents[3]
CACHE = PROJECT / "build" / "machines"
RELEASES = ("bookworm", "trixie")

_PACKAGES = ["systemd", "systemd-sysv", "dbus", "libpam-systemd", "polkitd", "nftables", "openvpn", "iproute2"]
_PACKAGES += ["iputils-ping", "libnftnl11", "libmnl0"]
_LIBRARIES = {"bookworm": ["libsdbus-c++1", "libfmt9"], "trixie": ["libsdbus-c++2", "libfmt10"]}


def this_release() -> str:
    """The Debian that the tests run on."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=")[1].strip('"')
    return ""


def root(release: str) -> Path:
    """A tarball of a small Debian with everything the package depends on."""
    packages = ",".join(_PACKAGES + _LIBRARIES[release])
    recipe = hashlib.sha256(packages.encode()).hexdigest()[:8]
    with _kept(CACHE / f"{release}-{recipe}.tar") as (tarball, temporary):
        if temporary is not None:
            options = ["--quiet", "--variant=minbase", f"--include={packages}"]
            _run("mmdebstrap", *options, release, str(temporary), _mirror())
    return tarball


def package(release: str, binaries: Path) -> Path:
    """The kill switch's package for `release`, of the present sources (of `binaries` where they fit)."""
    build = binaries.parent
    native = release == this_release()
    stamp = _stamp(binaries) if native else _sources()
    with _kept(PROJECT / "build" / "packages" / release / f"killswitch-{stamp}.deb") as (file, temporary):
        if temporary is not None:
            options = ["--prebuilt", str(build)] if native else ["--quick"]
            output = file.parent / "new"
            _run(str(PROJECT / "packaging" / "build-deb.sh"), "--release", release, "--output", str(output), *options)
            for old in file.parent.glob("killswitch-*.deb"):
                old.unlink()
            next(output.glob("killswitch_*.deb")).rename(temporary)
    return file


def newer(package_file: Path, version: str, directory: Path) -> Path:
    """The same package under a later version, as an upgrade."""
    tree, result = directory / f"tree-{version}", directory / f"killswitch_{version}.deb"
    _run("dpkg-deb", "--raw-extract", str(package_file), str(tree))
    control = tree / "DEBIAN" / "control"
    lines = control.read_text().splitlines()
    control.write_text("".join(f"Version: {version}\n" if it.startswith("Version:") else f"{it}\n" for it in lines))
    _run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(result))
    return result


@contextmanager
def _kept(file: Path) -> Iterator[tuple[Path, Path | None]]:
    """`file`, and where to make it if it is missing; one maker at a time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with (file.parent / f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists() and file.stat().st_size:
            yield file, None
            return
        temporary = file.with_name(f"new-{file.name}")
        began = time.monotonic()
        yield file, temporary
        temporary.rename(file)
        print(f"   made {file.name} in {time.monotonic() - began:.0f} s", flush=True)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise LabError(f"'{' '.join(command)}' ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")


def _mirror() -> str:
    """The mirror that this machine's apt uses for Debian."""
    command = ["apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN)"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    sites = [line.split()[0] for line in listing.splitlines() if line.endswith(" Debian")]
    return sites[0] if sites else "http://deb.debian.org/debian"


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.name).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _sources() -> str:
    """What the package is made of."""
    files = [PROJECT / "CMakeLists.txt"]
    for folder in ("src", "include", "packaging", "policies"):
        files += sorted(path for path in (PROJECT / folder).rglob("*") if path.is_file())
    return _digest(files)


def _stamp(binaries: Path) -> str:
    """The programs that are there, and everything that is packed beside them."""
    programs = [binaries / name for name in ("killswitch", "killswitchd", "killswitch-lock")]
    missing = [str(program) for program in programs if not os.access(program, os.X_OK)]
    if missing:
        raise LabError(f"not built: {', '.join(missing)}")
    files = sorted(path for name in ("packaging", "policies") for path in (PROJECT / name).rglob("*") if path.is_file())
    return _digest(programs + files)
