"""Whatever carries OpenVPN: every port and protocol, proxies on other hosts, helpers on this one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab import addresses as a
from lab import openvpn_server
from lab.frames import Endpoint
from lab.node import Node, Process
from lab.packages import unpack_carriers
from lab.profile import PROFILE, write_profile
from lab.sandbox import STORAGE
from lab.trial import Trial, case
from lab.users import add_user
from lab.waiting import until

from .transport_common import (
    CONNECTED, STORM, TCP, connect_plain, expect_trusted, kill_under_storm, server_endpoints, show_death_leaks,
)

_HTTP_PROXY, _SOCKS_PROXY, _STUNNEL, _STUNNEL_LOCAL, _SHADOWSOCKS, _SOCKS_LOCAL = 8888, 1080, 8443, 1195, 8388, 1081
_OTHER_PORT, _OTHER_TUN = 1196, "tun5"
_HELPER_USER, _HELPER_UID = "shadowsocks", 993
_PASSWORD, _CIPHER = "correct-horse", "aes-256-gcm"


@dataclass(frozen=True)
class Carrier:
    """One way to carry OpenVPN.

    `server` is what the VPN server listens on; `endpoints` what the laptop sends to; `helper` the program that sends.
    """

    name: str
    remotes: tuple[str, ...]
    server: tuple[str, int]
    endpoints: tuple[Endpoint, ...]
    options: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    helper: str = ""


def _direct(kind: str, port: int, ipv6: bool = False) -> Carrier:
    protocol = ("tcp6-client" if ipv6 else "tcp-client") if kind == "tcp" else ("udp6" if ipv6 else "udp")
    remote = f"{a.SERVER6 if ipv6 else a.SERVER} {port} {protocol}"
    return Carrier(f"{kind} {port}{', IPv6' if ipv6 else ''}", (remote,), (kind, port), server_endpoints(kind, port))


def _prepare(trial: Trial, carrier: Carrier) -> None:
    """The server, the profile, and what may leave."""
    trial.lab.stop_vpn_server()
    trial.lab.start_vpn_server(protocol=carrier.server[0], port=carrier.server[1])
    write_profile(carrier.remotes, carrier.options)
    trial.oracle.endpoints = frozenset(carrier.endpoints)


def _show_control(trial: Trial, carrier: Carrier) -> None:
    _prepare(trial, carrier)
    show_death_leaks(trial, trial.laptop.openvpn(), carrier.name)


def _ride(trial: Trial, carrier: Carrier, guided: bool) -> None:
    """It connects, a storm rages, and it dies: nothing leaves."""
    _prepare(trial, carrier)
    trial.laptop.enable(*carrier.enable)
    trial.laptop.wait_state("blocked", "connecting")
    what = f"{carrier.name}, {'killswitch connect' if guided else 'by hand'}"
    with trial.no_leaks(f"{what}: connecting") as window:
        if guided:
            client = trial.laptop.connect()
        elif carrier.helper:
            client = trial.laptop.openvpn()
            expect_trusted(trial)
        else:
            client = connect_plain(trial)
    trial.expect(window.allowed["transport"], f"{what}: the transport is seen on the link")
    if carrier.helper:
        transport = str(trial.laptop.status()["transport"])
        trial.expect(carrier.helper in transport and "marked" in transport, f"{what}: {transport}")
    trial.tunnel_works(resolver=False)
    kill_under_storm(trial, client, what)


_PORTS = (
    _direct("udp", 53), _direct("udp", 123), _direct("udp", 443, ipv6=True), _direct("udp", 853),
    _direct("tcp", 443), _direct("tcp", 853), _direct("tcp", 8443, ipv6=True),
)
_GUIDED = {"udp 53", "tcp 853"}


@case("carrier-ports")
def carrier_ports(trial: Trial) -> None:
    """OpenVPN over UDP 53, 123, 443, 853 and TCP 443, 853, 8443: connects, and leaks nothing when it dies."""
    trial.control()
    for carrier in _PORTS:
        _show_control(trial, carrier)
    trial.laptop.start_daemon()
    for carrier in _PORTS:
        _ride(trial, carrier, guided=False)
        if trial.long or carrier.name in _GUIDED:
            _ride(trial, carrier, guided=True)


# -- proxies on another host -------------------------------------------------------------------------------------------


def _start_proxies(node: Node) -> None:
    """tinyproxy and microsocks, on a host of the internet."""
    settings = STORAGE / "tinyproxy.conf"
    lines = (f"Port {_HTTP_PROXY}", f"Listen {a.ELSEWHERE}", "Timeout 600", "ConnectPort 443", "MaxClients 20")
    settings.write_text("\n".join(lines) + "\n")
    node.start("tinyproxy", ["tinyproxy", "-d", "-c", str(settings)])
    node.start("microsocks", ["microsocks", "-i", a.ELSEWHERE, "-p", str(_SOCKS_PROXY)])
    _wait_listening(node, _HTTP_PROXY, _SOCKS_PROXY)


def _wait_listening(node: Node, *ports: int) -> None:
    for port in ports:
        until(f"{node.name} serves port {port}", lambda: f":{port} " in node.run("ss", "-Hltn"))


_REMOTE = (f"{a.SERVER} 443 tcp-client",)


def _proxy(name: str, option: str, port: int) -> Carrier:
    endpoints = ((TCP, a.ELSEWHERE, port),)
    return Carrier(name, _REMOTE, ("tcp", 443), endpoints, (f"{option} {a.ELSEWHERE} {port}",))


_PROXIES = (
    _proxy("HTTP proxy", "http-proxy", _HTTP_PROXY),
    _proxy("SOCKS proxy", "socks-proxy", _SOCKS_PROXY),
)


@case("carrier-proxies")
def carrier_proxies(trial: Trial) -> None:
    """OpenVPN through an HTTP proxy and a SOCKS proxy: the proxy is the only host that is reached."""
    unpack_carriers()
    _start_proxies(trial.lab.internet)
    trial.control()
    for carrier in _PROXIES:
        _show_control(trial, carrier)
    trial.laptop.start_daemon()
    for carrier in _PROXIES:
        for guided in (False, True):
            _ride(trial, carrier, guided)


# -- helpers on this host ----------------------------------------------------------------------------------------------


def _stunnel(node: Node, name: str, lines: Sequence[str]) -> Process:
    settings = STORAGE / f"stunnel-{name}.conf"
    settings.write_text("\n".join(("foreground = yes", "pid =", "syslog = no", *lines)) + "\n")
    return node.start("stunnel", ["/usr/bin/stunnel4", str(settings)])


def _start_stunnel(trial: Trial) -> Process:
    keys = STORAGE / "pki"
    certificate = (f"cert = {keys}/server.crt", f"key = {keys}/server.key")
    if f":{_STUNNEL} " not in trial.lab.vpn.run("ss", "-Hltn"):
        _stunnel(trial.lab.vpn, "server", (*certificate, "[vpn]", f"accept = {_STUNNEL}", "connect = 127.0.0.1:443"))
    lines = ("client = yes", "[vpn]", f"accept = 127.0.0.1:{_STUNNEL_LOCAL}", f"connect = {a.SERVER}:{_STUNNEL}")
    helper = _stunnel(trial.laptop.node, "client", lines)
    _wait_listening(trial.lab.vpn, _STUNNEL)
    _wait_listening(trial.laptop.node, _STUNNEL_LOCAL)
    return helper


def _start_shadowsocks(trial: Trial) -> Process:
    """Its local end runs as a user of its own."""
    secret = ("-k", _PASSWORD, "-m", _CIPHER)
    if f":{_SHADOWSOCKS} " not in trial.lab.vpn.run("ss", "-Hltn"):
        trial.lab.vpn.start("ss-server", ["ss-server", "-s", "0.0.0.0", "-p", str(_SHADOWSOCKS), *secret])
    add_user(_HELPER_USER, _HELPER_UID)
    user = ("setpriv", "--reuid", str(_HELPER_UID), "--regid", str(_HELPER_UID), "--clear-groups")
    server = ("-s", a.SERVER, "-p", str(_SHADOWSOCKS))
    local = ("-b", "127.0.0.1", "-l", str(_SOCKS_LOCAL))
    helper = trial.laptop.node.start("ss-local", [*user, "/usr/bin/ss-local", *server, *local, *secret])
    _wait_listening(trial.lab.vpn, _SHADOWSOCKS)
    _wait_listening(trial.laptop.node, _SOCKS_LOCAL)
    return helper


_AROUND = f"route {a.SERVER} 255.255.255.255 net_gateway"
"""What the helper sends must not be routed into the tunnel: OpenVPN knows only the local end."""

_HELPERS: tuple[tuple[Carrier, Callable[[Trial], Process]], ...] = (
    (
        Carrier(
            "stunnel", (f"127.0.0.1 {_STUNNEL_LOCAL} tcp-client",), ("tcp", 443),
            ((TCP, a.SERVER, _STUNNEL),), (_AROUND,),
            ("--server", f"{a.SERVER}:{_STUNNEL}/tcp", "--transport-program", "/usr/bin/stunnel4"), "/usr/bin/stunnel4",
        ),
        _start_stunnel,
    ),
    (
        Carrier(
            "shadowsocks", _REMOTE, ("tcp", 443), ((TCP, a.SERVER, _SHADOWSOCKS),),
            (f"socks-proxy 127.0.0.1 {_SOCKS_LOCAL}", _AROUND),
            ("--server", f"{a.SERVER}:{_SHADOWSOCKS}/tcp", "--transport-program", f"/usr/bin/ss-local:{_HELPER_USER}"),
            "/usr/bin/ss-local",
        ),
        _start_shadowsocks,
    ),
)


@case("carrier-helpers")
def carrier_helpers(trial: Trial) -> None:
    """OpenVPN through stunnel and shadowsocks on this host (--transport-program): only they reach the server."""
    unpack_carriers()
    trial.control()
    trial.laptop.start_daemon()
    for carrier, start in _HELPERS:
        trial.laptop.killswitch("disable")
        helper = start(trial)
        _show_control(trial, carrier)
        for guided in (False, True):
            _ride(trial, carrier, guided)
        _refuse_unnamed(trial, carrier, "no longer named")
        helper.kill()
        helper = start(trial)
        _refuse_unnamed(trial, carrier, "never named")
        helper.kill()


def _refuse_unnamed(trial: Trial, carrier: Carrier, what: str) -> None:
    """Without --transport-program no packet of the helper leaves, also if it was named before."""
    trial.laptop.enable(*carrier.enable[:2])
    trial.laptop.wait_state("blocked", "connecting")
    write_profile(carrier.remotes, (*carrier.options, "server-poll-timeout 2"))
    trial.oracle.endpoints = frozenset()
    with trial.no_leaks(f"{carrier.name}, {what}"):
        client = trial.laptop.node.start("openvpn", ["openvpn", "--config", str(PROFILE)])
        until("OpenVPN gives up, or is connected", lambda: "SIGUSR1" in client.log() or CONNECTED in client.log(), 30)
        trial.expect(CONNECTED not in client.log(), f"{carrier.name}, {what}: OpenVPN is not connected")
        client.kill()


@case("carrier-helper-other")
def carrier_helper_other(trial: Trial) -> None:
    """The helper is connected to the server, but another OpenVPN than the one it carries has a tunnel: not trusted."""
    unpack_carriers()
    carrier, start = _HELPERS[0]
    other_profile = write_profile(
        (f"{a.ELSEWHERE} {_OTHER_PORT} udp",), (f"dev {_OTHER_TUN}", "dev-type tun", "persist-tun"),
        path=PROFILE.with_name("other.ovpn"),
    )
    settings = openvpn_server.Settings("udp", _OTHER_PORT, False, (), _OTHER_TUN, "10.91.0.0/24", redirect=False)
    openvpn_server.start(trial.lab.internet, settings)
    other = trial.laptop.node.start("other-openvpn", ["openvpn", "--config", str(other_profile)])
    other.wait_for(CONNECTED, 20)
    start(trial)
    _show_control(trial, carrier)
    trial.laptop.start_daemon()
    _prepare(trial, carrier)
    trial.laptop.enable(*carrier.enable)
    client = trial.laptop.openvpn()
    tunnel = expect_trusted(trial)["tunnel"]
    assert isinstance(tunnel, dict)
    interface = tunnel["interface"]
    trial.expect(interface == "tun0", f"the tunnel that the helper carries is trusted ({interface})")
    with trial.no_leaks("the first dies; the helper and the other OpenVPN go on"), trial.storm(STORM):
        client.kill()
        trial.laptop.wait_state("blocked", "connecting")
        trial.for_seconds(2)
        state = trial.laptop.status()["state"]
    trial.expect(trial.laptop.has_tunnel(_OTHER_TUN), "the other's tunnel is still there")
    trial.expect(state != "protected", f"it is not trusted ({state})")
