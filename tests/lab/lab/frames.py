"""Decides about one Ethernet frame that came from the laptop: may it leave while the kill switch is on?

Pure: bytes in, verdict out. Only a short list is allowed; everything else, known or unknown, is a leak. Written
independently of the kill switch, from the guarantees (G1, G7): it shares no code and no rule with it.
"""

import ipaddress
import re
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from . import addresses as a

TAG = re.compile(rb"ksprobe-([a-z0-9-]+)")
"""What every probe carries in its payload. In the tunnel it is encrypted, so it is never seen on the link."""

_ETHER_IPV4, _ETHER_ARP, _ETHER_IPV6, _ETHER_EAPOL, _ETHER_VLAN = 0x0800, 0x0806, 0x86DD, 0x888E, 0x8100
_ETHER_PPPOE_DISCOVERY, _ETHER_PPPOE_SESSION = 0x8863, 0x8864
_PPP_IPV4, _PPP_IPV6 = 0x0021, 0x0057
_PPP_NEGOTIATION = {0xC021: "LCP", 0xC023: "PAP", 0xC223: "CHAP", 0x8021: "IPCP", 0x8057: "IPV6CP", 0x80FD: "CCP"}
_ICMP, _IGMP, _TCP, _UDP, _ICMP6, _SCTP = 1, 2, 6, 17, 58, 132
_PROTOCOLS = {_ICMP: "icmp", _IGMP: "igmp", _TCP: "tcp", _UDP: "udp", _ICMP6: "icmpv6", _SCTP: "sctp"}
_PROTOCOLS |= {41: "6in4", 47: "gre", 50: "esp"}
_EXTENSION_HEADERS = {0, 43, 44, 60}
_NDP = {133: "router solicitation", 135: "neighbour solicitation", 136: "neighbour advertisement"}
_NAME_PORTS = {53: "dns", 853: "dns", 5353: "dns", 5355: "dns", 137: "dns"}


Endpoint = tuple[int, str, int]
"""Protocol number, address, port."""


@dataclass(frozen=True)
class Verdict:
    """What a frame is; `kind` groups frames in counts, `text` describes this one."""

    allowed: bool
    kind: str
    text: str
    probe: str | None = None


@dataclass(frozen=True)
class Packet:
    """The parts of an IP packet that the decision needs."""

    source: str
    destination: str
    protocol: int
    hop_limit: int
    payload: bytes
    offset: int = 0
    identification: int | None = None

    @property
    def ipv6(self) -> bool:
        """Which of the two."""
        return ":" in self.source

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port; zeros where there are none."""
        if self.offset or self.protocol not in (_UDP, _TCP, _SCTP) or len(self.payload) < 4:
            return 0, 0
        return struct.unpack_from("!HH", self.payload)

    def describe(self) -> str:
        """One line for a person."""
        name = _PROTOCOLS.get(self.protocol, f"protocol {self.protocol}")
        source, target = self.source, self.destination
        if self.offset:
            return f"fragment of {name} {source} -> {target} at {self.offset}"
        if self.protocol in (_UDP, _TCP, _SCTP):
            if self.ipv6:
                source, target = f"[{source}]", f"[{target}]"
            return f"{name} {source}:{self.ports[0]} -> {target}:{self.ports[1]}"
        if self.protocol in (_ICMP, _ICMP6) and self.payload:
            return f"{name} type {self.payload[0]} {source} -> {target} hop limit {self.hop_limit}"
        return f"{name} {source} -> {target}"


@dataclass
class Oracle:
    """The allowed list. Holds one piece of memory: which fragmented datagrams began as transport.

    `endpoints` are the transport's: protocol, address and port. `foreign` names programs that are not OpenVPN by the
    protocol and source port that they bind to: to an endpoint, too, their packets are leaks, whatever they carry.
    `tcp_probes` names the probes that cannot carry a tag (a connection request has no payload) by their destination.
    `named` says of a packet whether a case's policy names it: then it is allowed, tag or not. `vlan` and `pppoe` say
    that the uplink is one: then a frame is judged by what it carries.
    """

    endpoints: frozenset[Endpoint] = frozenset((socket.IPPROTO_UDP, host, a.SERVER_PORT) for host in (a.SERVER, a.SERVER6))
    foreign: Mapping[tuple[int, int], str] = field(default_factory=dict)
    server_name: str = a.SERVER_NAME
    resolvers: frozenset[str] = frozenset({a.AP, a.AP6, a.OTHER_AP, a.OTHER_AP6})
    tcp_probes: Mapping[tuple[str, int], str] = field(default_factory=dict)
    named: Callable[[Packet], bool] | None = None
    vlan: int | None = None
    pppoe: bool = False
    _fragments: set[tuple[str, str, int | None]] = field(default_factory=set)

    def judge(self, frame: bytes) -> Verdict:
        """Decides about one frame, Ethernet header included."""
        verdict = self._judge_content(struct.unpack_from("!H", frame, 12)[0], frame[14:])
        tag = TAG.search(frame)
        if tag is None or verdict.kind == "named":
            return verdict
        probe = tag.group(1).decode()
        kind_of_leak = verdict.kind if not verdict.allowed else f"forged {verdict.kind}"
        return Verdict(False, kind_of_leak, f"{verdict.text} [probe {probe}]", probe)

    def _judge_content(self, kind: int, data: bytes) -> Verdict:
        if kind == _ETHER_VLAN and len(data) >= 4 and self.vlan == struct.unpack_from("!H", data)[0] & 0xFFF:
            kind, data = struct.unpack_from("!H", data, 2)[0], data[4:]
        if kind == _ETHER_ARP:
            return _judge_arp(data)
        if kind == _ETHER_EAPOL:
            return Verdict(True, "eapol", "802.1X")
        if kind in (_ETHER_IPV4, _ETHER_IPV6):
            return self.judge_ip(data)
        if self.pppoe and kind == _ETHER_PPPOE_DISCOVERY:
            return Verdict(True, "pppoe", "PPPoE discovery")
        if self.pppoe and kind == _ETHER_PPPOE_SESSION and data[:2] == b"\x11\0" and len(data) >= 8:
            return self._judge_ppp(struct.unpack_from("!H", data, 6)[0], data[8:])
        return Verdict(False, "link layer", f"frame of type {kind:#06x}")

    def _judge_ppp(self, protocol: int, data: bytes) -> Verdict:
        """What a PPPoE session carries."""
        if protocol in (_PPP_IPV4, _PPP_IPV6):
            return self.judge_ip(data)
        name = _PPP_NEGOTIATION.get(protocol)
        return Verdict(name is not None, "ppp", f"PPP {name or f'protocol {protocol:#06x}'}")

    def judge_ip(self, data: bytes) -> Verdict:
        """Decides about one IP packet."""
        packet = _parse_ip(data)
        if packet is None:
            return Verdict(False, "malformed", f"IP packet that cannot be read: {data[:40].hex()}")
        foreign = self.foreign.get((packet.protocol, packet.ports[0]))
        if foreign is not None:
            return Verdict(False, _kind_of_leak(packet), f"{packet.describe()} [{foreign}]", foreign)
        kind = "named" if self.named and self.named(packet) else self._allowed_kind(packet)
        if kind is not None:
            return Verdict(True, kind, packet.describe())
        probe = self.tcp_probes.get((packet.destination, packet.ports[1])) if packet.protocol == _TCP else None
        return Verdict(False, _kind_of_leak(packet), packet.describe(), probe)

    def _allowed_kind(self, packet: Packet) -> str | None:
        if self._is_transport(packet):
            return "transport"
        if _is_dhcp(packet):
            return "dhcp"
        if _is_ndp(packet):
            return "ndp"
        if self._is_server_name_question(packet):
            return "server name"
        return None

    def _is_transport(self, packet: Packet) -> bool:
        """An endpoint's exact address, port and protocol; later fragments of such a packet."""
        datagram = (packet.source, packet.destination, packet.identification)
        if packet.offset:
            return datagram in self._fragments
        if (packet.protocol, packet.destination, packet.ports[1]) not in self.endpoints:
            return False
        if packet.identification is not None:
            self._fragments.add(datagram)
        return True

    def _is_server_name_question(self, packet: Packet) -> bool:
        """A question for the VPN server's own name, and nothing more, to the link's resolver."""
        if packet.protocol != _UDP or packet.ports[1] != 53 or packet.destination not in self.resolvers:
            return False
        return is_question_for(packet.payload[8:], self.server_name)


def is_question_for(message: bytes, name: str) -> bool:
    """Whether a DNS message is one question (A or AAAA) for `name`, with at most an empty-handed OPT record."""
    if len(message) < 12:
        return False
    _, flags, questions, answers, authority, additional = struct.unpack_from("!6H", message)
    if flags & 0x8000 or (questions, answers, authority) != (1, 0, 0) or additional > 1:
        return False
    wire = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    if message[12 : 12 + len(wire)].lower() != wire.lower():
        return False
    rest = message[12 + len(wire) :]
    if len(rest) < 4 or struct.unpack_from("!HH", rest) not in ((1, 1), (28, 1)):
        return False
    option = rest[4:]
    if additional == 0:
        return option == b""
    return option[:3] == b"\0\0\x29" and len(option) in (11, 23)


def _judge_arp(data: bytes) -> Verdict:
    """ARP keeps the link alive, but must not tell the tunnel's addresses."""
    if len(data) < 28:
        return Verdict(False, "arp", "ARP packet that cannot be read")
    operation = "reply" if data[7] == 2 else "request"
    sender, target = (str(ipaddress.IPv4Address(data[at : at + 4])) for at in (14, 24))
    text = f"ARP {operation} from {sender} about {target}"
    told = ipaddress.ip_address(sender) in ipaddress.ip_network(a.TUNNEL_PREFIX)
    return Verdict(not told, "arp", text)


def _parse_ip(data: bytes) -> Packet | None:
    if len(data) >= 20 and data[0] >> 4 == 4:
        return _parse_ipv4(data)
    if len(data) >= 40 and data[0] >> 4 == 6:
        return _parse_ipv6(data)
    return None


def _parse_ipv4(data: bytes) -> Packet:
    length = (data[0] & 0xF) * 4
    total, identification, fragment = struct.unpack_from("!HHH", data, 2)
    fragmented = fragment & 0x3FFF
    return Packet(
        source=socket.inet_ntop(socket.AF_INET, data[12:16]),
        destination=socket.inet_ntop(socket.AF_INET, data[16:20]),
        protocol=data[9],
        hop_limit=data[8],
        payload=data[length : total or len(data)],
        offset=(fragment & 0x1FFF) * 8,
        identification=identification if fragmented else None,
    )


def _parse_ipv6(data: bytes) -> Packet | None:
    """Walks the extension headers to the protocol inside."""
    protocol, at = data[6], 40
    offset, identification = 0, None
    while protocol in _EXTENSION_HEADERS:
        if len(data) < at + 8:
            return None
        if protocol == 44:
            fragment, identification = struct.unpack_from("!HI", data, at + 2)
            offset, length = fragment & 0xFFF8, 8
        else:
            length = (data[at + 1] + 1) * 8
        protocol, at = data[at], at + length
        if offset:
            break
    source, destination = (socket.inet_ntop(socket.AF_INET6, data[start : start + 16]) for start in (8, 24))
    return Packet(source, destination, protocol, data[7], data[at:], offset, identification)


def _is_dhcp(packet: Packet) -> bool:
    """A DHCP client's own packets, to the places where a server may be."""
    if packet.protocol != _UDP:
        return False
    if packet.ipv6:
        on_link = packet.source.startswith("fe80:")
        return packet.ports == (546, 547) and on_link and packet.destination == "ff02::1:2"
    return packet.ports == (68, 67) and packet.destination in ("255.255.255.255", a.AP, a.OTHER_AP)


def _is_ndp(packet: Packet) -> bool:
    """Neighbour discovery that no router has touched, and that does not tell the tunnel's addresses."""
    if packet.protocol != _ICMP6 or packet.hop_limit != 255 or not packet.payload or packet.payload[0] not in _NDP:
        return False
    tunnel = ipaddress.ip_network(a.TUNNEL6_PREFIX)
    if packet.payload[0] == 136 and ipaddress.IPv6Address(packet.payload[8:24]) in tunnel:
        return False
    return ipaddress.ip_address(packet.source) not in tunnel


def _kind_of_leak(packet: Packet) -> str:
    family = "IPv6" if packet.ipv6 else "IPv4"
    if packet.protocol in (_UDP, _TCP) and packet.ports[1] in _NAME_PORTS:
        return f"dns {family}"
    if packet.protocol == _IGMP or (packet.protocol == _ICMP6 and packet.payload[:1] in (b"\x83", b"\x84", b"\x8f")):
        return f"multicast membership {family}"
    if ipaddress.ip_address(packet.destination).is_multicast or packet.destination.endswith(".255"):
        return f"multicast {family}"
    name = _PROTOCOLS.get(packet.protocol, "other protocol")
    return f"{name} {family}"
