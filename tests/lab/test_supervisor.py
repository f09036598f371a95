"""The service manager's own tests, with a daemon of a few lines. Needs no privileges."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

_PROGRAM = Path(__file__).resolve().parent / "lab" / "supervisor.py"

_DAEMON = """
import array, os, socket
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text, *descriptors):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    notify.sendmsg([text.encode()], rights, 0, os.environ["NOTIFY_SOCKET"])
if os.environ.get("LISTEN_PID") == str(os.getpid()):
    count, names = os.environ["LISTEN_FDS"], os.environ["LISTEN_FDNAMES"]
    say("READY=1\\nSTATUS=" + count + " " + names + " " + os.pread(3, 64, 0).decode() + os.pread(4, 64, 0).decode())
else:
    for name in ("one", "two"):
        descriptor = os.memfd_create(name)
        os.write(descriptor, name.encode())
        say("FDSTORE=1\\nFDNAME=" + name, descriptor)
    say("READY=1\\nSTATUS=first")
__import__("signal").pause()
"""


class Supervised:
    """The service manager with the daemon above."""

    def __init__(self, directory: str, *options: str) -> None:
        command = [sys.executable, "-I", "-B", str(_PROGRAM), f"{directory}/notify", *options, "--"]
        self._process = subprocess.Popen(
            [*command, sys.executable, "-I", "-c", _DAEMON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait(self, event: str) -> dict[str, object]:
        """Reads events up to the one named."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found: dict[str, object] = json.loads(line)
            if found["event"] == event:
                return found
        raise AssertionError(f"it ended before '{event}'")

    def command(self, line: str) -> None:
        """A line for its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def close(self) -> int:
        """Ends both; the exit status of the service manager."""
        self._process.communicate(timeout=10)
        return self._process.returncode


class Restart(unittest.TestCase):
    """What a daemon stores comes back to the next one."""

    def setUp(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self.addCleanup(self._directory.cleanup)

    def _killed_once(self, *options: str) -> tuple[Supervised, dict[str, object]]:
        supervised = Supervised(self._directory.name, *options)
        self.addCleanup(supervised.close)
        started = supervised.wait("started")
        supervised.wait("ready")
        os.kill(int(str(started["pid"])), signal.SIGKILL)
        return supervised, supervised.wait("ended")

    def test_descriptors_come_back_in_order(self) -> None:
        supervised, ended = self._killed_once()
        self.assertEqual(ended["status"], -signal.SIGKILL)
        self.assertEqual(supervised.wait("started")["passed"], ["one", "two"])
        self.assertEqual(supervised.wait("ready")["status"], "2 one:two onetwo")

    def test_store_has_a_limit(self) -> None:
        supervised, _ = self._killed_once("--store", "1")
        self.assertEqual(supervised.wait("started")["passed"], ["one"])

    def test_stays_dead_until_told(self) -> None:
        supervised, _ = self._killed_once("--no-restart")
        supervised.command("start")
        self.assertEqual(supervised.wait("started")["passed"], ["one", "two"])


if __name__ == "__main__":
    unittest.main()
