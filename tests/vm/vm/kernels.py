"""Gets Debian's own kernels: downloads a package from the archive, takes out what a test needs, and keeps it.

Nothing is installed: apt works with lists of its own below the cache, so the machine's package lists and sources stay
as they are. What was fetched once is used from then on, without the network.
"""

import fcntl
import hashlib
import lzma
import os
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class VmError(Exception):
    """Something that the virtual machine needs could not be had; says what."""


@dataclass(frozen=True)
class Source:
    """Where a kernel comes from: the suite, and the archive's path on a mirror."""

    suite: str
    archive: str


SOURCES = {
    "6.1": Source("bookworm-security", "debian-security"),
    "6.12": Source("bookworm-backports", "debian"),
}
"""The kernels of Debian 12 and 13. These suites' lists are short, and each always has the newest of its kernel."""

_NEEDED = (
    "lib", "crypto", "arch/x86/crypto", "net", "drivers/virtio", "drivers/net/ipvlan", "drivers/net/wireguard",
    "drivers/net/ppp", "drivers/net/slip", "fs/9p", "fs/overlayfs", "fs/netfs", "fs/fscache",
)
"""Folders of modules; of drivers/net also what lies in it directly (veth, tun, vrf, …)."""


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted, and its modules: `tree`/lib/modules/`release`."""

    series: str
    release: str
    image: Path
    tree: Path

    @property
    def modules(self) -> Path:
        """Where its modules are."""
        return self.tree / "lib" / "modules" / self.release


def fetch(series: str, cache: Path) -> Kernel:
    """The newest kernel of a series, from the cache or from the archive."""
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / series
    with _locked(cache / f"{series}.lock"):
        if not (place / "made-by").exists() or (place / "made-by").read_text() != _recipe():
            unfinished = cache / f"{series}.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(place, ignore_errors=True)
            _make(SOURCES[series], unfinished)
            (unfinished / "made-by").write_text(_recipe())
            unfinished.rename(place)
    release = next((place / "lib" / "modules").iterdir()).name
    return Kernel(series, release, place / "image", place)


def _recipe() -> str:
    """What is kept was made by this file as it is now, or is made anew."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Two tests that start at the same time fetch once."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _make(source: Source, place: Path) -> None:
    place.mkdir()
    package = _download(source, place)
    _unpack(package, place)
    package.unlink()
    release = next((place / "lib" / "modules").iterdir()).name
    _run(["depmod", "-b", str(place), release], "list the kernel's modules")
    (place / "image").write_bytes(_bootable(next(place.glob("boot/vmlinuz-*")).read_bytes()))


def _download(source: Source, place: Path) -> Path:
    """apt-get with a configuration of its own."""
    lists = place / "apt"
    (lists / "lists" / "partial").mkdir(parents=True)
    (lists / "archives" / "partial").mkdir(parents=True)
    line = f"deb [signed-by={KEYRING}] {_mirror(source.archive)} {source.suite} main\n"
    (lists / "sources.list").write_text(line)
    settings = {
        "Dir::Etc::sourcelist": lists / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": lists / "lists",
        "Dir::Cache": lists,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    _run(["apt-get", "-qq", *options, "update"], f"read the package list of {source.suite}")
    depends = _run(["apt-cache", *options, "depends", "linux-image-amd64"], "find the kernel's package")
    names = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line]
    if not names:
        raise VmError(f"linux-image-amd64 of {source.suite} depends on no kernel: {depends.strip() or 'no such package'}")
    _run(["apt-get", "-qq", *options, "download", names[0]], f"download {names[0]}", place)
    shutil.rmtree(lists)
    return next(place.glob("*.deb"))


def _mirror(archive: str) -> str:
    """The mirror that this machine uses anyway, or Debian's own."""
    known = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True, check=False
    ).stdout.split()
    return next((uri for uri in known if uri.rstrip("/").endswith(f"/{archive}")), f"http://deb.debian.org/{archive}")


def _unpack(package: Path, place: Path) -> None:
    """The kernel, and the modules that a network needs (all of them together are several times as much)."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacking:
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive:
            for member in archive:
                path = Path(member.name)
                if path.parts[:1] == ("usr",):  # since Debian 13 the modules lie below /usr
                    path = path.relative_to("usr")
                if member.isfile() and _is_needed(path):
                    content = archive.extractfile(member)
                    assert content is not None
                    (place / path).parent.mkdir(parents=True, exist_ok=True)
                    (place / path).write_bytes(content.read())
    if unpacking.returncode != 0:
        raise VmError(f"dpkg-deb could not read {package.name}")


def _is_needed(path: Path) -> bool:
    if path.parts[0] == "boot":
        return path.name.startswith("vmlinuz-")
    if path.parts[:2] != ("lib", "modules"):
        return False
    inside = path.parts[3:]
    if len(inside) == 1:
        return inside[0].startswith("modules.")
    folder = "/".join(inside[1:-1])
    return folder == "drivers/net" or any(folder == name or folder.startswith(f"{name}/") for name in _NEEDED)


def _bootable(image: bytes) -> bytes:
    """A kernel that is packed with xz is unpacked here: the emulated machine needs half a minute for it.

    The boot protocol (Documentation/arch/x86/boot.rst) says where in the image the packed kernel is; unpacked it
    is an ELF file with a PVH entry, which qemu starts as well.
    """
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    packed = image[start : start + length]
    if packed[:6] != b"\xfd7zXZ\0":
        return image
    return lzma.LZMADecompressor().decompress(packed)


def _run(command: list[str], what: str, directory: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=directory, stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise VmError(f"could not {what}: {command[0]} is not there (packaging/install-dependencies.sh --tests)") from None
    if done.returncode != 0:
        raise VmError(f"could not {what}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
