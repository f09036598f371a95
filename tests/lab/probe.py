"""Tries every way out of the laptop. One table of probes, used to try each of them once and to run a storm of all.

Run inside the laptop's namespace:

    probe.py once NAME…        sends each of these probes once
    probe.py storm NAME…       sends all of them in turn until its standard input closes

A storm says "ready" first. Both print one JSON object, {"sent": {name: n}, "refused": {name: n}}; refused are the
system calls that failed at once.
Each probe carries its name in the payload, so that whoever sees it on a wire knows which way it took.
"""

import argparse
import json
import os
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from lab import addresses as a  # noqa: E402

_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20
_IPV6_HDRINCL = 36
_SCTP, _GRE, _ESP = 132, 47, 50


@dataclass(frozen=True)
class Probe:
    """One way out. `bind` says how the socket is tied: not at all, to the device, or to the link's address."""

    name: str
    kind: str
    target: str
    port: int = 9
    bind: str = "route"
    user: str = "any"  # who can send it: "any", "root" (raw sockets), "other" (only as another user)

    @property
    def ipv6(self) -> bool:
        """Which of the two."""
        return ":" in self.target

    @property
    def payload(self) -> bytes:
        """Carries the tag; questions for a resolver carry it as a name."""
        if self.kind == "dns":
            return dns_question(f"ksprobe-{self.name}.example.test")
        return f"ksprobe-{self.name};".encode().ljust(64, b".")


def _everywhere(kind: str, hosts: Iterable[tuple[str, str]], port: int = 9, user: str = "any") -> list[Probe]:
    """A probe per host and way of binding."""
    return [
        Probe(f"{kind}{suffix}-{bind}", kind, host, port + number if kind == "tcp" else port, bind, user)
        for suffix, host in hosts
        for number, bind in enumerate(("route", "device", "source"))
    ]


_HOSTS = (("4", a.HOST), ("6", a.HOST6))

PROBES: tuple[Probe, ...] = (
    *_everywhere("udp", _HOSTS),
    *_everywhere("tcp", _HOSTS, port=4100),
    *_everywhere("icmp", _HOSTS, user="root"),
    *_everywhere("dns", (("4-public", a.PUBLIC_DNS), ("6-public", a.PUBLIC_DNS6)), port=53),
    *_everywhere("dns", (("4-ap", a.AP), ("6-ap", a.AP6)), port=53),
    Probe("dot4", "tcp", a.PUBLIC_DNS, 853),
    Probe("dot6", "tcp", a.PUBLIC_DNS6, 853),
    Probe("doh4-device", "tcp", a.PUBLIC_DNS, 443, "device"),
    Probe("lan-udp4", "udp", a.AP, 9),
    Probe("lan-icmp4", "icmp", a.AP, user="root"),
    Probe("lan-udp6", "udp", a.AP6, 9),
    Probe("mdns4", "multicast", "224.0.0.251", 5353),
    Probe("mdns6", "multicast", "ff02::fb", 5353),
    Probe("llmnr4", "multicast", "224.0.0.252", 5355),
    Probe("llmnr6", "multicast", "ff02::1:3", 5355),
    Probe("ssdp4", "multicast", "239.255.255.250", 1900),
    Probe("ssdp6", "multicast", "ff02::c", 1900),
    Probe("netbios4", "multicast", a.AP_BROADCAST, 137),
    Probe("broadcast4", "multicast", "255.255.255.255", 9),
    Probe("fragments4", "fragments", a.HOST, 9, "device"),
    Probe("fragments6", "fragments", a.HOST6, 9, "device"),
    Probe("header4", "header", a.HOST, 9, "device", "root"),
    Probe("header6", "header", a.HOST6, 9, "device", "root"),
    Probe("sctp4", "raw", a.HOST, _SCTP, "device", "root"),
    Probe("sctp6", "raw", a.HOST6, _SCTP, "device", "root"),
    Probe("gre4", "raw", a.HOST, _GRE, "device", "root"),
    Probe("esp6", "raw", a.HOST6, _ESP, "device", "root"),
    Probe("packet", "packet", a.HOST, user="root"),
    Probe("packet-bypass", "packet-bypass", a.HOST, user="root"),
    Probe("packet-unknown-type", "ether", a.AP, user="root"),
    Probe("server-udp443", "udp", a.SERVER, 443),
    Probe("server6-udp443", "udp", a.SERVER6, 443),
    Probe("server-tcp1194", "tcp", a.SERVER, a.SERVER_PORT),
    Probe("server6-tcp1194", "tcp", a.SERVER6, a.SERVER_PORT),
    Probe("server-icmp", "icmp", a.SERVER, user="root"),
    Probe("second-server", "udp", a.SECOND_SERVER, a.SERVER_PORT),
    Probe("second-server6", "udp", a.SECOND_SERVER6, a.SERVER_PORT),
    Probe("server-other-user", "udp", a.SERVER, a.SERVER_PORT, user="other"),
    Probe("server6-other-user", "udp", a.SERVER6, a.SERVER_PORT, user="other"),
    Probe("server-no-mark", "udp", a.SERVER, a.SERVER_PORT, user="root"),
    Probe("server6-no-mark", "udp", a.SERVER6, a.SERVER_PORT, user="root"),
    Probe("server-packet-socket", "packet-transport", a.SERVER, a.SERVER_PORT, user="root"),
)


def select_probes(user: str, ipv6: bool = True, words: Iterable[str] = ()) -> list[Probe]:
    """The probes that `user` ("root" or "other") can send.

    @param words only probes whose name starts with one of these; nothing: all
    """
    prefixes = tuple(words)
    return [
        probe
        for probe in PROBES
        if probe.user in ("any", user)
        and (ipv6 or not probe.ipv6 or probe.kind == "multicast")
        and (not prefixes or probe.name.startswith(prefixes))
    ]


def tcp_destinations() -> dict[tuple[str, int], str]:
    """Which TCP probe goes where: connection requests have no payload to carry a name."""
    return {(probe.target, probe.port): probe.name for probe in PROBES if probe.kind == "tcp"}


def dns_question(name: str) -> bytes:
    """A question for the A record of `name`."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 0x4B53, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


class Sender:
    """Sends probes; keeps one socket per probe where the protocol allows it, as a real program does."""

    def __init__(self, source4: str, source6: str) -> None:
        self._sources = {False: source4, True: source6}
        self._kept: dict[str, socket.socket] = {}
        self._ways: dict[str, Callable[[Probe], None]] = {
            "udp": self._datagram,
            "dns": self._datagram,
            "multicast": self._multicast,
            "fragments": self._fragments,
            "tcp": self._connect,
            "icmp": self._echo_request,
            "header": self._own_header,
            "raw": self._raw,
            "packet": self._packet,
            "packet-bypass": self._packet,
            "packet-transport": self._packet,
            "ether": self._unknown_ether,
        }

    def send(self, probe: Probe) -> bool:
        """Sends one probe; False if the kernel refused it at once."""
        try:
            self._ways[probe.kind](probe)
            return True
        except OSError:
            kept = self._kept.pop(probe.name, None)
            if kept is not None:
                kept.close()
            return False

    def _socket(self, probe: Probe, kind: int, protocol: int = 0, bind: bool = True) -> socket.socket:
        """The kept socket of a probe, made and tied as the probe says."""
        kept = self._kept.get(probe.name)
        if kept is None:
            kept = socket.socket(socket.AF_INET6 if probe.ipv6 else socket.AF_INET, kind, protocol)
            kept.setblocking(False)
            self._kept[probe.name] = kept
            if bind:
                self._tie(kept, probe)
        return kept

    def _tie(self, endpoint: socket.socket, probe: Probe) -> None:
        if probe.bind == "device":
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, a.LINK.encode())
        elif probe.bind == "source":
            endpoint.bind((self._sources[probe.ipv6], 0))

    def _datagram(self, probe: Probe) -> None:
        self._socket(probe, socket.SOCK_DGRAM).sendto(probe.payload, (probe.target, probe.port))

    def _multicast(self, probe: Probe) -> None:
        fresh = probe.name not in self._kept
        sender = self._socket(probe, socket.SOCK_DGRAM)
        index = socket.if_nametoindex(a.LINK)
        if fresh and probe.ipv6:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        elif fresh:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, a.LINK.encode())
        sender.sendto(probe.payload, (probe.target, probe.port))

    def _fragments(self, probe: Probe) -> None:
        self._socket(probe, socket.SOCK_DGRAM).sendto(probe.payload * 60, (probe.target, probe.port))

    def _connect(self, probe: Probe) -> None:
        with socket.socket(socket.AF_INET6 if probe.ipv6 else socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            self._tie(connection, probe)
            try:
                connection.connect((probe.target, probe.port))
            except BlockingIOError:
                pass  # on its way

    def _echo_request(self, probe: Probe) -> None:
        if probe.ipv6:
            message = struct.pack("!BBHHH", 128, 0, 0, 0x4B53, 1) + probe.payload  # the kernel fills the checksum in
            self._socket(probe, socket.SOCK_RAW, socket.IPPROTO_ICMPV6).sendto(message, (probe.target, 0))
            return
        body = struct.pack("!HH", 0x4B53, 1) + probe.payload
        message = struct.pack("!BBH", 8, 0, checksum(b"\x08\0\0\0" + body)) + body
        self._socket(probe, socket.SOCK_RAW, socket.IPPROTO_ICMP).sendto(message, (probe.target, 0))

    def _own_header(self, probe: Probe) -> None:
        """A raw socket that writes the IP header itself."""
        fresh = probe.name not in self._kept
        sender = self._socket(probe, socket.SOCK_RAW, socket.IPPROTO_RAW)
        if fresh and probe.ipv6:
            sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        sender.sendto(self._ip_packet(probe), (probe.target, 0))

    def _raw(self, probe: Probe) -> None:
        """Another transport protocol; `port` is its number."""
        self._socket(probe, socket.SOCK_RAW, probe.port).sendto(probe.payload, (probe.target, 0))

    def _packet(self, probe: Probe) -> None:
        """A packet socket: below the IP layer of the kernel, as DHCP clients and scanners use it."""
        fresh = probe.name not in self._kept
        sender = self._packet_socket(probe)
        if fresh and probe.kind == "packet-bypass":
            sender.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        sender.send(_ethernet_header(b"\x08\0") + self._ip_packet(probe))

    def _unknown_ether(self, probe: Probe) -> None:
        self._packet_socket(probe).send(_ethernet_header(b"\x88\xb5") + probe.payload)

    def _packet_socket(self, probe: Probe) -> socket.socket:
        kept = self._kept.get(probe.name)
        if kept is None:
            kept = self._kept[probe.name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            kept.bind((a.LINK, 0))
        return kept

    def _ip_packet(self, probe: Probe) -> bytes:
        """A whole UDP packet, written by hand."""
        segment = struct.pack("!HHHH", 40000, probe.port, 8 + len(probe.payload), 0) + probe.payload
        if probe.ipv6:
            header = struct.pack("!IHBB", 6 << 28, len(segment), socket.IPPROTO_UDP, 64)
            source, target = (socket.inet_pton(socket.AF_INET6, x) for x in (self._sources[True], probe.target))
            pseudo = source + target + struct.pack("!II", len(segment), socket.IPPROTO_UDP)
            total = checksum(pseudo + segment)
            return header + source + target + segment[:6] + struct.pack("!H", total) + segment[8:]
        source, target = socket.inet_aton(self._sources[False]), socket.inet_aton(probe.target)
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_UDP, 0) + source + target
        return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + segment


def _ethernet_header(kind: bytes) -> bytes:
    mac = [bytes.fromhex(text.replace(":", "")) for text in (a.AP_MAC, a.LAPTOP_MAC)]
    return mac[0] + mac[1] + kind


def send_once(sender: Sender, probes: list[Probe]) -> dict[str, Counter[str]]:
    """Each probe once."""
    outcome: dict[str, Counter[str]] = {"sent": Counter(), "refused": Counter()}
    for probe in probes:
        outcome["sent" if sender.send(probe) else "refused"][probe.name] += 1
    return outcome


def storm(sender: Sender, probes: list[Probe], rate: float) -> dict[str, Counter[str]]:
    """All probes in turn, `rate` a second, until standard input closes."""
    outcome: dict[str, Counter[str]] = {"sent": Counter(), "refused": Counter()}
    began, attempts = time.monotonic(), 0
    while True:
        for probe in probes:
            outcome["sent" if sender.send(probe) else "refused"][probe.name] += 1
            attempts += 1
            ahead = attempts / rate - (time.monotonic() - began)
            if (ahead > 0.001 or attempts % 64 == 0) and select.select([0], [], [], max(ahead, 0))[0]:
                return outcome
            if ahead < -0.1:  # held up by a busy machine: do not make up for it in one burst
                began, attempts = time.monotonic(), 0


def main() -> None:
    """Reads the command line and sends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("once", "storm"))
    parser.add_argument("names", nargs="+")
    parser.add_argument("--uid", type=int, default=0)
    parser.add_argument("--source4", default="")
    parser.add_argument("--source6", default="")
    parser.add_argument("--rate", type=float, default=1500)
    arguments = parser.parse_args()
    if arguments.uid:
        os.setgroups([])
        os.setresgid(arguments.uid, arguments.uid, arguments.uid)
        os.setresuid(arguments.uid, arguments.uid, arguments.uid)
    wanted = [probe for probe in PROBES if probe.name in arguments.names]
    sender = Sender(arguments.source4, arguments.source6)
    if arguments.mode == "once":
        outcome = send_once(sender, wanted)
    else:
        print("ready", flush=True)
        outcome = storm(sender, wanted, arguments.rate)
    try:
        print(json.dumps(outcome), flush=True)
    except BrokenPipeError:
        os._exit(1)  # whoever asked is gone


if __name__ == "__main__":
    main()
