"""Sees every frame that the laptop sends, from the access point's side of the link, and judges it.

A capture that may have missed a frame proves nothing, so `settle` fails on any loss: a full socket buffer
(PACKET_STATISTICS), or fewer frames captured than the laptop's driver has sent.
"""

import itertools
import os
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from . import addresses as a
from .frames import Oracle, Verdict
from .node import Node
from .waiting import LabError, until

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE, _BUFFER_BYTES = 33, 256 << 20
_OUTGOING = 4
_MARKER = b"\x02\x6b"
_SAMPLES = 30


@dataclass
class Window:
    """What was seen in a stretch of time."""

    allowed: Counter[str] = field(default_factory=Counter)
    leaked: Counter[str] = field(default_factory=Counter)
    probes: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)
    opened: float = field(default_factory=time.monotonic)

    @property
    def leaks(self) -> int:
        """How many frames should not have been there."""
        return sum(self.leaked.values())

    @property
    def leaked_probes(self) -> int:
        """How many of them are probes: the kernel's own frames, which come when they like, are not counted."""
        return sum(self.probes.values())

    def summary(self) -> str:
        """One line: what was there, by kind."""
        parts = [f"{count} {kind}" for kind, count in (self.allowed + self.leaked).most_common()]
        return ", ".join(parts) or "nothing"

    def note(self, verdict: Verdict, length: int) -> None:
        """Counts one frame."""
        if verdict.allowed:
            self.allowed[verdict.kind] += 1
            return
        self.leaked[verdict.kind] += 1
        if verdict.probe:
            self.probes[verdict.probe] += 1
        if len(self.samples) < _SAMPLES:
            self.samples.append(f"{time.monotonic() - self.opened:7.3f} s  {verdict.text}, {length} bytes")


class Capture:
    """A capture of what comes in on `interface` of `node`, sent by the laptop on `link`."""

    def __init__(self, node: Node, interface: str, laptop: Node, oracle: Oracle, link: str = a.LINK) -> None:
        self._oracle = oracle
        self._laptop, self._link = laptop, link
        self._window = Window()
        self._lock = threading.Lock()
        self._markers: set[bytes] = set()
        self._numbers = itertools.count(1)
        self._frames = 0
        with node.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            self._socket.bind((interface, _ETH_P_ALL))
        self._sent_before = self._sent_by_driver()
        threading.Thread(target=self._read, daemon=True, name=f"capture on {interface}").start()

    def window(self, settle: bool = True) -> Window:
        """Begins a new window with everything sent from now on; the one before it ends, complete.

        Only a link that is up can be settled; one that is down has nothing on the way.
        """
        if settle:
            self.settle()
        with self._lock:
            self._window = Window()
            return self._window

    def settle(self) -> None:
        """Returns when everything that the laptop has sent until now has been judged; fails if some was lost."""
        sent = self._sent_by_driver() - self._sent_before
        expected = {self._send_marker(processor) for processor in sorted(os.sched_getaffinity(0))}
        until("the capture sees its own markers", lambda: expected <= self._markers, 15)
        _, dropped = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        if dropped:
            raise LabError(f"the capture lost {dropped} frames in its own buffer: this run proves nothing")
        if self._frames < sent:
            raise LabError(f"the link carried {sent} frames, the capture saw {self._frames}: this run proves nothing")

    # -- inside --------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while True:
            try:
                frame, address = self._socket.recvfrom(65536)
            except OSError:  # the interface went down or away; settle() notices, its markers do not arrive
                if self._socket.fileno() < 0:
                    return
                continue
            if address[2] == _OUTGOING:
                continue
            marker = _marker_in(frame)
            verdict = self._oracle.judge(frame) if marker is None else None
            with self._lock:
                self._frames += 1
                if verdict is None:
                    self._markers.add(marker or b"")
                else:
                    self._window.note(verdict, len(frame))

    def _sent_by_driver(self) -> int:
        """Frames that the laptop's end of the link has handed over (the laboratory's /sys is the laptop's)."""
        return int(Path(f"/sys/class/net/{self._link}/statistics/tx_packets").read_text())

    def _send_marker(self, processor: int) -> bytes:
        """Sends an ARP request (always allowed) from the laptop, on one processor: its queue keeps the order."""
        number = _MARKER + next(self._numbers).to_bytes(4, "big")
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {processor})
        try:
            with self._laptop.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
                sender.bind((self._link, 0))
                sender.send(_arp_request(sender.getsockname()[4], number))
        finally:
            os.sched_setaffinity(0, before)
        return number


def _arp_request(mac: bytes, target_mac: bytes) -> bytes:
    """An ARP probe (RFC 5227: it tells no address) for the access point, with the marker in the unused field."""
    ethernet = b"\xff" * 6 + mac + b"\x08\x06"
    asked = socket.inet_aton(a.AP)
    return ethernet + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes(4) + target_mac + asked


def _marker_in(frame: bytes) -> bytes | None:
    if frame[12:14] == b"\x08\x06" and frame[32:34] == _MARKER:
        return frame[32:38]
    return None
