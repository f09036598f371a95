"""A line of shell on a terminal of its own, as a user types it: programs see a terminal, and Ctrl-C is a key."""

import os
import signal
import subprocess
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

from .node import Node
from .waiting import PATIENCE, LabError, until

_SHELL = ["bash", "--noprofile", "--norc", "-o", "pipefail", "-c"]
_CTRL_C = b"\x03"
_UNPRIVILEGED = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


class Terminal:
    """Runs one line in a node."""

    def __init__(self, node: Node, line: str, folder: Path, environment: Mapping[str, str], root: bool) -> None:
        """@param root else as an unprivileged user"""
        self.line = line
        self._output = b""
        self._master, slave = os.openpty()
        settings = termios.tcgetattr(slave)
        settings[1] &= ~termios.OPOST  # no carriage returns in what is read
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        command = ["setsid", "--ctty", "--wait", *([] if root else _UNPRIVILEGED), *_SHELL, line]
        with node.entered():
            self._process = subprocess.Popen(
                command, cwd=folder, env=dict(environment), stdin=slave, stdout=slave, stderr=slave
            )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True, name=line)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 65536):
                self._output += data
        except OSError:  # EIO: every program has closed the terminal
            pass

    def output(self) -> str:
        """All that was printed so far, on both streams."""
        return self._output.decode(errors="replace")

    def alive(self) -> bool:
        """Whether the line still runs."""
        return self._process.poll() is None

    def wait_for(self, text: str, seconds: float = 30) -> None:
        """Until it has printed `text`, or anything at all when that is empty."""

        def printed() -> bool:
            if text in self.output() and self._output:
                return True
            if not self.alive():
                raise LabError(f"'{self.line}' ended with {self._process.returncode}:\n{self.output()}")
            return False

        until(f"'{self.line}' prints '{text}'", printed, seconds)

    def exit_status(self, seconds: float = 60) -> int:
        """Waits for its end by itself."""
        try:
            status = self._process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise LabError(f"'{self.line}' still runs after {seconds:g} s:\n{self.output()}") from None
        self._reader.join(5)
        return status

    def interrupt(self) -> int:
        """Ctrl-C, and its exit status."""
        if self.alive():
            os.write(self._master, _CTRL_C)
        return self.exit_status(20)

    def kill(self) -> None:
        """SIGKILL."""
        if self.alive():
            self._process.send_signal(signal.SIGKILL)
