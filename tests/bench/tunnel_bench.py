#!/usr/bin/python3
"""What a packet costs with and without the rules: tunnel_bench.py --bin-dir DIR [--rounds N] [--json].

Side by side in one run: the same OpenVPN and the same tunnel all the time, and the rules of the kill switch (as the
daemon had them in force while "protected") put there and taken away between rounds, in another order each time. So what
the machine does besides hits all of them alike, and only ratios of neighbouring rounds are compared.

What is measured is time on the processor, not on the clock:
  through OpenVPN    a datagram out and its echo back, of the sending program and the OpenVPN client together
  into the tunnel    a datagram as far as the tunnel device, with nobody behind it: the dearest place for a rule
  transport          a datagram with OpenVPN's mark to a server out of 1, 100 or 10,000, as far as the wire
and, on the clock, how long a program waits that asks for IPv6 while the tunnel carries IPv4 alone.
Needs root; touches nothing of the machine's own network.
"""

import argparse
import json
import os
import random
import re
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "lab")]
sys.dont_write_bytecode = True

from kernel_side import processor_nanoseconds  # noqa: E402
from lab import addresses as a  # noqa: E402
from lab import sandbox  # noqa: E402
from lab.laptop import Laptop  # noqa: E402
from lab.topology import Lab  # noqa: E402
from lab.waiting import LabError, until  # noqa: E402

_MARK = 27507  # OpenVPN's, as the shipped options set it
_SERVERS = (1, 100, 10_000)
_NONE, _RULES = "no rules", "1 server"
_WINDOW, _EXCHANGES, _DATAGRAMS = 16, 800, 6_000
_PAYLOAD = b"bench".ljust(100, b".")
_BLACK_HOLE = "192.0.2.200"


@dataclass
class Ratio:
    """One line of the table: how much dearer `what` is than `than`, with the middle 95 % of a bootstrap."""

    what: str
    than: str
    base_ns: float
    ratio: float
    low: float
    high: float
    limit: float | None = None

    @property
    def missed(self) -> bool:
        """Whether even the lower end of the spread is above what it should be."""
        return self.limit is not None and self.low > self.limit


def _bootstrap(values: list[float], times: int = 2000) -> tuple[float, float]:
    """The middle 95 % of the medians of samples drawn anew."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(times))
    return medians[times * 25 // 1000], medians[times * 975 // 1000]


class Rules:
    """The rules as they were in force, to be put there and taken away as a whole."""

    def __init__(self, laptop: Laptop, text: str) -> None:
        self._laptop = laptop
        self._files = {}
        for count in _SERVERS:
            path = sandbox.STORAGE / f"rules-{count}.nft"
            path.write_text("flush ruleset\n" + _with_servers(text, count))
            self._files[f"{count:,} server{'s' if count > 1 else ''}"] = path

    @property
    def names(self) -> list[str]:
        """What can be put in force."""
        return [_NONE, *self._files]

    def put(self, name: str) -> None:
        """In force when this returns."""
        self._laptop.node.run("nft", "flush", "ruleset")
        if name != _NONE:
            self._laptop.node.run("nft", "-f", str(self._files[name]), seconds=60)


def _with_servers(text: str, count: int) -> str:
    """The rules with `count` servers in both tables: one that is asked for, and others."""
    more = [f"10.{number >> 8}.{number & 255}.1 . 17 . 1194" for number in range(count - 1)]
    elements = ", ".join([f"{_BLACK_HOLE} . 17 . 1194", *more])
    return re.sub(r"(set transport4 \{[^}]*?elements = \{ )", lambda match: f"{match[0]}{elements}, ", text)


class Bench:
    """One laboratory, one tunnel, and what was measured so far."""

    def __init__(self, binaries: Path, rounds: int) -> None:
        self._rounds = rounds
        self.ratios: list[Ratio] = []
        self.waits: dict[str, tuple[float, float]] = {}
        self._lab = Lab()
        self._lab.stop_vpn_server()
        self._lab.start_vpn_server(tunnel6=False)
        self._lab.ap.ip(f"route add blackhole {_BLACK_HOLE}/32")
        self._laptop = Laptop(self._lab, binaries)
        self._laptop.start_daemon()
        self._laptop.enable()
        self._openvpn = self._laptop.connect()
        text = json.loads(self._laptop.killswitch("rules", "--json"))["nft"]
        self._measure_refusals()
        self._laptop.killswitch("disable")
        if not self._openvpn.alive():
            raise LabError("OpenVPN ended with the kill switch: there is no tunnel to measure")
        self._rules = Rules(self._laptop, text)

    def run(self) -> None:
        """All comparisons."""
        self._warm_up()
        through = self._compare("through OpenVPN", self._exchange, (_NONE, _RULES))
        self._add("through OpenVPN, there and back", through, _RULES, _NONE, 1.10)
        servers = self._compare("transport", lambda: self._send("transport"), tuple(self._rules.names))
        self._add("transport to the wire, kernel alone", servers, _RULES, _NONE)
        for name in self._rules.names[2:]:
            self._add(f"transport, one of {name}", servers, name, _RULES, 1.05)
        # Last, for the server gives up: nobody reads the tunnel device, which drops what does not fit its queue.
        os.kill(self._openvpn.pid, signal.SIGSTOP)
        into = self._compare("into the tunnel", lambda: self._send("tunnel"), (_NONE, _RULES))
        self._add("into the tunnel device, kernel alone", into, _RULES, _NONE)

    # -- inside --------------------------------------------------------------------------------------------------

    def _add(self, what: str, costs: dict[str, list[float]], name: str, than: str, limit: float | None = None) -> None:
        pairs = [dear / cheap for dear, cheap in zip(costs[name], costs[than], strict=True)]
        low, high = _bootstrap(pairs)
        base = statistics.median(costs[than])
        ratio = statistics.median(pairs)
        self.ratios.append(Ratio(what, than, round(base), round(ratio, 3), round(low, 3), round(high, 3), limit))

    def _compare(self, what: str, cost: Callable[[], float], names: tuple[str, ...]) -> dict[str, list[float]]:
        """Nanoseconds a packet, one value a round: in each round all of `names`, in an order of its own."""
        chance = random.Random(what)
        costs: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(self._rounds):
            for name in chance.sample(names, len(names)):
                self._rules.put(name)
                costs[name].append(cost())
        return costs

    def _warm_up(self) -> None:
        self._rules.put(_RULES)
        until("the tunnel carries packets under the rules", lambda: self._try_exchange())
        self._rules.put(_NONE)

    def _try_exchange(self) -> bool:
        try:
            self._exchange()
        except OSError:
            return False
        return True

    def _exchange(self) -> float:
        """Datagrams to a host behind the tunnel and back, a few on the way at a time; nothing may get lost."""
        with self._laptop.node.entered():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            sender.settimeout(1)
            sender.connect((a.HOST, 7))
            own, openvpn = time.thread_time_ns(), processor_nanoseconds(self._openvpn.pid)
            for _ in range(_EXCHANGES // _WINDOW):
                for _ in range(_WINDOW):
                    sender.send(_PAYLOAD)
                for _ in range(_WINDOW):
                    sender.recv(200)
            spent = time.thread_time_ns() - own + processor_nanoseconds(self._openvpn.pid) - openvpn
        return spent / _EXCHANGES

    def _send(self, where: str) -> float:
        """Datagrams one way; what the kernel does for them is the sender's time."""
        with self._laptop.node.entered():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            if where == "tunnel":
                sender.connect((a.HOST, 9))
            else:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _MARK)
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, a.LINK.encode())
                sender.connect((_BLACK_HOLE, 1194))
            began = time.thread_time_ns()
            for _ in range(_DATAGRAMS):
                sender.send(_PAYLOAD)
            return (time.thread_time_ns() - began) / _DATAGRAMS

    def _measure_refusals(self) -> None:
        """connect() to an IPv6 address under the rules, and for comparison where the kernel has no route."""
        self._laptop.node.ip("route add unreachable 2001:db8:dead::1/128")
        for name, target in (("refused", a.HOST6), ("no route", "2001:db8:dead::1")):
            took = sorted(self._refused(target) for _ in range(max(200, 4 * self._rounds)))
            self.waits[name] = (took[len(took) // 2], took[len(took) * 99 // 100])

    def _refused(self, target: str) -> float:
        """Milliseconds until connect() fails."""
        with self._laptop.node.entered():
            caller = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        with caller:
            caller.settimeout(10)
            began = time.perf_counter()
            try:
                caller.connect((target, 80))
            except OSError:
                return (time.perf_counter() - began) * 1e3
        raise LabError(f"{target} was reached: there is nothing to measure")


def _print_table(bench: Bench, rounds: int) -> None:
    print(f"{'cost of a packet':38}{'against':>10}{'ns there':>10}{'ratio':>8}   {'95 %':13}{'at most':>8}")
    for one in bench.ratios:
        limit = "" if one.limit is None else f"{one.limit:.2f}"
        spread = f"{one.low:.3f}–{one.high:.3f}"
        print(f"{one.what:38}{one.than:>10}{one.base_ns:>10,.0f}{one.ratio:>8.3f}   {spread:13}{limit:>8}"
              f"{'  MISSED' if one.missed else ''}")
    print(f"\n{'connect() to IPv6, IPv4-only tunnel':38}{'p50 ms':>10}{'p99 ms':>10}")
    for name, (middle, high) in bench.waits.items():
        print(f"  {name:36}{middle:>10.3f}{high:>10.3f}")
    load = os.getloadavg()[0]
    print(f"\n{rounds} rounds, median of ratios of neighbouring rounds; {os.cpu_count()} processors, load {load:.1f}")


def _inside(arguments: argparse.Namespace) -> int:
    try:
        bench = Bench(arguments.bin_dir.resolve(), arguments.rounds)
        bench.run()
    except LabError as error:
        print(f"tunnel_bench: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        ratios = [asdict(one) | {"missed": one.missed} for one in bench.ratios]
        waits = {name: {"p50_ms": middle, "p99_ms": high} for name, (middle, high) in bench.waits.items()}
        print(json.dumps({"version": 1, "rounds": arguments.rounds, "ratios": ratios, "connect": waits}))
    else:
        _print_table(bench, arguments.rounds)
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path, required=True, help="where killswitch and killswitchd are")
    parser.add_argument("--rounds", type=int, default=60, help="of each comparison (default: 60)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--idle-seconds", type=float, help=argparse.SUPPRESS)  # daemon_bench.py's; run.sh tells both
    arguments = parser.parse_args()
    return sandbox.run(lambda: _inside(arguments))


if __name__ == "__main__":
    sys.exit(main())
