"""The access point takes the VPN server's address and port (G11): only OpenVPN's own socket may hear from there."""

import selectors
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from probe import checksum

from lab import addresses as a
from lab.profile import write_profile
from lab.trial import Trial, case
from lab.waiting import until

from .leak_classes_common import ethernet, frame, udp_packet
from .transport_common import TCP, UDP, connect_plain, expect_proven, server_endpoints

_TCP_PORT = 443
_SERVICES = {"ssh": (TCP, 22), "snmp": (UDP, 161), "ipp": (UDP, 631)}


class _Services:
    """Services of the laptop's, run by root: count what reaches them, and answer."""

    def __init__(self, trial: Trial) -> None:
        self.heard: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        with trial.laptop.node.entered():
            for name, (protocol, port) in _SERVICES.items():
                listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM)
                listener.bind(("", port))
                if protocol == TCP:
                    listener.listen(8)
                self._selector.register(listener, selectors.EVENT_READ, name)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                assert isinstance(key.fileobj, socket.socket)
                self.heard[key.data] += 1
                if key.fileobj.type == socket.SOCK_STREAM:
                    with key.fileobj.accept()[0] as connection, suppress(OSError):
                        connection.send(b"hello\n")
                else:
                    data, caller = key.fileobj.recvfrom(2048)
                    with suppress(OSError):  # refused: the answer does not leave
                        key.fileobj.sendto(data, caller)


@contextmanager
def _server_address(trial: Trial) -> Iterator[None]:
    """The access point has the server's address itself, and with it everything that is sent there."""
    trial.lab.ap.ip(f"address add {a.SERVER}/32 dev wlan0")
    try:
        yield
    finally:
        trial.lab.ap.ip(f"address delete {a.SERVER}/32 dev wlan0")


def _use_service(trial: Trial, name: str) -> bool:
    """From the server's address and port. @return whether the service answered"""
    protocol, port = _SERVICES[name]
    with trial.lab.ap.entered():
        caller = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM)
    with caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.settimeout(0.7)
        try:
            caller.bind((a.SERVER, _TCP_PORT if protocol == TCP else a.SERVER_PORT))
            caller.connect((trial.lab.link_address(), port))
            caller.send(b"a question")
            return bool(caller.recv(64))
        except OSError:
            return False


def _forge(trial: Trial, name: str) -> None:
    """A datagram in the server's name, from a packet socket: the server itself stays reachable."""
    _, port = _SERVICES[name]
    packet = udp_packet("forged", a.SERVER, trial.lab.link_address(), (a.SERVER_PORT, port))
    frame(trial.lab.ap, "wlan0", lambda: ethernet(0x0800, packet, a.LAPTOP_MAC, a.AP_MAC))()


def _send_after(trial: Trial) -> None:
    """An echo request of the access point's, which arrives after all that was sent before."""
    trial.lab.ap.attempt("ping", "-n", "-q", "-c", "1", "-W", "0.2", trial.lab.link_address())


def _show_unheard(trial: Trial, services: _Services, what: str, own_address: bool) -> None:
    """None of the services hears from the server's address, nor answers there."""
    before = services.heard.copy()
    with trial.no_leaks(f"{what}: services are called from the server's address and port"):
        if own_address:
            with _server_address(trial):
                answered = [name for name in _SERVICES if any(_use_service(trial, name) for _ in range(2))]
        else:
            answered = []
            for name in ("snmp", "ipp"):
                _forge(trial, name)
            _send_after(trial)
        trial.say(f"{what}: answered {', '.join(answered) or 'none'}; heard {dict(services.heard - before) or 'none'}")
    trial.expect(not answered and services.heard == before, f"{what}: no service hears or answers the server's address")


@case("inbound-transport")
def inbound_transport(trial: Trial) -> None:
    """From the VPN server's own address and port nobody reaches a service of the laptop, whoever runs it."""
    write_profile((f"{a.SERVER} {a.SERVER_PORT} udp", f"{a.SERVER} {_TCP_PORT} tcp-client"))
    trial.oracle.endpoints = frozenset(server_endpoints("udp") + server_endpoints("tcp", _TCP_PORT))
    trial.oracle.foreign = {service: name for name, service in _SERVICES.items()}
    services = _Services(trial)
    with _server_address(trial):
        reached = [name for name in _SERVICES if _use_service(trial, name)]
    what = f"control, no kill switch: services answer the server's address: {', '.join(reached)}"
    trial.expect(reached == list(_SERVICES), what)
    _forge(trial, "ipp")
    until("control: a forged datagram is heard", lambda: services.heard["ipp"] == 2)
    trial.laptop.start_daemon()
    for policy in ("laptop", "strict"):
        trial.laptop.enable("--policy", policy)
        trial.laptop.wait_state("blocked", "connecting")
        _show_unheard(trial, services, f"{policy}, blocked", own_address=True)
        client = trial.laptop.connect()
        _show_unheard(trial, services, f"{policy}, protected", own_address=False)
        client.kill()
    trial.laptop.enable()
    client = connect_plain(trial)
    _show_unheard(trial, services, "laptop, protected, OpenVPN started by hand", own_address=False)
    trial.tunnel_works(resolver=False)


# -- ICMP errors -------------------------------------------------------------------------------------------------------


def _error(trial: Trial, kind: tuple[int, int], value: int, source_port: int) -> None:
    """The access point says that a datagram of the laptop's to the server did not get through."""
    quoted = struct.pack("!BBHHHBBH", 0x45, 0, 528, 7, 0x4000, 64, UDP, 0)
    quoted += socket.inet_aton(trial.lab.link_address()) + socket.inet_aton(a.SERVER)
    quoted += struct.pack("!HHHH", source_port, a.SERVER_PORT, 508, 0)
    body = struct.pack("!HH", 0, value) + quoted
    message = struct.pack("!BBH", *kind, checksum(bytes(kind) + b"\0\0" + body)) + body
    with trial.lab.ap.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.sendto(message, (trial.lab.link_address(), 0))


_UNREACHABLE, _TOO_BIG, _MTU = (3, 3), (3, 4), 1200


class _Foreign:
    """A new socket of root's that is connected to the server's address and port, and has sent nothing."""

    def __init__(self, trial: Trial) -> None:
        with trial.laptop.node.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((a.SERVER, a.SERVER_PORT))
        self.port = self._socket.getsockname()[1]

    def is_told(self) -> bool:
        """Whether an error was delivered to it."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def _path_mtu(trial: Trial) -> str:
    return trial.laptop.node.run("ip", "route", "get", a.SERVER)


def _local_port(trial: Trial, pid: int) -> int:
    """Of OpenVPN's UDP socket."""
    lines = trial.laptop.node.run("ss", "-Huanp").splitlines()
    return next(int(line.split()[3].rpartition(":")[2]) for line in lines if f"pid={pid}," in line)


@case("inbound-errors")
def inbound_errors(trial: Trial) -> None:
    """ICMP errors are delivered if they quote OpenVPN's own socket (path MTU), and to no other socket."""
    write_profile((f"{a.SERVER} {a.SERVER_PORT} udp",))
    trial.laptop.node.sysctl("ipv4/icmp_ratelimit", 0)
    foreign = _Foreign(trial)
    _error(trial, _UNREACHABLE, 0, foreign.port)
    until("control, no kill switch: an error is delivered", foreign.is_told)
    _error(trial, _TOO_BIG, _MTU, foreign.port)
    until("control, no kill switch: a path MTU is learned", lambda: f"mtu {_MTU}" in _path_mtu(trial))
    trial.say("control, no kill switch: a forged error is delivered to any socket, and its path MTU is believed")
    trial.laptop.node.ip("route flush cache")
    trial.lock()
    _show_undelivered(trial, "blocked")
    client = connect_plain(trial)
    _show_undelivered(trial, "protected")
    _error(trial, _TOO_BIG, _MTU, _local_port(trial, client.pid))
    until("OpenVPN's own path MTU is learned", lambda: f"mtu {_MTU}" in _path_mtu(trial))
    trial.say("an error that quotes OpenVPN's own socket is delivered")
    trial.laptop.node.ip("route flush cache")
    expect_proven(trial, client)


def _show_undelivered(trial: Trial, state: str) -> None:
    foreign = _Foreign(trial)
    for _ in range(3):
        _error(trial, _UNREACHABLE, 0, foreign.port)
        _error(trial, _TOO_BIG, _MTU, foreign.port)
    _send_after(trial)
    trial.expect(not foreign.is_told(), f"{state}: an error that quotes another socket is not delivered")
    trial.expect(f"mtu {_MTU}" not in _path_mtu(trial), f"{state}: its path MTU is not believed")
