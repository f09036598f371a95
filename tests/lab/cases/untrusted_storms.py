"""Floods to the transport's endpoint while OpenVPN connects, and an OpenVPN with thousands of sockets."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import addresses as a
from lab.profile import write_profile
from lab.topology import HERE, PYTHON
from lab.trial import Trial, case
from lab.waiting import PATIENCE, LabError

from .transport_common import connect_plain, expect_proven, kill_under_storm, reconnect, server_endpoints

_TICKS = os.sysconf("SC_CLK_TCK")


class _Flood:
    """flood.py, in the laptop."""

    def __init__(self, trial: Trial, *options: str) -> None:
        words = (a.SERVER, str(a.SERVER_PORT), *options)
        with trial.laptop.node.entered():
            self._process = subprocess.Popen(
                [*PYTHON, str(HERE / "flood.py"), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            raise LabError("the flood did not start")

    def finish(self) -> tuple[int, float]:
        """Ends it. @return attempts, and seconds of CPU time"""
        output, _ = self._process.communicate(timeout=60 * PATIENCE)
        outcome = json.loads(output)
        return outcome["attempts"], outcome["cpu"]


_NOBODY = ("--uid", str(a.NOBODY))
_FLOODS = {
    "ever-new sockets, thousands kept open": ((*_NOBODY, "--hold", "4000"), ("--hold", "0")),
    "a few sockets again and again": ((*_NOBODY, "--hold", "3", "--reuse"),),
}


@contextmanager
def _flooded(trial: Trial, what: str) -> Iterator[list[tuple[int, float]]]:
    """The list is filled with attempts and CPU time when the block ends."""
    floods = [_Flood(trial, *options) for options in _FLOODS[what]]
    results: list[tuple[int, float]] = []
    yield results
    results += [flood.finish() for flood in floods]


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class _StatusClock:
    """Asks for the status all the time, and keeps how long each answer took."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._ended = threading.Event()
        self._failure: LabError | None = None
        self.seconds: list[float] = []
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            while not self._ended.wait(0.1):
                began = time.monotonic()
                self._trial.laptop.status()
                self.seconds.append(time.monotonic() - began)
        except LabError as error:
            self._failure = error

    def finish(self) -> float:
        """@return the longest that an answer took"""
        self._ended.set()
        self._thread.join(30 * PATIENCE)
        if self._failure:
            raise self._failure
        return max(self.seconds)


@case("transport-flood", ipv6=False)
def transport_flood(trial: Trial) -> None:
    """Programs flood the server's endpoint, from thousands of sockets or few: OpenVPN connects, the daemon answers."""
    write_profile((f"{a.SERVER} {a.SERVER_PORT} udp",))
    trial.oracle.endpoints = frozenset(server_endpoints("udp"))
    window = trial.capture.window()
    _Flood(trial, *_NOBODY).finish()
    trial.capture.settle()
    trial.expect(window.probes["flood"], "control, no kill switch: the flood is seen at the access point")
    trial.lock()
    for what in _FLOODS:
        _connect_under_flood(trial, what)


def _connect_under_flood(trial: Trial, what: str) -> None:
    daemon = trial.laptop.daemon
    assert daemon is not None
    began, cpu_before = time.monotonic(), _cpu_seconds(daemon.pid)
    with trial.no_leaks(f"a flood to the server's endpoint, {what}"):
        with _flooded(trial, what) as results:
            clock = _StatusClock(trial)
            trial.for_seconds(trial.times(1, 20))
            client = connect_plain(trial)
            for _ in range(trial.times(1, 5)):
                reconnect(trial, client, signal.SIGUSR1)
            longest = clock.finish()
        cpu, elapsed = _cpu_seconds(daemon.pid) - cpu_before, time.monotonic() - began
    attempts, spent = sum(result[0] for result in results), sum(result[1] for result in results)
    trial.say(f"{attempts} datagrams in {elapsed:.1f} s")
    trial.say(f"{len(clock.seconds)} status queries meanwhile, the slowest {longest:.2f} s")
    trial.expect(attempts > 500, "the flood was one")
    trial.say(f"CPU time: the daemon {cpu:.2f} s, the floods {spent:.2f} s")
    trial.expect(cpu < 0.5 * elapsed, "the daemon spends less than half of a processor")
    lines = daemon.log().count("\n")
    trial.expect(lines < 100, f"the log stays readable ({lines} lines)")
    trial.tunnel_works(resolver=False)
    kill_under_storm(trial, client, "after the flood")


@case("transport-many-sockets", ipv6=False)
def transport_many_sockets(trial: Trial) -> None:
    """OpenVPN has thousands of other files and sockets open, and is proven all the same."""
    write_profile((f"{a.SERVER} {a.SERVER_PORT} udp",))
    trial.lock()
    count = 3000
    opener = f"""
import os, resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, ({count} + 64,) * 2)
kept = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range({count})]
for item in kept:
    os.set_inheritable(item.fileno(), True)
os.execv("/usr/sbin/openvpn", ["openvpn", "--config", "/etc/openvpn/client/client.ovpn"])
"""
    with trial.no_leaks("OpenVPN with thousands of sockets"):
        client = trial.laptop.node.start("openvpn", [*PYTHON, "-c", opener])
        client.wait_for("Initialization Sequence Completed", 30)
        expect_proven(trial, client)
    trial.expect(len(os.listdir(f"/proc/{client.pid}/fd")) > count, "it holds them")
    trial.tunnel_works(resolver=False)
    kill_under_storm(trial, client, "OpenVPN with thousands of sockets")
