#!/usr/bin/python3
"""Runs one case of the laboratory: run_case.py CASE --bin-dir DIR [--long].

`run_case.py --list` names the cases, `--list-vm` those for other kernels, which tests/vm runs; `run_case.py shell
--bin-dir DIR` opens a shell in a running laboratory (`ip netns exec laptop …` there). Needs root; touches nothing of
the machine's own network.
"""

import argparse
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

import cases  # noqa: E402,F401
from lab import sandbox  # noqa: E402
from lab.trial import CASES, Case, Trial  # noqa: E402
from lab.waiting import LabError  # noqa: E402

_LOG_LINES = 40


def run_case(case: Case, binaries: Path, long: bool) -> int:
    """Inside the sandbox: runs the case and says how it went."""
    print(f"lab: {case.name}: {case.text}", flush=True)
    began = time.monotonic()
    trial = None
    try:
        trial = Trial(binaries, case.ipv6, long)
        case.run(trial)
    except LabError as error:
        print(f"   FAILED: {error}")
    except Exception:  # a mistake in the case itself must show the logs as well
        print(f"   FAILED by an error in the laboratory:\n{traceback.format_exc()}")
    else:
        print(f"   passed in {time.monotonic() - began:.1f} s")
        return 0
    _show_evidence(trial)
    return 1


def _load_modules(modules: Sequence[str]) -> None:
    """Loads modules of the kernel with the program that the kernel itself would run (not to be found in a sandbox)."""
    setting = Path("/proc/sys/kernel/modprobe")
    loader = setting.read_text().strip() if setting.exists() else ""
    for module in modules:
        if Path("/sys/module", module).exists():
            continue
        if not loader or not Path(loader).exists() or subprocess.run([loader, module], check=False).returncode != 0:
            raise LabError(f"this kernel has no module {module}: tests/vm/run_in_vm.py runs the case on one that has")


def _show_evidence(trial: Trial | None) -> None:
    """What is needed to understand a failure: the state of the laptop and the end of every log."""
    if trial is not None:
        commands = (("ip", "-brief", "address"), ("ip", "route"), ("ip", "-6", "route"), ("nft", "list", "ruleset"))
        status = (str(trial.laptop.binary("killswitch")), "status", "--json")
        for command in (*commands, ("cat", "/etc/resolv.conf"), status):
            done = trial.laptop.node.attempt(*command)
            print(f"--- laptop: {' '.join(command)}", (done.stdout + done.stderr).rstrip(), sep="\n")
    for log in sorted((sandbox.STORAGE / "log").iterdir()):
        lines = log.read_text(errors="replace").splitlines()
        print(f"--- {log.name} ({len(lines)} lines)", *lines[-_LOG_LINES:], sep="\n")


def shell(binaries: Path) -> int:
    """Inside the sandbox: a laboratory to look around in."""
    trial = Trial(binaries)
    trial.laptop.start_bus()
    print("A laboratory of its own; this shell is on the laptop. Others: ip netns exec ap|vpn|internet COMMAND.")
    with trial.laptop.node.entered():
        return subprocess.run(["bash", "-i"], check=False).returncode


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=[*CASES, "shell"], metavar="CASE")
    parser.add_argument("--bin-dir", type=Path, help="where killswitch and killswitchd are")
    parser.add_argument("--long", action="store_true", help="more rounds, longer storms")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--list-vm", action="store_true", help="name the cases that are run in virtual machines and end")
    arguments = parser.parse_args()
    if arguments.list or arguments.list_vm:
        listed = [case for case in CASES.values() if case.vm == arguments.list_vm]
        print(*(f"{case.name:20} {case.text}" for case in listed), sep="\n")
        return 0
    if arguments.case is None or arguments.bin_dir is None:
        parser.error("a CASE and --bin-dir are needed (--list names the cases)")
    binaries = arguments.bin_dir.resolve()
    if arguments.case == "shell":
        return sandbox.run(lambda: shell(binaries), terminal=True)
    case = CASES[arguments.case]
    try:
        _load_modules(case.modules)
    except LabError as error:
        print(f"lab: {case.name}: FAILED: {error}")
        return 1
    if case.packages:
        subprocess.run([str(Path(__file__).resolve().parent / "fetch_packages.sh")], check=True)
    return sandbox.run(lambda: run_case(case, binaries, arguments.long), packages=case.packages)


if __name__ == "__main__":
    sys.exit(main())
