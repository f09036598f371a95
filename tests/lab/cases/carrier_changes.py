"""The transport changes under a running OpenVPN: protocol, server, link; and other OpenVPNs run beside it or inside."""

from lab import addresses as a
from lab import openvpn_server
from lab.node import Process
from lab.profile import PROFILE, write_profile
from lab.trial import Trial, case
from lab.waiting import until

from .leak_classes_common import datagram
from .transport_common import CONNECTED, connect_plain, expect_proven, kill_under_storm, server_endpoints

_SECOND_PORT = 1195
_QUICK = ("server-poll-timeout 2",)
_OTHER_PROFILE = PROFILE.with_name("other.ovpn")
_OTHER_TUN, _OTHER_PREFIX, _OTHER_GATEWAY = "tun5", "10.91.0.0/24", "10.91.0.1"


def _server_address(trial: Trial) -> tuple[object, object, object]:
    tunnel = trial.laptop.status()["tunnel"]
    assert isinstance(tunnel, dict)
    server = tunnel["server"]
    return server["address"], server["port"], server["protocol"]


@case("carrier-fallback")
def carrier_fallback(trial: Trial) -> None:
    """OpenVPN falls back from UDP to TCP, and to another server when the first goes: nothing else leaves."""
    trial.control()
    write_profile((f"{a.SERVER} {a.SERVER_PORT} udp", f"{a.SERVER} 443 tcp-client"), _QUICK)
    trial.oracle.endpoints = frozenset(server_endpoints("udp") + server_endpoints("tcp", 443))
    trial.lab.stop_vpn_server()
    trial.lab.start_vpn_server(protocol="tcp", port=443)
    trial.lock()
    for guided in (False, True):
        with trial.no_leaks(f"UDP is not answered, TCP is ({'killswitch connect' if guided else 'by hand'})"):
            client = trial.laptop.connect() if guided else connect_plain(trial)
        trial.expect(_server_address(trial) == (a.SERVER, 443, "tcp"), f"connected over TCP ({_server_address(trial)})")
        kill_under_storm(trial, client, "over TCP")
    _change_server(trial)


def _change_server(trial: Trial) -> None:
    """Two servers; the one in use goes."""
    places = ((a.SERVER, a.SERVER_PORT), (a.SECOND_SERVER, _SECOND_PORT))
    write_profile([f"{address} {port} udp" for address, port in places], _QUICK)
    second = ((17, a.SECOND_SERVER, _SECOND_PORT),)
    trial.oracle.endpoints = frozenset(server_endpoints("udp") + second)
    trial.lab.stop_vpn_server()
    trial.lab.start_vpn_server()
    trial.laptop.enable()
    client = connect_plain(trial)
    for address, port in (places[1], places[0])[: trial.times(1, 2)] * trial.times(1, 3):
        connections = client.log().count(CONNECTED)
        with trial.no_leaks(f"the server in use goes, {address}:{port} takes over"), trial.storm():
            trial.lab.stop_vpn_server()
            trial.lab.start_vpn_server(port=port)
            reached = connections + 1
            until("OpenVPN is connected anew", lambda: client.log().count(CONNECTED) >= reached, 60)
            expect_proven(trial, client)
        trial.expect(_server_address(trial) == (address, port, "udp"), f"connected to {_server_address(trial)}")
        trial.tunnel_works(resolver=False)
    kill_under_storm(trial, client, "after changes of the server")


@case("carrier-late-link")
def carrier_late_link(trial: Trial) -> None:
    """OpenVPN runs before any link is up: once there is one it connects, and nothing else leaves."""
    trial.control()
    write_profile((f"{a.SERVER6} {a.SERVER_PORT} udp6", f"{a.SERVER} {a.SERVER_PORT} udp"), _QUICK)
    trial.lock()
    trial.lab.take_link_down()
    client = trial.laptop.node.start("openvpn", ["openvpn", "--config", str(PROFILE)])
    client.wait_for("Network is unreachable", 30)
    with trial.no_leaks("the link comes up while OpenVPN tries", link_up=False), trial.storm():
        trial.lab.bring_link_up()
        client.wait_for(CONNECTED, 30)
        expect_proven(trial, client)
    trial.tunnel_works(resolver=False)
    with trial.no_leaks("the link goes and comes again", link_up=False), trial.storm():
        trial.lab.take_link_down()
        trial.laptop.wait_state("blocked", "connecting")
        trial.lab.bring_link_up()
        expect_proven(trial, client, 60)
    kill_under_storm(trial, client, "after the link was lost")


# -- two OpenVPNs ------------------------------------------------------------------------------------------------------


def _start_other(trial: Trial) -> Process:
    return trial.laptop.node.start("other-openvpn", ["openvpn", "--config", str(_OTHER_PROFILE)])


def _reaches_other(trial: Trial) -> bool:
    ping = ("ping", "-n", "-q", "-c", "1", "-W", "1", "-I", _OTHER_TUN, _OTHER_GATEWAY)
    return trial.laptop.node.attempt(*ping).returncode == 0


def _expect_outer(trial: Trial, client: Process, what: str) -> None:
    expect_proven(trial, client)
    tunnel = trial.laptop.status()["tunnel"]
    assert isinstance(tunnel, dict)
    trial.expect(tunnel["interface"] == "tun0", f"{what}: the outer tunnel is the trusted one ({tunnel['interface']})")


@case("carrier-two", ipv6=False)
def carrier_two(trial: Trial) -> None:
    """A second OpenVPN, whose server is not pinned, is never trusted: it connects inside the first's tunnel alone."""
    write_profile((f"{a.SERVER} {a.SERVER_PORT} udp",), ("dev tun0",))
    write_profile(
        (f"{a.ELSEWHERE} {_SECOND_PORT} udp",), (f"dev {_OTHER_TUN}", "dev-type tun", *_QUICK), path=_OTHER_PROFILE
    )
    settings = openvpn_server.Settings("udp", _SECOND_PORT, False, (), _OTHER_TUN, _OTHER_PREFIX, redirect=False)
    openvpn_server.start(trial.lab.internet, settings)
    window = trial.capture.window()
    other = _start_other(trial)
    other.wait_for(CONNECTED, 20)
    trial.capture.settle()
    trial.expect(window.leaks and _reaches_other(trial), f"control, no kill switch: it connects ({window.summary()})")
    other.kill()

    trial.lock()
    with trial.no_leaks("locked: the second OpenVPN alone"):
        other = _start_other(trial)
        other.wait_for("Server poll timeout", 20)
        trial.expect(CONNECTED not in other.log(), "it is not connected")
        trial.laptop.wait_state("blocked", "connecting")
    with trial.no_leaks("both run"), trial.storm():
        client = connect_plain(trial)
        other.wait_for(CONNECTED, 40)
        _expect_outer(trial, client, "both run")
        trial.say(f"the second is connected inside the first's tunnel; its own is used: {_reaches_other(trial)}")
    with trial.no_leaks("the second's server is routed over the link"):
        trial.laptop.node.ip(f"route add {a.ELSEWHERE}/32 via {a.AP} dev {a.LINK}")
        for _ in range(3):
            trial.expect(not _reaches_other(trial), "the inner tunnel carries nothing then")
        trial.laptop.node.ip(f"route delete {a.ELSEWHERE}/32 via {a.AP} dev {a.LINK}")
    with trial.no_leaks("the first dies, the second goes on"), trial.storm():
        client.kill()
        trial.laptop.wait_state("blocked", "connecting")
        for _ in range(3):
            _send_into(trial)
        trial.for_seconds(1)
        trial.expect(trial.laptop.status()["state"] != "protected", "the second is not trusted in its place")
    with trial.no_leaks("the first comes again"):
        client = connect_plain(trial)
    _expect_outer(trial, client, "the first came again")
    other.kill()
    kill_under_storm(trial, client, "the outer one")


def _send_into(trial: Trial) -> None:
    """A datagram into the second's tunnel."""
    try:
        datagram(trial.laptop.node, "inner", _OTHER_GATEWAY, device=_OTHER_TUN)()
    except OSError:
        pass  # refused at once


@case("carrier-not-pinned", ipv6=False)
def carrier_not_pinned(trial: Trial) -> None:
    """Root's OpenVPN to a server that is not pinned: no packet of it leaves, and it is never trusted."""
    write_profile((f"{a.SECOND_SERVER} {a.SERVER_PORT} udp",), _QUICK, path=_OTHER_PROFILE)
    write_profile((f"{a.SERVER} {a.SERVER_PORT} udp",))
    trial.oracle.endpoints = frozenset(server_endpoints("udp"))
    window = trial.capture.window()
    other = _start_other(trial)
    other.wait_for(CONNECTED, 20)
    trial.capture.settle()
    trial.expect(window.leaks, f"control, no kill switch: it connects ({window.summary()})")
    other.kill()
    until("its tunnel is gone", lambda: not trial.laptop.has_tunnel())
    trial.lock()
    with trial.no_leaks("locked: an OpenVPN to another server"), trial.storm():
        other = _start_other(trial)
        other.wait_for("Server poll timeout", 20)
        trial.laptop.wait_state("blocked", "connecting")
    other.kill()
