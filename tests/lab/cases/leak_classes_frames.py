"""What goes out below the IP layer, or beside it (leak classes 22-29, 36-38, 45), and what no rule of nftables sees."""

import ctypes
import mmap
import socket
import struct

from lab import addresses as a
from lab.trial import Trial, case

from .leak_classes_common import (
    MARK, Way, datagram, ethernet, frame, mac, measure_limit, of_kind, payload, shown_closed, shown_open, udp_packet,
)

_INSIDE = "10.77.0.2"
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20

_FOREIGN = f"""
table netdev foreign {{
  chain in {{
    type filter hook ingress device lo priority 0
    udp dport 4720 dup to {a.LINK}
    udp dport 4721 fwd to {a.LINK}
  }}
}}
table ip foreign {{
  chain out {{
    type filter hook output priority -10
    udp dport 4722 dup to {a.AP} device "{a.LINK}"
  }}
}}
"""


def _frames(trial: Trial) -> dict[str, bytes]:
    """Frames of all kinds that can stand on a link."""
    own = trial.lab.link_address()

    def packet(name: str, target: str = a.HOST, ports: tuple[int, int] = (40000, 9)) -> bytes:
        return udp_packet(name, own, target, ports)

    vlan, service_vlan = struct.pack("!HH", 5, 0x0800), struct.pack("!HHHH", 5, 0x8100, 6, 0x0800)
    return {
        "ip-in-frame": ethernet(0x0800, packet("ip-in-frame")),
        "like-transport": ethernet(0x0800, packet("like-transport", a.SERVER, (40000, a.SERVER_PORT))),
        "like-fragment": ethernet(0x0800, udp_packet("like-fragment", own, a.SERVER, fragment=100)),
        "vlan": ethernet(0x8100, vlan + packet("vlan")),
        "vlan-transport": ethernet(0x8100, vlan + packet("vlan-transport", a.SERVER, (40000, a.SERVER_PORT))),
        "service-vlan": ethernet(0x88A8, service_vlan + packet("service-vlan")),
        "pppoe-discovery": ethernet(0x8863, b"\x11\x09\0\0\0\x40" + payload("pppoe-discovery"), "ff:ff:ff:ff:ff:ff"),
        "pppoe-session": ethernet(0x8864, b"\x11\0\0\1\0\x66\0\x21" + packet("pppoe-session")),
        "mpls": ethernet(0x8847, b"\0\0\x11\x40" + packet("mpls")),
        "lldp": ethernet(0x88CC, payload("lldp"), "01:80:c2:00:00:0e"),
        "spanning-tree": ethernet(64, b"\x42\x42\x03" + payload("spanning-tree"), "01:80:c2:00:00:00"),
        "mdns-in-frame": ethernet(0x0800, packet("mdns-in-frame", "224.0.0.251", (5353, 5353)), "01:00:5e:00:00:fb"),
        "to-broadcast": ethernet(0x0800, packet("to-broadcast", "255.255.255.255"), "ff:ff:ff:ff:ff:ff"),
        "foreign-sender": ethernet(0x0800, udp_packet("foreign-sender", "192.168.255.2", a.HOST)),
    }


def _bypassing(trial: Trial) -> None:
    with trial.laptop.node.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        sender.bind((a.LINK, 0))
        sender.send(ethernet(0x0800, udp_packet("queue-bypass", trial.lab.link_address(), a.HOST)))


def _cooked(trial: Trial) -> None:
    with trial.laptop.node.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sender:
        packet = udp_packet("cooked", trial.lab.link_address(), a.HOST)
        sender.sendto(packet, (a.LINK, 0x0800, 0, 1, mac(a.AP_MAC)))


def _raw(trial: Trial, name: str, protocol: int) -> Way:
    """Another protocol in IP, by its number."""

    def send() -> None:
        with trial.laptop.node.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, a.LINK.encode())
            sender.sendto(payload(name), (a.HOST, 0))

    return Way(name, send)


def _join(trial: Trial, ipv6: bool) -> None:
    """Becomes a member of a multicast group; the kernel tells the link."""
    with trial.laptop.node.entered():
        index = socket.if_nametoindex(a.LINK)
        if ipv6:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as member:
                group = socket.inet_pton(socket.AF_INET6, "ff05::4b53") + struct.pack("=I", index)
                member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member:
                group = socket.inet_aton("239.75.83.1") + struct.pack("=4si", b"", index)
                member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)


def _overlay(trial: Trial) -> None:
    """A VXLAN tunnel of another program: its outer packets are the kernel's."""
    trial.laptop.node.ip(
        f"link add vxlan7 type vxlan id 7 remote {a.HOST} dstport 4789 dev {a.LINK}",
        "address add 10.77.0.1/24 dev vxlan7",
        "link set vxlan7 up",
        f"neighbour add {_INSIDE} lladdr 02:00:00:00:77:02 dev vxlan7 nud permanent",
    )


def _ways(trial: Trial) -> list[Way]:
    node = trial.laptop.node
    ways = [Way(name, frame(node, a.LINK, lambda content=content: content)) for name, content in _frames(trial).items()]
    ways += [Way("queue-bypass", lambda: _bypassing(trial)), Way("cooked", lambda: _cooked(trial))]
    ways += [_raw(trial, name, number) for name, number in
             (("6in4", 41), ("ipip", 4), ("gre", 47), ("esp", 50), ("sctp", 132), ("ospf", 89), ("udplite", 136))]
    return [
        *ways,
        Way("vxlan", datagram(node, "vxlan", _INSIDE)),
        Way("nft-dup", datagram(node, "nft-dup", "127.0.0.1", 4720)),
        Way("nft-fwd", datagram(node, "nft-fwd", "127.0.0.1", 4721)),
        Way("nft-dup-ip", datagram(node, "nft-dup-ip", "127.0.0.1", 4722)),
        Way("membership4", lambda: _join(trial, ipv6=False), of_kind("multicast membership IPv4"), linger=1.5),
        Way("membership6", lambda: _join(trial, ipv6=True), of_kind("multicast membership IPv6"), linger=1.5),
    ]


@case("leak-frames")
def leak_frames(trial: Trial) -> None:
    """Packet sockets, tags, encapsulations, copies by other rulesets, multicast membership: no frame gets out."""
    _overlay(trial)
    trial.laptop.node.run("nft", "-f", "-", text=_FOREIGN)
    ways = _ways(trial)
    shown_open(trial, ways)
    trial.lock()
    shown_closed(trial, [way for way in ways if not way.name.startswith("like-")], "locked")
    trial.laptop.connect()
    shown_closed(trial, ways, "protected")


def _redirected(trial: Trial) -> Way:
    """What goes to the loopback, which traffic control moves to the link behind all rules."""
    node = trial.laptop.node
    node.run("tc", "qdisc", "add", "dev", "lo", "clsact")
    chosen = ("u32", "match", "ip", "dport", "4730", "0xffff")
    redirect = ("action", "mirred", "egress", "redirect", "dev", a.LINK)
    node.run("tc", "filter", "add", "dev", "lo", "egress", "protocol", "ip", "prio", "1", *chosen, *redirect)
    return Way("tc-redirect", datagram(node, "tc-redirect", "127.0.0.1", 4730))


def _solicitation(trial: Trial, name: str) -> bytes:
    """A neighbour solicitation with something to tell, to somebody far away."""
    source, target = (socket.inet_pton(socket.AF_INET6, text) for text in (trial.lab.link_address6(), a.HOST6))
    message = struct.pack("!BBHI", 135, 0, 0, 0) + target + payload(name)
    return ethernet(0x86DD, struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + source + target + message)


class _Express:
    """An AF_XDP socket: hands frames to the driver without any of the kernel's network layers."""

    _AF_XDP, _SOL_XDP, _COPY = 44, 283, 2
    _OFFSETS, _TX_RING, _UMEM, _FILL, _COMPLETION = 1, 3, 4, 5, 6
    _FRAME, _FRAMES, _TX_PAGE = 2048, 64, 0x80000000

    def __init__(self, trial: Trial) -> None:
        self._content = ethernet(0x0800, udp_packet("express", trial.lab.link_address(), a.HOST))
        self._memory = mmap.mmap(-1, self._FRAME * self._FRAMES)
        at = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        with trial.laptop.node.entered():
            self._socket = socket.socket(self._AF_XDP, socket.SOCK_RAW, 0)
            index = socket.if_nametoindex(a.LINK)
        self._socket.setsockopt(
            self._SOL_XDP, self._UMEM, struct.pack("=QQIIII", at, self._FRAME * self._FRAMES, self._FRAME, 0, 0, 0)
        )
        for ring in (self._FILL, self._COMPLETION, self._TX_RING):
            self._socket.setsockopt(self._SOL_XDP, ring, struct.pack("=I", self._FRAMES))
        offsets = struct.unpack("=16Q", self._socket.getsockopt(self._SOL_XDP, self._OFFSETS, 128))
        self._producer, _, self._descriptors = offsets[4:7]
        self._ring = mmap.mmap(self._socket.fileno(), self._descriptors + 16 * self._FRAMES, offset=self._TX_PAGE)
        address = struct.pack("=HHIII", self._AF_XDP, self._COPY, index, 0, 0)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.bind(self._socket.fileno(), address, len(address)) != 0:
            raise OSError(ctypes.get_errno(), "bind an AF_XDP socket")
        self._libc = libc
        self._number = 0

    def send(self) -> None:
        """One frame."""
        slot = self._number % self._FRAMES
        self._memory[slot * self._FRAME : slot * self._FRAME + len(self._content)] = self._content
        struct.pack_into("=QII", self._ring, self._descriptors + 16 * slot, slot * self._FRAME, len(self._content), 0)
        self._number += 1
        struct.pack_into("=I", self._ring, self._producer, self._number)
        self._libc.sendto(self._socket.fileno(), None, 0, 0x40, None, 0)  # wakes the driver


@case("leak-limits")
def leak_limits(trial: Trial) -> None:
    """What no rule of nftables can stop, all of it root's own doing: each is measured and named."""
    node, own = trial.laptop.node, trial.lab.link_address()
    express = _Express(trial)
    marked = datagram(node, "marked", a.SERVER, a.SERVER_PORT, mark=MARK, device=a.LINK)
    hidden = {
        "in-arp": ethernet(0x0806, struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac(a.LAPTOP_MAC) + bytes(10)
                           + socket.inet_aton(a.AP) + payload("in-arp")),
        "in-eapol": ethernet(0x888E, b"\x01\x03\0\x40" + payload("in-eapol")),
        "in-dhcp": ethernet(0x0800, udp_packet("in-dhcp", own, "255.255.255.255", (68, 67)), "ff:ff:ff:ff:ff:ff"),
        "dhcp-elsewhere": ethernet(0x0800, udp_packet("dhcp-elsewhere", own, a.HOST, (68, 67))),
        "neighbour-elsewhere": _solicitation(trial, "neighbour-elsewhere"),
    }
    limits = [
        (_redirected(trial), "traffic control redirects behind the egress hook (the frame is marked to skip it)"),
        (Way("express", express.send), "AF_XDP hands frames to the driver, past every hook"),
        (Way("marked", marked), "root can give any packet to the server OpenVPN's mark"),
        *((Way(name, frame(node, a.LINK, lambda content=content: content)),
           "the link cannot live without such frames, and root can write anything into them")
          for name, content in hidden.items()),
    ]
    shown_open(trial, [way for way, _ in limits])
    trial.lock()
    trial.laptop.connect()
    for way, reason in limits:
        measure_limit(trial, way, reason)
    plain = Way("ip-in-frame", frame(node, a.LINK, lambda: ethernet(0x0800, udp_packet("ip-in-frame", own, a.HOST))))
    shown_closed(trial, [plain], "protected, an ordinary packet socket beside them")
