"""The oracle's own tests: frames written by hand, and what must be said of them. Needs no privileges."""

import re
import socket
import struct
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cases  # noqa: E402,F401
import probe  # noqa: E402
from lab import addresses as a  # noqa: E402
from lab.frames import Oracle, is_question_for  # noqa: E402
from lab.trial import CASES  # noqa: E402

LAPTOP, LAPTOP6, LOCAL6 = "192.168.43.111", "2001:db8:43::10", "fe80::ff:fe00:4310"


def ethernet(kind: int, payload: bytes) -> bytes:
    """A frame from the laptop to the access point."""
    return bytes(12) + struct.pack("!H", kind) + payload


def ip4(target: str, protocol: int, payload: bytes, source: str = LAPTOP, fragment: int = 0) -> bytes:
    """An IPv4 packet in its frame."""
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 77, fragment, 64, protocol, 0)
    return ethernet(0x0800, header + socket.inet_aton(source) + socket.inet_aton(target) + payload)


def ip6(target: str, protocol: int, payload: bytes, source: str = LAPTOP6, hops: int = 64) -> bytes:
    """An IPv6 packet in its frame."""
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return ethernet(0x86DD, struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + addresses + payload)


def udp(source: int, target: int, payload: bytes = b"x" * 32) -> bytes:
    """A UDP datagram; checksums are not looked at."""
    return struct.pack("!HHHH", source, target, 8 + len(payload), 0) + payload


def tcp(target: int) -> bytes:
    """The beginning of a connection request."""
    return struct.pack("!HHIIHHHH", 40000, target, 0, 0, 0x5002, 1000, 0, 0)


def arp(operation: int, sender: str, target: str) -> bytes:
    """An ARP packet in its frame."""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return ethernet(0x0806, head + bytes(6) + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target))


def advertisement(target: str) -> bytes:
    """A neighbour advertisement for `target`."""
    return struct.pack("!BBHI", 136, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, target)


QUESTION = probe.dns_question(a.SERVER_NAME)

ALLOWED = {
    "transport over IPv4": (ip4(a.SERVER, 17, udp(40000, 1194)), "transport"),
    "transport over IPv6": (ip6(a.SERVER6, 17, udp(40000, 1194)), "transport"),
    "ARP request": (arp(1, LAPTOP, a.AP), "arp"),
    "ARP reply": (arp(2, LAPTOP, a.AP), "arp"),
    "802.1X": (ethernet(0x888E, b"\x01\x01\0\0"), "eapol"),
    "DHCP to everybody": (ip4("255.255.255.255", 17, udp(68, 67), source="0.0.0.0"), "dhcp"),
    "DHCP renewal": (ip4(a.AP, 17, udp(68, 67)), "dhcp"),
    "DHCPv6": (ip6("ff02::1:2", 17, udp(546, 547), source=LOCAL6), "dhcp"),
    "router solicitation": (ip6("ff02::2", 58, b"\x85" + bytes(7), source=LOCAL6, hops=255), "ndp"),
    "neighbour solicitation": (ip6("ff02::1:ff00:1", 58, b"\x87" + bytes(23), hops=255), "ndp"),
    "neighbour advertisement": (ip6(a.AP6, 58, advertisement(LAPTOP6), hops=255), "ndp"),
    "the server's name": (ip4(a.AP, 17, udp(40000, 53, QUESTION)), "server name"),
}

LEAKS = {
    "transport to another port": (ip4(a.SERVER, 17, udp(40000, 443)), "udp IPv4"),
    "transport to another address": (ip4(a.SECOND_SERVER, 17, udp(40000, 1194)), "udp IPv4"),
    "TCP to the server's port": (ip4(a.SERVER, 6, tcp(1194)), "tcp IPv4"),
    "a later fragment that belongs to nothing": (ip4(a.SERVER, 17, b"y" * 64, fragment=185), "udp IPv4"),
    "transport with a probe inside": (ip4(a.SERVER, 17, udp(1, 1194, b"ksprobe-me;")), "forged transport"),
    "UDP": (ip4(a.HOST, 17, udp(40000, 9)), "udp IPv4"),
    "UDP over IPv6": (ip6(a.HOST6, 17, udp(40000, 9)), "udp IPv6"),
    "echo request": (ip4(a.HOST, 1, b"\x08" + bytes(7)), "icmp IPv4"),
    "a question for another name": (ip4(a.AP, 17, udp(40000, 53, probe.dns_question("example.test"))), "dns IPv4"),
    "the server's name, to a stranger": (ip4(a.PUBLIC_DNS, 17, udp(40000, 53, QUESTION)), "dns IPv4"),
    "DNS over TLS": (ip6(a.PUBLIC_DNS6, 6, tcp(853)), "dns IPv6"),
    "mDNS": (ip4("224.0.0.251", 17, udp(5353, 5353)), "dns IPv4"),
    "SSDP": (ip4("239.255.255.250", 17, udp(40000, 1900)), "multicast IPv4"),
    "IGMP": (ip4("224.0.0.22", 2, b"\x22" + bytes(15)), "multicast membership IPv4"),
    "MLD": (ip6("ff02::16", 58, b"\x8f" + bytes(7), source=LOCAL6, hops=1), "multicast membership IPv6"),
    "NDP that came through a router": (ip6(a.AP6, 58, advertisement(LAPTOP6), hops=254), "icmpv6 IPv6"),
    "NDP about the tunnel": (ip6(a.AP6, 58, advertisement("fd00:0:0:feed::1000"), hops=255), "icmpv6 IPv6"),
    "ARP about the tunnel": (arp(2, "192.168.255.2", a.AP), "arp"),
    "DHCP to a stranger": (ip4(a.HOST, 17, udp(68, 67)), "udp IPv4"),
    "SCTP": (ip4(a.HOST, 132, bytes(12)), "sctp IPv4"),
    "an unknown type of frame": (ethernet(0x88B5, b"hello"), "link layer"),
    "half a packet": (ethernet(0x0800, b"\x45\0"), "malformed"),
}


VLAN5, VLAN6 = struct.pack("!HH", 0x6005, 0x0800), struct.pack("!HH", 6, 0x0800)


def pppoe(protocol: int, content: bytes) -> bytes:
    """A frame of a PPPoE session."""
    return ethernet(0x8864, struct.pack("!BBHHH", 0x11, 0, 1, len(content) + 2, protocol) + content)


class Uplinks(unittest.TestCase):
    """Where the uplink is a VLAN or PPPoE, a frame is judged by what it carries."""

    def test_content_counts(self) -> None:
        transport, other = (ip4(target, 17, udp(1, 1194))[14:] for target in (a.SERVER, a.HOST))
        table = {
            "transport in the VLAN": (ethernet(0x8100, VLAN5 + transport), True),
            "another packet in it": (ethernet(0x8100, VLAN5 + other), False),
            "transport in another VLAN": (ethernet(0x8100, VLAN6 + transport), False),
            "transport in PPPoE": (pppoe(0x0021, transport), True),
            "another packet in PPPoE": (pppoe(0x0021, other), False),
            "PPP negotiates": (pppoe(0xC021, bytes(8)), True),
            "PPP of another kind": (pppoe(0x0281, transport), False),
            "PPPoE discovery": (ethernet(0x8863, bytes(12)), True),
        }
        for what, (frame, expected) in table.items():
            with self.subTest(what):
                self.assertEqual(Oracle(vlan=5, pppoe=True).judge(frame).allowed, expected)
                self.assertFalse(Oracle().judge(frame).allowed)


class Frames(unittest.TestCase):
    """One table for what may pass, one for what may not."""

    def test_allowed(self) -> None:
        for name, (frame, kind) in ALLOWED.items():
            with self.subTest(name):
                verdict = Oracle().judge(frame)
                self.assertEqual((verdict.allowed, verdict.kind), (True, kind), verdict.text)

    def test_leaks(self) -> None:
        for name, (frame, kind) in LEAKS.items():
            with self.subTest(name):
                verdict = Oracle().judge(frame)
                self.assertEqual((verdict.allowed, verdict.kind), (False, kind), verdict.text)

    def test_fragments_of_transport_follow_their_first(self) -> None:
        oracle = Oracle()
        self.assertTrue(oracle.judge(ip4(a.SERVER, 17, udp(1, 1194), fragment=0x2000)).allowed)
        self.assertTrue(oracle.judge(ip4(a.SERVER, 17, b"y" * 64, fragment=185)).allowed)

    def test_foreign_programs_are_told_by_their_port(self) -> None:
        oracle = Oracle(foreign={(17, 20001): "caller"})
        verdict = oracle.judge(ip4(a.SERVER, 17, udp(20001, 1194)))
        self.assertEqual((verdict.allowed, verdict.probe), (False, "caller"))
        self.assertTrue(oracle.judge(ip4(a.SERVER, 17, udp(20002, 1194))).allowed)

    def test_endpoints_are_exact(self) -> None:
        oracle = Oracle(endpoints=frozenset({(6, a.SERVER, 443)}))
        table = {
            "the endpoint": (ip4(a.SERVER, 6, tcp(443)), True),
            "another protocol": (ip4(a.SERVER, 17, udp(1, 443)), False),
            "another port": (ip4(a.SERVER, 6, tcp(80)), False),
            "another host": (ip4(a.HOST, 6, tcp(443)), False),
        }
        for what, (frame, expected) in table.items():
            with self.subTest(what):
                self.assertEqual(oracle.judge(frame).allowed, expected)

    def test_tcp_probes_are_known_by_their_destination(self) -> None:
        oracle = Oracle(tcp_probes=probe.tcp_destinations())
        self.assertEqual(oracle.judge(ip4(a.SERVER, 6, tcp(1194))).probe, "server-tcp1194")

    def test_server_name_question(self) -> None:
        name = a.SERVER_NAME
        option = b"\0\0\x29" + bytes(8)
        table = {
            "plain": (QUESTION, True),
            "mixed case": (QUESTION.replace(b"example", b"eXaMpLe"), True),
            "with EDNS": (QUESTION[:11] + b"\1" + QUESTION[12:] + option, True),
            "an answer": (b"\0\0\x81" + QUESTION[3:], False),
            "two questions": (QUESTION[:5] + b"\2" + QUESTION[6:], False),
            "longer name": (probe.dns_question("x." + name), False),
            "TXT": (QUESTION[:-4] + b"\0\x10\0\1", False),
            "something behind it": (QUESTION + b"secret", False),
        }
        for what, (message, expected) in table.items():
            with self.subTest(what):
                self.assertEqual(is_question_for(message, name), expected)


class Probes(unittest.TestCase):
    """The probes can be told apart, and every case is registered with ctest."""

    def test_names_and_destinations_are_unique(self) -> None:
        names = [item.name for item in probe.PROBES]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(len(probe.tcp_destinations()), sum(item.kind == "tcp" for item in probe.PROBES))

    def test_every_case_is_a_test(self) -> None:
        text = (Path(__file__).parent / "CMakeLists.txt").read_text(encoding="utf-8")
        listed = re.search(r"foreach\(name IN ITEMS([^)]*)\)", text)
        assert listed is not None
        self.assertEqual(sorted(listed.group(1).split()), sorted(name for name in CASES if not CASES[name].vm and not CASES[name].long_only))

    def test_every_other_case_is_run_in_a_virtual_machine(self) -> None:
        suite = (Path(__file__).parent.parent / "vm" / "suite.py").read_text(encoding="utf-8")
        for name in (name for name in CASES if CASES[name].vm):
            self.assertIn(f'"{name}"', suite)


if __name__ == "__main__":
    unittest.main()
