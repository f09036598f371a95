"""Makes the first file system of a virtual machine: busybox, the modules that reach the host's files, and an order.

The archive is in cpio's "newc" form (Documentation/driver-api/early-userspace/buffer-format.rst).
"""

import lzma
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .kernels import Kernel, VmError

_FIRST_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "tun")
_FOLDERS = ("bin", "dev", "lib", "lib64", "modules", "new", "proc", "sys")
_DIRECTORY, _EXECUTABLE, _FILE = 0o040755, 0o100755, 0o100644


class Archive:
    """A cpio archive that grows."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._number = 0
        self._folders: set[Path] = set()

    def add(self, name: str, content: bytes, mode: int = _FILE) -> None:
        """A file, and the folders that it lies in."""
        for folder in reversed(Path(name).parents):
            self.add_folder(folder)
        self._entry(name, mode, content)

    def add_folder(self, folder: Path) -> None:
        """A folder, once."""
        if folder != Path(".") and folder not in self._folders:
            self._folders.add(folder)
            self._entry(str(folder), _DIRECTORY, b"")

    def finish(self) -> bytes:
        """The whole archive."""
        self._entry("TRAILER!!!", 0, b"")
        return bytes(self._bytes)

    def _entry(self, name: str, mode: int, content: bytes) -> None:
        self._number += 1
        path = name.encode() + b"\0"
        fields = (self._number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        self._bytes += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        self._bytes += bytes(-len(self._bytes) % 4) + content
        self._bytes += bytes(-len(self._bytes) % 4)


def make(kernel: Kernel, guest: Path, command: Sequence[str], directory: Path, settings: Mapping[str, str]) -> bytes:
    """The archive for one run.

    @param guest     the folder with the scripts that run inside
    @param command   what is run in the machine, in `directory`
    @param settings  its environment
    """
    archive = Archive()
    for folder in _FOLDERS:
        archive.add_folder(Path(folder))
    for number, module in enumerate(_in_order(kernel, _FIRST_MODULES)):
        archive.add(f"modules/{number:02}.ko", _module(kernel.modules / module))
    for file in _with_libraries(Path("/bin/busybox")):
        archive.add(str(file.relative_to("/")), file.read_bytes(), _EXECUTABLE)
    order = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    order += [f"cd {shlex.quote(str(directory))}", shlex.join(command)]
    archive.add("vm/command", "\n".join(order).encode() + b"\n")
    archive.add("vm/tree", str(kernel.tree).encode())
    archive.add("init", (guest / "init").read_bytes(), _EXECUTABLE)
    for script in ("start", "modprobe"):
        archive.add(f"vm/{script}", (guest / script).read_bytes(), _EXECUTABLE)
    return archive.finish()


def _in_order(kernel: Kernel, names: Sequence[str]) -> list[str]:
    """Files of modules, each after those that it needs; what is built into the kernel needs no file."""
    needs: dict[str, list[str]] = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        needs[file] = others.split()
    files = {_name(file): file for file in needs}
    builtin = {_name(file) for file in (kernel.modules / "modules.builtin").read_text().split()}
    order: list[str] = []

    def add(file: str) -> None:
        for other in needs[file]:
            add(other)
        if file not in order:
            order.append(file)

    for name in names:
        if name in files:
            add(files[name])
        elif name not in builtin:
            raise VmError(f"kernel {kernel.release} has no module {name}")
    return order


def _name(file: str) -> str:
    return re.sub(r"\.ko(\.xz)?$", "", Path(file).name).replace("-", "_")


def _module(file: Path) -> bytes:
    content = file.read_bytes()
    return lzma.decompress(content) if file.suffix == ".xz" else content


def _with_libraries(program: Path) -> list[Path]:
    """A program and the shared libraries that it is linked with."""
    try:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        return [program, *(Path(word) for word in listed.split() if word.startswith("/"))]
    except FileNotFoundError:
        raise VmError("ldd is not there") from None
