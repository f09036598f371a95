#!/usr/bin/python3
"""Runs one case on a real Debian: run_machine.py CASE --release bookworm|trixie --bin-dir DIR [--long].

`--list` names the cases. The roots and packages that it needs are made first and kept in build/machines and
build/packages. Needs root; touches nothing of the machine's own network.
"""

import argparse
import os
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
sys.dont_write_bytecode = True

import machine_cases  # noqa: E402,F401
from lab import sandbox  # noqa: E402
from lab.waiting import LabError  # noqa: E402
from nspawn import roots  # noqa: E402
from nspawn.trial import CASES, Case, Materials, Trial  # noqa: E402

_LOG_LINES = 60
_GROUPS = [Path("/sys/fs/cgroup", name) for name in ("systemd", "unified", "")]


def own_group(name: str) -> list[Path]:
    """A control group of our own in every hierarchy without controllers, so that machines do not share one."""
    made = []
    for hierarchy in _GROUPS:
        group = hierarchy / name
        if (hierarchy / "cgroup.procs").exists():
            with suppress(OSError):  # not ours to write: then it has to do without
                group.mkdir()
                made.append(group)
    return made


def remove_groups(groups: list[Path]) -> None:
    """Removes them with everything below; all their processes have ended."""
    for group in groups:
        for directory, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                os.rmdir(directory)


def run_case(case: Case, materials: Materials, long: bool, groups: list[Path]) -> int:
    """Inside the sandbox: runs the case and says how it went."""
    for group in groups:
        with suppress(OSError):
            (group / "cgroup.procs").write_text("0")
    print(f"machines: {case.name} on {materials.release}: {case.text}", flush=True)
    began = time.monotonic()
    try:
        case.run(Trial(materials, long))
    except LabError as error:
        print(f"   FAILED: {error}")
    except Exception:  # a mistake in the case itself must show the logs as well
        print(f"   FAILED by an error in the laboratory:\n{traceback.format_exc()}")
    else:
        print(f"   passed in {time.monotonic() - began:.1f} s")
        return 0
    for log in sorted((sandbox.STORAGE / "log").iterdir()):
        lines = log.read_text(errors="replace").splitlines()
        print(f"--- {log.name} ({len(lines)} lines)", *lines[-_LOG_LINES:], sep="\n")
    return 1


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=[*CASES, "prepare"], metavar="CASE")
    parser.add_argument("--release", choices=roots.RELEASES, default="bookworm")
    parser.add_argument("--bin-dir", type=Path, help="where killswitch and killswitchd are")
    parser.add_argument("--leaker", type=Path, help="the leaker, beside `calls` (default: as built)")
    parser.add_argument("--long", action="store_true", help="more rounds")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    arguments = parser.parse_args()
    if arguments.list:
        print(*(f"{case.name:16} {case.text}" for case in CASES.values()), sep="\n")
        return 0
    if arguments.case is None or arguments.bin_dir is None:
        parser.error("a CASE and --bin-dir are needed (--list names the cases)")
    binaries = arguments.bin_dir.resolve()
    leaker = arguments.leaker or binaries.parent / "tests" / "machines" / "leaker"
    try:
        root, package = roots.root(arguments.release), roots.package(arguments.release, binaries)
    except LabError as error:
        print(f"machines: not prepared: {error}")
        return 1
    if arguments.case == "prepare":
        return 0
    materials = Materials(arguments.release, root, package, leaker.resolve(), leaker.resolve().with_name("calls"))
    groups = own_group(f"killswitch-machine-{os.getpid()}")
    try:
        return sandbox.run(lambda: run_case(CASES[arguments.case], materials, arguments.long, groups))
    finally:
        remove_groups(groups)


if __name__ == "__main__":
    sys.exit(main())
