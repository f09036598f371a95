#!/usr/bin/python3
"""What is run in a virtual machine, in one boot: suite.py --bin-dir DIR [--long] [--only WORD].

Kernel tests (each in a network namespace of its own, as ctest runs them) and cases of the laboratory. Every test is
run, whatever becomes of the others; one that could not run has failed. Meant for run_in_vm.py, though it runs on any
kernel that has the modules.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_RUN_CASE = _HERE.parent / "lab" / "run_case.py"

PROGRAMS = ("links_test", "firewall_test", "compiled_ruleset_test", "flows_test", "transport_kernel_test")
"""Programs of tests/kernel, all of whose tests are run."""

SLOW = ("no packet escapes while 2,000 rulesets follow one another",)
"""Tests that are only run with --long: an emulated machine needs minutes for them."""

CASES = ("leak-modules", "uplink-vlan", "uplink-pppoe")
"""Cases of the laboratory."""

OLD_KERNEL_CASES = ("no-persist",)
"""Cases of the laboratory for kernels before Linux 6.9, whose tables cannot persist."""

LONG_CASES = ("boot", "leak-links", "leak-frames", "leak-guests", "old-flows", "tun-deleted")
"""Cases that are only run with --long."""


def _tests_of(program: Path) -> list[str]:
    """Names of its tests; Catch2 2 and 3 have different words for the question."""
    for question in (("--list-test-names-only",), ("--list-tests", "--verbosity", "quiet")):
        asked = subprocess.run([program, *question], capture_output=True, text=True, check=False)
        names = [line.strip() for line in asked.stdout.splitlines() if line.strip()]
        if names and "unrecognised" not in (asked.stdout + asked.stderr).lower():
            return names
    raise SystemExit(f"suite: {program} names no tests: {asked.stdout}{asked.stderr}")


def _kernel_test(program: Path, name: str) -> Callable[[], bool]:
    words = name.replace(",", "\\,").replace("[", "\\[")

    def run() -> bool:
        done = subprocess.run(
            ["unshare", "--net", "--", program, words], capture_output=True, text=True, check=False, timeout=300,
            cwd=tempfile.gettempdir(),
        )
        passed = done.returncode == 0 and "No test" not in done.stdout
        if not passed:
            print(f"{done.stdout}{done.stderr}(ended with {done.returncode})")
        return passed

    return run


def _case(name: str, binaries: Path, long: bool) -> Callable[[], bool]:
    command = [sys.executable, _RUN_CASE, name, "--bin-dir", binaries, *(["--long"] if long else [])]
    return lambda: subprocess.run(command, check=False).returncode == 0


def _tests(binaries: Path, long: bool) -> Iterator[tuple[str, Callable[[], bool]]]:
    """All of them, by name."""
    for program in PROGRAMS:
        path = binaries.parent / "tests" / "kernel" / program
        for name in _tests_of(path):
            if long or name not in SLOW:
                yield f"{program}: {name}", _kernel_test(path, name)
    version = tuple(int(number) for number in os.uname().release.split(".")[:2])
    for name in (*CASES, *(OLD_KERNEL_CASES if version < (6, 9) else ()), *(LONG_CASES if long else ())):
        yield f"lab: {name}", _case(name, binaries, False)


def main() -> int:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path, required=True, help="where killswitch and killswitchd are")
    parser.add_argument("--long", action="store_true", help="also what takes minutes")
    parser.add_argument("--only", default="", help="tests that have this in their name")
    arguments = parser.parse_args()
    failed: list[str] = []
    count = 0
    for name, run in _tests(arguments.bin_dir.resolve(), arguments.long):
        if arguments.only not in name:
            continue
        count += 1
        began = time.monotonic()
        try:
            passed = run()
        except subprocess.TimeoutExpired as error:
            print(error)
            passed = False
        print(f"{'passed' if passed else 'FAILED'} {time.monotonic() - began:6.1f} s  {name}", flush=True)
        if not passed:
            failed.append(name)
    print(*(f"not passed: {name}" for name in failed), f"vm: {count - len(failed)} of {count} passed", sep="\n")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
