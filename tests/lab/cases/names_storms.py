"""Everything that a hostile network can say about names, again and again, while NetworkManager believes it."""

import signal
import socket
import struct

from lab import addresses as a
from lab.desktop import RESOLV_CONF, Desktop
from lab.names import Names
from lab.trial import Trial, case
from lab.waiting import until

from .names_file import ACCESS_POINT, TUNNEL, Found, tunnel_named
from .names_services import connect, disable, profile_with_addresses, through

_HOSTILE = (
    "--dhcp-range=192.168.43.100,192.168.43.199,2m",
    "--dhcp-option=option:domain-name,com",
    f"--dhcp-option=option:dns-server,{a.AP},{a.PUBLIC_DNS}",
    f"--dhcp-option=121,0.0.0.0/1,{a.AP},128.0.0.0/1,{a.AP}",
)
"""A lease with a rogue resolver, a claim to every name under "com", and routes past the tunnel (TunnelVision)."""
_ROUTER_ADVERTISEMENT, _RDNSS, _DNSSL = 134, 25, 31


def _option(kind: int, content: bytes) -> bytes:
    """Lifetime of half an hour; padded to eight bytes."""
    body = struct.pack("!HI", 0, 1800) + content
    body += bytes(-(len(body) + 2) % 8)
    return struct.pack("!BB", kind, (len(body) + 2) // 8) + body


def _advertise(trial: Trial, resolver: str) -> None:
    """A rogue router advertisement: the best router, a resolver, and "com" as search domain."""
    message = struct.pack("!BBHBBHII", _ROUTER_ADVERTISEMENT, 0, 0, 64, 0x08, 1800, 0, 0)
    message += _option(_RDNSS, socket.inet_pton(socket.AF_INET6, resolver)) + _option(_DNSSL, b"\3com\0")
    with trial.lab.ap.entered(), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("wlan0"))
        sender.sendto(message, ("ff02::1", 0))


def _known_to_networkmanager(desktop: Desktop, resolver: str) -> bool:
    return resolver in desktop.nmcli("-g", "IP6.DNS", "device", "show", a.LINK).replace("\\", "")


def _rogue_router(trial: Trial, desktop: Desktop) -> None:
    """A resolver by router advertisement, and NetworkManager has taken it."""
    _advertise(trial, a.AP6)
    until("NetworkManager takes the rogue resolver", lambda: _known_to_networkmanager(desktop, a.AP6))


def _storm_of_advertisements(trial: Trial) -> None:
    for number in range(trial.times(50, 1000)):
        _advertise(trial, f"2001:db8:bad::{number + 1:x}")
    _advertise(trial, a.AP6)


def _storm_of_leases(trial: Trial, desktop: Desktop) -> None:
    for number in range(trial.times(6, 60)):
        trial.lab.serve_addresses(*(_HOSTILE if number % 2 else ()))
        desktop.nmcli(*(("connection", "up", "lan") if number % 3 else ("device", "reapply", a.LINK)))
    trial.lab.serve_addresses(*_HOSTILE)
    desktop.renew()


def _kill_in_a_storm(trial: Trial, desktop: Desktop) -> None:
    for _ in range(trial.times(1, 5)):
        desktop.stop_networkmanager(signal.SIGKILL)
        _storm_of_advertisements(trial)
        desktop.start_networkmanager()


def _networking_off_and_on(trial: Trial, desktop: Desktop) -> None:
    for _ in range(trial.times(1, 5)):
        desktop.nmcli("networking", "off")
        desktop.nmcli("networking", "on")
        desktop.wait_connected()


def _storms(trial: Trial, desktop: Desktop, names: Names) -> None:
    through(trial, names, "a rogue router with a resolver", lambda: _rogue_router(trial, desktop))
    through(trial, names, "a storm of router advertisements", lambda: _storm_of_advertisements(trial))
    through(trial, names, "a storm of hostile leases", lambda: _storm_of_leases(trial, desktop))
    through(trial, names, "networking off and on", lambda: _networking_off_and_on(trial, desktop))
    through(trial, names, "NetworkManager killed in a storm", lambda: _kill_in_a_storm(trial, desktop))
    names.wait(TUNNEL, "afterwards", suffix="site.com")


@case("names-storm", packages=True)
def names_storm(trial: Trial) -> None:
    """Rogue routers with resolvers, storms of hostile leases, networking off and on: only the tunnel is asked."""
    profile_with_addresses()
    desktop = Desktop(trial, ipv6=True)
    RESOLV_CONF.write_text("# placeholder\n")
    desktop.start_networkmanager()
    names = Names(trial.lab, trial.laptop.resolve)
    _rogue_router(trial, desktop)
    until("control: NetworkManager writes the rogue resolver", lambda: a.AP6 in RESOLV_CONF.read_text())
    trial.say(names.expect(ACCESS_POINT, "control, no kill switch", times=1))
    connect(trial, names, "networkmanager")
    _storms(trial, desktop, names)
    trial.expect(tunnel_named(), "resolv.conf names the tunnel's resolver")
    trial.laptop.killswitch("disable")
    until("the tunnel's resolver is no longer named", lambda: not tunnel_named())
    names.wait(ACCESS_POINT, "disabled")


@case("names-storm-resolved", packages=True)
def names_storm_resolved(trial: Trial) -> None:
    """The same with systemd-resolved, which NetworkManager tells of every rogue resolver."""
    profile_with_addresses()
    desktop = Desktop(trial, ipv6=True)
    RESOLV_CONF.unlink()
    RESOLV_CONF.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    desktop.start_resolved()
    desktop.start_networkmanager()
    original = Found.now().link
    names = Names(trial.lab, desktop.ask_resolved)
    _rogue_router(trial, desktop)
    names.wait(ACCESS_POINT, "control, no kill switch")
    connect(trial, names, "resolved")
    _storms(trial, desktop, names)
    trial.laptop.killswitch("disable")
    trial.expect(Found.now().link == original, "the link is what it was")
    names.wait(ACCESS_POINT, "disabled")
