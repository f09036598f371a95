#!/usr/bin/python3
"""How soon a VPN protects: connect_bench.py --bin-dir DIR --sender FILE [--rounds N] [--processes N] [--json].

Side by side in one run, in another order each round: a real OpenVPN without the kill switch until it has connected; the
same one under the lock, started as always (`openvpn --config`), which the daemon proves and marks, until the daemon has
announced `protected`; and `killswitch connect`. What is aimed at follows from the first: 1.2 times as long, and 50 ms.
All of it once more among many idle processes, as the daemon looks for OpenVPN in /proc.

OpenVPN is also started right after `killswitch enable`: the daemon has just looked for it in vain.

Then the proof alone, by a program that is trusted by --transport-program (FILE, the target datagram_sender): from its
call of sendto(2) or connect(2) until the packet reaches the access point. Under the lock the first one of a socket is
dropped; what arrives is the one that was sent again once the socket was marked. One that is not sent again is counted
as lost: OpenVPN repeats it after one second or two.
Needs root; touches nothing of the machine's own network. Figures are only worth something for a release build on a
machine that has nothing else to do: tests/bench/run.sh.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "lab")]
sys.dont_write_bytecode = True

from figures import Figure, print_json, print_table, quantiles, timed  # noqa: E402
from kernel_side import Arrivals  # noqa: E402
from lab import addresses as a  # noqa: E402
from lab import sandbox  # noqa: E402
from lab.laptop import Laptop  # noqa: E402
from lab.profile import PROFILE  # noqa: E402
from lab.topology import Lab  # noqa: E402
from lab.waiting import LabError, until  # noqa: E402
from user_side import BusClient, ResolvConf, StateWatch, TimedProgram  # noqa: E402

_NONE, _PLAIN, _GUIDED = "no kill switch", "openvpn --config", "killswitch connect"
_AT_ONCE = "enable, then openvpn at once"
_CONNECTED, _FIRST_LINE = "Initialization Sequence Completed", "OpenVPN 2."
_OUTSIDE = ": first datagram outside"
_RATIO, _ALLOWANCE_MS, _PROOF_US = 1.2, 50, 2000.0
_REPEATED_MS = 900
"""OpenVPN repeats a first datagram that was lost after one second or two."""
_PROOF_ROUNDS, _TCP_ROUNDS, _TWO_ROUNDS = 100, 10, 20
_BENCH_PORT = 1195
"""Pinned for the second part; no program listens there."""
_SENDER = Path("/usr/sbin/datagram_sender")
_PATIENCE = 1.5
"""Seconds until a datagram counts as lost: more than a SYN needs to be repeated by the kernel."""
_SCAN_PAUSE, _DONE_PAUSE = 0.5, 0.02
"""Longer than the daemon waits between two scans of /proc, and than it works on what a proof changed."""

_NEW_PROCESS, _NEW_SOCKET, _MARKED = "new process", "proven process, new socket", "marked socket"
_TCP = "new process, TCP"
_WORDS = {_NEW_PROCESS: "udp", _MARKED: "again", _NEW_SOCKET: "udp"}
"""What a process does one after the other, as datagram_sender calls it."""
_AIMED = (_NEW_PROCESS, _NEW_SOCKET)


class Sender:
    """A process of datagram_sender: knows when it called sendto(2) or connect(2)."""

    def __init__(self, laptop: Laptop) -> None:
        with laptop.node.entered():
            self._process = subprocess.Popen(
                [str(_SENDER), a.SECOND_SERVER, str(_BENCH_PORT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def send(self, word: str) -> tuple[int, int]:
        """Sends as `word` says (datagram_sender.cpp): source port, and the time (CLOCK_REALTIME, ns) before it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        port, began = self._process.stdout.readline().split()
        return int(port), int(began)

    def end(self) -> None:
        """It is gone when this returns."""
        self._process.communicate()


class Bench:
    """One laboratory, one daemon, and what was measured so far."""

    def __init__(self, binaries: Path, sender: Path, rounds: int, processes: int) -> None:
        self._rounds = rounds
        self._processes = processes
        self._chance = random.Random("connect")
        self.figures: list[Figure] = []
        self._lab = Lab()
        shutil.copy(sender, _SENDER)  # root's, in folders of root's: else it would not be trusted
        self._laptop = Laptop(self._lab, binaries)
        self._laptop.start_daemon()
        self._states = StateWatch()
        self._tunnel_resolver = ResolvConf(a.TUNNEL_DNS)
        self._arrivals = Arrivals(self._lab.ap, "wlan0", frozenset({a.SERVER_PORT, _BENCH_PORT}))
        self._openvpn = ["openvpn", "--config", str(PROFILE)]
        self._killswitch = [self._laptop.program("killswitch"), "connect", str(PROFILE)]

    def run(self) -> None:
        """All of it, and once more among other processes."""
        self._measure_own_cost()
        self._measure_connecting("", (_NONE, _PLAIN, _GUIDED, _AT_ONCE))
        self._measure_proof("", _PROOF_US)
        with self._many_processes():
            suffix = f", {self._processes:,} processes"
            self._measure_connecting(suffix, (_NONE, _PLAIN, _GUIDED))
            self._measure_proof(suffix, None)

    # -- from the start of OpenVPN on ----------------------------------------------------------------------------

    def _measure_own_cost(self) -> None:
        """`protected` is seen through the bus: a signal is a little cheaper than a question and its answer."""
        bus = BusClient()
        asked = [timed(bus.ping) / 1e3 for _ in range(200)]
        self.figures.append(quantiles("included: the bus, question and answer", "ms", asked))

    def _measure_connecting(self, suffix: str, kinds: tuple[str, ...]) -> None:
        took: dict[str, list[float]] = {}
        self._connect_once(_PLAIN)  # what is done for the first time is not measured
        for _round in range(self._rounds):
            for kind in self._chance.sample(kinds, len(kinds)):
                for what, milliseconds in self._connect_once(kind).items():
                    took.setdefault(f"{kind}{what}", []).append(milliseconds)
        base = statistics.median(took[_NONE])
        target = round(_RATIO * base + _ALLOWANCE_MS, 1)
        for what, values in took.items():
            aimed = target if what in kinds and what != _NONE else None
            end = "connected" if what == _NONE else "protected"
            name = f"{what}{suffix}: start → {end}" if what in kinds else f"  {what}{suffix}"
            self.figures.append(quantiles(name, "ms", values, aimed))
        for kind in (one for one in kinds if one in (_PLAIN, _AT_ONCE)):  # `killswitch connect` waits that long by itself
            repeated = sum(one > _REPEATED_MS for one in took[f"{kind}{_OUTSIDE}"])
            name = f"  lost, of {self._rounds}: {kind}{suffix}"
            self.figures.append(Figure(name, "", repeated, target=0))

    def _connect_once(self, kind: str) -> dict[str, float]:
        """Milliseconds from the start of the program: to the end ("") and to what comes before."""
        self._prepare(kind)
        program = TimedProgram(self._laptop.node, self._killswitch if kind == _GUIDED else self._openvpn)
        connected = program.when(_CONNECTED)
        ended = connected if kind == _NONE else self._states.next("protected", program.started)
        moments = {
            "": ended,
            ": openvpn runs": program.when(_FIRST_LINE),
            _OUTSIDE: self._arrivals.next(program.started),
        }
        if kind != _NONE:
            moments[": OpenVPN connected"] = connected
        program.end()
        until("the tunnel is gone", lambda: not self._laptop.has_tunnel())
        return {what: (at - program.started) / 1e6 for what, at in moments.items()}

    def _prepare(self, kind: str) -> None:
        self._laptop.killswitch("disable")
        until("resolv.conf is restored", lambda: not self._tunnel_resolver.is_right())
        if kind != _NONE:
            self._laptop.enable()
        if kind != _AT_ONCE:
            time.sleep(_SCAN_PAUSE)
        self._arrivals.forget()

    @contextmanager
    def _many_processes(self) -> Iterator[None]:
        """Idle ones, in the laptop's network namespace."""
        with self._laptop.node.entered():
            idle = [subprocess.Popen(["sleep", "infinity"]) for _ in range(self._processes)]
        yield
        for process in idle:
            process.kill()
        for process in idle:
            process.wait()

    # -- the proof alone -----------------------------------------------------------------------------------------

    def _measure_proof(self, suffix: str, target: float | None) -> None:
        self._laptop.killswitch("disable")
        unlocked = self._send_rounds(pause=0)
        servers = [f"--server={a.SECOND_SERVER}:{_BENCH_PORT}/{protocol}" for protocol in ("udp", "tcp")]
        self._laptop.killswitch("enable", *servers, "--transport-program", str(_SENDER))
        locked = self._send_rounds(_SCAN_PAUSE)
        second = sum(self._send_second() for _ in range(_TWO_ROUNDS))
        self._laptop.killswitch("disable")
        for what, values in locked.items():
            before = statistics.median(unlocked[what])
            self.figures.append(quantiles(f"  {what}, no kill switch{suffix}", "µs", unlocked[what]))
            aimed = None if target is None or what not in _AIMED else target + before
            self.figures.append(quantiles(f"sendto → wire: {what}{suffix}", "µs", values, aimed))
        again = f"lost, of {_TWO_ROUNDS}: new process right after another{suffix}"
        self.figures.append(Figure(again, "", second, target=0))

    def _send_rounds(self, pause: float) -> dict[str, list[float]]:
        took: dict[str, list[float]] = {}
        for words, rounds in ((_WORDS, _PROOF_ROUNDS), ({_TCP: "tcp"}, _TCP_ROUNDS)):
            for _ in range(rounds):
                time.sleep(pause)
                sender = Sender(self._laptop)
                for what, word in words.items():
                    time.sleep(_DONE_PAUSE)
                    took.setdefault(what, []).append(self._send_once(sender, word))
                sender.end()
        return took

    def _send_once(self, sender: Sender, word: str) -> float:
        """Microseconds from the system call to the arrival; what does not arrive counts as the time that was waited."""
        port, began = sender.send(word)
        try:
            return (self._arrivals.next(began, port, _PATIENCE) - began) / 1e3
        except LabError:
            return _PATIENCE * 1e6

    def _send_second(self) -> bool:
        """A process starts and sends right after another one was found by a scan. Whether its datagram was lost."""
        time.sleep(_SCAN_PAUSE)
        first = Sender(self._laptop)
        self._send_once(first, "udp")
        second = Sender(self._laptop)
        lost = self._send_once(second, "udp") == _PATIENCE * 1e6
        first.end()
        second.end()
        return lost


def _inside(arguments: argparse.Namespace) -> int:
    try:
        rounds = max(30, min(arguments.rounds, 60))
        bench = Bench(arguments.bin_dir.resolve(), arguments.sender.resolve(), rounds, arguments.processes)
        bench.run()
    except LabError as error:
        print(f"connect_bench: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print_json(bench.figures, rounds, load=os.getloadavg()[0])
    else:
        print_table(bench.figures, rounds, f"sendto → wire: {_PROOF_ROUNDS} rounds, {_TCP_ROUNDS} of TCP")
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path, required=True, help="where killswitch and killswitchd are")
    parser.add_argument("--sender", type=Path, required=True, help="the program datagram_sender")
    parser.add_argument("--rounds", type=int, default=30, help="of each measurement, 30 to 60 (default: 30)")
    parser.add_argument("--processes", type=int, default=1000, help="idle ones, in the second part (default: 1000)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--idle-seconds", type=float, help=argparse.SUPPRESS)  # daemon_bench.py's; run.sh tells all
    arguments = parser.parse_args()
    return sandbox.run(lambda: _inside(arguments))


if __name__ == "__main__":
    sys.exit(main())
