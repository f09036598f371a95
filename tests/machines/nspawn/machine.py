"""One machine: a Debian root in a container of systemd-nspawn, on a bridge in a namespace of ours.

Every boot gets a network namespace of its own, so that nf_tables are empty after a reboot, as on hardware. The files
are on the laboratory's tmpfs and stay over reboots of the same machine.
"""

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lab.node import Node, Process
from lab.sandbox import STORAGE
from lab.waiting import LabError, until

_ENVIRONMENT = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LC_ALL=C.UTF-8"]
_BOOT_SECONDS = 120.0


class Machine:
    """A machine that can be booted, spoken to and powered off, again and again."""

    def __init__(self, outside: Node, tarball: Path, name: str = "machine") -> None:
        self.name = name
        self.outside = outside
        self.root = STORAGE / name
        self.root.mkdir()
        command = ["tar", "--extract", "--file", str(tarball), "--directory", str(self.root), "--exclude=./dev/*"]
        subprocess.run(command, check=True)
        (self.root / "etc" / "hostname").write_text(f"{name}\n")
        (self.root / "etc" / "resolv.conf").unlink(missing_ok=True)
        self.write("etc/resolv.conf", "nameserver 192.168.43.1\n")
        self.write("etc/systemd/system.conf.d/laboratory.conf", "[Manager]\nDefaultTimeoutStopSec=2s\n")
        self.enable_unit("/usr/lib/systemd/system/systemd-networkd.service")
        self._nspawn: Process | None = None

    # -- files ---------------------------------------------------------------------------------------------------

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        """Writes a file of the machine."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def enable_unit(self, unit: str, target: str = "multi-user.target") -> None:
        """Has `target` want a unit file (a path inside the machine)."""
        wants = self.root / "etc/systemd/system" / f"{target}.wants" / Path(unit).name
        wants.parent.mkdir(parents=True, exist_ok=True)
        wants.unlink(missing_ok=True)
        wants.symlink_to(unit)

    def change_root(self, *command: str) -> str:
        """Runs a program in the machine's files while it is off, without a network."""
        done = subprocess.run(
            ["unshare", "--net", "chroot", str(self.root), *_ENVIRONMENT, *command],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip()
            raise LabError(f"{self.name}, off: '{' '.join(command)}' ended with {done.returncode}: {said}")
        return done.stdout

    # -- power ---------------------------------------------------------------------------------------------------

    def boot(self, wait: bool = True) -> float:
        """Powers it on; returns, with `wait`, when systemd says that the boot is done, and how long it took."""
        began = time.monotonic()
        command = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", f"--machine={self.name}"]
        command += [f"--directory={self.root}", "--network-bridge=br0", "--resolv-conf=off", "--link-journal=no"]
        command += ["--system-call-filter=pidfd_getfd"]  # not allowed in containers by default
        self._nspawn = self.outside.start(f"nspawn-{self.name}", [*command, "--console=read-only"])
        if wait:
            self.wait_running()
        return time.monotonic() - began

    def wait_running(self) -> None:
        """Until every job of the boot is done, well or not."""

        def running() -> bool:
            if self._nspawn is None or not self._nspawn.alive():
                raise LabError(f"{self.name} went off while it booted:\n{self.console()}")
            if not self._leader():
                return False
            return self.attempt("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

        until(f"{self.name} has booted", running, _BOOT_SECONDS, step=0.05)

    def power_off(self) -> float:
        """An orderly shutdown; returns when the machine is off, and how long it took."""
        began = time.monotonic()
        self.attempt("systemctl", "poweroff", "--no-wall")
        self.wait_off()
        return time.monotonic() - began

    def wait_off(self) -> None:
        """Until it is off."""
        if self._nspawn is not None:
            self._nspawn.exit_status(_BOOT_SECONDS)
        self._nspawn = None

    def console(self) -> str:
        """What it said on its console."""
        return "" if self._nspawn is None else self._nspawn.log()

    # -- inside --------------------------------------------------------------------------------------------------

    def attempt(self, *command: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Runs a program in the running machine to its end, whatever that is."""
        leader = self._leader()
        if not leader:
            raise LabError(f"{self.name} is off")
        enter = ["nsenter", "-t", leader, "-m", "-u", "-i", "-n", "-p", "-C", "--", *_ENVIRONMENT]
        try:
            return subprocess.run(
                [*enter, *command],
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: '{' '.join(command)}' did not end within {seconds:g} s") from None

    def run(self, *command: str, expect: Sequence[int] = (0,)) -> str:
        """Runs a program that must succeed; what it said, on both streams."""
        done = self.attempt(*command)
        said = done.stdout + done.stderr
        if done.returncode not in expect:
            raise LabError(f"{self.name}: '{' '.join(command)}' ended with {done.returncode}: {said.strip()}")
        return said

    def journal(self, *units: str) -> list[str]:
        """What units have logged since the boot, one line a message."""
        options = [word for unit in units for word in ("-u", unit)]
        return self.run("journalctl", "-b", "-o", "cat", "--no-pager", *options).splitlines()

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def status(self) -> dict[str, object]:
        """killswitch status --json."""
        done = self.attempt("killswitch", "status", "--json")
        if done.returncode not in (0, 3):
            raise LabError(f"'killswitch status' ended with {done.returncode}: {(done.stdout + done.stderr).strip()}")
        status: dict[str, object] = json.loads(done.stdout)
        return status

    def wait_state(self, *states: str, seconds: float = 60.0) -> None:
        """Until the status says one of these states."""
        until(f"status says {' or '.join(states)}", lambda: self.status()["state"] in states, seconds, step=0.1)

    def wait_address(self) -> None:
        """Until DHCP has given it an address."""
        until("an address by DHCP", lambda: "192.168.43." in self.run("ip", "-4", "addr", "show", "host0"), 60, 0.05)

    def _leader(self) -> str:
        """The machine's process 1, as it is numbered out here."""
        if self._nspawn is None or not self._nspawn.alive():
            return ""
        place = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        children = place.read_text().split() if place.exists() else []
        return children[0] if children else ""
