"""What others make the laptop say, and whether it tells its addresses in the tunnel (leak classes 8-12, 28-30)."""

import socket
import struct
import threading

from probe import checksum

from lab import addresses as a
from lab.frames import TAG
from lab.node import Node, Process
from lab.traffic import Stream
from lab.trial import Trial, case
from lab.waiting import until

from .leak_classes_common import (
    TIMES, Way, datagram, ethernet, frame, mac, of_kind, payload, shown_closed, shown_open,
)

_TUNNEL_HOST4, _TUNNEL_HOST6 = "192.168.255.2", "fd00:0:0:feed::1000"


def _tcp_request(node: Node, target: str, port: int = 81) -> None:
    with node.entered(), socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET) as caller:
        caller.setblocking(False)
        try:
            caller.connect((target, port))
        except BlockingIOError:
            pass


def _ping(node: Node, target: str) -> None:
    node.attempt("ping", "-n", "-q", "-c", "1", "-W", "0.3", "-p", payload("echo-reply")[:16].hex(), target)


def _query(trial: Trial, kind: str) -> None:
    """A multicast router asks who is a member of what."""
    with trial.lab.ap.entered():
        if kind == "igmp":
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as sender:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wlan0")
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x94\x04\0\0")
                sender.sendto(b"\x11\x02\xec\xfd\0\0\0\0\x02\x00\0\0", ("224.0.0.1", 0))
        else:
            with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
                index = socket.if_nametoindex("wlan0")
                sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
                sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
                sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, b"\x3a\0\x05\x02\0\0\x01\0")
                sender.sendto(struct.pack("!BBHHH", 130, 0, 0, 100, 0) + bytes(16) + b"\x02\x02\0\0", ("ff02::1", 0))


def _ask_address(trial: Trial, target: str) -> None:
    """Asks on the link who has an address: ARP, from an ordinary neighbour."""
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac(a.AP_MAC) + socket.inet_aton(a.AP)
    request += bytes(6) + socket.inet_aton(target)
    frame(trial.lab.ap, "wlan0", lambda: ethernet(0x0806, request, "ff:ff:ff:ff:ff:ff", a.AP_MAC))()


def _solicit_address(trial: Trial, target: str) -> None:
    """The same for IPv6: a neighbour solicitation, to the laptop itself."""
    with trial.lab.ap.entered(), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
        message = struct.pack("!BBHI", 135, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, target)
        sender.sendto(message, (trial.lab.link_address6(), 0))


def _replies(trial: Trial) -> list[Way]:
    """What the kernel answers by itself."""
    ap, own, own6 = trial.lab.ap, trial.lab.link_address(), trial.lab.link_address6()
    member = _membership(trial)
    reset4, reset6, echo6 = of_kind("tcp IPv4"), of_kind("tcp IPv6"), of_kind("icmpv6 IPv6")
    return [
        Way("echo-reply", lambda: _ping(ap, own), of_kind("icmp IPv4")),
        Way("echo-reply6", lambda: _ping(ap, own6), echo6),
        Way("reset", lambda: _tcp_request(ap, own), reset4),
        Way("reset6", lambda: _tcp_request(ap, own6), reset6),
        Way("unreachable", datagram(ap, "unreachable", own, 81)),
        Way("unreachable6", datagram(ap, "unreachable6", own6, 81)),
        Way("igmp-report", lambda: member and _query(trial, "igmp"), of_kind("multicast membership IPv4"), linger=1),
        Way("mld-report", lambda: member and _query(trial, "mld"), of_kind("multicast membership IPv6"), linger=1),
    ]


def _membership(trial: Trial) -> list[socket.socket]:
    """Groups that the laptop is a member of, as long as the case runs."""
    with trial.laptop.node.entered():
        index = socket.if_nametoindex(a.LINK)
        member4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        group = socket.inet_aton("239.75.83.2") + struct.pack("=4si", b"", index)
        member4.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        member6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        group = socket.inet_pton(socket.AF_INET6, "ff05::4b54") + struct.pack("=I", index)
        member6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    return [member4, member6]


class _TunnelEnd:
    """Counts at the server's end of the tunnel what the laptop was made to say into it."""

    def __init__(self, trial: Trial) -> None:
        self.said: list[bytes] = []
        with trial.lab.vpn.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            self._socket.bind(("tun0", 0x0003))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                packet = self._socket.recv(2048)
            except OSError:
                return
            tag = TAG.search(packet)
            if tag:
                self.said.append(tag.group(1))


def _to_tunnel_address(trial: Trial, name: str, family: int) -> None:
    """A packet for the laptop's address in the tunnel arrives on the link, from a forged sender far away."""
    if family == 4:
        segment = struct.pack("!HHHH", 9, 81, 8 + len(payload(name)), 0) + payload(name)
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 7, 0, 64, 17, 0)
        header += socket.inet_aton(a.HOST) + socket.inet_aton(_TUNNEL_HOST4)
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
        content = ethernet(0x0800, header + segment, a.LAPTOP_MAC, a.AP_MAC)
    else:
        source, target = (socket.inet_pton(socket.AF_INET6, text) for text in (a.HOST6, _TUNNEL_HOST6))
        echo = struct.pack("!BBHHH", 128, 0, 0, 1, 1) + payload(name)
        total = checksum(source + target + struct.pack("!II", len(echo), 58) + echo)
        echo = echo[:2] + struct.pack("!H", total) + echo[4:]
        header6 = struct.pack("!IHBB", 6 << 28, len(echo), 58, 64) + source + target
        content = ethernet(0x86DD, header6 + echo, a.LAPTOP_MAC, a.AP_MAC)
    frame(trial.lab.ap, "wlan0", lambda: content)()


def answers_into_tunnel(trial: Trial) -> dict[str, int]:
    """How many forged packets from the link the laptop answers into the tunnel."""
    end = _TunnelEnd(trial)
    trial.lab.ap.ip(f"route replace {_TUNNEL_HOST4}/32 via {trial.lab.link_address()} dev wlan0")
    for _ in range(TIMES):
        _to_tunnel_address(trial, "inject4", 4)
        _to_tunnel_address(trial, "inject6", 6)
    for _ in range(2):  # a packet that surely comes after them
        trial.laptop.node.attempt("ping", "-n", "-q", "-c", "1", "-W", "1", "-I", "tun0", a.TUNNEL_DNS)
    return {name: end.said.count(name.encode()) for name in ("inject4", "inject6")}


def told_addresses(trial: Trial) -> list[Way]:
    """Questions on the link for the laptop's addresses in the tunnel."""
    ap = trial.lab.ap
    return [
        Way("nd-tunnel", lambda: _solicit_address(trial, _TUNNEL_HOST6), linger=0.2),
        Way("echo-tunnel", lambda: _ping(ap, _TUNNEL_HOST4), of_kind("icmp IPv4")),
        Way("reset-tunnel", lambda: _tcp_request(ap, _TUNNEL_HOST4), of_kind("tcp IPv4")),
    ]


@case("leak-inbound")
def leak_inbound(trial: Trial) -> None:
    """Nothing that arrives on the link makes the laptop answer there, nor tell its addresses in the tunnel."""
    shown_open(trial, replies := _replies(trial))
    trial.laptop.node.sysctl("ipv4/conf/all/rp_filter", 0)
    trial.laptop.node.sysctl(f"ipv4/conf/{a.LINK}/rp_filter", 0)
    client = trial.laptop.openvpn()
    said = answers_into_tunnel(trial)
    trial.expect(all(said.values()), f"control, plain OpenVPN: forged packets are answered into the tunnel ({said})")
    told = told_addresses(trial)
    shown_open(trial, [way for way in told if way.name != "nd-tunnel"], "control, plain OpenVPN")
    client.kill()

    trial.lock()
    shown_closed(trial, replies, "locked")
    client = trial.laptop.connect()
    shown_closed(trial, replies, "protected")
    said = answers_into_tunnel(trial)
    trial.expect(not any(said.values()), f"forged packets for the tunnel's addresses are not answered ({said})")
    shown_closed(trial, told, "protected, questions for the tunnel's addresses")
    _redirect(trial)
    trial.expect("dev tun0" in trial.laptop.node.run("ip", "route", "get", a.HOST), "an ICMP redirect is not followed")
    _tunnel_lost(trial, client)


def _redirect(trial: Trial) -> None:
    """The access point says that it is the better way to a host, itself."""
    quoted = struct.pack("!BBHHHBBH", 0x45, 0, 28, 7, 0, 64, 17, 0)
    quoted += socket.inet_aton(trial.lab.link_address()) + socket.inet_aton(a.HOST) + bytes(8)
    body = socket.inet_aton(a.AP) + quoted
    message = struct.pack("!BBH", 5, 1, checksum(b"\x05\x01\0\0" + body)) + body
    with trial.lab.ap.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.sendto(message, (trial.lab.link_address(), 0))


def _tunnel_lost(trial: Trial, client: Process) -> None:
    """The tunnel goes, step by step, under connections that are bound to its address."""
    with trial.no_leaks("the tunnel is set down, renamed and lost, its connections go on"):
        with Stream(trial.lab) as stream4, Stream(trial.lab, a.HOST6) as stream6:
            until("the streams are answered", lambda: stream4.answered and stream6.answered)
            for step in ("link set tun0 down", "link set tun0 name tun7", "link set tun7 up"):
                trial.laptop.node.ip(step)
                trial.for_seconds(0.3)
            client.kill()
            trial.for_seconds(0.5)


def arp_question(trial: Trial) -> Way:
    """A question on the link for the laptop's IPv4 address in the tunnel."""
    return Way("arp-tunnel", lambda: _ask_address(trial, _TUNNEL_HOST4), of_kind("arp"), linger=0.2)


@case("leak-arp")
def leak_arp(trial: Trial) -> None:
    """A neighbour on the link asks who has the laptop's address in the tunnel, and gets no answer."""
    ask = arp_question(trial)
    client = trial.laptop.openvpn()
    shown_open(trial, [ask], "control, plain OpenVPN")
    client.kill()
    trial.lock()
    trial.laptop.connect()
    shown_closed(trial, [ask], "protected, a question for the tunnel's address")
