"""What a case works with: a fresh laboratory with a capture, and the statements that a case makes about it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import probe

from . import addresses as a
from .capture import Capture, Window
from .frames import Oracle
from .laptop import Laptop
from .topology import Lab
from .traffic import Storm, send_once
from .waiting import LabError, until


class Trial:
    """One laboratory, one laptop, one capture."""

    def __init__(self, binaries: Path, ipv6: bool = True, long: bool = False) -> None:
        self.long = long
        self.lab = Lab(ipv6)
        self.laptop = Laptop(self.lab, binaries)
        self.oracle = Oracle(tcp_probes=probe.tcp_destinations())
        self.capture = Capture(self.lab.ap, "wlan0", self.lab.laptop, self.oracle)

    def say(self, text: str) -> None:
        """One line of the case's story."""
        print(f"   {text}", flush=True)

    def times(self, short: int, long: int) -> int:
        """How often to repeat something."""
        return long if self.long else short

    # -- statements ----------------------------------------------------------------------------------------------

    def expect(self, condition: object, text: str) -> None:
        """Something that must be true."""
        if not condition:
            raise LabError(f"not true: {text}")
        self.say(f"{text}: yes")

    def control(self, what: str = "control, no kill switch", words: Sequence[str] = ()) -> None:
        """Sends every probe and requires that each of them is seen on the wire: the oracle is not blind."""
        window = self.capture.window()
        expected: set[str] = set()
        for uid, probes in self.probes(words).items():
            send_once(self.lab, probes, uid)
            expected |= {item.name for item in probes}
        self.capture.settle()
        missing = sorted(expected - set(window.probes))
        if missing:
            raise LabError(f"{what}: these probes were not seen at the access point: {', '.join(missing)}")
        self.say(f"{what}: all {len(expected)} probes seen at the access point, {window.leaks} frames")

    @contextmanager
    def no_leaks(self, what: str, link_up: bool = True) -> Iterator[Window]:
        """Nothing but the allowed leaves the laptop inside the block (which may begin before the link is up)."""
        window = self.capture.window(settle=link_up)
        yield window
        self.capture.settle()
        if window.leaks:
            listing = "\n      ".join(window.samples)
            raise LabError(f"{what}: {window.leaks} frames leaked ({window.summary()})\n      {listing}")
        self.say(f"{what}: 0 leaks in {sum(window.allowed.values())} frames ({window.summary()})")

    @contextmanager
    def storm(self, words: Sequence[str] = ()) -> Iterator[Storm]:
        """All probes all the time; fails if they were not really sent."""
        with Storm(self.lab, words) as storm:
            yield storm
        if storm.attempts < 100:
            raise LabError(f"the storm made only {storm.attempts} attempts")
        self.say(f"the storm made {storm.attempts} attempts to get out")

    def every_probe_refused(self, what: str, words: Sequence[str] = ()) -> None:
        """Each probe once (twice for chance), and none is seen."""
        with self.no_leaks(what):
            for uid, probes in self.probes(words).items():
                send_once(self.lab, probes, uid)
                send_once(self.lab, probes, uid)

    def probes(self, words: Sequence[str] = ()) -> dict[int, list[probe.Probe]]:
        """Probes by the user who sends them."""
        root = probe.select_probes("root", self.lab.ipv6, words)
        other = probe.select_probes("other", self.lab.ipv6, words)
        return {0: root, a.NOBODY: other}

    def for_seconds(self, seconds: float) -> None:
        """Lets traffic flow for a while: the duration of a measurement, not a wait for something to happen."""
        time.sleep(seconds)

    # -- steps that many cases share -----------------------------------------------------------------------------

    def lock(self, *options: str, restart: bool = False, store: int = 16) -> None:
        """Starts the daemon and enables the kill switch with the client's profile."""
        self.laptop.start_daemon(restart, store)
        self.laptop.enable(*options)
        self.laptop.wait_state("blocked", "connecting")

    def tunnel_works(self, resolver: bool = True, interface: str = "tun0") -> None:
        """Packets of both families go through the tunnel, and (with `resolver`) questions for its resolver do."""
        for host in (a.HOST, a.HOST6):
            ping = ("ping", "-n", "-q", "-c", "1", "-W", "1", "-I", interface, host)
            until(f"{host} answers through the tunnel", lambda: self.laptop.node.attempt(*ping).returncode == 0)
        if not resolver:
            self.say("tunnel: hosts answer over IPv4 and IPv6")
            return
        dns = self.laptop.status()["dns"]
        managed = isinstance(dns, dict) and dns["applied"]
        answer = self.laptop.resolve(a.WHO) if managed else self.laptop.ask(a.TUNNEL_DNS, a.WHO)
        if answer != {a.WHO_TUNNEL}:
            raise LabError(f"{a.WHO} resolves to {answer or 'nothing'}; the tunnel's resolver says {a.WHO_TUNNEL}")
        how = "names are resolved inside it" if managed else "its resolver answers (resolv.conf is not managed)"
        self.say(f"tunnel: hosts answer over IPv4 and IPv6, {how}")


@dataclass(frozen=True)
class Case:
    """A case and what it needs. With `vm` it is run by tests/vm, under other kernels, and not by ctest directly."""

    name: str
    run: Callable[[Trial], None]
    ipv6: bool
    vm: bool
    modules: tuple[str, ...]
    packages: bool
    long_only: bool
    text: str


CASES: dict[str, Case] = {}


def case(
    name: str, ipv6: bool = True, vm: bool = False, modules: Sequence[str] = (), packages: bool = False,
    long_only: bool = False,
) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Registers a function as a case; its docstring says what is shown.

    @param vm       it is for the kernels of tests/vm
    @param modules  modules of the kernel that it needs
    @param packages it needs the programs of fetch_packages.sh
    @param long_only it is run by tests/run.sh --long alone
    """

    def register(function: Callable[[Trial], None]) -> Callable[[Trial], None]:
        text = (function.__doc__ or "").strip().split("\n")[0]
        CASES[name] = Case(name, function, ipv6, vm, tuple(modules), packages, long_only, text)
        return function

    return register
