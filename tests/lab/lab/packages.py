"""Programs that must not be installed on the machine itself, because they would take its firewall or resolv.conf over:
their Debian packages are unpacked inside the laboratory, whose /usr and /etc are its own.

packaging/install-dependencies.sh --tests downloads them to `CACHE`.
"""

import shutil
import subprocess
from pathlib import Path

from .sandbox import STORAGE
from .waiting import LabError

CACHE = Path("/var/cache/killswitch-lab")
_WRITABLE = {"usr": Path("/usr"), "etc": Path("/etc"), "lib": Path("/usr/lib"), "sbin": Path("/usr/sbin"), "var": Path("/var")}
"""Where a directory of a package goes; /lib and /sbin are links into /usr."""

_CARRIERS = ("microsocks", "ss-local", "ss-server", "stunnel4", "tinyproxy")


def unpack(name: str) -> None:
    """Unpacks a package over the laboratory's own layers; none of its scripts is run."""
    found = sorted(CACHE.glob(f"{name}_*.deb"))
    if not found:
        raise LabError(f"{CACHE} holds no package {name}: run packaging/install-dependencies.sh --tests")
    _extract(found[-1])


def unpack_carriers() -> None:
    """Proxies and wrappers that carry OpenVPN, with their libraries; what is installed on this machine is not there."""
    for package in sorted((CACHE / "carriers").glob("*.deb")):
        _extract(package)
    missing = [program for program in _CARRIERS if shutil.which(program) is None]
    if missing:
        raise LabError(f"{', '.join(missing)} not there: run packaging/install-dependencies.sh --tests")


def _extract(package: Path) -> None:
    stage = STORAGE / "packages" / package.name
    stage.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-deb", "--extract", str(package), str(stage)], check=True)
    for directory in stage.iterdir():
        if directory.name not in _WRITABLE:
            raise LabError(f"package {package.name} wants to write to /{directory.name}")
        shutil.copytree(directory, _WRITABLE[directory.name], symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(stage)
