#!/usr/bin/python3
"""Runs a command under another kernel: run_in_vm.py --kernel 6.1 -- COMMAND…

The kernel is Debian's own, in an emulated machine that sees all files of this one, read-only (it can write to /tmp
and /run, which it forgets), and has no network but what the command makes. Its exit status is the command's. The
first run downloads the kernel's package with apt and keeps it below build/vm.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

from vm import initramfs, kernels, machine  # noqa: E402


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", required=True, choices=kernels.SOURCES)
    parser.add_argument("--seconds", type=float, default=600, help="how long the machine may run (default: 600)")
    parser.add_argument("--memory", default="1G", help="how much memory it has (default: 1G)")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    kept = ("PATH", "LANG")
    settings = {name: os.environ[name] for name in kept if name in os.environ}
    began = time.monotonic()
    try:
        kernel = kernels.fetch(arguments.kernel, machine.cache_folder())
        guest = Path(__file__).resolve().parent / "guest"
        archive = initramfs.make(kernel, guest, arguments.command, Path.cwd(), {"HOME": "/root", "LAB_PATIENCE": "4", **settings})
        status = machine.boot(kernel, archive, arguments.seconds, arguments.memory)
    except kernels.VmError as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    print(f"vm: kernel {kernel.release}: status {status} after {time.monotonic() - began:.0f} s", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
