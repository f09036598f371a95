"""Ways around the tunnel: hostile addresses and routes, translations, marks, paths (leak classes 1-6, 14-17, 42)."""

import itertools
import socket
import struct
import threading

from lab import addresses as a
from lab.trial import Trial, case
from lab.waiting import until

from .leak_classes_common import MARK, Way, datagram, payload, shown_closed, shown_open

_LOCALNET = "203.0.113.193"
_LOOPED = "203.0.113.77"
_ROGUE_PREFIX = "2001:db8:bad::"
_MPTCP, _MPTCP_PORT = 262, 4500
_IP_UNICAST_IF, _IP_PKTINFO = 50, 8

_FOREIGN = f"""
table ip foreign {{
  chain early {{
    type nat hook output priority -100
    udp dport 4711 dnat to {a.HOST}:9
    udp sport 4799 ip daddr {a.SERVER} udp dport {a.SERVER_PORT} dnat to {a.HOST}:9
  }}
  chain late {{
    type nat hook output priority 50
    udp dport 4712 dnat to {a.HOST}:9
  }}
  chain before {{
    type route hook output priority -150
    udp dport 4713 meta mark set 0x77
  }}
  chain behind {{
    type route hook output priority 100
    udp dport 4714 meta mark set 0x77
  }}
}}
"""


def _hostile_network(trial: Trial) -> None:
    """What a hostile access point hands out, and what other programs of the laptop have set up."""
    trial.lab.ap.ip(f"address add {_LOCALNET}/26 dev wlan0")
    trial.laptop.node.ip(
        f"address add 203.0.113.200/26 dev {a.LINK}",
        *(f"route add {first}.0.0.0/2 via {a.AP} dev {a.LINK}" for first in (0, 64, 128, 192)),
        f"route add {a.HOST}/32 via {a.AP} dev {a.LINK}",
        f"route add 2001:db8:1::/48 via {a.AP6} dev {a.LINK}",
        f"route add {_LOOPED}/32 dev lo",
        "rule add fwmark 0x77 table 77",
        f"route add default via {a.AP} dev {a.LINK} table 77",
    )
    trial.laptop.node.run("nft", "-f", "-", text=_FOREIGN)


def _ways(trial: Trial) -> list[Way]:
    node, own = trial.laptop.node, trial.lab.link_address()
    plain = {
        "localnet": (_LOCALNET, 9),  # TunnelCrack: a public prefix, told to be on the link
        "dhcp-routes": ("203.0.113.8", 9),  # TunnelVision, option 121: /2 beats the tunnel's /1
        "host-route": (a.HOST, 9),  # the same as net_gateway routes of a server
        "dhcp-routes6": (a.HOST6, 9),
        "dns-by-route": (a.PUBLIC_DNS, 53),
        "dnat-early": (own, 4711),  # the output hook sees them go to lo
        "dnat-late": (own, 4712),
        "mark-early": (_LOOPED, 4713),
        "mark-late": (_LOOPED, 4714),
    }
    return [
        *(Way(name, datagram(node, name, *target)) for name, target in plain.items()),
        Way("fwmark", datagram(node, "fwmark", a.HOST, mark=0x77)),
        Way("unicast-if", lambda: _option(trial, "unicast-if")),
        Way("pktinfo", lambda: _option(trial, "pktinfo")),
        Way("dontroute", lambda: _option(trial, "dontroute")),
        Way(
            "dnat-endpoint",  # the transport's own packets, sent elsewhere by a translation behind the filter
            datagram(node, "dnat-endpoint", a.SERVER, a.SERVER_PORT, mark=MARK, source=("", 4799)),
        ),
    ]


def _option(trial: Trial, name: str) -> None:
    """Names the link by something else than its address or a bound device."""
    with trial.laptop.node.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        index, target = socket.if_nametoindex(a.LINK), (a.HOST, 9)
        if name == "unicast-if":
            sender.setsockopt(socket.IPPROTO_IP, _IP_UNICAST_IF, struct.pack("!I", index))
            sender.sendto(payload(name), target)
        elif name == "pktinfo":
            info = struct.pack("=I4s4s", index, bytes(4), bytes(4))
            sender.sendmsg([payload(name)], [(socket.IPPROTO_IP, _IP_PKTINFO, info)], 0, target)
        else:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, a.LINK.encode())
            sender.sendto(payload(name), socket.MSG_DONTROUTE, (a.AP, 9))


class _Multipath:
    """A connection of several paths to a host, made through the tunnel; the kernel adds the link's address to it."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._ports = itertools.count(_MPTCP_PORT)
        trial.laptop.node.ip("mptcp limits set subflows 4 add_addr_accepted 4")
        trial.laptop.node.ip(f"mptcp endpoint add {trial.lab.link_address()} dev {a.LINK} subflow")
        trial.oracle.tcp_probes = {
            **trial.oracle.tcp_probes, **{(a.HOST, _MPTCP_PORT + number): "multipath" for number in range(100)}
        }
        self._kept: list[socket.socket] = []

    def connect(self) -> None:
        """One connection more; it says a word, which is what has the kernel add a path."""
        port = next(self._ports)
        with self._trial.lab.internet.entered():
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, _MPTCP)
        listener.bind((a.HOST, port))
        listener.listen()
        peers: list[socket.socket] = []
        accepting = threading.Thread(target=lambda: peers.append(listener.accept()[0]), daemon=True)
        accepting.start()
        with self._trial.laptop.node.entered():
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, _MPTCP)
        client.settimeout(5)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tun0")
        client.connect((a.HOST, port))
        accepting.join(5)
        client.send(b"word")
        peers[0].send(peers[0].recv(16))
        client.recv(16)
        self._kept += [client, *peers, listener]


def _rogue_advertisement(trial: Trial) -> None:
    """A router advertisement of somebody else on the link: a better default route, and a prefix of its own."""
    prefix = socket.inet_pton(socket.AF_INET6, _ROGUE_PREFIX)
    high_preference = 0x08
    message = struct.pack("!BBHBBHII", 134, 0, 0, 64, high_preference, 1800, 0, 0)
    message += struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 7200, 7200, 0) + prefix
    with trial.lab.ap.entered(), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("wlan0"))
        sender.sendto(message, ("ff02::1", 0))


def _rogue_address(trial: Trial) -> str:
    words = trial.laptop.node.run("ip", "-brief", "-6", "address", "show", "dev", a.LINK).split()
    return next((word.split("/")[0] for word in words if word.startswith("2001:db8:bad")), "")


@case("leak-routes")
def leak_routes(trial: Trial) -> None:
    """Hostile addresses and routes, marks, translations behind the filter, further paths: none avoids the tunnel."""
    _hostile_network(trial)
    ways = _ways(trial)
    shown_open(trial, ways)
    multipath = _Multipath(trial)
    client = trial.laptop.openvpn()
    paths = Way("multipath", multipath.connect, linger=2)
    shown_open(trial, [paths], "control, plain OpenVPN")
    client.kill()

    trial.lock()
    shown_closed(trial, ways, "locked")
    trial.laptop.connect()
    shown_closed(trial, ways, "protected")
    shown_closed(trial, [paths], "protected, further paths of a connection in the tunnel")
    _rogue_advertisement(trial)
    address = until("the laptop takes the rogue advertisement", lambda: _rogue_address(trial))
    from_it = datagram(trial.laptop.node, "rogue-ra", "2001:db8:2::9", source=(address, 0), device=a.LINK)
    rogue = Way("rogue-ra", from_it)
    shown_closed(trial, [rogue], "protected, an address and a default route by rogue advertisement")
    trial.laptop.killswitch("disable")
    shown_open(trial, [rogue], "control, disabled again")
