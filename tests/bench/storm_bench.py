#!/usr/bin/python3
"""What a storm costs the daemon: storm_bench.py --bin-dir DIR --sender FILE [--rounds N] [--json].

An unprivileged process (FILE, the target datagram_sender) sends to the pinned server from ever-new sockets, as fast as
it can. The kernel drops each datagram and copies some of them to the daemon, which looks up whose socket each one is.
Measured is the daemon's time on a processor per second, and how long it takes to answer GetStatus meanwhile.

Side by side in one run, in another order each round:
  quiet             nothing is sent
  unpinned          the same storm to another port of the server, which is refused: what a storm costs without a proof
  pinned            the storm to the server
  pinned, trusted   the same by the file of a trusted program, run by an unprivileged user: the proof is tried and fails
first while no OpenVPN runs, then while a proven one carries the tunnel.
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
from kernel_side import processor_nanoseconds  # noqa: E402
from lab import addresses as a  # noqa: E402
from lab import sandbox  # noqa: E402
from lab.laptop import Laptop  # noqa: E402
from lab.profile import PROFILE  # noqa: E402
from lab.topology import Lab  # noqa: E402
from lab.waiting import LabError  # noqa: E402
from user_side import BusClient  # noqa: E402

_TRUSTED, _UNTRUSTED = Path("/usr/sbin/datagram_sender"), Path("/usr/bin/datagram_sender")
_STORMS = {
    "quiet": None,
    "unpinned": (_UNTRUSTED, a.SERVER_PORT + 1),
    "pinned": (_UNTRUSTED, a.SERVER_PORT),
    "pinned, trusted": (_TRUSTED, a.SERVER_PORT),
}
_SECONDS, _QUESTIONS, _PAUSE = 2.0, 20, 0.02
_SHARE_MS = 50.0
"""One part in twenty of the time: what the daemon allows itself for looking for processes (app/transport_prover)."""


class Bench:
    """One laboratory, one daemon, and what was measured so far."""

    def __init__(self, binaries: Path, sender: Path, rounds: int) -> None:
        self._rounds = rounds
        self._chance = random.Random("storm")
        self.figures: list[Figure] = []
        self._lab = Lab()
        for place in (_TRUSTED, _UNTRUSTED):
            shutil.copy(sender, place)
        self._laptop = Laptop(self._lab, binaries)
        self._daemon = self._laptop.start_daemon()
        self._laptop.enable("--transport-program", str(_TRUSTED))
        self._laptop.wait_state("blocked", "connecting")
        self._bus = BusClient()

    def run(self) -> None:
        """Without OpenVPN, and with one."""
        self._measure("no OpenVPN")
        self._laptop.node.start("openvpn", ["openvpn", "--config", str(PROFILE)])
        self._laptop.wait_state("protected")
        self._measure("protected")

    def _measure(self, state: str) -> None:
        busy: dict[str, list[float]] = {}
        answers: dict[str, list[float]] = {}
        sent: dict[str, list[float]] = {}
        for _ in range(self._rounds):
            for kind in self._chance.sample(list(_STORMS), len(_STORMS)):
                with self._storm(kind, sent.setdefault(kind, [])):
                    before, began = processor_nanoseconds(self._daemon.pid), time.perf_counter()
                    time.sleep(_SECONDS)
                    spent = processor_nanoseconds(self._daemon.pid) - before
                    busy.setdefault(kind, []).append(spent / 1e6 / (time.perf_counter() - began))
                    for _question in range(_QUESTIONS):  # they cost more than most storms
                        answers.setdefault(kind, []).append(timed(self._bus.get_status))
                        time.sleep(_PAUSE)
        for kind in _STORMS:
            target = None if kind in ("quiet", "unpinned") else _SHARE_MS
            self.figures.append(quantiles(f"{state}, {kind}: processor", "ms/s", busy[kind], target))
        for kind in _STORMS:
            self.figures.append(quantiles(f"{state}, {kind}: GetStatus", "µs", answers[kind]))
        for kind in _STORMS:
            if sent[kind]:
                rate = statistics.median(sent[kind]) / 1e3
                self.figures.append(Figure(f"  {state}, {kind}: datagrams", "k/s", rate))

    @contextmanager
    def _storm(self, kind: str, sent: list[float]) -> Iterator[None]:
        """Notes how many datagrams were sent a second."""
        storm = _STORMS[kind]
        if storm is None:
            yield
            return
        program, port = storm
        with self._laptop.node.entered():
            process = subprocess.Popen(
                [str(program), "--storm", a.SERVER6, str(port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                user=a.NOBODY,
                group=a.NOBODY,
                extra_groups=[],
            )
        began = time.perf_counter()
        time.sleep(_PAUSE)
        yield
        output, _ = process.communicate()
        if process.returncode:
            raise LabError(f"the storm ended with {process.returncode}")
        sent.append(int(output) / (time.perf_counter() - began))


def _inside(arguments: argparse.Namespace) -> int:
    rounds = min(arguments.rounds, 10)
    try:
        bench = Bench(arguments.bin_dir.resolve(), arguments.sender.resolve(), rounds)
        bench.run()
    except LabError as error:
        print(f"storm_bench: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print_json(bench.figures, rounds, load=os.getloadavg()[0])
    else:
        note = f"GetStatus: {rounds * _QUESTIONS} questions each, asked after the time on the processor was read"
        print_table(bench.figures, rounds, note)
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path, required=True, help="where killswitch and killswitchd are")
    parser.add_argument("--sender", type=Path, required=True, help="the program datagram_sender")
    parser.add_argument("--rounds", type=int, default=10, help="of each kind of storm, at most 10 (default: 10)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--idle-seconds", type=float, help=argparse.SUPPRESS)  # daemon_bench.py's; run.sh tells all
    arguments = parser.parse_args()
    return sandbox.run(lambda: _inside(arguments))


if __name__ == "__main__":
    sys.exit(main())
