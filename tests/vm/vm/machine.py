"""Boots a kernel in an emulated machine that shares this machine's files (read-only) and has no network device."""

import ctypes
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .kernels import Kernel, VmError

_STATUS_BASE = 64
"""Added by guest/start: qemu turns a value v that the guest writes to the device into exit status 2v + 1."""

_KERNEL_OPTIONS = (
    "console=ttyS0", "quiet", "loglevel=4", "panic=-1", "nokaslr", "mitigations=off", "random.trust_cpu=on",
)


def boot(kernel: Kernel, initramfs: bytes, seconds: float, memory: str = "1G") -> int:
    """Runs the machine to its end, its console on our standard output; returns the status of what ran inside."""
    with tempfile.NamedTemporaryFile(prefix="killswitch-vm-") as file:
        file.write(initramfs)
        file.flush()
        try:
            machine = subprocess.Popen(
                _qemu(kernel, file.name, memory),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                preexec_fn=_end_with_parent,
            )
        except FileNotFoundError:
            raise VmError("qemu-system-x86_64 is not there (packaging/install-dependencies.sh --tests)") from None
        try:
            _copy_console(machine, time.monotonic() + seconds)
        finally:
            machine.kill()
            machine.wait()
    return _status(machine.returncode, seconds)


def _end_with_parent() -> None:
    """In the child: however we end (ctest kills what takes too long), the machine does not stay behind."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


def _qemu(kernel: Kernel, initramfs: str, memory: str) -> list[str]:
    accelerator = "kvm" if os.access("/dev/kvm", os.W_OK) else "tcg,thread=multi"
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-nic", "none", "-display", "none"),
        *("-machine", "q35", "-accel", accelerator, "-cpu", "max", "-smp", "2", "-m", memory, "-serial", "stdio"),
        *("-kernel", str(kernel.image), "-initrd", initramfs, "-append", " ".join(_KERNEL_OPTIONS)),
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
    ]


def _copy_console(machine: subprocess.Popen[bytes], deadline: float) -> None:
    """Until it ends or its time is up."""
    assert machine.stdout is not None
    source = machine.stdout.fileno()
    while (left := deadline - time.monotonic()) > 0:
        if select.select([source], [], [], left)[0]:
            data = os.read(source, 65536)
            if not data:
                machine.wait(max(left, 1))
                return
            sys.stdout.buffer.write(data.replace(b"\r", b""))
            sys.stdout.flush()


def _status(code: int, seconds: float) -> int:
    if code < 0:
        raise VmError(f"the machine did not end within {seconds:g} s")
    if code < 2 * _STATUS_BASE or not code & 1:
        raise VmError(f"the machine ended without saying a status (qemu: {code}): did it boot?")
    return (code >> 1) - _STATUS_BASE


def cache_folder() -> Path:
    """Where kernels are kept: below the build folder, which is never committed."""
    return Path(__file__).resolve().parents[3] / "build" / "vm"
