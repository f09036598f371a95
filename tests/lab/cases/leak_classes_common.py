"""What the cases of leak classes share: a table of ways out, each shown to be open without the kill switch first."""

import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from probe import checksum

from lab import addresses as a
from lab.capture import Capture, Window
from lab.node import Node
from lab.trial import Trial
from lab.waiting import LabError, until

MARK = 27507
"""The mark of OpenVPN's packets, as the shipped options set it."""

TIMES = 3
"""How often a way is tried."""


@dataclass(frozen=True)
class Way:
    """One way out of the laptop.

    `seen` counts in a window what came out; without it, frames that carry the way's name. `linger` is how many seconds
    a window stays open for what the kernel sends late.
    """

    name: str
    send: Callable[[], None]
    seen: Callable[[Window], int] | None = None
    linger: float = 0

    def count(self, window: Window) -> int:
        """How much came out."""
        return self.seen(window) if self.seen else window.probes[self.name]


def of_kind(*kinds: str) -> Callable[[Window], int]:
    """Counts leaked frames of these kinds, for what cannot carry a name."""
    return lambda window: sum(window.leaked[kind] for kind in kinds)


def shown_open(
    trial: Trial, ways: Sequence[Way], what: str = "control, no kill switch", on: Capture | None = None
) -> None:
    """Requires that each of the ways leads out: what is refused later was possible."""
    capture = on or trial.capture
    closed, counts = [], []
    for way in ways:
        window = capture.window()
        _send(way)
        deadline = time.monotonic() + way.linger
        while not way.count(window) and time.monotonic() < deadline:
            time.sleep(0.02)
        capture.settle()
        counts.append(f"{way.name} {way.count(window)}")
        if not way.count(window):
            closed.append(way.name)
    if closed:
        raise LabError(f"{what}: these ways do not even lead out without it: {', '.join(closed)}")
    trial.say(f"{what}: {', '.join(counts)}")


def shown_closed(trial: Trial, ways: Sequence[Way], what: str, on: Capture | None = None) -> None:
    """Requires that nothing at all that is not allowed comes out while each of the ways is tried."""
    capture = on or trial.capture
    leaks: list[str] = []
    for way in ways:
        window = capture.window()
        _send(way)
        time.sleep(way.linger)
        capture.settle()
        if window.leaks:
            leaks.append(f"{way.name}: {window.leaks} frames ({window.summary()}), first: {window.samples[0]}")
    if leaks:
        listing = "\n      ".join(leaks)
        raise LabError(f"{what}: {len(leaks)} of {len(ways)} ways lead out\n      {listing}")
    trial.say(f"{what}: 0 leaks by {len(ways)} way{'s' if len(ways) > 1 else ''}")


def measure_limit(trial: Trial, way: Way, reason: str, on: Capture | None = None) -> None:
    """A way that the kill switch does not close; says how much came out, and why."""
    capture = on or trial.capture
    window = capture.window()
    _send(way)
    time.sleep(way.linger)
    capture.settle()
    trial.say(f"limit, {way.name}: {way.count(window)} frames came out: {reason}")


def _send(way: Way) -> None:
    for _ in range(TIMES):
        try:
            way.send()
        except OSError:
            pass  # refused at once


def payload(name: str) -> bytes:
    """What tells the way."""
    return f"ksprobe-{name};".encode().ljust(64, b".")


def datagram(
    node: Node, name: str, target: str, port: int = 9, *, device: str = "", source: tuple[str, int] | None = None,
    mark: int = 0,
) -> Callable[[], None]:
    """Sends one UDP packet per call, from a socket of its own."""

    def send() -> None:
        with node.entered():
            sender = socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            if device:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            if mark:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            if source:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sender.bind(source)
            sender.sendto(payload(name), (target, port))

    return send


def frame(node: Node, device: str, content: Callable[[], bytes]) -> Callable[[], None]:
    """Sends one Ethernet frame per call, from a packet socket."""

    def send() -> None:
        with node.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((device, 0))
            sender.send(content())

    return send


def ethernet(kind: int, content: bytes, target: str = a.AP_MAC, source: str = a.LAPTOP_MAC) -> bytes:
    """A frame."""
    return mac(target) + mac(source) + kind.to_bytes(2, "big") + content


def udp_packet(name: str, source: str, target: str, ports: tuple[int, int] = (40000, 9), fragment: int = 0) -> bytes:
    """An IPv4 packet, by hand; the checksum of UDP is left out, which is allowed."""
    segment = struct.pack("!HHHH", *ports, 8 + len(payload(name)), 0) + payload(name)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 7, fragment, 64, 17, 0)
    header += socket.inet_aton(source) + socket.inet_aton(target)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + segment


def mac(text: str) -> bytes:
    """Six bytes."""
    return bytes.fromhex(text.replace(":", ""))


def second_link(trial: Trial, name: str) -> None:
    """Another link of the laptop to the access point, whose far end is called after it."""
    trial.lab.ap.ip(
        f"link add far-{name} type veth peer name {name} netns laptop",
        f"address add 192.168.44.1/24 dev far-{name}",
        f"link set far-{name} up",
    )
    trial.laptop.node.ip(f"link set {name} up", f"address add 192.168.44.2/24 dev {name}")
    until(f"{name} is up", lambda: "LOWER_UP" in trial.laptop.node.run("ip", "link", "show", name))
