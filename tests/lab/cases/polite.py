"""Refusals that programs understand: with a tunnel that carries IPv4 alone, IPv6 fails at once and not after minutes."""

import errno
import socket
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from lab import addresses as a
from lab.trial import Trial, case
from lab.waiting import LabError

from .leak_classes_common import payload

_NAME = "both.example.test"
_PORT = 80
_NOWHERE6 = "2001:db8:dead::1"
_TIMES = 20
_SLOWER_AT_MOST = 200
"""How much slower than the kernel's own "no route" a refusal may be: both are microseconds, a timeout is 100,000 times
that."""

_FALL_BACK = {
    errno.ECONNREFUSED, errno.EACCES, errno.EPERM, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL,
}
"""What makes programs try the next address."""


def _ipv4_only_tunnel(trial: Trial) -> None:
    trial.lab.stop_vpn_server()
    trial.lab.start_vpn_server(tunnel6=False)
    with Path("/etc/hosts").open("a", encoding="ascii") as hosts:
        hosts.write(f"{a.HOST6} {_NAME}\n{a.HOST} {_NAME}\n")


def _reach(trial: Trial) -> tuple[str, str]:
    """A dual-stack program: the addresses of a name in their order, until one answers; where it got, and as whom."""
    with trial.laptop.node.entered():
        found = [entry[4][0] for entry in socket.getaddrinfo(_NAME, _PORT, type=socket.SOCK_STREAM)]
        if found != [a.HOST6, a.HOST]:
            raise LabError(f"{_NAME} should be {a.HOST6} first, then {a.HOST}; the resolver says {found}")
        with socket.create_connection((_NAME, _PORT), timeout=20) as connection:
            seen_as = connection.recv(100).decode().removeprefix("hello ").strip()
            return connection.getpeername()[0], seen_as


def _connect6(trial: Trial, target: str) -> None:
    with trial.laptop.node.entered(), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as caller:
        caller.settimeout(10)
        caller.connect((target, _PORT))


def _say6(trial: Trial, target: str, connected: bool) -> None:
    with trial.laptop.node.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        if connected:
            sender.connect((target, 9))
            sender.send(payload("polite"))
        else:
            sender.sendto(payload("polite"), (target, 9))


def _refusal(attempt: Callable[[], None]) -> tuple[int, float]:
    """The error of an attempt, and after how many seconds it came; 0 when there was none."""
    began = time.perf_counter()
    try:
        attempt()
    except OSError as error:
        return error.errno or -1, time.perf_counter() - began
    return 0, time.perf_counter() - began


def _refused_at_once(trial: Trial, what: str, attempt: Callable[[], None], reference: float) -> None:
    found: list[tuple[int, float]] = []
    for _ in range(_TIMES):
        found.append(_refusal(attempt))
        if found[-1][0] not in _FALL_BACK:
            said = errno.errorcode.get(found[-1][0], "no error, or none in time")
            raise LabError(f"{what}: {said} after {found[-1][1]:.1f} s: programs do not fall back on that")
    names = {errno.errorcode[code] for code, _ in found}
    median = statistics.median(seconds for _, seconds in found)
    ratio = median / reference
    trial.expect(
        ratio < _SLOWER_AT_MOST,
        f"{what}: {', '.join(sorted(names))} after {median * 1e3:.2f} ms, {ratio:.1f} times 'no route'",
    )


@case("polite")
def polite(trial: Trial) -> None:
    """With an IPv4-only tunnel IPv6 is refused at once: programs of both families get through by IPv4."""
    _ipv4_only_tunnel(trial)
    client = trial.laptop.openvpn()
    window = trial.capture.window()
    reached, _ = _reach(trial)
    _say6(trial, a.HOST6, connected=True)
    trial.capture.settle()
    leaked = window.leaked["tcp IPv6"] and window.probes["polite"]
    trial.expect(reached == a.HOST6 and leaked, f"control, plain OpenVPN: IPv6 passes it by ({window.summary()})")
    client.kill()

    trial.laptop.node.ip(f"route add unreachable {_NOWHERE6}/128")
    reference = statistics.median(_refusal(lambda: _connect6(trial, _NOWHERE6))[1] for _ in range(_TIMES))
    trial.lock()
    trial.laptop.connect()
    trial.expect(trial.laptop.status()["ipv6"] == "refused", "status says that IPv6 is refused")
    with trial.no_leaks("protected, a tunnel of IPv4 alone"):
        _refused_at_once(trial, "TCP", lambda: _connect6(trial, a.HOST6), reference)
        _refused_at_once(trial, "UDP", lambda: _say6(trial, a.HOST6, connected=False), reference)
        _refused_at_once(trial, "UDP, connected", lambda: _say6(trial, a.HOST6, connected=True), reference)
        reached, seen_as = _reach(trial)
        trial.expect(reached == a.HOST, f"a program of both families got through by IPv4, seen as {seen_as}")
        trial.expect(seen_as == "192.168.255.2", "through the tunnel")
