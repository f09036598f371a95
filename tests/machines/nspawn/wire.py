"""Sees every frame that a machine sends, from the bridge's side, from before its boot until after its end."""

import socket
import struct
import threading
from contextlib import suppress

from lab.capture import Window
from lab.frames import Oracle
from lab.node import Node
from lab.waiting import LabError, until

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE, _BUFFER_BYTES = 33, 256 << 20
_OUTGOING = 4
_PORTS = "vb-"


class Wire:
    """A capture on every bridge port of `node` that belongs to a machine, those that come later included."""

    def __init__(self, node: Node, oracle: Oracle) -> None:
        self._oracle = oracle
        self._window = Window()
        self._lock = threading.Lock()
        self.frames = 0
        with node.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            self._marker = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._marker.bind(("lo", 0))
        self._markers: set[bytes] = set()
        threading.Thread(target=self._read, daemon=True, name="capture").start()

    def window(self) -> Window:
        """Begins a new window; the one before it is complete."""
        self.settle()
        with self._lock:
            self._window = Window()
            return self._window

    def settle(self) -> None:
        """Returns when everything that has arrived until now is judged; fails if a frame was lost."""
        marker = b"marker" + struct.pack("!I", len(self._markers) + 1)
        self._marker.send(bytes(12) + b"\x88\xb5" + marker)  # queued behind everything that came before
        until("the capture sees its own marker", lambda: marker in self._markers, 30)
        _, dropped = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        if dropped:
            raise LabError(f"the capture lost {dropped} frames: this run proves nothing")

    def _read(self) -> None:
        while True:
            with suppress(OSError):
                frame, address = self._socket.recvfrom(65536)
                if address[0] == "lo" and frame[12:14] == b"\x88\xb5":
                    self._markers.add(frame[14:24])
                elif address[0].startswith(_PORTS) and address[2] != _OUTGOING:
                    verdict = self._oracle.judge(frame)
                    with self._lock:
                        self.frames += 1
                        self._window.note(verdict, len(frame))
