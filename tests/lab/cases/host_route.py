"""OpenVPN's route to its server, which NetworkManager takes away when it sets the link up anew."""

import time
from collections.abc import Callable

from lab import addresses as a
from lab.desktop import Desktop
from lab.profile import PROFILE
from lab.trial import Trial, case
from lab.waiting import until

from .names_services import profile_with_addresses

_DEAD_SECONDS = 8.0
"""So long a tunnel without that route is watched: longer than OpenVPN takes to notice and to connect anew."""
_OURS = "75"
"""The protocol by which the kill switch's routes are known."""


def _keep_tunnel() -> None:
    """The tunnel stays while OpenVPN reconnects, as most profiles of providers say; the server by its address."""
    profile_with_addresses()
    PROFILE.write_text("persist-tun\n" + PROFILE.read_text())


def _answers(trial: Trial) -> bool:
    ping = ("ping", "-n", "-q", "-c", "1", "-W", "1", "-I", "tun0", a.HOST)
    return trial.laptop.node.attempt(*ping).returncode == 0


def _leads_into_tunnel(trial: Trial) -> bool:
    return "dev tun0" in trial.laptop.node.run("ip", "route", "get", a.SERVER)


def _our_routes(trial: Trial) -> list[str]:
    return trial.laptop.node.run("ip", "route", "show", "proto", _OURS).splitlines()


def _lose_carrier(trial: Trial, desktop: Desktop) -> None:
    """The access point is gone for as long as it takes NetworkManager to give the connection up."""
    trial.lab.ap.ip("link set wlan0 down")
    until("NetworkManager has given up", lambda: not trial.lab.link_address(), 30)
    trial.lab.ap.ip("link set wlan0 up")
    desktop.wait_connected()


def _disconnect(desktop: Desktop) -> None:
    desktop.nmcli("device", "disconnect", a.LINK)
    desktop.nmcli("device", "connect", a.LINK)
    desktop.wait_connected()


def _control(trial: Trial, desktop: Desktop) -> None:
    client = trial.laptop.openvpn()
    until("a host answers through the tunnel", lambda: _answers(trial))
    trial.expect(not _leads_into_tunnel(trial), "control: OpenVPN has set a route to its server")
    desktop.nmcli("device", "reapply", a.LINK)
    until("NetworkManager takes it away", lambda: _leads_into_tunnel(trial))
    deadline = time.monotonic() + _DEAD_SECONDS
    answers = 0
    while time.monotonic() < deadline:
        answers += _answers(trial)
    trial.expect(not answers, f"control: the tunnel leads into itself and is dead for {_DEAD_SECONDS:g} s")
    client.kill()
    until("the tunnel is gone", lambda: not trial.laptop.has_tunnel())


@case("host-route", ipv6=False, packages=True)
def host_route(trial: Trial) -> None:
    """NetworkManager takes OpenVPN's route to its server away: the tunnel is dead; with the kill switch it lives on."""
    _keep_tunnel()
    desktop = Desktop(trial)
    desktop.start_networkmanager()
    _control(trial, desktop)
    desktop.renew()

    trial.laptop.start_daemon(store=0)  # or the tables stay owned when the daemon is gone
    trial.laptop.enable()
    client = trial.laptop.connect()
    until("a host answers through the tunnel", lambda: _answers(trial))
    trial.expect(not _our_routes(trial), "OpenVPN's own route stands, and none of ours")
    actions: dict[str, Callable[[], object]] = {
        "reapply": lambda: desktop.nmcli("device", "reapply", a.LINK),
        "connection up": desktop.renew,
        "disconnect, connect": lambda: _disconnect(desktop),
        "carrier lost and back": lambda: _lose_carrier(trial, desktop),
    }
    for what, action in actions.items():
        for _ in range(trial.times(1, 5)):
            with trial.no_leaks(what):
                action()
                began = time.monotonic()
                until(f"{what}: a host answers through the tunnel", lambda: _answers(trial), 30)
                trial.say(f"{what}: the tunnel carries packets {time.monotonic() - began:.1f} s later")
        routes = _our_routes(trial)
        trial.expect(len(routes) == 1 and f"via {a.AP}" in routes[0], f"{what}: one route of ours ({routes})")
    trial.laptop.wait_state("protected")
    daemon = trial.laptop.daemon
    assert daemon is not None
    daemon.kill()
    trial.laptop.killswitch("disable", "--offline")
    trial.expect(not _our_routes(trial), "disabled without a daemon: the route is gone")
    client.kill()
