"""Ways out that need modules which not every kernel has (leak classes 20, 21 and 35-38).

These cases are run in a virtual machine with Debian's own kernel, by tests/vm/suite.py.
"""

import socket

from lab import addresses as a
from lab.capture import Capture
from lab.frames import Oracle
from lab.node import Node
from lab.trial import Trial, case
from lab.waiting import until

from .leak_classes_common import (
    Way, datagram, ethernet, frame, of_kind, payload, second_link, shown_closed, shown_open,
)

_PEER_MAC = "02:00:00:00:77:02"
_ECHO_PORT, _ESP_PORT, _WIREGUARD_PORT = 7, 4735, 51820

_FAST_PATH = f"""
table inet foreign {{
  flowtable fast {{
    hook ingress priority 0
    devices = {{ {a.LINK}, in-fast }}
  }}
  chain forward {{
    type filter hook forward priority 0
    ip protocol udp flow add @fast
    counter
  }}
}}
"""


class _Forwarded:
    """A conversation of a container, whose packets a flowtable forwards past the hooks of forward and postrouting."""

    def __init__(self, trial: Trial) -> None:
        self._laptop = trial.laptop.node
        guest = Node("fast")
        self._laptop.ip(
            "link add in-fast type veth peer name eth0 netns fast",
            "address add 172.23.0.1/24 dev in-fast",
            "link set in-fast up",
        )
        guest.ip("link set eth0 up", "address add 172.23.0.2/24 dev eth0", "route add default via 172.23.0.1")
        trial.lab.ap.ip("route add 172.23.0.0/24 via " + trial.lab.link_address())
        trial.lab.internet.ip("route add 172.23.0.0/24 via 192.0.2.2")
        self._laptop.sysctl("ipv4/ip_forward", 1)
        self._laptop.run("nft", "-f", "-", text=_FAST_PATH)
        with guest.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(1)
        self._socket.connect((a.HOST, _ECHO_PORT))

    def send(self) -> None:
        """One more packet of the same conversation."""
        self._socket.send(payload("flowtable"))

    def until_fast(self) -> None:
        """Until the packets are forwarded without being seen by the hook: the counter of the chain stands still."""

        def is_fast() -> bool:
            before = self._counted()
            self.send()
            answered = self._socket.recv(256) == payload("flowtable")
            return answered and self._counted() == before

        until("the flowtable takes the conversation over", is_fast)

    def _counted(self) -> str:
        listed = self._laptop.run("nft", "list", "chain", "inet", "foreign", "forward")
        return next(line for line in listed.splitlines() if "counter" in line)


def _neighbour_machine(trial: Trial, name: str, last: int, kind: str) -> Node:
    """A container whose device stands on the link itself."""
    guest = Node(name)
    trial.laptop.node.ip(f"link add link {a.LINK} name {name} {kind}", f"link set {name} netns {name} name eth0")
    guest.ip("link set eth0 up", f"address add 192.168.43.{last}/24 dev eth0", f"route add default via {a.AP}")
    return guest


def _inside(trial: Trial, name: str, subnet: int, device: str, *more: str) -> Way:
    """A device that wraps what it is given, and a datagram for somebody behind it."""
    node = trial.laptop.node
    node.sysctl("ipv6/conf/default/disable_ipv6", 1)  # of the new device alone: it announces nothing by itself
    node.ip(f"link add name {name} {device}")
    node.sysctl("ipv6/conf/default/disable_ipv6", 0)
    node.ip(f"address add 10.{subnet}.0.1/24 dev {name}", f"link set {name} up", *more)
    return Way(name, datagram(node, name, f"10.{subnet}.0.2"))


def _tunnels(trial: Trial) -> list[Way]:
    """Tunnels of other programs: their outer packets are the kernel's own."""
    node, own = trial.laptop.node, trial.lab.link_address()
    ends = f"remote {a.HOST} local {own} dev {a.LINK}"
    node.ip(
        f"link add name sit7 type sit {ends}",
        "address add 2001:db8:77::1/64 dev sit7 nodad",
        "link set sit7 up",
    )
    return [
        Way("sit", datagram(node, "sit", "2001:db8:77::2")),
        _inside(trial, "gre7", 72, f"type gre {ends}"),
        _inside(trial, "ipip7", 73, f"type ipip {ends}"),
        _wireguard(trial),
        _esp(trial),
    ]


def _wireguard(trial: Trial) -> Way:
    """A second tunnel; what is seen of it is its handshake."""
    way = _inside(trial, "wg7", 74, "type wireguard")
    keys = [trial.laptop.node.run("wg", "genkey") for _ in range(2)]
    peer = trial.laptop.node.run("wg", "pubkey", text=keys[1]).strip()
    key = "/run/lab/wg7.key"
    with open(key, "w", encoding="ascii") as file:
        file.write(keys[0])
    trial.laptop.node.run(
        *("wg", "set", "wg7", "private-key", key, "peer", peer),
        *("allowed-ips", "10.74.0.0/24", "endpoint", f"{a.HOST}:{_WIREGUARD_PORT}"),
    )
    return Way("wg7", way.send, of_kind("udp IPv4"), linger=0.5)


def _esp(trial: Trial) -> Way:
    """IPsec: datagrams to a port are encrypted by the kernel."""
    node, own = trial.laptop.node, trial.lab.link_address()
    node.run(
        *("ip", "xfrm", "state", "add", "src", own, "dst", a.HOST, "proto", "esp", "spi", "0x77", "mode", "transport"),
        *("auth", "hmac(sha256)", "0x" + "5a" * 32, "enc", "cbc(aes)", "0x" + "a5" * 16),
    )
    node.run(
        *("ip", "xfrm", "policy", "add", "src", own, "dst", a.HOST, "proto", "udp", "dport", str(_ESP_PORT)),
        *("dir", "out", "tmpl", "src", own, "dst", a.HOST, "proto", "esp", "mode", "transport"),
    )
    return Way("xfrm", datagram(node, "xfrm", a.HOST, _ESP_PORT), of_kind("esp IPv4"))


def _tagged(trial: Trial) -> Way:
    """A VLAN on the link."""
    return _inside(
        trial, "vlan5", 75, f"link {a.LINK} type vlan id 5",
        f"neighbour add 10.75.0.2 lladdr {_PEER_MAC} dev vlan5 nud permanent",
    )


def _vrf(trial: Trial) -> list[Way]:
    """A second link that belongs to a VRF: programs are bound to the VRF, not to the link."""
    node = trial.laptop.node
    second_link(trial, "eth6")
    node.ip("link add vrf-blue type vrf table 100", "link set vrf-blue up", "link set eth6 master vrf-blue")
    node.ip("route add default via 192.168.44.1 table 100")

    def bound(name: str, target: str, device: str) -> Way:
        return Way(name, datagram(node, name, target, device=device))

    return [
        bound("vrf-near", "192.168.44.1", "vrf-blue"),
        bound("vrf-far", a.HOST, "vrf-blue"),
        bound("vrf-port", "192.168.44.1", "eth6"),
    ]


@case(
    "leak-modules",
    vm=True,
    modules=("ipvlan", "nf_flow_table", "vrf", "sit", "ip_gre", "ipip", "wireguard", "esp4", "8021q"),
)
def leak_modules(trial: Trial) -> None:
    """A flowtable's fast path, ipvlan, VRF, VLAN, IPsec, 6in4, GRE and WireGuard: nothing gets past the lock."""
    forwarded = _Forwarded(trial)
    guest = _neighbour_machine(trial, "ipv", 78, "type ipvlan mode l2 bridge")
    content = ethernet(0x88B5, payload("ipvlan-frame"))
    ways: list[Way] = [
        Way("flowtable", forwarded.send),
        Way("ipvlan", datagram(guest, "ipvlan", a.HOST)),
        Way("ipvlan-frame", frame(guest, "eth0", lambda: content)),
        _tagged(trial),
        *_tunnels(trial),
    ]
    blue = _vrf(trial)
    far = Capture(trial.lab.ap, "far-eth6", trial.lab.laptop, Oracle(), link="eth6")
    forwarded.until_fast()
    trial.say("control, no kill switch: a flowtable forwards a container's conversation past the hooks")
    shown_open(trial, ways)
    shown_open(trial, blue, "control, a link in a VRF", on=far)
    trial.lock()
    shown_closed(trial, ways, "locked")
    shown_closed(trial, blue, "locked, a link in a VRF", on=far)
    client = trial.laptop.connect()
    shown_closed(trial, ways, "protected")
    shown_closed(trial, blue, "protected, a link in a VRF", on=far)
    client.kill()
    shown_closed(trial, ways, "OpenVPN killed")
