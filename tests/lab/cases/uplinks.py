"""OpenVPN over an uplink that is no plain link: a VLAN, and PPPoE. Run in a virtual machine with Debian's own kernel."""

import json
import struct
from pathlib import Path

from lab import addresses as a
from lab.node import Node, Process
from lab.trial import Trial, case
from lab.waiting import until

from .leak_classes_common import Way, datagram, ethernet, frame, payload, shown_closed, shown_open, udp_packet

_VLAN, _OTHER_VLAN = 5, 6
_VLAN_LINK, _VLAN_AP, _VLAN_LAPTOP, _VLAN_PREFIX = "uplink5", "192.168.45.1", "192.168.45.2", "192.168.45.0/24"
_PPP_LINK, _PPP_AP, _PPP_LAPTOP, _PPP_PREFIX = "ppp0", "10.67.15.1", "10.67.15.2", "10.67.15.0/24"
_TAG, _SERVICE_TAG, _SESSION = 0x8100, 0x88A8, 0x8864


def _only_way_out(trial: Trial, device: str, source: str, prefix: str, gateway: str = "") -> None:
    """The internet is behind `device` from now on; the plain link has no way anywhere."""
    trial.lab.internet.ip(f"route add {prefix} via 192.0.2.2")
    via = f"via {gateway} " if gateway else ""
    trial.laptop.node.ip(f"route replace default {via}dev {device} src {source} metric 1")
    trial.laptop.node.sysctl(f"ipv6/conf/{a.LINK}/accept_ra", 0)
    trial.laptop.node.attempt("ip", "-6", "route", "delete", "default")
    ping = ("ping", "-n", "-q", "-c", "1", "-W", "1", a.HOST)
    until(f"{a.HOST} answers through {device}", lambda: trial.laptop.node.attempt(*ping).returncode == 0, 30)


def _works_under_lock(trial: Trial, ways: list[Way], what: str) -> None:
    """OpenVPN connects over the uplink, its tunnel works, and what is crafted to look like it dies."""
    forged = [way for way in ways if way.name.endswith("transport")]
    shown_closed(trial, [way for way in ways if way not in forged], f"{what}, locked")
    with trial.no_leaks(f"{what}, connecting"):
        client = trial.laptop.connect()
        trial.tunnel_works()
    shown_closed(trial, ways, f"{what}, protected")
    with trial.no_leaks(f"{what}, OpenVPN killed"), trial.storm(words=("udp4", "tcp4", "dns4", "icmp4")):
        client.kill()
        trial.laptop.wait_state("blocked", "connecting")
    client = trial.laptop.connect()
    trial.tunnel_works()
    client.kill()


def _on_link(node: Node, name: str, kind: int, content: bytes, device: str = a.LINK) -> Way:
    whole = ethernet(kind, content)
    return Way(name, frame(node, device, lambda: whole))


# -- a VLAN --------------------------------------------------------------------------------------------------------------


@case("uplink-vlan", vm=True, modules=("8021q",))
def uplink_vlan(trial: Trial) -> None:
    """The laptop's uplink is a VLAN: OpenVPN connects over it, and crafted frames with any tag die."""
    node = trial.laptop.node
    trial.lab.ap.ip(
        f"link add link wlan0 name wlan0.{_VLAN} type vlan id {_VLAN}",
        f"address add {_VLAN_AP}/24 dev wlan0.{_VLAN}",
        f"link set wlan0.{_VLAN} up",
    )
    node.ip(
        f"link add link {a.LINK} name {_VLAN_LINK} type vlan id {_VLAN}",
        f"address add {_VLAN_LAPTOP}/24 dev {_VLAN_LINK}",
        f"link set {_VLAN_LINK} up",
    )
    _only_way_out(trial, _VLAN_LINK, _VLAN_LAPTOP, _VLAN_PREFIX, _VLAN_AP)
    trial.oracle.vlan = _VLAN

    def tagged(name: str, identifier: int, target: str = a.HOST, port: int = 9, outer: bytes = b"") -> Way:
        tag = outer + struct.pack("!HH", identifier, 0x0800)
        kind = _SERVICE_TAG if outer else _TAG
        return _on_link(node, name, kind, tag + udp_packet(name, _VLAN_LAPTOP, target, (40000, port)))

    ways = [
        tagged("tagged", _VLAN),
        tagged("tagged-other", _OTHER_VLAN),
        tagged("tagged-twice", _VLAN, outer=struct.pack("!HH", _OTHER_VLAN, _TAG)),
        tagged("tagged-transport", _VLAN, a.SERVER, a.SERVER_PORT),
        tagged("tagged-other-transport", _OTHER_VLAN, a.SERVER, a.SERVER_PORT),
        _on_link(node, "tagged-unknown-type", _TAG, struct.pack("!HH", _VLAN, 0x88B5) + payload("tagged-unknown-type")),
        _on_link(node, "in-vlan", 0x0800, udp_packet("in-vlan", _VLAN_LAPTOP, a.HOST), _VLAN_LINK),
        _on_link(node, "in-vlan-unknown-type", 0x88B5, payload("in-vlan-unknown-type"), _VLAN_LINK),
        Way("vlan-datagram", datagram(node, "vlan-datagram", a.HOST, device=_VLAN_LINK)),
        Way("vlan-near", datagram(node, "vlan-near", _VLAN_AP)),
    ]
    shown_open(trial, ways)
    trial.lock()
    _works_under_lock(trial, ways, "VLAN uplink")


# -- PPPoE ---------------------------------------------------------------------------------------------------------------


def _write_options(file: Path, *lines: str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))
    return str(file)


def _serve_pppoe(trial: Trial) -> None:
    """The access point takes PPPoE sessions."""
    options = _write_options(
        Path("/run/lab/pppoe-server"), "noauth", "nodetach", "mtu 1492", "mru 1492", "noipv6", "nodefaultroute"
    )
    trial.lab.ap.start(
        "pppoe-server",
        ["pppoe-server", "-F", "-I", "wlan0", "-L", _PPP_AP, "-R", _PPP_LAPTOP, "-N", "1", "-O", options],
    )


def _dial(trial: Trial) -> Process:
    """The laptop's session; there when this returns."""
    dialled = trial.laptop.node.start(
        "pppd",
        [
            *("pppd", "nodetach", "noauth", "noipdefault", "noipv6", "nodefaultroute"),
            *("plugin", "rp-pppoe.so", f"nic-{a.LINK}", "unit", "0", "persist", "maxfail", "0", "holdoff", "1"),
        ],
    )
    dialled.wait_for(f"remote IP address {_PPP_AP}", 40)
    return dialled


@case("uplink-pppoe", vm=True, modules=("ppp_generic", "ppp_async", "pppoe"))
def uplink_pppoe(trial: Trial) -> None:
    """The laptop's uplink is PPPoE: OpenVPN connects over it, crafted frames die, and a lost session is dialled anew."""
    node = trial.laptop.node
    _serve_pppoe(trial)
    session = _dial(trial)
    _only_way_out(trial, _PPP_LINK, _PPP_LAPTOP, _PPP_PREFIX)
    trial.oracle.pppoe = True
    number = int(session.log().partition("PPP session is ")[2].split()[0])

    def wrapped(name: str, target: str = a.HOST, port: int = 9, protocol: int = 0x0021) -> Way:
        packet = struct.pack("!H", protocol) + udp_packet(name, _PPP_LAPTOP, target, (40000, port))
        return _on_link(node, name, _SESSION, struct.pack("!BBHH", 0x11, 0, number, len(packet)) + packet)

    ways = [
        wrapped("in-session"),
        wrapped("in-session-transport", a.SERVER, a.SERVER_PORT),
        wrapped("in-session-other", protocol=0x0281),
        Way("ppp-datagram", datagram(node, "ppp-datagram", a.HOST, device=_PPP_LINK)),
        Way("ppp-near", datagram(node, "ppp-near", _PPP_AP)),
    ]
    shown_open(trial, ways)
    trial.lock()
    _works_under_lock(trial, ways, "PPPoE uplink")
    trial.laptop.killswitch("disable")
    _write_policy("dial-in")
    trial.laptop.enable("--policy", "dial-in")
    with trial.no_leaks("session lost and dialled anew, as after a reboot"):
        session.kill()
        _dial(trial)
        node.ip(f"route replace default dev {_PPP_LINK} src {_PPP_LAPTOP} metric 1")
    with trial.no_leaks("connecting again"):
        trial.laptop.connect()
        trial.tunnel_works()


def _write_policy(name: str) -> None:
    """As the policy laptop, and links may dial in."""
    policy = json.loads(Path("/usr/share/killswitch/policies/laptop.json").read_text())
    policy["links"]["pppoe"] = True
    folder = Path("/etc/killswitch/policies")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({**policy, "name": name}))
