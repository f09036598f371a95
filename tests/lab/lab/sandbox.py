"""A world that cannot leave traces: private namespaces for the whole laboratory.

Everything runs below one process that is number 1 of its own PID namespace. When it ends, in whatever way, the
kernel ends every other process with it, and the network namespaces, mounts and files (tmpfs) go as well. So there is
no clean-up code that could be skipped, and any number of laboratories can run at the same time.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from . import kernel

STORAGE = Path("/run/lab")
"""The laboratory's own files: logs, keys, sockets. On a tmpfs that only the laboratory sees."""

PACKAGES = Path(__file__).resolve().parents[3] / "build" / "lab-packages"
"""Where fetch_packages.sh puts programs that must not be installed on this machine."""

_WRITABLE = ("/etc", "/var", "/usr")
"""Directories of the machine that programs may write to; what they write stays in the laboratory."""


def run(main: Callable[[], int], terminal: bool = False, packages: bool = False) -> int:
    """Runs `main` in a world of its own and returns its exit status.

    @param packages with the programs of fetch_packages.sh, as if they were installed

    @param terminal keep the terminal, for an interactive shell; else Ctrl-C reaches only the process outside, which
                    then ends the whole world at once
    """
    if os.geteuid() != 0:
        print("the laboratory makes network namespaces: run it as root (sudo)", file=sys.stderr)
        return 1
    _leave_remote_session()
    kernel.unshare(
        kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    )
    child = os.fork()
    if child == 0:
        if not terminal:
            os.setsid()
        os._exit(_first_process(main, PACKAGES / "root" if packages else None))
    return _wait_for(child, terminal)


def _leave_remote_session() -> None:
    """Starts again without the traces of the session that this is run in: `killswitch enable` would heed them."""
    if "SSH_CONNECTION" in os.environ:
        del os.environ["SSH_CONNECTION"]
        os.execv(sys.executable, [sys.executable, *sys.argv])


def _wait_for(child: int, terminal: bool) -> int:
    """Waits for process 1; kills it, and with it everything, when asked to end."""
    asked: list[int] = []

    def end(number: int, _: object) -> None:
        asked.append(number)
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGINT, signal.SIG_IGN if terminal else end)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    _, status = os.waitpid(child, 0)
    if asked:
        print("\ninterrupted: the laboratory is gone, nothing is left behind", file=sys.stderr)
        return 128 + asked[0]
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _first_process(main: Callable[[], int], packages: Path | None) -> int:
    """Sets the world up, runs `main`, and turns whatever happens into an exit status."""
    kernel.die_with_parent(signal.SIGKILL)
    status = 1
    try:
        _make_filesystem(packages)
        kernel.sethostname("laptop")
        status = main()
    except Exception:  # process 1 must end with a status, not with a Python shutdown that waits for threads
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _make_filesystem(packages: Path | None) -> None:
    """A private /proc and /run, and copy-on-write layers over the directories that are written to."""
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("proc", "/proc", "proc")
    kernel.mount("tmpfs", "/run", "tmpfs", data="mode=755")
    for directory in _WRITABLE:
        layer = STORAGE / "layers" / directory.strip("/").replace("/", "-")
        upper, work = layer / "upper", layer / "work"
        upper.mkdir(parents=True)
        work.mkdir()
        lower = directory if packages is None else f"{packages}{directory}:{directory}"
        kernel.mount("overlay", directory, "overlay", data=f"lowerdir={lower},upperdir={upper},workdir={work}")
    for directory in (STORAGE / "log", Path("/run/netns"), Path("/run/dbus"), Path("/run/lock")):
        directory.mkdir(parents=True, exist_ok=True)
