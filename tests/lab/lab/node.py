"""A computer of the laboratory: a network namespace, and the programs that run in it."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import kernel
from .sandbox import STORAGE
from .waiting import PATIENCE, LabError, until


class Process:
    """A program that runs in a node; what it says goes to a file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log_file = log
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id (programs are executed directly, with no shell in between)."""
        return self._process.pid

    def log(self) -> str:
        """All it has said so far."""
        return self.log_file.read_text(errors="replace")

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def exit_status(self, seconds: float = 10.0) -> int:
        """Waits for its end."""
        try:
            return self._process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} still runs after {seconds:g} s") from None

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal and waits for the end."""
        if self.alive():
            self._process.send_signal(number)
        self.exit_status()

    def wait_for(self, text: str, seconds: float = 10.0) -> None:
        """Waits until it has said `text`."""

        def said() -> bool:
            if text in self.log():
                return True
            if not self.alive():
                status = self._process.returncode
                raise LabError(f"{self.name} ended with {status} before it said '{text}':\n{self.log()}")
            return False

        until(f"{self.name} says '{text}'", said, seconds)


class Node:
    """One network namespace. It has a name in the laboratory's /run/netns, so `ip netns exec NAME` works there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._logs = 0
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            kernel.unshare(kernel.CLONE_NEWNET)
            self._namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            place = Path("/run/netns") / name
            place.touch()
            kernel.mount("/proc/thread-self/ns/net", str(place), None, kernel.MS_BIND)
        finally:
            kernel.setns(here, kernel.CLONE_NEWNET)
            os.close(here)
        self.ip("link set lo up")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Moves this thread into the node: sockets and programs made inside belong to it."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        kernel.setns(self._namespace, kernel.CLONE_NEWNET)
        try:
            yield
        finally:
            kernel.setns(here, kernel.CLONE_NEWNET)
            os.close(here)

    def attempt(self, *command: str, text: str = "", seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end, whatever that is."""
        with self.entered():
            try:
                return subprocess.run(
                    command, input=text, capture_output=True, text=True, timeout=seconds * PATIENCE, check=False
                )
            except subprocess.TimeoutExpired:
                raise LabError(f"{self.name}: '{' '.join(command)}' did not end within {seconds:g} s") from None

    def run(self, *command: str, text: str = "", seconds: float = 30.0) -> str:
        """Runs a program that must succeed and returns what it printed."""
        done = self.attempt(*command, text=text, seconds=seconds)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.name}: '{' '.join(command)}' ended with {done.returncode}: {said}")
        return done.stdout

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
        """Starts a program that stays."""
        self._logs += 1
        log = STORAGE / "log" / f"{self.name}-{self._logs:02}-{name}.log"
        with self.entered(), log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        return Process(name, process, log)

    def ip(self, *lines: str) -> None:
        """Runs lines of ip(8) in one go."""
        self.run("ip", "-batch", "-", text="\n".join(lines) + "\n")

    def sysctl(self, name: str, value: str | int) -> None:
        """Sets net.NAME, with '/' between the parts."""
        with self.entered():
            Path("/proc/sys/net", name).write_text(f"{value}\n")
