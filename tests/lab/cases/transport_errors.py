"""ICMP errors about the transport: delivered to OpenVPN's own socket (path MTU), and to no other one."""

import socket
import struct

from probe import checksum

from lab import addresses as a
from lab.profile import write_profile
from lab.trial import Trial, case
from lab.waiting import until

from .transport_common import UDP, connect_plain, expect_proven

_MTU = 1300
_SIZE = 508
_TYPES = {"unreachable": ((3, 3), (1, 4)), "too big": ((3, 4), (2, 0))}
"""Type and code, of ICMP and of ICMPv6."""


def _error(trial: Trial, what: str, source_port: int, ipv6: bool) -> None:
    """The access point reports that a datagram of the laptop's to the server did not get through."""
    server, laptop = (a.SERVER6, trial.lab.link_address6()) if ipv6 else (a.SERVER, trial.lab.link_address())
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    addresses = socket.inet_pton(family, laptop) + socket.inet_pton(family, server)
    quoted = struct.pack("!HHHH", source_port, a.SERVER_PORT, _SIZE, 0)
    if ipv6:
        quoted = struct.pack("!IHBB", 6 << 28, _SIZE, UDP, 64) + addresses + quoted
    else:
        quoted = struct.pack("!BBHHHBBH", 0x45, 0, 20 + _SIZE, 7, 0x4000, 64, UDP, 0) + addresses + quoted
    kind = struct.pack("!BB", *_TYPES[what][ipv6])
    body = struct.pack("!I", _MTU if what == "too big" else 0) + quoted
    message = kind + struct.pack("!H", checksum(kind + b"\0\0" + body)) + body  # the kernel makes ICMPv6's checksum
    protocol = socket.IPPROTO_ICMPV6 if ipv6 else socket.IPPROTO_ICMP
    with trial.lab.ap.entered(), socket.socket(family, socket.SOCK_RAW, protocol) as sender:
        sender.sendto(message, (laptop, 0))


class _Foreign:
    """A new socket of root's that is connected to the server's address and port, and has sent nothing."""

    def __init__(self, trial: Trial, ipv6: bool) -> None:
        with trial.laptop.node.entered():
            self._socket = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((a.SERVER6 if ipv6 else a.SERVER, a.SERVER_PORT))
        self.port = self._socket.getsockname()[1]

    def has_error(self) -> bool:
        """Whether an error was delivered to it."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def _path_mtu(trial: Trial, ipv6: bool) -> bool:
    """Whether the forged path MTU is believed."""
    return f"mtu {_MTU}" in trial.laptop.node.run("ip", "route", "get", a.SERVER6 if ipv6 else a.SERVER)


def _local_port(trial: Trial, pid: int) -> int:
    """Of OpenVPN's UDP socket."""
    lines = trial.laptop.node.run("ss", "-Huanp").splitlines()
    return next(int(line.split()[3].rpartition(":")[2]) for line in lines if f"pid={pid}," in line)


def _forget_path_mtu(trial: Trial) -> None:
    for family in ("-4", "-6"):
        trial.laptop.node.run("ip", family, "route", "flush", "cache")


def _show_undelivered(trial: Trial, state: str) -> None:
    for ipv6 in (False, True):
        foreign = _Foreign(trial, ipv6)
        for _ in range(3):
            _error(trial, "unreachable", foreign.port, ipv6)
            _error(trial, "too big", foreign.port, ipv6)
        trial.lab.ap.attempt("ping", "-n", "-q", "-c", "1", "-W", "0.2", trial.lab.link_address())  # arrives after them
        where = f"{state}, {'IPv6' if ipv6 else 'IPv4'}"
        trial.expect(not foreign.has_error(), f"{where}: an error that quotes another socket is not delivered")
        trial.expect(not _path_mtu(trial, ipv6), f"{where}: its path MTU is not believed")


@case("inbound-errors")
def inbound_errors(trial: Trial) -> None:
    """ICMP errors are delivered if they quote OpenVPN's own socket (path MTU), and to no other socket."""
    for ipv6 in (False, True):
        foreign = _Foreign(trial, ipv6)
        _error(trial, "unreachable", foreign.port, ipv6)
        until("control, no kill switch: an error is delivered", foreign.has_error)
        _error(trial, "too big", foreign.port, ipv6)
        until("control, no kill switch: a path MTU is believed", lambda: _path_mtu(trial, ipv6))
    trial.say("control, no kill switch: forged errors are delivered to any socket, and their path MTU is believed")
    _forget_path_mtu(trial)
    udp = (f"{a.SERVER} {a.SERVER_PORT} udp", f"{a.SERVER6} {a.SERVER_PORT} udp6")
    write_profile(udp)
    trial.lock()
    _show_undelivered(trial, "blocked")
    for ipv6 in (False, True):
        write_profile(udp[::-1] if ipv6 else udp)
        client = connect_plain(trial)
        _show_undelivered(trial, "protected")
        _error(trial, "too big", _local_port(trial, client.pid), ipv6)
        until("OpenVPN's own path MTU is believed", lambda: _path_mtu(trial, ipv6))
        trial.say(f"an error that quotes OpenVPN's own socket is delivered ({'IPv6' if ipv6 else 'IPv4'})")
        _forget_path_mtu(trial)
        expect_proven(trial, client)
        client.kill()
        until("its tunnel is gone", lambda: not trial.laptop.has_tunnel())
