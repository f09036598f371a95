"""What the cases about the transport share: its endpoints, foreign programs, and OpenVPN started by hand."""

import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import probe

from lab import addresses as a
from lab.frames import Endpoint
from lab.node import Process
from lab.topology import PYTHON
from lab.traffic import send_once
from lab.trial import Trial
from lab.waiting import LabError, until

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
OPENVPN = "/usr/sbin/openvpn"
CONNECTED = "Initialization Sequence Completed"
STORM = ("dns", "icmp", "packet", "server", "tcp", "udp")
"""Probes for a short storm."""

UNPRIVILEGED = ("--user", "nobody", "--group", "nogroup", "--persist-tun", "--persist-key")
"""Options with which OpenVPN gives up root's rights once it is connected."""


# -- programs that are not OpenVPN -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """A program that uses an endpoint, told from OpenVPN by the port that it binds to (none of the kernel's choice)."""

    name: str
    kind: str
    address: str
    port: int
    source: int
    uid: int = 0

    def start(self, trial: Trial, times: int = 1) -> Process:
        """@param times how often it calls"""
        words = (self.name, self.kind, self.address, str(self.port), str(self.source), str(self.uid))
        program = str(Path(probe.__file__).with_name("caller.py"))
        return trial.laptop.node.start(self.name, [*PYTHON, program, *words, "--times", str(times)])


def watch(trial: Trial, endpoints: Sequence[Endpoint], callers: Sequence[Caller]) -> None:
    """Tells the oracle which endpoints are OpenVPN's, and which source ports are not OpenVPN's."""
    trial.oracle.endpoints = frozenset(endpoints)
    trial.oracle.foreign = {(TCP if it.kind == "tcp" else UDP, it.source): it.name for it in callers}


def call(trial: Trial, callers: Sequence[Caller], times: int = 1) -> list[str]:
    """All at once. @return the names of those that were answered"""
    processes = [caller.start(trial, times) for caller in callers]
    for process in processes:
        process.wait_for("done", 30)
        process.exit_status()
    return [process.name for process in processes if "answered" in process.log()]


def show_callers_reach(trial: Trial, callers: Sequence[Caller]) -> None:
    """The control: without the kill switch each of them is seen at the access point."""
    window = trial.capture.window()
    answered = call(trial, callers)
    trial.capture.settle()
    missing = {caller.name for caller in callers} - set(window.probes)
    if missing:
        raise LabError(f"control: not seen at the access point: {', '.join(sorted(missing))}")
    seen = ", ".join(sorted(window.probes))
    trial.say(f"control, no kill switch: seen {seen}; answered {', '.join(answered) or 'none'}")


def show_callers_refused(trial: Trial, callers: Sequence[Caller], what: str, times: int = 1) -> None:
    """With the kill switch none of them is seen."""
    with trial.no_leaks(f"{what}: {', '.join(caller.name for caller in callers)}"):
        answered = call(trial, callers, times)
    trial.expect(not answered, f"{what}: no caller gets an answer ({', '.join(answered) or 'none'})")


# -- OpenVPN, started by hand ------------------------------------------------------------------------------------------


class Client(Protocol):
    """A running OpenVPN."""

    @property
    def pid(self) -> int:
        """Its process."""

    def log(self) -> str:
        """All it has said."""

    def kill(self) -> None:
        """It dies at once."""


class Daemonized:
    """An OpenVPN that went to the background."""

    def __init__(self, pid_file: Path, log: Path) -> None:
        until("OpenVPN has written its process ID", lambda: pid_file.exists() and pid_file.read_text().strip())
        self.pid = int(pid_file.read_text())
        self._log = log

    def log(self) -> str:
        """All it has said."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """It dies at once."""
        os.kill(self.pid, signal.SIGKILL)


def connect_plain(trial: Trial, *options: str) -> Process:
    """`openvpn --config PROFILE`, connected and trusted; prints how long it took."""
    began = time.monotonic()
    client = trial.laptop.openvpn(*options)
    seconds = time.monotonic() - began
    expect_proven(trial, client)
    trial.say(f"from start to connected: {seconds:.2f} s")
    return client


def expect_trusted(trial: Trial, seconds: float = 30) -> dict[str, object]:
    """The status says `protected`, and the tunnel is trusted because its process was proven."""
    status = trial.laptop.wait_state("protected", seconds=seconds)
    tunnel = status["tunnel"]
    assert isinstance(tunnel, dict)
    trial.expect(tunnel["source"] == "process", f"the tunnel is trusted by proof ({tunnel['source']})")
    trial.expect(status["enforced"], "the kernel holds what was computed")
    return status


def expect_proven(trial: Trial, client: Client, seconds: float = 30) -> None:
    """The same, and the transport is this very process."""
    transport = str(expect_trusted(trial, seconds).get("transport"))
    proven = f"pid {client.pid}," in transport and OPENVPN in transport and "marked" in transport
    trial.expect(proven, f"the transport is this OpenVPN's own socket ({transport})")


def reconnect(trial: Trial, client: Client, number: int) -> None:
    """OpenVPN is told to connect anew (SIGUSR1), and does."""
    connections = client.log().count(CONNECTED)
    os.kill(client.pid, number)
    until("OpenVPN is connected anew", lambda: client.log().count(CONNECTED) > connections, 30)
    expect_proven(trial, client)


def kill_under_storm(trial: Trial, client: Client, what: str, seconds: float = 0.25) -> None:
    """OpenVPN dies while everything tries to get out."""
    with trial.no_leaks(f"{what}: a storm, and OpenVPN is killed"), trial.storm(STORM):
        trial.for_seconds(seconds)
        client.kill()
        trial.laptop.wait_state("blocked", "connecting")
        trial.for_seconds(seconds)
    until("its tunnel is gone", lambda: not trial.laptop.has_tunnel())


def show_death_leaks(trial: Trial, client: Process, what: str) -> None:
    """The control: without the kill switch a probe leaves on the link as soon as OpenVPN is dead."""
    routed = [item for item in probe.PROBES if item.name == "udp4-route"]
    window = trial.capture.window()
    send_once(trial.lab, routed)
    trial.capture.settle()
    inside = window.leaked_probes
    client.kill()
    until("its tunnel is gone", lambda: not trial.laptop.has_tunnel())
    window = trial.capture.window()
    send_once(trial.lab, routed)
    trial.capture.settle()
    leaks = not inside and window.leaked_probes
    trial.expect(leaks, f"control, {what}: a probe leaves when OpenVPN is dead, not before")


def server_endpoints(kind: str, port: int = a.SERVER_PORT) -> tuple[Endpoint, ...]:
    """The VPN server's, in both families."""
    return tuple((TCP if kind == "tcp" else UDP, host, port) for host in (a.SERVER, a.SERVER6))
