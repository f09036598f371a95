"""Others that look like the tunnel or like its transport."""

import fcntl
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab.capture import Capture, Window
from lab.frames import Oracle
from lab.traffic import send_once
from lab.trial import Trial, case
from lab.waiting import LabError, until

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_ROUTED = ("udp4-route", "udp6-route", "tcp4-route", "tcp6-route", "icmp4-route", "icmp6-route", "dns4-public-route")


@contextmanager
def _second_link(trial: Trial) -> Iterator[Capture]:
    """Another way to the access point, whose interface is called tun0."""
    trial.lab.ap.ip(
        "link add wlan1 type veth peer name tun0 netns laptop",
        "address add 192.168.44.1/24 dev wlan1",
        "address add 2001:db8:44::1/64 dev wlan1",
        "link set wlan1 up",
    )
    trial.laptop.node.ip(
        "link set tun0 up",
        "address add 192.168.44.2/24 dev tun0",
        "address add 2001:db8:44::2/64 dev tun0",
        "route add 0.0.0.0/1 via 192.168.44.1",
        "route add 128.0.0.0/1 via 192.168.44.1",
        "route add 2000::/3 via 2001:db8:44::1",
    )
    try:
        yield Capture(trial.lab.ap, "wlan1", trial.lab.laptop, Oracle(), link="tun0")
    finally:
        trial.lab.ap.ip("link delete wlan1")


class _ForeignTun:
    """A tun device named tun0 that some other program has made; counts the packets that it is given."""

    def __init__(self, trial: Trial) -> None:
        self.window = Window()
        with trial.lab.laptop.entered():
            self._device = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(self._device, _TUNSETIFF, struct.pack("16sH22x", b"tun0", _IFF_TUN | _IFF_NO_PI))
        trial.laptop.node.ip(
            "link set tun0 up",
            "address add 192.168.255.2/24 dev tun0",
            "address add fd00:0:0:feed::1000/64 dev tun0",
            "route add 0.0.0.0/1 dev tun0",
            "route add 128.0.0.0/1 dev tun0",
            "route add 2000::/3 dev tun0",
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        oracle = Oracle()
        while True:
            try:
                packet = os.read(self._device, 65536)
            except OSError:
                return
            self.window.note(oracle.judge_ip(packet), len(packet))

    def delete(self, trial: Trial) -> None:
        """Removes the device: whatever it was given has been read before."""
        trial.laptop.node.ip("link delete tun0")
        self._thread.join(10)
        os.close(self._device)


def _probe_routed(trial: Trial) -> None:
    for uid, probes in trial.probes(words=_ROUTED).items():
        send_once(trial.lab, probes, uid)


@case("false-tun")
def false_tun(trial: Trial) -> None:
    """Another interface gets the name tun0 after the tunnel is gone: a real link, then a foreign tun device."""
    with _second_link(trial) as capture:
        window = capture.window()
        _probe_routed(trial)
        capture.settle()
        trial.expect(window.leaks >= len(_ROUTED), f"control: a link named tun0 carries probes ({window.summary()})")
    control = _ForeignTun(trial)
    _probe_routed(trial)
    control.delete(trial)
    trial.expect(control.window.leaks >= len(_ROUTED), "control: a foreign tun device is given the probes")

    trial.lock()
    client = trial.laptop.connect()
    client.kill()
    until("the tunnel is gone", lambda: not trial.laptop.has_tunnel())
    with trial.no_leaks("a link named tun0"), trial.storm():
        with _second_link(trial) as capture:
            window = capture.window()
            _probe_routed(trial)
            trial.for_seconds(trial.times(1, 10))
            capture.settle()
    _nothing_in(window, "a link named tun0")
    with trial.no_leaks("a foreign tun device named tun0"), trial.storm():
        foreign = _ForeignTun(trial)
        _probe_routed(trial)
        trial.for_seconds(trial.times(1, 10))
        foreign.delete(trial)
    _nothing_in(foreign.window, "a foreign tun device named tun0")
    with trial.no_leaks("connecting again"):
        trial.laptop.connect()
    trial.tunnel_works()


def _nothing_in(window: Window, what: str) -> None:
    if window.leaks:
        listing = "\n      ".join(window.samples)
        raise LabError(f"{what} was trusted: {window.summary()}\n      {listing}")


@case("other-programs")
def other_programs(trial: Trial) -> None:
    """Others who send to the server's address: another port, another protocol, another user, no mark."""
    words = ("server", "second-server")
    trial.control(words=words)
    trial.lock()
    trial.laptop.connect()
    with trial.no_leaks("protected"), trial.storm(words=words):
        trial.for_seconds(trial.times(2, 20))
    trial.lab.stop_vpn_server()
    trial.laptop.wait_state("connecting", "blocked")
    with trial.no_leaks("while OpenVPN tries to reach its server"), trial.storm(words=words):
        trial.for_seconds(trial.times(3, 20))
