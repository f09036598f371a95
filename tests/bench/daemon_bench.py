#!/usr/bin/python3
"""How fast, how small and how quiet the daemon is: daemon_bench.py --bin-dir DIR [--firewall-bench FILE] [--json].

Runs the real killswitchd in the laboratory (tests/lab) with a real OpenVPN, and measures from the outside: a link
that comes, a tunnel that OpenVPN announces, a question for the status, memory after a thousand events, wake-ups while
nothing happens. Needs root; touches nothing of the machine's own network. Figures are only worth something for a
release build on a machine that has nothing else to do: tests/bench/run.sh.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "lab")]
sys.dont_write_bytecode = True

from figures import Figure, print_json, print_table, quantiles, timed  # noqa: E402
from kernel_side import (  # noqa: E402
    LinkMaker,
    memory,
    memory_by_file,
    processor_seconds,
    wakeups,
    watch_commits,
    watch_links,
)
from lab import addresses as a  # noqa: E402
from lab import sandbox  # noqa: E402
from lab.laptop import Laptop  # noqa: E402
from lab.node import Node  # noqa: E402
from lab.topology import Lab  # noqa: E402
from lab.waiting import LabError, until  # noqa: E402
from user_side import BusClient, ScriptedOpenVpn  # noqa: E402


class Bench:
    """One laboratory, one daemon, and what was measured so far."""

    def __init__(self, binaries: Path, rounds: int, idle_seconds: float) -> None:
        self._rounds = rounds
        self._idle_seconds = idle_seconds
        self._command = str(binaries / "killswitch")
        self.figures: list[Figure] = []
        self.memory_by_file: dict[str, int] = {}
        self._lab = Lab()
        self._laptop = Laptop(self._lab, binaries)
        # a host with guests: a bridge as of docker, with one container
        self._laptop.node.ip(
            "link add docker0 type bridge",
            "link add veth0 type veth peer name eth0 netns ap",
            "link set veth0 master docker0 up",
            "link set docker0 up",
            "address add 172.17.0.1/16 dev docker0",
        )
        self._daemon = self._laptop.start_daemon()

    def run(self) -> None:
        """Everything that concerns the daemon, in the order in which a day goes."""
        self._laptop.enable()
        self._commits = watch_commits(self._laptop.node)
        before = memory(self._daemon.pid)
        self._measure_announcements()
        self._laptop.connect()
        self._measure_links()
        self._measure_status()
        self._measure_memory(before)
        self._measure_idle()

    def run_firewall_bench(self, program: Path) -> None:
        """The transactions alone, in a network namespace of their own (firewall_bench.cpp)."""
        measured = json.loads(Node("bench").run(str(program), "--json", seconds=300))
        rules = measured["rules"]
        for key, name, target in (
            ("full", f"full apply, {rules} rules", 400.0),
            ("elements", "element update", 100.0),
            ("read_back", "read back and compare", None),
        ):
            self.figures.append(Figure(name, "µs", measured[key]["p50"], measured[key]["p99"], target))

    # -- inside --------------------------------------------------------------------------------------------------

    def _measure_announcements(self) -> None:
        """OpenVPN says that its tunnel is up (`>UPDOWN:UP`), respectively down."""
        openvpn = ScriptedOpenVpn(self._laptop.node)
        until("the daemon listens to OpenVPN", lambda: self._laptop.status()["state"] == "connecting")

        def until_in_force(announce: Callable[[], None]) -> float:
            self._commits.settle()
            began = time.perf_counter()
            announce()
            return (self._commits.next() - began) * 1e6

        up, down = [], []
        for _ in range(self._rounds):
            up.append(until_in_force(openvpn.announce_up))
            down.append(until_in_force(openvpn.announce_down))
        openvpn.close()
        self.figures.append(quantiles("OpenVPN: tunnel up → in force", "µs", up))
        self.figures.append(quantiles("OpenVPN: tunnel down → in force", "µs", down))

    def _measure_links(self) -> None:
        """A link comes, from the kernel's notification on; the request itself waits in another thread. Each has a name
        of its own: where the kernel hooks names before their links come (Linux 6.16), one that was there before needs
        no transaction, nor does one that goes.
        """
        links = watch_links(self._laptop.node)
        maker = LinkMaker(self._laptop.node, self._lab.ap)
        came = []
        with ThreadPoolExecutor(1) as requests:
            for number in range(self._rounds):
                links.settle()
                self._commits.settle()
                done = requests.submit(maker.add, f"bench{number}")
                notified = links.next()
                in_force = self._commits.next()
                done.result()
                came.append((in_force - notified) * 1e6)
                maker.remove(f"bench{number}")
        self.figures.append(quantiles("new link → in force", "µs", came))

    def _measure_status(self) -> None:
        """The status as a program asks for it, and as a person does."""
        bus = BusClient()
        asked = [timed(bus.get_status) for _ in range(self._rounds)]
        self.figures.append(quantiles("D-Bus GetStatus", "µs", asked))
        ran = [timed(lambda: self._spawn([self._command, "status", "--json"])) for _ in range(self._rounds)]
        self.figures.append(quantiles("killswitch status, start to exit", "µs", ran))
        nothing = [timed(lambda: self._spawn(["/bin/true"])) for _ in range(self._rounds)]
        self.figures.append(quantiles("  for comparison: true(1)", "µs", nothing))

    def _spawn(self, command: list[str]) -> None:
        silent = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
        _, status = os.waitpid(os.posix_spawn(command[0], command, os.environ, file_actions=silent), 0)
        if status:
            raise LabError(f"'{' '.join(command)}' ended with {os.waitstatus_to_exitcode(status)}")

    def _measure_memory(self, before: dict[str, int]) -> None:
        """Memory after all that happened until now, against what it was before."""
        now = memory(self._daemon.pid)
        events = 4 * self._rounds
        self.figures.append(Figure("memory when enabled", "KiB", before["resident"]))
        self.figures.append(Figure(f"memory after {events} events", "KiB", now["resident"], target=8192))
        for name in ("anonymous", "file_shared", "file_private", "proportional"):
            self.figures.append(Figure(f"  {name.replace('_', ', ')}", "KiB", now[name]))
        self.memory_by_file = memory_by_file(self._daemon.pid)

    def _measure_idle(self) -> None:
        """Nothing happens: no router advertisements, no lease to renew; the tunnel stands."""
        self._laptop.node.sysctl(f"ipv6/conf/{a.LINK}/accept_ra", 0)
        self._lab.renew_lease()
        time.sleep(1)
        woken, busy = wakeups(self._daemon.pid), processor_seconds(self._daemon.pid)
        time.sleep(self._idle_seconds)
        woken, busy = wakeups(self._daemon.pid) - woken, processor_seconds(self._daemon.pid) - busy
        self.figures.append(Figure("wake-ups while idle", "1/s", woken / self._idle_seconds, target=0))
        self.figures.append(Figure("processor while idle", "ms/s", busy * 1000 / self._idle_seconds))


def _inside(arguments: argparse.Namespace) -> int:
    try:
        bench = Bench(arguments.bin_dir.resolve(), arguments.rounds, arguments.idle_seconds)
        if arguments.firewall_bench:
            bench.run_firewall_bench(arguments.firewall_bench.resolve())
        bench.run()
    except LabError as error:
        print(f"daemon_bench: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print_json(bench.figures, arguments.rounds, kib=bench.memory_by_file)
    else:
        largest = ", ".join(f"{name} {size:,}" for name, size in list(bench.memory_by_file.items())[:8])
        print_table(bench.figures, arguments.rounds, f"resident by mapping, KiB: {largest}")
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path, required=True, help="where killswitch and killswitchd are")
    parser.add_argument("--firewall-bench", type=Path, help="the program of that name, to be measured as well")
    parser.add_argument("--rounds", type=int, default=250, help="of each measurement (default: 250)")
    parser.add_argument("--idle-seconds", type=float, default=20, help="how long to watch it sleep (default: 20)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    arguments = parser.parse_args()
    return sandbox.run(lambda: _inside(arguments))


if __name__ == "__main__":
    sys.exit(main())
