"""Links that come and change their names under the lock (leak classes 13 and 41)."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

from lab.capture import Capture
from lab.frames import Oracle
from lab.trial import Trial, case
from lab.waiting import LabError, until

from .leak_classes_common import Way, datagram, ethernet, frame, payload, shown_closed

_FLOOD_TYPE = 0x88B5
_SO_RCVBUFFORCE, _OUTGOING = 33, 4

_FLOOD = """
import socket, sys
name, packet = sys.argv[1], bytes.fromhex(sys.argv[2])
print("ready", flush=True)
while True:
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((name, 0))
            while True:
                try:
                    sender.send(packet)
                except BlockingIOError:
                    pass
    except OSError:
        pass  # no such link yet, or it is down, or the frame was refused: at once again
"""


class _Flood:
    """A packet socket that sends on a link as fast as it can; one that is not there yet is waited for, busily."""

    def __init__(self, trial: Trial, name: str) -> None:
        content = ethernet(_FLOOD_TYPE, payload(f"flood-{name}"), "ff:ff:ff:ff:ff:ff")
        with trial.laptop.node.entered():
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-B", "-c", _FLOOD, name, content.hex()], stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def stop(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


class _Watch:
    """Notes when frames of the flood come out of a link whose far end is called so."""

    def __init__(self, trial: Trial, far: str) -> None:
        self.times: list[float] = []
        self._far = far
        with trial.lab.ap.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_FLOOD_TYPE))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        threading.Thread(target=self._read, daemon=True, name=f"watch {far}").start()

    def _read(self) -> None:
        while True:
            try:
                _, address = self._socket.recvfrom(2048)
            except OSError:
                continue  # a link went away
            if address[0] == self._far and address[2] != _OUTGOING:
                self.times.append(time.monotonic())

    def describe(self) -> str:
        """What came out, and for how long."""
        if not self.times:
            return "no frame of a packet socket came out"
        milliseconds = (self.times[-1] - self.times[0]) * 1000
        return f"{len(self.times)} frames of a packet socket came out within {milliseconds:.2f} ms"


@case("leak-links")
def leak_links(trial: Trial) -> None:
    """Links that are plugged in or renamed under the lock: packets of programs never get out, frames not for long.

    Where the kernel takes names of links that do not exist yet (Linux 6.16), a link that comes with a name that was
    expected lets nothing out from its first instant on."""
    watch, flood = _plug_in(trial, "usb0")
    until("control, no kill switch: a packet socket is seen on a new link", lambda: len(watch.times) > 100)
    flood.stop()
    trial.say("control, no kill switch: a packet socket gets out of a link as soon as it is there")
    trial.laptop.node.ip("link delete usb0")
    trial.lock()
    ahead = _covers(trial, "usb3")
    trial.say(f"names of links that do not exist yet are {'covered' if ahead else 'not known to this kernel'}")
    for name in ("usb1", "usb2", "usb3"):
        _plug_in_and_watch(trial, name, silent=ahead)
    for name in [f"dock{number + 1}" for number in range(trial.times(1, 20))]:
        _plug_in_and_watch(trial, name, silent=False)
    trial.laptop.node.ip("link delete dock1")
    until("dock1 is gone and its name is kept", lambda: not ahead or _covers(trial, "dock1"))
    _plug_in_and_watch(trial, "dock1", silent=ahead)
    _plug_in_unnoticed(trial, ahead)
    for old, new, up, silent in (
        ("usb1", "lan1", True, False), ("usb2", "lan2", False, False), ("lan1", "usb1", True, ahead),
    ):
        _rename(trial, old, new, up, silent)
        _closed_link(trial, new, _far_of(new, old), "renamed")


def _covers(trial: Trial, name: str) -> bool:
    """Whether a chain at egress, whatever it is called, names the link."""
    chains = trial.laptop.node.run("nft", "list", "table", "netdev", "killswitch")
    return any(re.search(rf"\b{name}\b", line) for line in chains.splitlines() if "hook egress" in line)


def _far_of(new: str, old: str) -> str:
    """The name that the link was plugged in with, which its far end is called after."""
    return new if new.startswith("usb") else old


def _plug_in_and_watch(trial: Trial, name: str, silent: bool) -> None:
    """A link comes; it gets its hook; then nothing gets out. Where its name was expected, nothing got out before."""
    watch, flood = _plug_in(trial, name)
    _settle_hook(trial, name, watch)
    flood.stop()
    trial.say(f"{name} plugged in: {watch.describe()}")
    if silent:
        trial.expect(not watch.times, f"{name} was covered before it came")
    _closed_link(trial, name, name, "plugged in")


def _plug_in(trial: Trial, name: str) -> tuple[_Watch, _Flood]:
    """A link appears and is up in the same instant, as no real one is: the longest window that there can be."""
    watch, flood = _Watch(trial, f"far-{name}"), _Flood(trial, name)
    trial.lab.ap.ip(
        f"link add far-{name} type veth peer name {name}",
        f"address add 192.168.44.1/24 dev far-{name}",
        f"link set far-{name} up",
        f"link set {name} netns laptop up",
    )
    return watch, flood


def _plug_in_unnoticed(trial: Trial, ahead: bool) -> None:
    """The limit: a link that comes while the daemon does not run, with a name that nobody expected, has no hook;
    packets stay in all the same."""
    daemon = trial.laptop.daemon
    assert daemon is not None
    os.kill(daemon.pid, signal.SIGSTOP)
    if ahead:
        watch, flood = _plug_in(trial, "wwan1")
        trial.for_seconds(0.3)
        flood.stop()
        trial.expect(not watch.times, "wwan1, plugged in while the daemon is stopped, lets no frame out")
    watch, flood = _plug_in(trial, "modem0")
    until("a link that nobody noticed lets frames of a packet socket out", lambda: len(watch.times) > 100)
    ways = [Way("link-datagram", datagram(trial.laptop.node, "link-datagram", "192.168.44.1", device="modem0"))]
    flood.stop()
    trial.laptop.node.ip("address replace 192.168.44.2/24 dev modem0")
    capture = Capture(trial.lab.ap, "far-modem0", trial.lab.laptop, Oracle(), link="modem0")
    shown_closed(trial, ways, "modem0, plugged in while the daemon is stopped", on=capture)
    trial.say("limit, modem0: frames of packet sockets come out until the daemon runs again and sees the link")
    os.kill(daemon.pid, signal.SIGCONT)
    flood = _Flood(trial, "modem0")
    _settle_hook(trial, "modem0", watch)
    flood.stop()


def _rename(trial: Trial, old: str, new: str, up: bool, silent: bool) -> None:
    """A link gets another name while packet sockets that are bound to it try to send."""
    watch = _Watch(trial, f"far-{_far_of(new, old)}")
    programs = [_Flood(trial, old), _Flood(trial, new)]
    if up:
        trial.laptop.node.ip(f"link set {old} name {new}")
    else:
        trial.laptop.node.ip(f"link set {old} down", f"link set {old} name {new}", f"link set {new} up")
    _settle_hook(trial, new, watch)
    for program in programs:
        program.stop()
    trial.say(f"{old} renamed to {new} while it is {'up' if up else 'down'}: {watch.describe()}")
    if silent:
        trial.expect(not watch.times, f"{new} was covered before it was called so")


def _settle_hook(trial: Trial, name: str, watch: _Watch) -> None:
    """The link gets its hook, and then nothing comes out any more, however hard a program tries."""
    until(f"{name} has its hook", lambda: _covers(trial, name))
    trial.for_seconds(0.1)
    before = len(watch.times)
    trial.for_seconds(0.3)
    if len(watch.times) > before:
        raise LabError(f"{name} has its hook, and {len(watch.times) - before} frames came out nevertheless")


def _closed_link(trial: Trial, name: str, first_name: str, what: str) -> None:
    """Once the hook is there nothing gets out, whoever sends it."""
    trial.laptop.node.ip(f"address replace 192.168.44.2/24 dev {name}")
    capture = Capture(trial.lab.ap, f"far-{first_name}", trial.lab.laptop, Oracle(), link=name)
    ways = [
        Way("link-datagram", datagram(trial.laptop.node, "link-datagram", "192.168.44.1", device=name)),
        Way("link-frame", frame(trial.laptop.node, name, lambda: ethernet(_FLOOD_TYPE, payload("link-frame")))),
    ]
    shown_closed(trial, ways, f"{name}, {what}", on=capture)
