"""Traffic of the laptop: probes once, storms of probes, and a stream of echo requests that notices every gap."""

import json
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import probe
from probe import Probe

from . import addresses as a
from .topology import PYTHON, Lab
from .waiting import PATIENCE, LabError

_PROGRAM = Path(__file__).resolve().parent.parent / "probe.py"


@dataclass
class Attempts:
    """What a program tried: what the kernel took, and what it refused at once."""

    sent: Counter[str]
    refused: Counter[str]

    @property
    def total(self) -> int:
        """All tries."""
        return sum(self.sent.values()) + sum(self.refused.values())


class ProbeProgram:
    """probe.py, running in the laptop as root or as another user."""

    def __init__(self, lab: Lab, mode: str, probes: Sequence[Probe], uid: int = 0, rate: float = 1500) -> None:
        self._probes = probes
        command = [
            *(*PYTHON, str(_PROGRAM), mode, *(item.name for item in probes)),
            *("--uid", str(uid), "--rate", str(rate)),
            *(f"--source4={lab.link_address()}", f"--source6={lab.link_address6()}"),
        ]
        with lab.laptop.entered():
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if mode == "storm" and (self._process.stdout is None or self._process.stdout.readline() != "ready\n"):
            raise LabError("the storm of probes did not start")

    def finish(self) -> Attempts:
        """Ends it (its standard input closes) and returns what it did."""
        output, _ = self._process.communicate(timeout=60 * PATIENCE)
        if self._process.returncode != 0:
            raise LabError(f"the probes ended with {self._process.returncode}")
        outcome = json.loads(output)
        return Attempts(Counter(outcome["sent"]), Counter(outcome["refused"]))


def send_once(lab: Lab, probes: Sequence[Probe], uid: int = 0) -> Attempts:
    """Each of the probes, once."""
    return ProbeProgram(lab, "once", probes, uid).finish()


class Storm:
    """All probes, all the time, as root and as another user, until the block ends."""

    def __init__(self, lab: Lab, words: Sequence[str] = (), rate: float = 1500) -> None:
        self._lab = lab
        self._rate = rate
        self._sets = {
            0: probe.select_probes("root", lab.ipv6, words),
            a.NOBODY: probe.select_probes("other", lab.ipv6, words),
        }
        self._programs: list[ProbeProgram] = []
        self.attempts = 0

    def __enter__(self) -> "Storm":
        self._programs = [
            ProbeProgram(self._lab, "storm", probes, uid, self._rate) for uid, probes in self._sets.items() if probes
        ]
        return self

    def __exit__(self, *_: object) -> None:
        self.attempts = sum(program.finish().total for program in self._programs)


@dataclass(frozen=True)
class Continuity:
    """What became of a stream of echo requests."""

    sent: int
    lost: int
    longest_gap: float

    def __str__(self) -> str:
        return f"{self.sent} sent, {self.lost} lost, longest silence {self.longest_gap * 1000:.0f} ms"


class Stream:
    """Numbered datagrams to an echo server, every few milliseconds, until the block ends."""

    def __init__(self, lab: Lab, target: str = a.HOST, interval: float = 0.01) -> None:
        self._interval = interval
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with lab.laptop.entered():
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._target = (target, 7)
        self._sent = 0
        self._answers: list[float] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        self.result = Continuity(0, 0, 0)

    def __enter__(self) -> "Stream":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        gaps = [later - earlier for earlier, later in zip(self._answers, self._answers[1:], strict=False)]
        self.result = Continuity(self._sent, self._sent - len(self._answers), max(gaps, default=0.0))

    @property
    def answered(self) -> int:
        """Answers so far."""
        return len(self._answers)

    def _send(self) -> None:
        while not self._ended.wait(self._interval):
            self._sent += 1
            try:
                self._socket.sendto(struct.pack("!I", self._sent), self._target)
            except OSError:
                pass  # refused: it counts as lost

    def _receive(self) -> None:
        """Collects answers; gives the last of them half a second."""
        self._socket.settimeout(0.1)
        deadline = None
        while deadline is None or (time.monotonic() < deadline and len(self._answers) < self._sent):
            if deadline is None and self._ended.is_set():
                deadline = time.monotonic() + 0.5
            try:
                self._socket.recv(64)
                self._answers.append(time.monotonic())
            except OSError:
                continue  # nothing yet, or an ICMP error about a datagram that was refused


