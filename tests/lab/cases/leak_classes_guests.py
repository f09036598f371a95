"""Machines behind the laptop, and devices that share its link (leak classes 18-20, 39, 40)."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from lab import addresses as a
from lab.capture import Capture
from lab.frames import Oracle
from lab.node import Node
from lab.trial import Trial, case
from lab.waiting import until

from .leak_classes_common import (
    Way, datagram, ethernet, frame, payload, second_link, shown_closed, shown_open,
)

_GUEST_MAC = "02:00:00:00:43:77"

_TRANSLATION = f"""
table ip foreign {{
  chain in {{
    type nat hook prerouting priority -100
    ip daddr 172.21.0.1 udp dport 4800 dnat to {a.HOST}:9
  }}
  chain out {{
    type nat hook postrouting priority 100
    ip saddr 172.21.0.0/16 oifname "{a.LINK}" masquerade
  }}
}}
"""


def _routed_guest(trial: Trial, name: str, subnet: int, bridged: bool) -> Node:
    """A container with an address of its own, as docker (a bridge) or systemd-nspawn (a veth pair) makes it."""
    guest = Node(name)
    inner = f"in-{name}"
    trial.laptop.node.ip(f"link add {inner} type veth peer name eth0 netns {name}", f"link set {inner} up")
    holder = inner
    if bridged:
        holder = f"br-{name}"
        bridge = (f"link add {holder} type bridge", f"link set {inner} master {holder}", f"link set {holder} up")
        trial.laptop.node.ip(*bridge)
    trial.laptop.node.ip(f"address add 172.{subnet}.0.1/24 dev {holder}")
    guest.ip("link set eth0 up", f"address add 172.{subnet}.0.2/24 dev eth0", f"route add default via 172.{subnet}.0.1")
    return guest


def _lan_guest(trial: Trial, name: str, last: int, device: str) -> Node:
    """A container whose device stands on the link itself; `device` is how ip(8) makes it."""
    guest = Node(name)
    trial.laptop.node.ip(f"link add link {a.LINK} name {name} {device}", f"link set {name} netns {name} name eth0")
    guest.ip("link set eth0 up", f"address add 192.168.43.{last}/24 dev eth0", f"route add default via {a.AP}")
    return guest


def _tap_guest(trial: Trial) -> Callable[[], None]:
    """A virtual machine on a macvtap device: it writes whole frames into a character device."""
    trial.laptop.node.ip(
        f"link add link {a.LINK} name mvtap address {_GUEST_MAC} type macvtap mode bridge", "link set mvtap up"
    )
    (entry,) = Path("/sys/class/net/mvtap").glob("tap*/dev")
    major, minor = (int(part) for part in entry.read_text().split(":"))
    device = "/run/lab/mvtap"
    os.mknod(device, 0o600 | 0o020000, os.makedev(major, minor))
    tap = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    header = bytes(12)  # of virtio
    content = header[:10] + ethernet(0x88B5, payload("macvtap"), source=_GUEST_MAC)
    return lambda: os.write(tap, content) and None


def _hardware_link(trial: Trial, name: str) -> None:
    """A second link that is not of the kind veth, as hardware is not (a bridge of veth ports alone is internal)."""
    trial.lab.ap.ip(
        f"link add far-{name} type veth peer name wire-{name}",
        f"address add 192.168.44.1/24 dev far-{name}",
        f"link set far-{name} up",
        f"link set wire-{name} up",
        f"link add link wire-{name} name {name} netns laptop type macvlan mode passthru",
    )
    trial.laptop.node.ip(f"link set {name} up")


def _vm_on_link(trial: Trial) -> Node:
    """A virtual machine on a bridge that has a link of the laptop as its port."""
    _hardware_link(trial, "eth9")
    guest = Node("vm")
    trial.laptop.node.ip(
        "link add br9 type bridge",
        "link set eth9 master br9",
        "link set br9 up",
        "link add in-vm type veth peer name eth0 netns vm",
        "link set in-vm master br9 up",
        "address add 192.168.44.2/24 dev br9",
    )
    guest.ip("link set eth0 up", "address add 192.168.44.3/24 dev eth0", "route add default via 192.168.44.1")
    until("the bridge forwards", lambda: guest.attempt("ping", "-c", "1", "-W", "1", "192.168.44.1").returncode == 0)
    return guest


def _raw_from(guest: Node, name: str, device: str = "eth0") -> Way:
    content = ethernet(0x88B5, payload(name), "ff:ff:ff:ff:ff:ff", _GUEST_MAC)
    return Way(name, frame(guest, device, lambda: content))


@case("leak-guests")
def leak_guests(trial: Trial) -> None:
    """Containers and virtual machines, routed, translated, bridged and stacked on the link: none gets past the lock."""
    for name in ("ipv4/ip_forward", "ipv4/conf/all/forwarding"):
        trial.laptop.node.sysctl(name, 1)
    trial.lab.ap.ip(*(f"route add 172.{subnet}.0.0/24 dev wlan0" for subnet in (20, 21, 22)))
    routed, translated, plain = (
        _routed_guest(trial, name, subnet, bridged)
        for name, subnet, bridged in (("docker", 20, True), ("nat", 21, True), ("nspawn", 22, False))
    )
    trial.laptop.node.run("nft", "-f", "-", text=_TRANSLATION)
    mac_guest = _lan_guest(trial, "mvlan", 77, "type macvlan mode bridge")
    ways = [
        Way("docker-routed", datagram(routed, "docker-routed", a.HOST)),
        Way("docker-nat", datagram(translated, "docker-nat", a.HOST)),
        Way("docker-dnat", datagram(translated, "docker-dnat", "172.21.0.1", 4800)),
        Way("docker-dns", datagram(translated, "docker-dns", a.AP, 53)),
        Way("nspawn", datagram(plain, "nspawn", a.HOST)),
        Way("macvlan", datagram(mac_guest, "macvlan", a.HOST)),
        _raw_from(mac_guest, "macvlan-frame"),
        Way("macvtap", _tap_guest(trial)),
    ]
    vm = _vm_on_link(trial)
    bridged = [
        Way("bridged-vm", datagram(vm, "bridged-vm", "192.168.44.1")),
        _raw_from(vm, "bridged-vm-frame"),
        Way("bridge-itself", datagram(trial.laptop.node, "bridge-itself", "192.168.44.1")),
        _raw_from(trial.laptop.node, "bridge-frame", "br9"),
    ]
    far = Capture(trial.lab.ap, "far-eth9", trial.lab.laptop, Oracle(), link="eth9")
    shown_open(trial, ways)
    shown_open(trial, bridged, "control, a bridge with a link in it", on=far)
    trial.lock()
    shown_closed(trial, ways, "locked")
    shown_closed(trial, bridged, "locked, a bridge with a link in it", on=far)
    client = trial.laptop.connect()
    shown_closed(trial, ways, "protected")
    shown_closed(trial, bridged, "protected, a bridge with a link in it", on=far)
    client.kill()
    shown_closed(trial, ways, "OpenVPN killed")
    _moved_away(trial)


def _moved_away(trial: Trial) -> None:
    """The limit: rules belong to a network namespace, and root can move a device into another one."""
    second_link(trial, "eth8")
    thief = Node("thief")
    trial.laptop.node.ip("link set eth8 netns thief")
    thief.ip("link set eth8 up", "address add 192.168.44.2/24 dev eth8")
    with trial.lab.ap.entered():
        outside = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
    outside.settimeout(1)
    frame(thief, "eth8", lambda: ethernet(0x88B5, payload("moved-away"), "ff:ff:ff:ff:ff:ff"))()
    came_out = payload("moved-away") in outside.recv(2048)
    trial.say(f"limit, a device moved to another namespace: {'its frames come out' if came_out else 'nothing'}, "
              "rules are per namespace, and moving a device is root's own doing")
    thief.ip("link set eth8 netns laptop")
    trial.laptop.node.ip("link set eth8 up", "address add 192.168.44.2/24 dev eth8")
    chains = ("nft", "list", "table", "netdev", "killswitch")
    until("the hook is back", lambda: "eth8" in trial.laptop.node.run(*chains))
    capture = Capture(trial.lab.ap, "far-eth8", trial.lab.laptop, Oracle(), link="eth8")
    back = Way("moved-back", frame(trial.laptop.node, "eth8", lambda: ethernet(0x88B5, payload("moved-back"))))
    shown_closed(trial, [back], "the device is back", on=capture)


