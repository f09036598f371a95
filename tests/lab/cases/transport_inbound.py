"""The access point takes the VPN server's address and port (G11): only OpenVPN's own socket receives from there."""

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
from .transport_common import TCP, UDP, connect_plain, server_endpoints

_TCP_PORT = 443
_SERVICES = {"ssh": (TCP, 22), "snmp": (UDP, 161), "ipp": (UDP, 631)}


class _Services:
    """Services of the laptop's, run by root: count what reaches them, and answer."""

    def __init__(self, trial: Trial) -> None:
        self.heard: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        with trial.laptop.node.entered():
            for name, (protocol, port) in _SERVICES.items():
                listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM)
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                listener.bind(("::", port))
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
    trial.lab.ap.ip(f"address add {a.SERVER}/32 dev wlan0", f"address add {a.SERVER6}/128 dev wlan0 nodad")
    try:
        yield
    finally:
        trial.lab.ap.ip(f"address delete {a.SERVER}/32 dev wlan0", f"address delete {a.SERVER6}/128 dev wlan0")


def _use_service(trial: Trial, name: str, ipv6: bool) -> bool:
    """From the server's address and port. @return whether the service answered"""
    protocol, port = _SERVICES[name]
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    server, laptop = (a.SERVER6, trial.lab.link_address6()) if ipv6 else (a.SERVER, trial.lab.link_address())
    with trial.lab.ap.entered():
        caller = socket.socket(family, socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM)
    with caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.settimeout(0.5)
        try:
            caller.bind((server, _TCP_PORT if protocol == TCP else a.SERVER_PORT))
            caller.connect((laptop, port))
            caller.send(b"a question")
            return bool(caller.recv(64))
        except OSError:
            return False


def _forge(trial: Trial, name: str) -> None:
    """Datagrams in the server's name, from a packet socket: the server itself stays reachable."""
    ports = (a.SERVER_PORT, _SERVICES[name][1])
    packet = udp_packet("forged", a.SERVER, trial.lab.link_address(), ports)
    frame(trial.lab.ap, "wlan0", lambda: ethernet(0x0800, packet, a.LAPTOP_MAC, a.AP_MAC))()
    packet6 = _udp_packet6(a.SERVER6, trial.lab.link_address6(), ports)
    frame(trial.lab.ap, "wlan0", lambda: ethernet(0x86DD, packet6, a.LAPTOP_MAC, a.AP_MAC))()


def _udp_packet6(source: str, target: str, ports: tuple[int, int]) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    content = b"ksprobe-forged6;"
    length = 8 + len(content)
    sum_of = checksum(addresses + struct.pack("!II4H", length, UDP, *ports, length, 0) + content)
    return struct.pack("!IHBB", 6 << 28, length, UDP, 64) + addresses + struct.pack("!4H", *ports, length, sum_of) + content


def _call_services(trial: Trial) -> list[str]:
    """Each of them, over both families, from an access point that has the server's address. @return those that answered"""
    with _server_address(trial):
        return [
            f"{name}{'6' if ipv6 else ''}"
            for name in _SERVICES
            for ipv6 in (False, True)
            if _use_service(trial, name, ipv6)
        ]


def _send_after(trial: Trial) -> None:
    """An echo request of the access point's, which arrives after all that was sent before."""
    trial.lab.ap.attempt("ping", "-n", "-q", "-c", "1", "-W", "0.2", trial.lab.link_address())


def _show_unheard(trial: Trial, services: _Services, what: str, own_address: bool) -> None:
    """None of the services hears from the server's address, nor answers there."""
    before = services.heard.copy()
    with trial.no_leaks(f"{what}: services are called from the server's address and port"):
        answered = _call_services(trial) if own_address else []
        for name in ("snmp", "ipp"):
            _forge(trial, name)
        _send_after(trial)
        trial.say(f"{what}: answered {', '.join(answered) or 'none'}; heard {dict(services.heard - before) or 'none'}")
    trial.expect(not answered and services.heard == before, f"{what}: no service hears or answers the server's address")


@case("inbound-transport")
def inbound_transport(trial: Trial) -> None:
    """From the VPN server's own address and port no host reaches a service of the laptop, not even one of root's."""
    udp = (f"{a.SERVER} {a.SERVER_PORT} udp", f"{a.SERVER6} {a.SERVER_PORT} udp6")
    write_profile((*udp, f"{a.SERVER} {_TCP_PORT} tcp-client", f"{a.SERVER6} {_TCP_PORT} tcp6-client"))
    trial.oracle.endpoints = frozenset(server_endpoints("udp") + server_endpoints("tcp", _TCP_PORT))
    trial.oracle.foreign = {service: name for name, service in _SERVICES.items()}
    services = _Services(trial)
    reached = _call_services(trial)
    what = f"control, no kill switch: services answer the server's address: {', '.join(reached)}"
    trial.expect(len(reached) == 2 * len(_SERVICES), what)
    _forge(trial, "ipp")
    until("control: forged datagrams are received", lambda: services.heard["ipp"] == 4)
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
