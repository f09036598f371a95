"""`killswitch blocked`: what was refused, and who wanted it."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable

from probe import dns_question

from lab import addresses as a
from lab.node import Process
from lab.trial import Trial, case
from lab.waiting import until

_CURIOUS = """
import socket, sys, time
family, resolver, question = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
asker = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET, socket.SOCK_DGRAM)
open("/proc/self/comm", "w").write("curious")
while True:
    try:
        asker.sendto(question, (resolver, 53))
    except OSError:
        pass  # refused
    time.sleep(0.1)
"""
"""A program that asks for a name, again and again, as a resolver does."""


def _start_curious(trial: Trial, resolver: str) -> subprocess.Popen[bytes]:
    question = dns_question("ksprobe-curious.example.test").hex()
    with trial.laptop.node.entered():
        return subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", _CURIOUS, "6" if ":" in resolver else "4", resolver, question]
        )


def _follow(trial: Trial) -> Process:
    command = [trial.laptop.program("killswitch"), "blocked", "--follow", "--json"]
    follower = trial.laptop.node.start("blocked", command)
    until("the table that copies is there", lambda: "table inet killswitch_blocked" in trial.laptop.tables())
    return follower


def _told(follower: Process) -> list[dict[str, object]]:
    return [json.loads(line) for line in follower.log().splitlines() if line.startswith("{") and line.endswith("}")]


def _until_told(follower: Process, what: str, wanted: Callable[[dict[str, object]], bool]) -> dict[str, object]:
    return until(what, lambda: next((line for line in _told(follower) if wanted(line)), None), 15)


@case("blocked")
def blocked(trial: Trial) -> None:
    """A question that is refused is shown with its class, where it was to go, and the program that asked."""
    disabled = trial.laptop.killswitch("blocked", expect=(1, 3))
    trial.expect("refused" not in disabled or "nothing" in disabled, "nothing is refused without the lock")
    trial.lock()
    programs = [_start_curious(trial, resolver) for resolver in (a.AP, a.PUBLIC_DNS6)]
    follower = _follow(trial)
    for program, resolver in zip(programs, (a.AP, a.PUBLIC_DNS6), strict=True):

        def asked(line: dict[str, object], resolver: str = resolver, pid: int = program.pid) -> bool:
            return line["destination"] == resolver and line["pid"] == pid

        line = _until_told(follower, f"the question for {resolver} is told", asked)
        named = (line["class"], line["process"], line["destination_port"], line["interface"], line["uid"])
        trial.expect(named == ("dns", "curious", 53, a.LINK, 0), f"told: {line['process']} asked {resolver}")
    with trial.no_leaks("while it is followed"), trial.storm():
        trial.for_seconds(1)
    trial.laptop.connect()
    follower.kill()
    follower = _follow(trial)
    with trial.laptop.node.entered(), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, a.LINK.encode())
        trial.expect(caller.connect_ex((a.HOST, 443)) != 0, "a connection past the tunnel is refused")
    _until_told(follower, "it is told", lambda line: line["destination"] == a.HOST and line["class"] == "other")
    trial.tunnel_works(resolver=False)
    in_tunnel = [line for line in _told(follower) if line["interface"] == "tun0"]
    asked_there = {(line["class"], line["destination"]) for line in in_tunnel}
    trial.expect(asked_there <= {("dns", a.PUBLIC_DNS6)}, f"what the tunnel takes is not told as refused {asked_there}")
    follower.kill()
    for program in programs:
        program.kill()
    until("the table went with the command", lambda: "table inet killswitch_blocked" not in trial.laptop.tables())
    trial.expect("dns" in trial.laptop.killswitch("blocked"), "the totals name the class")
